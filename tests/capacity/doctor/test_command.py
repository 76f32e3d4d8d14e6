"""``servingclient doctor`` as a user types it."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import databricks.sdk.core  # noqa: F401 - seconds on a busy machine, which no login should wait for
import pytest

from servingclient import ServingClient, cli
from servingclient.capacity.doctor import examine
from servingclient.cli.doctor import targets_of
from servingclient.emulator import Emulator
from servingclient.errors import ConfigError
from servingclient.settings.targets import Targets
from tests.capacity.doctor.said import WELL, metrics
from tests.capacity.doctor.shown import GOLDEN, ILL, NOTHING, SHOWN

Printed = pytest.CaptureFixture[str]


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown(name: str) -> None:
    # written anew by: python -m tests.capacity.doctor.shown
    assert SHOWN[name]() == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.fixture
def signed_in(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("DATABRICKS_HOST", emulator.host)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", emulator.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", emulator.client_secret)
    emulator.add_endpoint("fraud", slots=4, metrics=metrics())
    return emulator


def test_nothing_bad_is_0(signed_in: Emulator, capsys: Printed) -> None:
    assert cli.main(["doctor", "fraud"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.startswith("fraud: 3 unknown, 14 ok\n")
    assert signed_in.executions("fraud").total() == 0, "no model is called unasked"


def test_something_bad_is_1(signed_in: Emulator, capsys: Printed) -> None:
    assert cli.main(["doctor", "fraud", "--target", "p99_ms=1", "--target=p50_ms=2"]) == 2
    assert "must ascend" in capsys.readouterr().err
    assert cli.main(["doctor", "fraud", "--target", "p99_ms=1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"] is False
    latency = [one for one in found["checks"] if one["name"] == "latency P99"]
    assert latency[0]["verdict"] == "bad"
    assert latency[0]["target"] == "at most 1 ms"


def test_what_cannot_be_examined_is_2(signed_in: Emulator, capsys: Printed) -> None:
    assert cli.main(["doctor", "nowhere"]) == 2
    assert "could not be examined" in capsys.readouterr().out
    assert cli.main(["doctor", "fraud", "--target", "p42_s=1"]) == 2
    assert "Targets has no option 'p42_s'" in capsys.readouterr().err
    assert cli.main(["doctor", "fraud", "--payload", "rows.txt"]) == 2
    assert "payloads are read from" in capsys.readouterr().err
    assert cli.main(["doctor", "no such name"]) == 2
    assert capsys.readouterr().err.startswith("servingclient doctor: ")


def test_a_payload_is_sent_as_often_as_allowed(
    signed_in: Emulator, capsys: Printed, tmp_path: Path
) -> None:
    file = tmp_path / "rows.json"
    file.write_text('[{"a": 1.0}, {"a": 2.0}]')
    slack = ["--target=p99_s=9", "--target=p90_s=9", "--target=p50_s=9"]
    assert cli.main(["doctor", "fraud", "--payload", str(file), "--calls", "6", *slack]) == 0
    assert "mean call" in capsys.readouterr().out
    assert signed_in.executions("fraud").total() == 6


def test_watching_ends_after_so_many_looks(signed_in: Emulator, capsys: Printed) -> None:
    assert cli.main(["doctor", "fraud", "--watch", "0", "--count", "3", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["endpoint"] for line in lines] == ["fraud"] * 3


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each look comes to, an error to raise among them; the last one stays."""
    left: list[Any] = []

    def look(*_: Any, **__: Any) -> Any:
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(ServingClient, "doctor", look)
    return left


def test_ctrl_c_ends_watching_with_the_code_of_the_last_look(
    signed_in: Emulator, looks: list[Any], capsys: Printed
) -> None:
    looks += [examine(WELL), examine(ILL), KeyboardInterrupt()]
    assert cli.main(["doctor", "fraud", "--watch", "0"]) == 1
    assert capsys.readouterr().out == f"{examine(WELL)}\n\n{examine(ILL)}\n\n"
    looks[:] = [examine(NOTHING), KeyboardInterrupt()]
    assert cli.main(["doctor", "fraud", "--watch", "0"]) == 2


def test_ctrl_c_before_the_end_of_the_only_look(signed_in: Emulator, looks: list[Any]) -> None:
    looks.append(KeyboardInterrupt())
    assert cli.main(["doctor", "fraud"]) == 130


def test_it_waits_between_two_looks(
    signed_in: Emulator, looks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float | None] = []

    class Pause:
        def wait(self, seconds: float | None = None) -> bool:
            waited.append(seconds)
            return False

    looks.append(examine(WELL))
    from servingclient.cli import doctor

    monkeypatch.setattr(doctor, "threading", type("", (), {"Event": Pause}))
    assert cli.main(["doctor", "fraud", "--watch", "30", "--count", "3"]) == 0
    assert waited == [30.0, 30.0]
    assert threading.Event is not Pause


@pytest.mark.parametrize("several", [False, True])
def test_a_terminal_gets_colours(
    signed_in: Emulator,
    looks: list[Any],
    capsys: Printed,
    monkeypatch: pytest.MonkeyPatch,
    several: bool,
) -> None:
    looks.append(examine(ILL))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    more = ["--watch", "0", "--count", "2"] if several else []
    assert cli.main(["doctor", "fraud", *more]) == 1
    told = capsys.readouterr().out
    assert "\x1b[" in told
    assert "latency P99" in told
    assert cli.main(["doctor", "fraud", "--plain"]) == 1
    assert capsys.readouterr().out == f"{examine(ILL)}\n"


def test_without_rich_a_terminal_gets_lines(
    signed_in: Emulator, looks: list[Any], capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks.append(examine(ILL))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert cli.main(["doctor", "fraud"]) == 1
    assert capsys.readouterr().out == f"{examine(ILL)}\n"


def test_targets_in_milliseconds() -> None:
    assert targets_of(["p99_ms=200", "qps=7", "p90_s=0.2"]) == Targets(p99_s=0.2, qps=7, p90_s=0.2)


@pytest.mark.parametrize(
    ("given", "percentiles"),
    [
        (["p99_ms=200"], (0.1, 0.2, 0.2)),
        (["p99_ms=50"], (0.05, 0.05, 0.05)),
        (["p50_ms=300"], (0.3, 0.3, 0.5)),
        (["p50_s=2"], (2.0, 2.0, 2.0)),
        (["p90_s=2"], (0.1, 2.0, 2.0)),
        (["p50_ms=150", "p99_ms=200"], (0.15, 0.2, 0.2)),
        (["qps=7"], (0.1, 0.25, 0.5)),
    ],
)
def test_percentiles_not_given_follow_those_given(
    given: list[str], percentiles: tuple[float, float, float]
) -> None:
    found = targets_of(given)
    assert (found.p50_s, found.p90_s, found.p99_s) == percentiles


@pytest.mark.parametrize("wrong", ["p99_ms", "p99_ms=", "p99_ms=fast", "=3"])
def test_targets_that_are_none(wrong: str) -> None:
    with pytest.raises(ConfigError):
        targets_of([wrong])


@pytest.mark.parametrize("wrong", ["-1", "nan", "soon", "1e9"])
def test_pauses_that_are_none(wrong: str, capsys: Printed) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "fraud", f"--watch={wrong}"])
    assert ended.value.code == 2
    assert "--watch" in capsys.readouterr().err
