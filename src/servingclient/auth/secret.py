"""Text that must not be seen. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NoReturn

_SHOWN = "***"
_LONGEST_QUOTE = 300

# What a credential looks like: a header's value, a JWT, a personal access token, an OAuth secret.
_LOOKS_SECRET = re.compile(
    r"(?i:bearer|basic)\s+[A-Za-z0-9+/=._~-]+"
    r"|eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*"
    r"|dapi[0-9a-f-]{8,}"
    r"|dose[0-9a-f]{8,}"
)


class Secret:
    """A text that shows itself only when asked by name.

    ``repr``, ``str``, ``format`` and f-strings give ``***``; pickling refuses, so that a credential
    never lies in a Spark task or a queue; copies are the object itself, which cannot change.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. The only way to it, so that a search finds every use."""
        return self._text

    def __repr__(self) -> str:
        return _SHOWN

    def __format__(self, spec: str) -> str:
        return format(_SHOWN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a credential is not pickled; make the client where it is used (in the Spark task, "
            "in the worker process), with credentials from there"
        )


SecretHeaders = tuple[tuple[str, Secret], ...]
"""Header lines that carry a credential."""


def redacted(text: str, secrets: Iterable[Secret] = ()) -> str:
    """``text`` in one short line, without ``secrets`` and without anything that looks like one."""
    for secret in secrets:
        if secret.reveal():
            text = text.replace(secret.reveal(), _SHOWN)
    text = " ".join(_LOOKS_SECRET.sub(_SHOWN, text).split())
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
