"""The figures of a client as tables of rich, for who prints with it. Pure."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from servingclient.telemetry import table
from servingclient.telemetry.snapshot import Stats


def tables(stats: Stats) -> Group:
    """What ``str(stats)`` says, with columns that fit the window."""
    (_, heads), *rows = table.traffic_rows(stats)
    traffic = Table(title=Text(table.title(stats)), title_justify="left", box=None, pad_edge=False)
    traffic.add_column("", style="bold")
    for head in heads:
        traffic.add_column(head, justify="right")
    for name, cells in rows:
        traffic.add_row(*map(Text, (name, *cells)))  # as Text: brackets in a name are no markup
    present = Table(box=None, pad_edge=False, show_header=False)
    present.add_column(style="bold", no_wrap=True)
    present.add_column()
    for name, cells in table.present_rows(stats):
        present.add_row(*map(Text, (name, *cells)))
    return Group(traffic, "", present)
