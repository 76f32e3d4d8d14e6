"""Windows of time: what is counted where, against a plain list of everything that happened."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from servingclient.telemetry.tally import SLOT_S, SLOTS, Event, Recent, Tally, Windows

START_S = 1003.0

gaps = st.lists(
    st.one_of(st.floats(0.0, 1.0), st.floats(0.0, 20.0), st.floats(0.0, 900.0)), max_size=60
)


def number_of(at_s: float) -> int:
    return int(at_s // SLOT_S)


def filled(events: list[Event]) -> Windows:
    windows = Windows(START_S)
    for event in events:
        windows.at(number_of(event.at_s)).enter([event])
    return windows


def total_of(windows: Windows) -> Tally:
    return summed([windows.past(), windows.recent(0.0).slots[-1].tally])


def summed(tallies: list[Tally]) -> Tally:
    made = Tally()
    for tally in tallies:
        made.merge(tally)
    return made


@given(gaps, st.floats(0.0, 400.0))
def test_a_window_holds_what_happened_in_its_slots(waits: list[float], later_s: float) -> None:
    events, now_s = [], START_S
    for wait_s in waits:
        now_s += wait_s
        events.append(Event(now_s, "failed", f"kind {len(events) % 3}", wait_s))
    now_s += later_s
    windows = filled(events)
    recent = windows.recent(now_s)
    for seconds in (10.0, 60.0, 300.0):
        first = number_of(now_s) - int(seconds / SLOT_S)
        inside = [event for event in events if number_of(event.at_s) >= first]
        tallies, span_s = recent.last(seconds)
        tally = summed(tallies)
        assert tally.counts["failed"] == len(inside)
        assert sum(tally.labels.get("failed", {}).values()) == len(inside)
        assert tally.histogram("failed").count == len(inside)
        assert 0.0 <= span_s <= seconds + SLOT_S
        # the whole window, unless counting began within it
        assert span_s >= min(seconds, now_s - START_S)
    total = total_of(windows)
    assert total.counts["failed"] == len(events)
    assert total.histogram("failed").max == max((event.value or 0.0 for event in events), default=0)


@given(gaps)
def test_what_was_read_does_not_change(waits: list[float]) -> None:
    windows, now_s = Windows(START_S), START_S
    seen: list[tuple[Recent, Tally, int, int]] = []
    for number, wait_s in enumerate(waits):
        now_s += wait_s
        windows.at(number_of(now_s)).enter([Event(now_s, "failed")])
        recent = windows.recent(now_s)
        counted = summed(recent.last(300.0)[0]).counts["failed"]
        seen.append((recent, total_of(windows), counted, number + 1))
    for recent, total, counted, failed in seen:
        assert total.counts["failed"] == failed
        assert summed(recent.last(300.0)[0]).counts["failed"] == counted


def test_no_more_slots_are_kept_than_the_longest_window_needs() -> None:
    windows = filled([Event(START_S + SLOT_S * n, "failed") for n in range(10 * SLOTS)])
    recent = windows.recent(START_S + SLOT_S * (10 * SLOTS - 1))
    assert len(recent.slots) == SLOTS + 1
    assert summed(recent.last(300.0)[0]).counts["failed"] == SLOTS + 1
    assert total_of(windows).counts["failed"] == 10 * SLOTS


def test_after_a_long_rest_the_windows_are_empty() -> None:
    windows = filled([Event(START_S, "failed")])
    recent = windows.recent(START_S + 400.0)
    assert summed(recent.last(300.0)[0]).counts["failed"] == 0
    assert total_of(windows).counts["failed"] == 1


def test_what_comes_late_is_counted_now() -> None:
    windows = filled([Event(START_S + 60.0, "failed"), Event(START_S, "failed")])
    recent = windows.recent(START_S + 60.0)
    assert summed(recent.last(10.0)[0]).counts["failed"] == 2


def test_events_are_counted_by_name_and_label_and_value() -> None:
    tally = Tally()
    tally.enter([Event(1.0, "retry"), Event(1.0, "failed", "Throttled", 2.0), Event(1.0, "retry")])
    assert dict(tally.counts) == {"retry": 2, "failed": 1}
    assert {name: dict(labels) for name, labels in tally.labels.items()} == {
        "failed": {"Throttled": 1}
    }
    assert tally.histogram("failed").max == 2.0
    assert "retry" not in tally.histograms
