"""Text that must not be seen. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from servingclient.payload.errors_body import redacted

_SHOWN = "***"
_LONGEST_QUOTE = 300


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


def quoted(text: str, secrets: Iterable[Secret] = ()) -> str:
    """``text`` as one short line, without ``secrets`` and without what looks like one."""
    clean = redacted(text, tuple(secret.reveal() for secret in secrets))
    line = " ".join(clean.split())
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 4] + " ..."
