"""Where the same models are served: on the real server and on the emulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Place(NamedTuple):
    """Where the models are served, and who counts what arrived."""

    host: str
    token: str
    received: Callable[[], int]
