"""A diagnosis as tables of rich, for who prints with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from servingclient.capacity.doctor.diagnosis import Diagnosis, Verdict
from servingclient.capacity.doctor.render import WORDS, headline, split_words, told_once

_STYLES: Final[Mapping[Verdict, str]] = {
    "bad": "bold red",
    "warn": "yellow",
    "unknown": "dim",
    "ok": "green",
}


def shown(diagnosis: Diagnosis) -> Group:
    """What ``str(diagnosis)`` says, with columns that fit the window."""
    diagnosis = told_once(diagnosis)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("", "check", "measured", "target", "what to do"):
        table.add_column(head)
    for check in diagnosis.checks:
        # as Text: brackets in a name are no markup
        told = Text(check.action)
        if check.why and check.verdict != "ok":
            told.append(f"\n{check.why}" if check.action else check.why, style="dim")
        mark = Text(WORDS[check.verdict], style=_STYLES[check.verdict])
        table.add_row(mark, *map(Text, (check.name, check.measured, check.target)), told)
    below = [split_words(diagnosis.split), diagnosis.split.assumption, *diagnosis.notes]
    notes = [Padding(Text(note), (1, 0, 0, 0)) for note in below if note]
    return Group(Text(headline(diagnosis), style="bold"), "", table, *notes)
