"""What ``map`` returns: the results, which are worked for only as they are asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from servingclient._prediction import Prediction
from servingclient.errors import ServingError


@dataclass(frozen=True, slots=True)
class Block:
    """The results of some rows that follow one another.

    Attributes:
        start_row: Number of the first row, from 0.
        predictions: One for each row; with ``on_error="return"`` the row's error where it failed.
    """

    start_row: int
    predictions: list[Any]


def _broken_off(by: str) -> ServingError:
    """For who asks on: a generator that has raised would just seem to be at its end."""
    return ServingError(
        f"This job was broken off by {by}, so the results behind that do not exist. Call map "
        "again; with a checkpoint it goes on where it was."
    )


def _refused(error: BaseException) -> bool:
    """Whether a generator would not be stepped, for it runs: the error then has no frame of it."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def _taken(by: str) -> ServingError:
    return ServingError(
        f"Another {by} is reading these results. Read them from one, or call map once for each."
    )


class MapResult(Iterator[Any]):
    """The results of ``ServingClient.map``: an iterator over one prediction a row, in order.

    It can be gone through once, by one thread. Nothing is sent before it is asked for the first
    result; from then on requests run ahead of what was asked for, but only so far. Leaving it
    early, closing it, an exception, or dropping the last reference ends what still runs.

    Raises:
        ServingError: While iterating, with ``on_error="raise"``: the error of the first row that
            failed; its ``row`` is set. In either case: the job itself cannot go on.
        CheckpointError: While iterating: the checkpoint file cannot be used.
    """

    def __init__(self, blocks: Generator[Block, None, None]) -> None:
        self._blocks = blocks
        self._row = 0
        self._rows: Iterator[Any] = iter(())
        self._broken_by: str | None = None

    def _next_block(self) -> Block:
        if self._broken_by is not None:
            raise _broken_off(self._broken_by)
        try:
            return next(self._blocks)
        except StopIteration:
            raise
        except BaseException as error:
            if isinstance(error, ValueError) and _refused(error):
                raise _taken("thread") from None
            self._broken_by = type(error).__name__
            raise

    def __next__(self) -> Any:
        for value in self._rows:
            self._row += 1
            return value
        block = self._next_block()
        self._row = block.start_row
        self._rows = iter(block.predictions)
        return self.__next__()

    def blocks(self) -> Generator[Block, None, None]:
        """The results request by request, which is cheaper where there are many rows."""
        if left := list(self._rows):
            yield Block(self._row, left)
        try:
            while True:
                yield self._next_block()
        except StopIteration:
            return
        except GeneratorExit:
            self.close()
            raise

    def to_list(self) -> list[Any]:
        """All results that are left, in memory."""
        return [value for block in self.blocks() for value in block.predictions]

    def to_pandas(self) -> Any:
        """All results that are left as a ``pandas.DataFrame``, one row for each; needs pandas.

        Columns are those of ``Prediction.to_pandas``. Where rows failed, a column ``error`` holds
        their errors, and the others are missing there.

        Raises:
            ValueError: The predictions do not fit one table.
        """
        return framed(self.to_list())

    def close(self) -> None:
        """End what runs. What is asked for afterwards is not there.

        Raises:
            ServingError: Another thread is reading; it goes on.
        """
        try:
            self._blocks.close()
        except ValueError as error:
            if _refused(error):
                raise _taken("thread") from None
            raise
        self._rows, self._broken_by = iter(()), None

    def __repr__(self) -> str:
        return f"MapResult(at row {self._row:,}; iterate to score on)"

    def __enter__(self) -> MapResult:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncMapResult(AsyncIterator[Any]):
    """The results of ``AsyncServingClient.map``: as :class:`MapResult`, with ``async for``.

    Leaving a loop early does not end what runs at once, as with any asynchronous generator: use
    ``async with``, or ``await aclose()``.

    Raises:
        ServingError: As for :class:`MapResult`.
        CheckpointError: Likewise.
    """

    def __init__(self, blocks: AsyncGenerator[Block, None]) -> None:
        self._blocks = blocks
        self._row = 0
        self._rows: Iterator[Any] = iter(())
        self._broken_by: str | None = None

    async def _next_block(self) -> Block:
        if self._broken_by is not None:
            raise _broken_off(self._broken_by)
        try:
            return await anext(self._blocks)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            if isinstance(error, RuntimeError) and _refused(error):
                raise _taken("task") from None
            self._broken_by = type(error).__name__
            raise

    async def __anext__(self) -> Any:
        for value in self._rows:
            self._row += 1
            return value
        block = await self._next_block()
        self._row = block.start_row
        self._rows = iter(block.predictions)
        return await self.__anext__()

    async def blocks(self) -> AsyncGenerator[Block, None]:
        """The results request by request, which is cheaper where there are many rows."""
        if left := list(self._rows):
            yield Block(self._row, left)
        with suppress(StopAsyncIteration):
            while True:
                yield await self._next_block()

    async def to_list(self) -> list[Any]:
        """All results that are left, in memory."""
        return [value async for block in self.blocks() for value in block.predictions]

    async def to_pandas(self) -> Any:
        """All results that are left as a ``pandas.DataFrame``; see :meth:`MapResult.to_pandas`.

        Raises:
            ValueError: The predictions do not fit one table.
        """
        return framed(await self.to_list())

    async def aclose(self) -> None:
        """End what runs. What is asked for afterwards is not there.

        Raises:
            ServingError: Another task is reading; it goes on.
        """
        try:
            await self._blocks.aclose()
        except RuntimeError as error:
            if _refused(error):
                raise _taken("task") from None
            raise
        self._rows, self._broken_by = iter(()), None

    def __repr__(self) -> str:
        return f"AsyncMapResult(at row {self._row:,}; iterate to score on)"

    async def __aenter__(self) -> AsyncMapResult:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def framed(values: list[Any]) -> Any:
    """Results as a frame of one row each; errors in a column of their own."""
    failed = {row: value for row, value in enumerate(values) if isinstance(value, ServingError)}
    if not failed:
        return Prediction(values, ()).to_pandas()
    import pandas as pd

    good = [row for row in range(len(values)) if row not in failed]
    frame = Prediction([values[row] for row in good], ()).to_pandas()
    if "error" in frame.columns:
        raise ValueError(
            "Rows failed, and the model has a column 'error' already. Take the results from "
            ".to_list() as they are."
        )
    frame.index = pd.Index(good)
    frame = frame.reindex(range(len(values)))
    frame["error"] = pd.Series(failed, dtype=object).reindex(frame.index)
    return frame
