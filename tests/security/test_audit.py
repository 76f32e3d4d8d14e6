"""A7: an audit that looked at nothing is no good news, and the floors hold."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.security.audit import (
    GOOD,
    NOT_AUDITED,
    VULNERABLE,
    Pin,
    judged,
    main,
    pins_of,
    rounds,
)

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[2]
PINS = [("h11", "0.16.0"), ("urllib3", "2.8.0")]
GOOD_ONES = [{"name": name, "version": version, "vulns": []} for name, version in PINS]
# recorded: pip-audit 2.10.1 where the database cannot be reached; its exit code was 0
SKIPPED = [
    {
        "name": name,
        "skip_reason": f"Dependency not found on PyPI and could not be audited: {name} ({version})",
    }
    for name, version in PINS
]
BAD = {
    "name": "h11",
    "version": "0.14.0",
    "vulns": [{"id": "GHSA-vqfr-h8mv-ghfj", "fix_versions": ["0.16.0"], "aliases": []}],
}


def report(*entries: object) -> str:
    return json.dumps({"dependencies": list(entries), "fixes": []})


def test_A7_all_audited_and_nothing_known_is_good() -> None:
    verdict = judged(PINS, [report(*GOOD_ONES)])
    assert verdict == (GOOD, ["2 pinned packages audited, nothing is known against them."])
    assert judged(PINS, [report(one) for one in GOOD_ONES]).code == GOOD


@pytest.mark.parametrize(
    "reports",
    [
        [report(*SKIPPED)],
        [report(GOOD_ONES[0], SKIPPED[1])],
        [report(GOOD_ONES[0])],
        [report(GOOD_ONES[0], GOOD_ONES[1] | {"version": "2.8.1"})],
        [report(GOOD_ONES[0], {"name": "urllib3", "version": "2.8.0"})],
        [report()],
        ["{}"],
        ["[]"],
        ["No known vulnerabilities found"],
        [""],
        [],
    ],
    ids=[
        "all skipped",
        "one skipped",
        "one missing",
        "another version",
        "no verdict",
        "empty",
        "no list",
        "no object",
        "no JSON",
        "no report",
        "no run",
    ],
)
def test_A7_what_was_not_audited_fails(reports: list[str]) -> None:
    verdict = judged(PINS, reports)
    assert verdict.code == NOT_AUDITED
    assert verdict.lines[0].startswith("NOT AUDITED")


def test_A7_nothing_pinned_fails() -> None:
    assert judged([], [report(*GOOD_ONES)]).code == NOT_AUDITED


def test_A7_a_finding_fails_also_where_others_were_skipped() -> None:
    pins: list[Pin] = [("h11", "0.14.0"), PINS[1]]
    verdict = judged(pins, [report(BAD, SKIPPED[1])])
    assert verdict.code == VULNERABLE
    assert verdict.lines[0] == "VULNERABLE: h11 0.14.0: GHSA-vqfr-h8mv-ghfj"
    assert verdict.lines[1].startswith("NOT AUDITED: 1 of 2 pinned packages: urllib3 2.8.0")


def test_A7_pins_for_every_python_are_audited() -> None:
    text = 'a==1.0 ; python_version < "3.11"\nA_b==2\na==2.0 ; python_version >= "3.11"\n# c==1\n'
    assert pins_of(text) == [("a", "1.0"), ("a-b", "2"), ("a", "2.0")]
    assert rounds(pins_of(text)) == [[("a", "1.0"), ("a-b", "2")], [("a", "2.0")]]


@pytest.mark.parametrize("said", ["No known vulnerabilities found", "ConnectionError"])
def test_A7_the_command_fails_when_the_tool_gives_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    """A tool that ends well and writes nothing, and one that cannot reach its database."""
    tool, pins = tmp_path / "tool", tmp_path / "pins.txt"
    tool.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write({said!r})\n")
    tool.chmod(0o700)
    pins.write_text("a==1.0\n")
    assert main(str(pins), str(tool)) == NOT_AUDITED
    assert capsys.readouterr().out.startswith(f"pip-audit gave no report: {said}\nNOT AUDITED: 1")


FLOORS = {"h11": "0.16", "urllib3": "2.7", "redis": "5", "msgpack": "1.0"}


@pytest.mark.parametrize("name", FLOORS)
def test_A7_no_pin_is_below_its_floor(name: str) -> None:
    seen = 0
    for file in ROOT.glob("constraints*.txt"):
        for pinned, version in pins_of(file.read_text(encoding="utf-8")):
            if pinned == name:
                seen += 1
                assert Version(version) >= Version(FLOORS[name]), file.name
    assert seen


def test_A7_ranges_begin_at_the_floors() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = {}
    for one in re.findall(r'"((?:httpx|msgpack|redis)[=><][^"]+)"', text):
        found[Requirement(one).name] = Requirement(one).specifier
    assert str(found["httpx"]) == "==0.28.*"
    assert not found["msgpack"].contains("0.6.2")
    assert not found["redis"].contains("4.6.0")
