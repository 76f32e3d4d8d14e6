"""The splitter against a model of an endpoint: sizes stay within their aims, and find them."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from servingclient.bulk.splitter import FIRST_ROWS, Splitter, fitting
from servingclient.settings import Bulk
from tests.trials import machine

AIM_S = 5.0
BULK = Bulk()


class SplitterMachine(RuleBasedStateMachine):
    """Requests that are made, answered late or in time, or refused as too large, in any order."""

    @initialize(
        fixed=st.none() | st.none() | st.integers(1, 50),
        row_bytes=st.sampled_from([1, 40, 3_000, 400_000]),
        row_s=st.sampled_from([1e-6, 0.001, 0.3, 20.0]),
        limit_bytes=st.sampled_from([10_000, 1_000_000, 16_000_000]),
    )
    def begin(self, fixed: int | None, row_bytes: int, row_s: float, limit_bytes: int) -> None:
        self.splitter = Splitter(BULK, AIM_S, fixed)
        self.fixed, self.row_bytes, self.row_s = fixed, row_bytes, row_s
        self.limit_bytes = limit_bytes
        self.under_way: list[int] = []
        self.largest_answered = 0
        self.late = False
        self.encoded = False

    @rule(left=st.none() | st.sampled_from([1, 99, 100, 5_000, 10**6]), lanes=st.integers(1, 64))
    def make(self, left: int | None, lanes: int) -> None:
        rows = self.splitter.rows(left, lanes)
        if self.fixed is not None:
            assert rows == self.fixed
        else:
            assert 1 <= rows <= BULK.max_request_rows
            assert rows <= max(FIRST_ROWS, 4 * self.largest_answered), "larger than any proof"
            if self.encoded and rows > 1:
                assert rows * self.row_bytes <= BULK.aim_request_bytes
        if rows * self.row_bytes > self.limit_bytes:
            while rows > 1 and rows * self.row_bytes > self.limit_bytes:
                less = fitting(rows, rows * self.row_bytes, self.limit_bytes)
                assert 1 <= less <= rows // 2
                rows = less
        self.splitter.encoded(rows, rows * self.row_bytes)
        self.encoded = True
        self.under_way.append(rows)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def answered(self, data: st.DataObject) -> None:
        rows = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.largest_answered = max(self.largest_answered, rows)
        self.splitter.answered(rows, [0.5] * min(rows, 3), rows * self.row_s)
        if self.fixed is None:
            allowed = self.splitter.rows(None, 1)
            assert allowed == 1 or allowed * self.row_s <= AIM_S * (1 + 1e-9)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def late_one(self, data: st.DataObject) -> None:
        rows = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.splitter.too_long(rows)
        if self.fixed is None:
            assert self.splitter.rows(None, 1) <= max(1, rows // 4)

    @invariant()
    def there_is_always_a_row(self) -> None:
        assert self.splitter.rows(1, 64) >= 1


TestSplitterMachine = SplitterMachine.TestCase
TestSplitterMachine.settings = machine(60, 30)
