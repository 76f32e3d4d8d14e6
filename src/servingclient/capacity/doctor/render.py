"""How a diagnosis looks: as text, as HTML for a notebook. Pure."""

from __future__ import annotations

import html as markup
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from servingclient.capacity.doctor.diagnosis import VERDICTS, Check, Diagnosis, Split, Verdict
from servingclient.telemetry.table import percent, seconds

_WIDTH: Final = 100
_SHORT: Final = 60
"""Characters that may be repeated: looking them up elsewhere takes longer than reading them."""
WORDS: Final[Mapping[Verdict, str]] = {"bad": "BAD", "warn": "warn", "unknown": "?", "ok": "ok"}


def headline(diagnosis: Diagnosis) -> str:
    """All of it in one line."""
    if not diagnosis.examined:
        return f"{diagnosis.endpoint}: could not be examined"
    counts = [(len(diagnosis.of(verdict)), verdict) for verdict in VERDICTS]
    told = ", ".join(f"{count} {verdict}" for count, verdict in counts if count)
    return f"{diagnosis.endpoint}: {told}"


def split_words(split: Split) -> str:
    """Where the mean call's time goes, in one line; empty where nothing is known."""
    if split.whole_s is None:
        return ""
    parts = [
        f"{name} {seconds(part_s)} ({percent(round(part_s / split.whole_s, 2))})"
        for name, part_s in split.parts()
        if split.whole_s
    ]
    return f"mean call {seconds(split.whole_s)}: {', '.join(parts) or 'not told apart'}"


def told_once(diagnosis: Diagnosis) -> Diagnosis:
    """The same for people: what is long and said of several checks stands with the first of them.

    Each check of the diagnosis itself says all of it, as programs read them one by one.
    """
    advice: dict[str, str] = {}
    reasons: dict[str, str] = {}
    checks = []
    for check in diagnosis.checks:
        shown, reason = check, _bare(check.why)
        if len(check.action) > _SHORT:
            first = advice.setdefault(check.action, check.name)
            if first != check.name:
                shown = replace(shown, action=f"As for {first}.")
        if len(reason) > _SHORT and check.verdict == "unknown":
            reasons.setdefault(reason, check.name)
        if reasons.get(reason, check.name) != check.name:
            shown = replace(shown, why=f"As for {reasons[reason]}.")
        checks.append(shown)
    notes = [note for note in diagnosis.notes if not _bare(note).endswith(tuple(reasons))]
    return replace(diagnosis, checks=tuple(checks), notes=tuple(notes))


def _bare(words: str) -> str:
    """To compare by: a reason is a sentence in one place and the end of one in another."""
    return words.rstrip(".").casefold()


def text(diagnosis: Diagnosis) -> str:
    """The report for a terminal."""
    diagnosis = told_once(diagnosis)
    lines = [headline(diagnosis), ""]
    checks = diagnosis.checks
    name = max(len(check.name) for check in checks)
    measured = max(len(check.measured) for check in checks)
    for check in checks:
        row = f"  {WORDS[check.verdict]:4}  {check.name:{name}}  {check.measured:{measured}}"
        lines.append(f"{row}  {check.target}")
        lines += _below(check)
    if diagnosis.split.whole_s is not None:
        lines += ["", *_wrapped(split_words(diagnosis.split), "  ")]
        lines += _wrapped(diagnosis.split.assumption, "    ")
    if diagnosis.notes:
        lines.append("")
    for note in diagnosis.notes:
        lines += _wrapped(note, "  ")
    return "\n".join(lines)


def _below(check: Check) -> Iterator[str]:
    """What to do and why, where there is something to do or to know."""
    if check.action:
        yield from _wrapped(check.action, " " * 8, "     -> ")
    if check.why and check.verdict != "ok":
        yield from _wrapped(check.why, " " * 8)


def _wrapped(words: str, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        words,
        _WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


_COLOURS: Final[Mapping[Verdict, str]] = {
    "bad": "#c0392b",
    "warn": "#b9770e",
    "unknown": "#7f8c8d",
    "ok": "#1e8449",
}


def html(diagnosis: Diagnosis) -> str:
    """The report for a notebook: one table, no script, nothing loaded."""
    diagnosis = told_once(diagnosis)
    rows = []
    for check in diagnosis.checks:
        said = [check.name, check.measured, check.target, check.action, check.why]
        cells = "".join(f"<td style='text-align:left'>{markup.escape(cell)}</td>" for cell in said)
        mark = f"<td style='color:{_COLOURS[check.verdict]}'><b>{check.verdict}</b></td>"
        rows.append(f"<tr>{mark}{cells}</tr>")
    heads = ("", "check", "measured", "target", "what to do", "why")
    head = "".join(f"<th style='text-align:left'>{name}</th>" for name in heads)
    below = [split_words(diagnosis.split), diagnosis.split.assumption, *diagnosis.notes]
    notes = "".join(f"<p>{markup.escape(note)}</p>" for note in below if note)
    title = f"<p><b>{markup.escape(headline(diagnosis))}</b></p>"
    return f"{title}<table><tr>{head}</tr>{''.join(rows)}</table>{notes}"
