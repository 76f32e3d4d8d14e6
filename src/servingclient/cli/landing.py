"""Where the predictions of ``map`` go: to the standard output, a file, or what has its name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from servingclient.cli import piped
from servingclient.cli.inputs import STANDARD_INPUT as STANDARD
from servingclient.errors import ConfigError


class Landing(Protocol):
    """Takes lines, and has them written when it returns."""

    def __call__(self, lines: str) -> None: ...


def check(given: argparse.Namespace) -> None:
    """See that the output is none of the files that the job reads or keeps.

    Raises:
        ConfigError: It is, or it is a folder.
    """
    if given.output == STANDARD:
        return
    path = Path(given.output).resolve()
    if path.is_dir():
        raise ConfigError(f"{given.output} is a folder; --output takes a file.")
    for option, other in (("--input", given.input), ("--checkpoint", given.checkpoint)):
        if other not in (None, STANDARD) and path == Path(other).resolve():
            raise ConfigError(f"--output and {option} name the same file; nothing was sent.")


@contextmanager
def landing(path: str) -> Iterator[Landing]:
    """Open it. A file has its name once all of it is there; pipes and devices are written as is.

    Args:
        path: A file, or - for the standard output.

    Raises:
        ConfigError: It cannot be opened.
        Unwritable: It could be, and then took no more.
    """
    if path == STANDARD:
        yield lambda lines: piped.write(lines, end="")
        return
    # A rename would put a file in the place of /dev/null, and of a link the file behind it is meant
    whole = Path(path).resolve()
    if whole.exists() and not whole.is_file():
        with _opened(path, Path(path)) as write:
            yield write
        return
    part = whole.with_name(f"{whole.name}.part")
    try:
        with _opened(path, part) as write:
            yield write
        with _told(path):
            part.replace(whole)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _opened(path: str, real: Path) -> Iterator[Landing]:
    try:
        file = real.open("w", encoding="utf-8", errors=piped.ESCAPED)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from None

    def write(lines: str) -> None:
        with _told(path):
            file.write(lines)
            file.flush()

    try:
        yield write
    finally:
        with _told(path):
            file.close()


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # a pipe by name, and its reader has seen enough
        raise
    except OSError as error:
        raise piped.Unwritable(f"{path} took no more: {error.strerror or error}.") from None
