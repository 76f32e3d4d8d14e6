"""What ``client.explain(...)`` returns: how a request comes to its size, and what it would cost.

It holds names and figures only, never a value of the input.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

LOGGED_BYTES: Final = 1_000_000
"""Larger requests are served but not logged in the inference table: documented as 1 MB."""


class Step(NamedTuple):
    """One step on the way to a request.

    Attributes:
        name: What is done.
        size_bytes: Size of the request after it.
    """

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """How an input becomes a request. Prints as a table, in a notebook too.

    Attributes:
        endpoint: Name of the serving endpoint.
        rows: Rows of the request, where they can be told.
        columns: Columns of the request, where it has named ones.
        steps: From the plain way of writing it to what is sent, each with the size after it.
        options: Further settings, each with the size it would lead to.
        dropped: Names of columns left out, since the model's signature does not know them.
        signature: What is known of the model's signature.
        relative_error: Largest error made in any float, as a share of the float; 0.0 when all are
            exact.
        absolute_error: Largest error made in any float.
        size_bytes: Size of the request before compression, which is what limits are about.
        limit_bytes: Largest request the endpoint takes; None when it could not be asked.
        requests: Fewest requests ``map`` would make of it; None where its rows cannot be told.
        encode_s: Seconds it took to encode.
        gzip: ``"off"``, or whether the endpoint takes it: ``"unknown"``, ``"taken"``,
            ``"refused"``.
    """

    endpoint: str
    rows: int | None
    columns: int | None
    steps: tuple[Step, ...]
    options: tuple[Step, ...]
    dropped: tuple[str, ...]
    signature: str
    relative_error: float
    absolute_error: float
    size_bytes: int
    limit_bytes: int | None
    requests: int | None
    encode_s: float
    gzip: str

    @property
    def sent_bytes(self) -> int:
        """Size of the body as it goes over the wire."""
        return self.steps[-1].size_bytes

    @property
    def share_of_limit(self) -> float | None:
        """Size as a share of the limit; above 1 it does not fit one request."""
        return None if self.limit_bytes is None else self.size_bytes / self.limit_bytes

    @property
    def logged(self) -> bool:
        """Whether the service logs such a request in its inference table."""
        return self.size_bytes <= LOGGED_BYTES

    def __str__(self) -> str:
        rows = list(self._rows())
        wide, broad = (max(len(row[at]) for row in rows) for at in (0, 1))
        lines = [self._title(), ""]
        lines += [f"  {name:{wide}}  {size:>{broad}}  {share:>6}" for name, size, share in rows]
        lines += ["", *(f"  {note}" for note in self._notes())]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        left, right = "style='text-align:left'", "style='text-align:right'"
        cells = "".join(
            f"<tr><th {left}>{html.escape(name)}</th><td {right}>{size}</td>"
            f"<td {right}>{share}</td></tr>"
            for name, size, share in self._rows()
        )
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self._notes())
        title = html.escape(self._title())
        return f"<table><caption>{title}</caption>{cells}</table><ul>{notes}</ul>"

    def _title(self) -> str:
        what = [_count(self.rows, "row"), _count(self.columns, "column")]
        shape = " × ".join(part for part in what if part) or "one body"
        return f"{shape} for {self.endpoint!r}; nothing was scored"

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        first = self.steps[0].size_bytes
        for step in self.steps:
            yield step.name, f"{step.size_bytes:,} B", f"{step.size_bytes / first:.1%}"
        for step in self.options:
            yield f"with {step.name}", f"{step.size_bytes:,} B", f"{step.size_bytes / first:.1%}"

    def _notes(self) -> Iterator[str]:
        yield f"encoded in {self.encode_s * 1e3:.3g} ms"
        yield self._of_limit()
        if not self.logged:
            yield "above 1 MB: served, but not logged in the inference table"
        if self.relative_error:
            yield (
                f"largest error of a float: {self.relative_error:.2g} of its value, "
                f"{self.absolute_error:.2g} in figures"
            )
        else:
            yield "every value is exact"
        if self.dropped:
            names = ", ".join(map(repr, self.dropped[:10]))
            more = f" and {len(self.dropped) - 10} more" if len(self.dropped) > 10 else ""
            yield f"left out, as the model does not know them: {names}{more}"
        if self.gzip == "refused":
            yield "the endpoint has refused gzip"
        yield f"signature: {self.signature}"

    def _of_limit(self) -> str:
        share, requests = self.share_of_limit, self.requests
        if share is None:
            return "the limit of the endpoint could not be asked for"
        text = f"{share:.1%} of the limit of {self.limit_bytes:,} B"
        if share > 1.0 and requests in (None, 1):
            return f"{text}: it is refused, and has no rows to split"
        if share > 1.0:
            return f"{text}: predict() refuses it, map() makes at least {requests:,} requests of it"
        if requests is not None and requests > 1:
            return f"{text}; map() would make at least {requests:,} requests of it"
        return text


def _count(number: int | None, noun: str) -> str:
    return "" if number is None else f"{number:,} {noun}{'s' * (number != 1)}"
