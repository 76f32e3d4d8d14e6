"""How a plan looks: as text for a terminal, as HTML for a notebook."""

from __future__ import annotations

import html as markup
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from servingclient.capacity.advice import Figure
from servingclient.capacity.report import Section, headline, sections

if TYPE_CHECKING:
    from servingclient.capacity.result import Plan

_WIDTH: Final = 100


# ------------------------------------------------------------------------------- text


def text(plan: Plan) -> str:
    """The report for a terminal."""
    lines = textwrap.wrap(headline(plan), _WIDTH)
    for section in sections(plan):
        lines += ["", section.title]
        lines += [line for figure in section.figures for line in _figure_lines(figure)]
        lines += _table_lines(section)
        lines += textwrap.wrap(section.note, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def _figure_lines(figure: Figure) -> list[str]:
    said = f"{figure.basis}: {figure.why}" if figure.why else figure.basis
    start = f"  {figure.name:22}  {figure.value:22}  "
    return textwrap.wrap(
        said, _WIDTH, initial_indent=start, subsequent_indent=" " * 50, break_on_hyphens=False
    )


def _table_lines(section: Section) -> list[str]:
    if not section.header:
        return []
    table = [section.header, *section.rows]
    widths = [max(len(line[at]) for line in table) for at in range(len(section.header))]
    lines = []
    for row in table:
        cells = [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        start = "  " + "  ".join(cells) + "  "
        further = " " * len(start)
        lines += textwrap.wrap(
            row[-1], max(_WIDTH, len(start) + 20), initial_indent=start, subsequent_indent=further
        ) or [start.rstrip()]
    return lines


# ------------------------------------------------------------------------------- HTML


def html(plan: Plan) -> str:
    """The report for a notebook: tables only, no script, nothing loaded."""
    parts = [f"<p><b>{markup.escape(headline(plan))}</b></p>", plan.svg()]
    for section in sections(plan):
        parts.append(f"<h4>{markup.escape(section.title)}</h4>")
        figures = [(one.name, one.value, one.basis, one.why) for one in section.figures]
        if figures:
            parts.append(_html_table((), figures))
        if section.header:
            parts.append(_html_table(section.header, section.rows))
        if section.note:
            parts.append(f"<p>{markup.escape(section.note)}</p>")
    return "".join(parts)


def _html_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{markup.escape(cell)}</th>" for cell in header)
    lines = [f"<tr>{head}</tr>"] if header else []
    lines += [
        "<tr>"
        + "".join(f"<td style='text-align:left'>{markup.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows
    ]
    return f"<table>{''.join(lines)}</table>"
