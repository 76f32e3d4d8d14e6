"""What people read: text, a page that stands alone, and the command."""

from __future__ import annotations

import dataclasses
import functools
import html
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.cli import loadtest as cli_loadtest
from servingclient.cli import main
from servingclient.emulator import Emulator, faults
from servingclient.errors import ConfigError, ServingError
from servingclient.loadtest import (
    ClosedLoad,
    Goal,
    Knee,
    LoadTest,
    Rules,
    Timetable,
    Trial,
    Trust,
    payloads,
    report,
)
from servingclient.loadtest.crew import Crew
from servingclient.loadtest.knee import search
from servingclient.loadtest.load import Load, OpenLoad, Profile
from servingclient.loadtest.page import page
from servingclient.loadtest.series import Done, Series
from servingclient.loadtest.trial import judged
from servingclient.loadtest.trust import ClientLoad

GOAL = Goal(latency_s=0.1)


def trial(load: Load, took_s: float, *, error: str | None = None, cpu: float = 0.2) -> Trial:
    series = Series(GOAL.latency_s)
    series.take(Done(i / 10, i / 10, i / 10 + took_s, error, 0.0) for i in range(60))
    busy = ClientLoad(cpu, 0.001, 0.0, 60, 60)
    times = Timetable(warmup_s=1, window_s=1)
    return judged(load, series, [busy], GOAL, times, Trust(), lasted_s=6.0)


def knee_test(endpoint: str = "fraud-model") -> LoadTest:
    trials = (
        trial(OpenLoad(Profile.constant(100.0, 6.0)), 0.05),
        trial(OpenLoad(Profile.constant(160.0, 6.0)), 0.2),
    )
    return LoadTest(
        endpoint,
        GOAL,
        trials,
        Knee(100.0, 160.0, 2, (0, 1)),
        trial(ClosedLoad(1, 6.0), 0.04),
        1.79e9,
    )


TEXT = """\
'fraud-model' meets the goal up to 100 calls/s (missed at 160/s): 99 % of the calls within 100 ms.

load                  calls  answers/s  good/s   good     P50     P90     P99   P99.9  verdict
1 caller                 50         10      10  100 %   40 ms   40 ms   40 ms   40 ms      met
100 calls/s, poisson     50         10      10  100 %   50 ms   50 ms   50 ms   50 ms      met
160 calls/s, poisson     50         10       0    0 %  200 ms  200 ms  200 ms  200 ms   missed

Latency counts from when a call was due, so waiting for a slow endpoint is in it.
Calls that failed have none: they are in no percentile, and are not good."""


def test_the_text_of_a_search_for_the_knee() -> None:
    assert report.text(knee_test()) == TEXT


PAGE = Path(__file__).parents[2] / "docs" / "howto-loadtest.md"


@pytest.mark.checkout
@pytest.mark.skipif(not PAGE.exists(), reason="there are no pages beside the wheel")
def test_the_page_shows_what_is_printed() -> None:
    """Its figures are of a real run, so what is compared is all but figures and widths."""
    pattern = r"```console\n\$ servingclient loadtest (.*)\n((?:.*\n)*?)\.\.\.\n```"
    (command, shown), *more = re.findall(pattern, PAGE.read_text("utf-8"))
    assert not more
    cli_loadtest.parser().parse_args(
        command.split()
    )  # ends the process where there is no such option
    assert shown.endswith("\n")
    said, empty, *rows = shown.splitlines()
    printed = TEXT.splitlines()
    for ours, told in zip([said, empty, *rows], printed, strict=False):
        assert without_figures(ours) == without_figures(told)
    assert len(rows) == 3


def without_figures(line: str) -> str:
    return " ".join(re.sub(r"[\d.,]*\d", "#", line).split())


def test_doubts_and_errors_are_told() -> None:
    load = OpenLoad(Profile.constant(10.0, 6.0))
    failing = LoadTest("m", GOAL, (trial(load, 0.05, error="Throttled", cpu=0.97),))
    told = report.text(failing)
    assert "INVALID: the load generator was the bottleneck" in told
    assert "97% of a core" in told
    assert "50 Throttled" in told
    assert not failing.met


def test_a_knee_is_doubted_for_the_trials_that_decided_it_only() -> None:
    sound = knee_test()
    far = trial(OpenLoad(Profile.constant(400.0, 6.0)), 0.5, cpu=0.99)
    with_far = LoadTest("m", GOAL, (*sound.trials, far), sound.knee, sound.unloaded)
    assert with_far.valid
    missed = trial(OpenLoad(Profile.constant(160.0, 6.0)), 0.2, cpu=0.99)
    assert not LoadTest("m", GOAL, (sound.trials[0], missed), sound.knee).valid


@given(st.floats(1.0, 2000.0))
def test_a_miss_of_the_generator_is_none_of_the_endpoint_at_any_rate(qps: float) -> None:
    """Most rates are not the same float any more once calls were divided by seconds."""
    rates, made = search(qps, most_qps=1e6, trials=2), list[Trial]()
    tried, knee = next(rates), None
    while knee is None:
        cpu = 0.2 if not made else 0.99
        made.append(trial(OpenLoad(Profile.constant(tried, 6.0)), 0.05, cpu=cpu))
        try:
            tried = rates.send(made[-1].met)
        except StopIteration as end:
            knee = end.value
    test = LoadTest("m", GOAL, tuple(made), knee)
    assert (knee.qps, test.valid, test.met) == (qps, False, False)
    assert "the load generator was the bottleneck" in report.headline(test)


@pytest.mark.parametrize("deciding", [[2], [-1], ["0"], 7])
def test_a_file_whose_knee_was_decided_by_no_trial_is_no_result(deciding: Any) -> None:
    written = json.loads(knee_test().to_json())
    written["knee"]["deciding"] = deciding
    with pytest.raises(ConfigError, match="no result of a load test"):
        LoadTest.from_json(json.dumps(written))


def test_a_recommendation_stands_in_the_file() -> None:
    test = dataclasses.replace(knee_test(), goal=Goal(latency_s=0.3))
    written = json.loads(test.to_json())
    assert test.recommendation is not None
    assert written["recommendation"] == test.recommendation.as_dict()
    assert written["recommendation"]["scaling"]["least"] >= 100.0 * 0.04  # calls/s times seconds
    assert written["not_recommended"] is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"unloaded": None}, "measure one caller alone"),
        (
            {"unloaded": trial(ClosedLoad(1, 6.0), 0.04, cpu=0.99)},
            "one caller alone is not to be believed: the load generator used 99% of a core",
        ),
        ({"goal": Goal(latency_s=0.1, share=0.5)}, "Plans are for 99% of the calls"),
        ({"unloaded": trial(ClosedLoad(1, 6.0), 0.2)}, "the model alone takes 200 ms on average"),
    ],
)
def test_a_recommendation_that_cannot_be_made_is_a_note(changes: dict[str, Any], why: str) -> None:
    test = dataclasses.replace(knee_test(), **changes)
    assert (test.met, test.recommendation) == (True, None)
    assert why in (test.not_recommended or "")
    assert f"- no size is recommended: {test.not_recommended}".rstrip(".") in report.text(test)
    written = json.loads(test.to_json())
    assert (written["recommendation"], written["not_recommended"]) == (None, test.not_recommended)


def test_for_another_share_a_recommendation_needs_a_goal_of_its_own() -> None:
    test = dataclasses.replace(knee_test(), goal=Goal(latency_s=0.1, share=0.5))
    with pytest.raises(ConfigError, match=r"this goal is for 0\.5 of them: give p99_goal_s"):
        test.recommended(100.0)
    assert test.recommended(100.0, p99_goal_s=0.3).workload.p99_goal_s == 0.3


def test_nothing_is_recommended_where_no_knee_was_found() -> None:
    for changes in ({"knee": None}, {"knee": Knee(0.0, 9.0, 1, (1,))}, {"stopped": "enough"}):
        test = dataclasses.replace(knee_test(), **changes)
        assert (test.recommendation, test.not_recommended) == (None, None)


class Strict(HTMLParser):
    """Every tag is closed, none loads or runs anything."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert tag not in {"script", "link", "iframe", "img", "object"}
        assert not [name for name, _ in attrs if name in {"src", "href"} or name.startswith("on")]
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_escapes_names() -> None:
    made = page(knee_test("<script>alert(1)</script>"))
    strict = Strict()
    strict.feed(made)
    assert strict.open == []
    assert strict.seen.count("svg") == 2 + 2 * 3
    assert "knee 100/s" in made
    assert "&lt;script&gt;" in made


def test_a_notebook_shows_the_page_in_a_frame() -> None:
    test = knee_test("<script>alert(1)</script>")
    shown = test._repr_html_()
    assert shown.count("<") == 2  # the frame's own
    (inside,) = re.findall(r'<iframe srcdoc="([^"]*)" style="[^"]*"></iframe>', shown)
    assert html.unescape(inside) == page(test)


# ---------------------------------------------------------------- payloads


@pytest.mark.parametrize(
    ("name", "content", "rows", "inputs"),
    [
        ("a.json", '{"inputs": [1]}', 1, [{"inputs": [1]}]),
        ("a.json", '[{"inputs": [1]}, {"inputs": [2]}]', 1, [{"inputs": [1]}, {"inputs": [2]}]),
        ("a.json", '[{"a": 1}, {"a": 2}, {"a": 3}]', 2, [[{"a": 1}, {"a": 2}], [{"a": 3}]]),
        ("a.jsonl", '{"a": 1}\n\n{"a": 2}\n', 1, [[{"a": 1}], [{"a": 2}]]),
        ("a.jsonl", '{"a": "x\u2028y"}', 1, [[{"a": "x\u2028y"}]]),
        ("a.csv", "a,b\n1,2.5\n,y\n", 2, [[{"a": 1, "b": 2.5}, {"a": None, "b": "y"}]]),
    ],
)
def test_payload_files(tmp_path: Path, name: str, content: str, rows: int, inputs: Any) -> None:
    (tmp_path / name).write_text(content)
    assert payloads.read(tmp_path / name, rows=rows) == inputs


def test_parquet_files(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"a": [1, 2]}), tmp_path / "a.parquet")
    assert payloads.read(tmp_path / "a.parquet") == [[{"a": 1}], [{"a": 2}]]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xml", "", "told by the file's name"),
        ("a.json", "{", "does not hold what its name says"),
        ("a.json", "[]", "no row to send"),
        ("a.csv", "a,b\n", "no row to send"),
        ("a.csv", "a,b\n1,2,3\n", r"a\.csv: Line 2 of the CSV has not as many cells"),
        ("a.json", "[" * 100_000, "does not hold what its name says"),
        ("missing.json", None, "cannot be read"),
    ],
)
def test_payload_files_that_are_none(
    tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=says):
        payloads.read(tmp_path / name)


# ---------------------------------------------------------------- the command


@pytest.fixture
def emu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator() as emulator:
        monkeypatch.setenv("DATABRICKS_HOST", emulator.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", emulator.token)
        monkeypatch.setenv("SERVINGCLIENT_CA_FILE", str(emulator.ca_file))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca_file))
        yield emulator


@pytest.fixture
def rows(tmp_path: Path) -> str:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n3,4\n")
    return str(tmp_path / "rows.csv")


def trusting(monkeypatch: pytest.MonkeyPatch, trust: Trust) -> None:
    """What is believed is not to depend on how busy the machine is that runs this."""
    monkeypatch.setattr("servingclient.cli.loadtest.Rules", functools.partial(Rules, trust=trust))


EASILY = Trust(cpu_share=100.0, late_s=100.0, missing_share=1.0)
NEVER = Trust(cpu_share=0.0)
QUICK = ["--warmup-s", "0", "--window-s", "1", "--seconds", "1.2"]


def test_the_command_tests_writes_and_compares(
    emu: Emulator,
    rows: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trusting(monkeypatch, EASILY)
    result, html = tmp_path / "r.json", tmp_path / "r.html"
    command = ["loadtest", "demo", "--payload", rows, "--qps", "50", *QUICK]
    assert main([*command, "--json", str(result), "--html", str(html)]) == 0
    printed = capsys.readouterr()
    assert "'demo' met the goal: 99 % of the calls within 1 s." in printed.out
    assert "last second" in printed.err
    assert json.loads(result.read_text())["met"] is True
    assert html.read_text().startswith("<!DOCTYPE html>")
    assert {file.name for file in tmp_path.iterdir()} == {"rows.csv", "r.json", "r.html"}
    assert main([*command, "--compare", str(result), "--quiet"]) == 0
    alike = capsys.readouterr().out
    assert "measure at least 8" in alike
    assert "Before, " not in alike
    other = json.loads(result.read_text()) | {"endpoint": "churn", "processes": 2}
    other["goal"]["latency_s"] = 0.25
    other["conditions"] |= {"--rows": 100, "--payload": "others.csv"}
    result.write_text(json.dumps(other))
    assert main([*command, "--compare", str(result), "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "Before, it was the endpoint 'churn' that was tested." in told
    assert "Before, the goal was 0.99 of the calls within 0.25 s" in told
    assert "Before, 2 processes made the load, now 1." in told
    assert "Before, --rows was 100, now 1." in told
    assert "Before, --payload was others.csv, now rows.csv." in told
    assert "--in-flight" not in told


@pytest.mark.parametrize(
    ("profile", "steady"),
    [(Profile.ramp(5.0, 15.0, 60.0), False), (Profile.constant(10.0, 60.0), True)],
)
def test_a_load_that_changes_is_compared_with_one_that_lasted_as_long(
    profile: Profile,
    steady: bool,
    rows: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A ramp over 60 s and one over 600 s have the same name."""

    def ended(lasted_s: float) -> LoadTest:
        series = Series(GOAL.latency_s)
        series.take(Done(i / 10, i / 10, i / 10 + 0.05, None, 0.0) for i in range(600))
        times = Timetable(warmup_s=1, window_s=1)
        busy = ClientLoad(0.2, 0.001, 0.0, 60, 60)
        load = OpenLoad(profile)
        one = judged(load, series, [busy], GOAL, times, Trust(), lasted_s=lasted_s)
        return LoadTest("m", GOAL, (one,))

    before = tmp_path / "before.json"
    before.write_text(ended(60.0).to_json())
    told = {}
    for lasted_s in (60.0, 40.0):
        monkeypatch.setattr(cli_loadtest, "_tested", lambda given, s=lasted_s: ended(s))
        main(["loadtest", "m", "--payload", rows, "--qps", "5", "--compare", str(before)])
        told[lasted_s] = capsys.readouterr().out
    assert "no difference shown" in told[60.0]
    assert ("no load in common" in told[40.0]) is not steady
    assert ("39 s measured, 59 s before" in told[40.0]) is steady


def test_a_result_that_cannot_be_written_is_told_before_any_load(
    emu: Emulator, rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(tmp_path / "nowhere" / "r.json")
    assert main(["loadtest", "demo", "--payload", rows, "--qps", "5", "--json", nowhere]) == 2
    assert "no load was made" in capsys.readouterr().err
    assert not emu.requests


def test_json_goes_to_the_standard_output_alone(
    rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_loadtest, "_tested", lambda given: knee_test())
    before = tmp_path / "before.json"
    before.write_text(knee_test().to_json())
    command = ["loadtest", "fraud-model", "--payload", rows, "--qps", "5", "--json", "-"]
    assert main([*command, "--compare", str(before)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads(before.read_text())
    assert err.startswith(TEXT)
    assert "100 calls/s, poisson, against before: 5 s measured, 5 s before" in err
    assert not (tmp_path / "-").exists()


def test_the_exit_code_says_how_it_went(
    emu: Emulator,
    rows: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trusting(monkeypatch, EASILY)
    emu.change_endpoint("demo", service_time_s=0.02)  # else two callers fill a core
    command = ["loadtest", "demo", "--payload", rows, *QUICK, "--quiet"]
    assert main([*command, "--callers", "2", "--goal-ms", "0.001"]) == 1
    assert main([*command, "--knee", "40:40", "--trials", "1"]) == 0
    assert "To hold 40 calls/s" in capsys.readouterr().out
    trusting(monkeypatch, NEVER)
    assert main([*command, "--callers", "1"]) == 3
    emu.always("demo", faults.plain(400))
    assert main([*command, "--qps", "20"]) == 2
    assert "refused the request (400)" in capsys.readouterr().err
    assert main([*command, "--trace", rows]) == 2
    assert "is no trace" in capsys.readouterr().err


@pytest.mark.parametrize(
    "load",
    [
        ["--knee", "10:nan"],
        ["--knee", "0:10"],
        ["--knee", "10:20", "--seconds", "5"],
        ["--qps", "0"],
        ["--steps", "50,0"],
        ["--steps", "50,60", "--seconds", "10.5"],
    ],
)
def test_a_load_that_cannot_be_is_told_before_the_endpoint_is_woken(
    load: list[str], emu: Emulator, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["loadtest", "demo", "--payload", rows, *load]) == 2
    assert "asking once" not in capsys.readouterr().err
    assert not emu.requests


def test_a_search_whose_calls_are_used_up_was_broken_off(
    emu: Emulator,
    rows: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trusting(monkeypatch, NEVER)  # what was not done is no matter of the generator
    emu.change_endpoint("demo", service_time_s=0.02)
    result = tmp_path / "r.json"
    command = ["loadtest", "demo", "--payload", rows, *QUICK, "--quiet", "--json", str(result)]
    assert main([*command, "--knee", "20:500", "--max-calls", "10"]) == 1
    assert "was broken off. 1 caller: 10 calls were made" in capsys.readouterr().out
    assert json.loads(result.read_text())["stopped"].startswith("1 caller: 10 calls were made")


def test_load_that_was_made_is_never_told_as_none(
    emu: Emulator,
    rows: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ends(self: Crew, load: Load, rules: Rules, **_: Any) -> Trial:
        raise ServingError("A process of the load test ended unexpectedly.")

    monkeypatch.setattr(Crew, "trial", ends)
    assert main(["loadtest", "demo", "--payload", rows, *QUICK, "--qps", "50", "--quiet"]) == 1
    assert "was broken off. A process of the load test ended" in capsys.readouterr().out


def test_a_credential_that_is_refused_ends_it_before_any_load(
    emu: Emulator, rows: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "wrong")
    assert main(["loadtest", "demo", "--payload", rows, "--qps", "20", *QUICK, "--quiet"]) == 2
    assert "credential" in "".join(capsys.readouterr())
    assert not [one for one in emu.requests if one.path.endswith("/invocations")]


def test_cells_of_a_csv_are_what_they_are_for_every_command(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("\ufeffcode,count,note\n1_000,7,\n", encoding="utf-8")
    assert payloads.read(table) == [[{"code": "1_000", "count": 7, "note": None}]]
    table.write_text("a,a\n1,2\n")
    with pytest.raises(
        ConfigError, match=r"rows\.csv: The head of the CSV names a column twice: a"
    ):
        payloads.read(table)
