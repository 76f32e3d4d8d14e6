"""The demo: every step in order, and an exit code that can be trusted."""

from __future__ import annotations

import re
import sys

import pytest

from servingclient import ServerError, cli
from servingclient.cli import demo, mishaps, screen, steps, wines
from servingclient.cli.lab import Lab, Report
from servingclient.cli.screen import PlainScreen, RichScreen

SCORED = ["answers", "tries", "time", "accuracy"]
SEEN = ["model ran", "connections"]

# what is shown, step by step; figures differ from run to run, names and order do not
SHOWN = {
    "sync client, standard endpoint: all wines in one call": ["warm-up", *SCORED, *SEEN],
    "async client, standard endpoint: a call for each wine, all at once": [*SCORED, *SEEN],
    "sync client, route-optimized endpoint": [*SCORED, "tokens", *SEEN],
    "async client, route-optimized endpoint: a call for each wine, all at once": [*SCORED, *SEEN],
    "a pandas DataFrame in, one out": [*SCORED, "frames", *SEEN],
    "async client: a call for each wine, batched": [*SCORED, "requests"],
    "map: all wines, 10 a request": ["requests", "accuracy"],
    "a personal access token on the route-optimized endpoint": ["error"],
    "a burst: 24 calls at once, 4 places and a queue of 4": [*SCORED, "limit", "refused", *SEEN],
    "a token that expires midway": [*SCORED, "tokens", *SEEN],
    "all tokens revoked midway": [*SCORED, *SEEN],
    "the connection is reset after the model has run": [*SCORED, "not resent", *SEEN],
    "a gateway answers html 502, once": [*SCORED, *SEEN],
    "the model takes longer than the caller has": ["error", "time", "model ran"],
    "an external API is slow, limited, then down: predictions go on": [
        "slow",
        "limited",
        "down",
        "unknown",
        "predictions",
        "figures",
    ],
}


def read(printed: str) -> dict[str, list[str]]:
    """Headings with the names of the facts below each, and its verdict."""
    found: dict[str, list[str]] = {}
    for line in printed.splitlines():
        if line and not line.startswith(" " * 4):
            heading = re.sub(r"^ ?\d+\. ", "", line)
            found[heading] = []
        elif fact := re.match(r"    ([a-z][a-z -]{0,11}?)  +\S", line):
            found[heading].append(fact[1])
        elif line.startswith("    ") and not line.startswith(" " * 5):
            found[heading].append(line.strip())
    return found


def test_the_demo_goes_as_expected(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["demo"])
    printed = capsys.readouterr()
    shown = read(printed.out)
    assert printed.err == ""
    first, *steps, last = shown
    assert first.startswith("servingclient ")
    assert shown[first] == ["data", "model", "workspace", "data plane"]
    assert {step: shown[step] for step in steps} == {
        title: [*names, "ok"] for title, names in SHOWN.items()
    }
    assert list(SHOWN) == steps
    assert last == "In all"
    assert shown[last][:-1] == ["requests", "tokens", "connections"]
    assert re.fullmatch(r"15 steps in \d+\.\d s, all as expected", shown[last][-1])
    assert code == 0


def only(monkeypatch: pytest.MonkeyPatch, *steps: object) -> None:
    chosen = [(getattr(step, "__name__", "step"), step) for step in steps]
    monkeypatch.setattr(demo, "STEPS", chosen)


def test_a_step_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fine(lab: Lab, report: Report) -> None:
        report.fact("answers", "all")

    def wrong(lab: Lab, report: Report) -> None:
        report.expect("two and two are five", held=False)

    def broken(lab: Lab, report: Report) -> None:
        raise ServerError("the model is on fire")

    only(monkeypatch, fine, wrong, broken)
    assert demo.run(PlainScreen()) == 1
    printed = capsys.readouterr().out
    assert "NOT AS EXPECTED: two and two are five" in printed
    assert "NOT AS EXPECTED: it ends without ServerError: the model is on fire" in printed
    assert re.search(r"3 steps in .* s; not as expected: wrong; broken\n$", printed)


def test_it_needs_neither_pandas_nor_numpy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pandas", "numpy"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    only(monkeypatch, steps.sync_standard, steps.frame, mishaps.gateway_page)
    assert demo.run(PlainScreen()) == 0
    assert "skipped: pandas is not installed" in capsys.readouterr().out


def test_it_says_which_extra_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    assert demo.run(PlainScreen()) == 1
    assert "pip install 'servingclient[emulator]'" in capsys.readouterr().err


def test_rich_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(screen.screen(plain=False), PlainScreen), "the output is captured"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert isinstance(screen.screen(plain=True), PlainScreen)
    assert isinstance(screen.screen(plain=False), RichScreen)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert isinstance(screen.screen(plain=False), PlainScreen)


def test_both_screens_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for out in (PlainScreen(), RichScreen()):
        out.heading("1. [a] heading")
        out.facts([("tries", "try 1: 200"), ("a", "[b] " + "long " * 40)])
        out.verdict("ok", good=True)
        out.verdict("[NOT] AS EXPECTED", good=False)
        said.append(capsys.readouterr().out.split())
    assert said[0] == said[1]


def test_the_data_is_all_there() -> None:
    rows, labels = wines.load()
    assert len(rows) == len(labels) == 178
    assert [labels.count(label) for label in (1, 2, 3)] == [59, 71, 48], "as its source says"
    assert {len(row) for row in rows} == {13}
    assert rows[0]["alcohol"] == 14.23


def test_the_model_has_learned_something() -> None:
    rows, labels = wines.load()
    model = wines.NearestCentroid(rows[::2], labels[::2])
    found = model(rows[1::2])
    right = sum(a == b for a, b in zip(found, labels[1::2], strict=True))
    assert right / len(found) > 0.9
