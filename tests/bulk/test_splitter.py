"""How many rows go into the next request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.bulk.splitter import FIRST_ROWS, Splitter, fitting, sample_bytes
from servingclient.settings import Bulk

ANSWER = [0.5] * 10


def grown(splitter: Splitter, row_bytes: int, row_s: float, answers: int = 8) -> int:
    """The size after so many requests of a model like this."""
    for _ in range(answers):
        rows = splitter.rows(None, 8)
        splitter.encoded(rows, rows * row_bytes)
        splitter.answered(rows, ANSWER, rows * row_s)
    return splitter.rows(None, 8)


@pytest.mark.parametrize(
    ("row_bytes", "row_s", "rows"),
    [
        pytest.param(50, 1e-6, 5000, id="cheap: the most rows"),
        pytest.param(900, 1e-6, 1000, id="wide: the aimed size"),
        pytest.param(2_000_000, 1e-6, 1, id="huge: one by one"),
        pytest.param(50, 0.01, 500, id="slow: the aimed time"),
        pytest.param(50, 20.0, 1, id="very slow: one by one"),
    ],
)
def test_requests_grow_to_the_first_aim_they_meet(row_bytes: int, row_s: float, rows: int) -> None:
    assert grown(Splitter(Bulk(), 5.0, None), row_bytes, row_s) == rows


def test_the_first_requests_are_small_and_each_answer_allows_four_times_as_much() -> None:
    splitter = Splitter(Bulk(), 5.0, None)
    sizes = []
    for _ in range(5):
        sizes.append(splitter.rows(None, 8))
        splitter.answered(sizes[-1], ANSWER, 0.001)
    assert sizes == [FIRST_ROWS, 128, 512, 2048, 5000]


def test_large_replies_count_as_large_requests_do() -> None:
    splitter = Splitter(Bulk(), 5.0, None)
    for _ in range(5):
        splitter.answered(splitter.rows(None, 8), [[0.25] * 500], 0.001)
    assert 90 <= splitter.rows(None, 8) <= 110  # of 9 kB each


def test_a_request_not_answered_in_time_makes_the_next_ones_small() -> None:
    splitter = Splitter(Bulk(), 5.0, None)
    splitter.too_long(FIRST_ROWS)
    assert splitter.rows(None, 8) == FIRST_ROWS // 4
    for _ in range(5):
        splitter.too_long(splitter.rows(None, 8))
    assert splitter.rows(None, 8) == 1


def test_the_last_rows_are_shared_among_the_connections() -> None:
    splitter = Splitter(Bulk(), 5.0, None)
    grown(splitter, 50, 1e-6)
    assert splitter.rows(8000, 8) == 1000
    assert splitter.rows(200, 8) == 100
    assert splitter.rows(30, 8) == 100, "the source gives what it has"


def test_who_decides_decides() -> None:
    splitter = Splitter(Bulk(), 5.0, 7)
    assert grown(splitter, 10, 10.0) == 7
    splitter.too_long(7)
    assert splitter.rows(100, 8) == 7


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["encoded", "answered", "too_long"]),
            st.integers(1, 10_000),
            st.floats(0, 1e9),
        ),
        max_size=30,
    ),
    left=st.none() | st.integers(0, 10**9),
)
def test_there_is_always_a_row_and_never_too_many(
    steps: list[tuple[str, int, float]], left: int | None
) -> None:
    splitter = Splitter(Bulk(max_request_rows=1234), 5.0, None)
    for what, rows, figure in steps:
        if what == "encoded":
            splitter.encoded(rows, int(figure))
        elif what == "answered":
            splitter.answered(rows, ["x" * int(figure % 1000)], figure)
        else:
            splitter.too_long(rows)
        assert 1 <= splitter.rows(left, 8) <= 1234


@given(rows=st.integers(2, 10**6), size=st.integers(2, 10**9), limit=st.integers(1, 10**9))
def test_what_is_too_large_is_at_least_halved(rows: int, size: int, limit: int) -> None:
    assert 1 <= fitting(rows, size, limit) <= rows // 2


def test_a_prediction_is_weighed_by_what_it_holds() -> None:
    number = sample_bytes([0.123456789])
    assert sample_bytes(["x" * 1000]) > 1000
    assert sample_bytes([[0.5] * 100]) > 100 * number
    assert sample_bytes([{"score": 0.5, "label": "yes"}]) > number
    assert sample_bytes([[0.5], [0.5] * 100, [0.5]]) > 30 * number
