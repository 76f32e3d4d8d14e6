"""Where the demo writes: plain lines, or rich where it is installed and a terminal is there."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable
from typing import Protocol

from servingclient.cli.piped import write

Fact = tuple[str, str]
"""A name and what is to say about it."""

_NAME_WIDTH = 13
_WIDTH = 100


class Screen(Protocol):
    """Shows headings, facts and verdicts, one below the other."""

    def heading(self, text: str) -> None:
        """Begin a part."""

    def facts(self, facts: Iterable[Fact]) -> None:
        """Show names with their values."""

    def verdict(self, text: str, *, good: bool) -> None:
        """Say how it went."""


class PlainScreen:
    """Lines of text."""

    def heading(self, text: str) -> None:
        """Begin a part."""
        write(f"\n{text}")

    def facts(self, facts: Iterable[Fact]) -> None:
        """Show names with their values."""
        for name, value in facts:
            write(
                textwrap.fill(
                    value,
                    _WIDTH,
                    initial_indent=f"    {name:{_NAME_WIDTH}}",
                    subsequent_indent=" " * (4 + _NAME_WIDTH),
                    break_on_hyphens=False,
                )
            )

    def verdict(self, text: str, *, good: bool) -> None:
        """Say how it went."""
        write(f"    {text}")


class RichScreen:
    """The same with colours and columns that fit the window."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)

    def heading(self, text: str) -> None:
        """Begin a part."""
        self._console.print(f"\n{text}", style="bold", markup=False)

    def facts(self, facts: Iterable[Fact]) -> None:
        """Show names with their values."""
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="cyan", no_wrap=True, min_width=_NAME_WIDTH - 2)
        table.add_column()
        for name, value in facts:
            table.add_row(name, Text(value))
        self._console.print(Padding(table, (0, 0, 0, 4)))

    def verdict(self, text: str, *, good: bool) -> None:
        """Say how it went."""
        self._console.print(f"    {text}", style="green" if good else "bold red", markup=False)


class JsonScreen:
    """A line of JSON for each part: ``heading``, ``facts`` by name, ``verdict`` and ``good``."""

    def __init__(self) -> None:
        self._heading = ""
        self._facts: dict[str, str] = {}

    def heading(self, text: str) -> None:
        """Begin a part; one without a verdict ends here."""
        if self._facts:
            self._line({})
        self._heading = text

    def facts(self, facts: Iterable[Fact]) -> None:
        """Keep names with their values for the line."""
        self._facts.update(facts)

    def verdict(self, text: str, *, good: bool) -> None:
        """End the part."""
        self._line({"verdict": text, "good": good})

    def _line(self, verdict: dict[str, object]) -> None:
        line = {"heading": self._heading, "facts": self._facts, **verdict}
        write(json.dumps(line, ensure_ascii=False))
        self._heading, self._facts = "", {}


def screen(*, plain: bool) -> Screen:
    """The screen that fits: rich only where it is installed and someone looks on."""
    if plain or not sys.stdout.isatty():
        return PlainScreen()
    try:
        return RichScreen()
    except ImportError:
        return PlainScreen()
