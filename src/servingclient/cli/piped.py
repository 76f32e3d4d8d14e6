"""Printing to whoever reads: who may have seen enough, have no room, or know other letters."""

from __future__ import annotations

import codecs
import io
import os
import sys
from pathlib import Path
from typing import Final

ESCAPED: Final = "servingclient.escaped"
"""Errors of an encoding: what it lacks is written as JSON escapes it, so JSON stays JSON."""


class Unwritable(Exception):  # noqa: N818 - a state of the output, as BrokenPipeError is
    """The output took no more: a full disk, a closed descriptor."""


def ready() -> None:
    """Make the standard streams of this process fit to be written, whatever it was given.

    A stream that was closed (``>&-``) would be None, which ``print`` passes over without a word;
    and its number would go to the next socket.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)  # takes the number; the stream stays none
    if sys.stdout is None:
        unwritable = os.open(os.devnull, os.O_RDONLY)  # writing to it fails, and is told
        sys.stdout = os.fdopen(unwritable, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    codecs.register_error(ESCAPED, _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(f"\\u{code:04x}" for code in codes), error.end


def show(text: str) -> None:
    """Print a text; that nobody reads it any more is no error.

    Raises:
        Unwritable: The output takes no more.
    """
    try:
        write(text)
    except BrokenPipeError:
        unread()


def write(text: str, *, end: str = "\n") -> None:
    """Print at once.

    Raises:
        BrokenPipeError: Nobody reads any more.
        Unwritable: The output takes no more.
    """
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        unread()
        raise Unwritable(f"the standard output took no more: {error.strerror or error}.") from None


def tell(what: object) -> None:
    """Print to the error output; where that takes nothing, nobody can be told."""
    try:
        print(what, file=sys.stderr, flush=True)
    except OSError:
        _to_nowhere(sys.stderr.fileno())


def unread() -> None:
    """Nobody reads any more: what Python flushes as it ends goes nowhere."""
    _to_nowhere(sys.stdout.fileno())


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
