"""Printing to whoever reads: a pager or ``head`` may have seen enough."""

from __future__ import annotations

import os
import sys


def show(text: str) -> None:
    """Print a text; that nobody reads it any more is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes once more as it ends
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
