"""A model signature's column types, enforced in the words of the reference server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servingclient.emulator.scoring import Parsed


def enforce(schema: Mapping[str, str], parsed: Parsed) -> Parsed:
    """Convert the rows to the types of the schema."""
    return parsed
