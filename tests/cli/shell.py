"""What the tests of commands share: how one is called, and what it came to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

COMMAND = [sys.executable, "-c", "import sys; from servingclient.cli import main; sys.exit(main())"]
ROWS = '{"a": 1, "b": 2}\n{"a": 3, "b": 4.5}\n'


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]
