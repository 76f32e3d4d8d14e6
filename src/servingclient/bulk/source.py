"""The rows of an input in order, read as they are asked for. Pure.

What has a length is cut; anything else is an iterator, and its first item says what it yields:

* frames, tables, batches, arrays of two or more dimensions: each is several rows. One is read at a
  time and never joined with the next;
* lists whose first element is a dict, list or tuple: several rows too, joined freely. From then on
  every list must be such a one: one whose first element is a value would be a single row;
* anything else is one row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol

from servingclient.bulk.rows import Rows, check, count, cut, is_frame, is_sliceable
from servingclient.errors import PayloadError
from servingclient.payload.refusals import refused


class Reader(Protocol):
    """Reads items of an iterator, in one colour."""

    async def read(self, most: int, into: list[Any]) -> None:
        """Append up to ``most`` items; fewer come only at the end. What was appended before an
        exception stays.
        """


class Items:
    """Items of an iterator."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    async def read(self, most: int, into: list[Any]) -> None:
        """See ``Reader.read``."""
        into.extend(islice(self._items, most))


class AsyncItems:
    """Items of an asynchronous iterator."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self._items = items

    async def read(self, most: int, into: list[Any]) -> None:
        """See ``Reader.read``."""
        for _ in range(most):
            try:
                into.append(await anext(self._items))
            except StopAsyncIteration:
                return


def opened(inputs: Any, *, asynchronous: bool) -> Source:
    """The source of what a caller gave to ``map``; nothing is read from it yet.

    Args:
        inputs: Rows, or an iterator of rows or of portions of rows.
        asynchronous: Whether an asynchronous iterator can be awaited.

    Raises:
        PayloadError: It is neither.
    """
    if isinstance(inputs, (list, tuple)) and inputs and is_frame(inputs[0]):
        return Source(Items(iter(inputs)))
    if is_sliceable(inputs):
        check(inputs)
        return Source(Items(iter(())), inputs)
    kind = type(inputs)
    if kind.__name__ in {"Series", "Index"}:
        raise refused(f"The input is a {kind.__name__}. For one column pass series.to_frame().")
    if isinstance(inputs, (str, bytes, bytearray, set, frozenset)):
        raise refused(f"The input is one {kind.__name__}. Pass a list of rows.")
    if hasattr(inputs, "__iter__"):
        return Source(Items(iter(inputs)))
    if hasattr(inputs, "__aiter__"):
        if not asynchronous:
            raise refused("The input is an asynchronous iterator: give it to AsyncServingClient.")
        return Source(AsyncItems(aiter(inputs)))
    raise refused(
        f"The input is of type {kind.__module__}.{kind.__qualname__}. Pass a frame, table, array, "
        "list of rows, dict of columns, or an iterator of rows, frames or batches."
    )


class _Portion(NamedTuple):
    """Rows at hand, from ``start`` up to ``stop``."""

    rows: Rows
    start: int
    stop: int


class Source:
    """Hands out the rows of one input, once.

    Args:
        reader: Reads the items of an iterator; has none where ``whole`` is given.
        whole: The input, where it has a length.

    Attributes:
        position: Rows handed out so far: the number of the next row.
        total: How many rows there are, where that is known.
        error: What ended the reading before its end, for the caller to raise once all that was
            read has been dealt with.
    """

    def __init__(self, reader: Reader, whole: Rows | None = None) -> None:
        self.position: int = 0
        self.total: int | None = None
        self.error: Exception | None = None
        self._reader = reader
        self._portions: deque[_Portion] = deque()
        self._single_rows: bool | None = None
        self._ended = False
        if whole is not None:
            self.total = count(whole)
            self._ended = True
            self._hold(whole)

    @property
    def left_rows(self) -> int | None:
        """Rows not handed out yet, where that is known."""
        return None if self.total is None else self.total - self.position

    async def take(self, most: int) -> Rows | None:
        """The next rows, at least one and at most ``most``; None at the end."""
        if not await self._at_hand(most):
            return None
        rows = self._cut(most)
        while isinstance(rows, list) and len(rows) < most and await self._at_hand(most - len(rows)):
            if not isinstance(self._portions[0].rows, list):
                break
            rows += self._cut(most - len(rows))
        self.position += count(rows)
        return rows

    def give_back(self, rows: Rows) -> None:
        """Put rows before those that come next: they were the last taken."""
        self._portions.appendleft(_Portion(rows, 0, count(rows)))
        self.position -= count(rows)

    async def _at_hand(self, most: int) -> bool:
        while not self._portions and not self._ended:
            await self._read(most)
        return bool(self._portions)

    def _cut(self, most: int) -> Rows:
        """Up to ``most`` rows of the first portion."""
        rows, start, stop = self._portions[0]
        if stop - start <= most:
            self._portions.popleft()
            return cut(rows, start, stop)
        self._portions[0] = _Portion(rows, start + most, stop)
        return cut(rows, start, start + most)

    async def _read(self, most: int) -> None:
        """One portion, or up to ``most`` single rows."""
        wanted = most if self._single_rows else 1
        items: list[Any] = []
        try:
            await self._reader.read(wanted, items)
        except Exception as error:  # noqa: BLE001 - the caller's own, and raised to the caller
            self.error = error
            self._ended = True
        if len(items) < wanted:
            self._ended = True
        if not items:
            return
        if self._single_rows is None:
            if isinstance(items[0], (list, tuple)) and not items[0]:
                return  # says nothing yet
            self._single_rows = not _is_portion(items[0])
        if self._single_rows:
            self._hold(items)
        else:
            self._hold_portion(items[0])

    def _hold_portion(self, item: Any) -> None:
        if is_frame(item):
            self._hold(item)
        elif isinstance(item, (list, tuple)) and (not item or _is_portion(item)):
            self._hold(list(item))
        else:
            self.error = _mixed(item)
            self._ended = True

    def _hold(self, rows: Rows) -> None:
        if count(rows):
            self._portions.append(_Portion(rows, 0, count(rows)))


def _is_portion(item: object) -> bool:
    if isinstance(item, (list, tuple)):
        return isinstance(item[0], (Mapping, list, tuple))
    return is_frame(item)


def _mixed(item: object) -> PayloadError:
    if isinstance(item, (list, tuple)):
        return refused(
            f"The input yielded a list that begins with a {type(item[0]).__name__} after lists "
            "that begin with a dict or list. Those count as several rows each, this one as one "
            "row. Where each is a row, yield it in a list of its own: [row]."
        )
    return refused(
        f"The input yielded a {type(item).__name__} after frames or lists of rows. Yield either "
        "portions or single rows throughout."
    )
