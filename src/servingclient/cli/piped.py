"""Printing to whoever reads: a pager or ``head`` may have seen enough."""

from __future__ import annotations

import os
import sys


def show(text: str) -> None:
    """Print a text; that nobody reads it any more is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        unread()


def unread() -> None:
    """Nobody reads any more: what Python flushes as it ends goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
