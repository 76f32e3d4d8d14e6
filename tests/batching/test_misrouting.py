"""B1, the short form: 0 rows go to the wrong caller, whatever happens on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.batching.misrouting import Line, by_tasks, by_threads

EXPLAINED = {
    "right",
    "BadRequest",
    "BatchScatterError",
    "CancelledError",
    "ConnectionLost",
    "DeadlineExceeded",
    "ServerError",
    "Throttled",
}


@pytest.mark.parametrize("run", [by_tasks, by_threads])
def test_B1_every_caller_gets_its_own(run: Callable[[int], tuple[Counter[str], Line]]) -> None:
    ends, line = run(50_000)
    assert set(ends) <= EXPLAINED
    assert ends["right"] > 0.9 * ends.total()
    for happened in ("BadRequest", "BatchScatterError", "DeadlineExceeded"):
        assert ends[happened] > 0, "the line is as bad as it should be"
    assert line.coalesced > 4 * line.requests, "they do share requests"
