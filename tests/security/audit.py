"""Whether an audit of dependencies says anything, and what.

``python tests/security/audit.py CONSTRAINTS PIP_AUDIT``

pip-audit was seen to print "No known vulnerabilities found" and to end with 0 having skipped all of
84 packages. So what counts is its JSON: every version that is pinned must be in it, looked at, and
without a finding. Where the advisory database cannot be reached, that is a failure too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

GOOD, VULNERABLE, NOT_AUDITED = 0, 1, 2
_MOST_SHOWN = 5

Pin = tuple[str, str]
"""Name and version."""


class Verdict(NamedTuple):
    """What came of an audit.

    Attributes:
        code: 0 nothing is known against any pin, 1 something is, 2 not all could be looked at.
        lines: What to print.
    """

    code: int
    lines: list[str]


def pins_of(constraints: str) -> list[Pin]:
    """All pins of a constraints file, those for other versions of Python too."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", constraints, re.MULTILINE)
    return [(_plain(name), version) for name, version in found]


def rounds(pins: Iterable[Pin]) -> list[list[Pin]]:
    """Pins in lists that have each name once, as pip-audit wants it."""
    lists: list[dict[str, str]] = []
    for name, version in pins:
        free = next((one for one in lists if name not in one), None)
        if free is None:
            lists.append({name: version})
        else:
            free[name] = version
    return [list(one.items()) for one in lists]


def judged(pins: Sequence[Pin], reports: Iterable[str]) -> Verdict:
    """Judge what pip-audit has written.

    Args:
        pins: What was to be audited.
        reports: Its JSON, one text for each run; empty where it wrote none.
    """
    if not pins:
        return Verdict(NOT_AUDITED, ["NOT AUDITED: nothing is pinned."])
    audited: dict[Pin, list[str]] = {}
    reasons: list[str] = []
    for report in reports:
        for entry in _entries(report):
            if "skip_reason" in entry:
                reasons.append(str(entry["skip_reason"]))
            elif isinstance(entry.get("vulns"), list):
                pin = (_plain(str(entry.get("name"))), str(entry.get("version")))
                audited[pin] = [str(one.get("id")) for one in entry["vulns"]]
    known = {pin: ids for pin, ids in audited.items() if ids}
    missing = [pin for pin in pins if pin not in audited]
    lines = [
        f"VULNERABLE: {name} {version}: {', '.join(known[name, version])}"
        for name, version in known
    ]
    if missing:
        shown = ", ".join(f"{name} {version}" for name, version in missing[:_MOST_SHOWN])
        more = " ..." if len(missing) > _MOST_SHOWN else ""
        lines.append(f"NOT AUDITED: {len(missing)} of {len(pins)} pinned packages: {shown}{more}")
        lines += [f"  {reason}" for reason in reasons[:_MOST_SHOWN]]
        lines.append(
            "  An audit that looks at nothing finds nothing: is the advisory database reachable?"
        )
    if known:
        return Verdict(VULNERABLE, lines)
    if missing:
        return Verdict(NOT_AUDITED, lines)
    return Verdict(GOOD, [f"{len(pins)} pinned packages audited, nothing is known against them."])


def _entries(report: str) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(report)
    except ValueError:
        return []
    entries = found.get("dependencies") if isinstance(found, dict) else None
    return [one for one in entries or [] if isinstance(one, dict)]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(constraints: str, tool: str) -> int:
    """Audit the pins of a file; the exit code is the verdict's."""
    pins = pins_of(Path(constraints).read_text(encoding="utf-8"))
    reports = [_run(tool, one) for one in rounds(pins)]
    verdict = judged(pins, reports)
    sys.stdout.write("\n".join(verdict.lines) + "\n")
    return verdict.code


def _run(tool: str, pins: Sequence[Pin]) -> str:
    """What pip-audit writes of them; its exit code says less than its report."""
    with tempfile.TemporaryDirectory() as folder:
        asked, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        asked.write_text("".join(f"{name}=={version}\n" for name, version in pins))
        command = [tool, "-r", str(asked), "--no-deps", "--disable-pip", "--progress-spinner=off"]
        done = subprocess.run(
            [*command, "-f", "json", "-o", str(report)],
            capture_output=True,
            text=True,
            check=False,
        )
        if report.exists():
            return report.read_text(encoding="utf-8")
        sys.stdout.write(f"pip-audit gave no report: {(done.stderr.splitlines() or ['?'])[-1]}\n")
        return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
