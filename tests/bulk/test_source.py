"""Reading an input: in order, lazily, and what was read before an error stays."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient import PayloadError, _step
from servingclient.bulk.rows import count, cut
from servingclient.bulk.source import Source, opened


def taken(source: Source, most: int) -> Any:
    return _step.run(source.take(most))


def drained(source: Source, most: int) -> list[Any]:
    parts = []
    while (rows := taken(source, most)) is not None:
        assert 1 <= count(rows) <= most
        parts.append(rows)
    return parts


def dicts(start: int, stop: int) -> list[dict[str, int]]:
    return [{"a": n} for n in range(start, stop)]


def test_what_has_a_length_is_cut() -> None:
    source = opened(pd.DataFrame({"a": range(10)}), asynchronous=False)
    assert source.total == source.left_rows == 10
    assert [len(part) for part in drained(source, 4)] == [4, 4, 2]
    assert source.position == 10
    assert source.left_rows == 0
    assert taken(source, 4) is None


@pytest.mark.parametrize("empty", [[], (), {}, {"a": []}, np.zeros((0, 3)), pd.DataFrame()])
def test_nothing_is_nothing(empty: Any) -> None:
    assert taken(opened(empty, asynchronous=False), 4) is None
    assert taken(opened(iter([]), asynchronous=False), 4) is None


def test_an_iterator_is_read_no_further_than_asked() -> None:
    read = []

    def rows() -> Iterator[dict[str, int]]:
        for n in range(100):
            read.append(n)
            yield {"a": n}

    source = opened(rows(), asynchronous=False)
    assert read == []
    assert source.total is None
    assert taken(source, 10) == dicts(0, 10)
    assert len(read) == 10
    assert taken(source, 5) == dicts(10, 15)
    assert len(read) == 15


def test_frames_are_read_one_at_a_time_and_not_joined() -> None:
    read = []

    def batches() -> Iterator[pa.RecordBatch]:
        for n in range(3):
            read.append(n)
            yield pa.RecordBatch.from_pydict({"a": [n] * 5})

    source = opened(batches(), asynchronous=False)
    first = taken(source, 3)
    assert read == [0]
    assert first.to_pydict() == {"a": [0, 0, 0]}
    rest = drained(source, 100)
    assert [part.to_pydict()["a"] for part in rest] == [[0, 0], [1] * 5, [2] * 5]


@pytest.mark.parametrize("made", [list, tuple])
def test_lists_of_rows_are_joined(made: type) -> None:
    source = opened(
        iter([made(dicts(0, 3)), made(dicts(3, 4)), [], made(dicts(4, 9))]), asynchronous=False
    )
    assert drained(source, 5) == [dicts(0, 5), dicts(5, 9)]


@pytest.mark.parametrize("odd", [[1.5, [2.5]], ["x", "y"], (None,), [np.zeros(2)]])
def test_a_row_among_lists_of_rows_is_found(odd: Any) -> None:
    # as rows its values would be, one each
    source = opened(iter([[[1.5], 2.5], [], odd, [[3.5], 4.5]]), asynchronous=False)
    assert drained(source, 1) == [[[1.5]], [2.5]]
    kind = type(odd[0]).__name__
    assert f"a list that begins with a {kind} after lists" in str(source.error)
    assert "[row]" in str(source.error)
    assert type(source.error) is PayloadError


def test_a_list_of_frames_is_gone_through() -> None:
    frames = [pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [3]})]
    assert [len(part) for part in drained(opened(frames, asynchronous=False), 9)] == [2, 1]


@pytest.mark.parametrize(
    "items",
    [
        [[1.5, "x"], [2.5, "y"]],
        [(1.5, "x"), (2.5, "y")],
        [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
        [1.5, 2.5],
        ["x", "y"],
    ],
)
def test_anything_else_is_a_row(items: list[Any]) -> None:
    (rows,) = drained(opened(iter(items), asynchronous=False), 5)
    assert all(row is item for row, item in zip(rows, items, strict=True))


def test_rows_can_be_given_back() -> None:
    source = opened(iter(dicts(0, 10)), asynchronous=False)
    rows = taken(source, 6)
    source.give_back(cut(rows, 2, 6))
    assert source.position == 2
    assert drained(source, 3) == [dicts(2, 5), dicts(5, 8), dicts(8, 10)]


def test_what_was_read_before_an_error_stays() -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield from dicts(0, 7)
        raise OSError("the cursor is gone")

    source = opened(rows(), asynchronous=False)
    assert drained(source, 5) == [dicts(0, 5), dicts(5, 7)]
    assert isinstance(source.error, OSError)


def test_portions_and_rows_do_not_mix() -> None:
    source = opened(iter([pd.DataFrame({"a": [1]}), {"a": 2}]), asynchronous=False)
    assert len(drained(source, 5)) == 1
    assert isinstance(source.error, PayloadError)
    assert "dict after frames" in str(source.error)


async def test_asynchronous_iterators_are_awaited() -> None:
    async def rows() -> AsyncIterator[dict[str, int]]:
        for n in range(7):
            await asyncio.sleep(0)
            yield {"a": n}

    source = opened(rows(), asynchronous=True)
    assert await source.take(5) == dicts(0, 5)
    assert await source.take(5) == dicts(5, 7)
    assert await source.take(5) is None
    with pytest.raises(PayloadError, match="AsyncServingClient"):
        opened(rows(), asynchronous=False)


@pytest.mark.parametrize(
    "given", ["text", b"text", {1, 2}, 5, None, pd.Series([1.0]), pd.Index([1]), object()]
)
def test_what_holds_no_rows_is_refused(given: Any) -> None:
    with pytest.raises(PayloadError, match="input"):
        opened(given, asynchronous=False)


@given(
    portions=st.lists(st.integers(0, 9), max_size=12),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    backs=st.lists(st.integers(0, 12), max_size=12),
)
def test_every_row_comes_once_and_in_order(
    portions: list[int], sizes: list[int], backs: list[int]
) -> None:
    ends = [sum(portions[: n + 1]) for n in range(len(portions))]
    lists = [dicts(end - size, end) for size, end in zip(portions, ends, strict=True)]
    source = opened(iter(lists), asynchronous=False)
    seen: list[Any] = []
    returns = deque(backs)
    while True:
        assert source.position == len(seen)
        rows = taken(source, sizes[len(seen) % len(sizes)])
        if rows is None:
            break
        keep = max(1, len(rows) - (returns.popleft() if returns else 0))
        if keep < len(rows):
            source.give_back(rows[keep:])
        seen += rows[:keep]
    assert seen == dicts(0, sum(portions))
