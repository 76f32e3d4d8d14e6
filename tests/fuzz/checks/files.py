"""One file that is written over again and again."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

_made: list[Path] = []


def written(data: bytes) -> Path:
    """The path of a file that holds ``data``, until the next call."""
    if not _made:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _made.append(folder / "content")
    _made[0].write_bytes(data)
    return _made[0]
