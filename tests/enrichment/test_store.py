"""What is kept here: bounded, the least recently used goes first, safe among threads."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from servingclient.enrichment.entry import Entry
from servingclient.enrichment.figures import Figures
from servingclient.enrichment.guard import Guard
from servingclient.enrichment.store import Store
from servingclient.settings import Caching
from tests.trials import machine

OVERHEAD = 512
ENTRY = Entry("v", 0.0, 10.0, 5.0, 20.0, 0.0, 100)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def store_of(rules: Caching, clock: Clock | None = None) -> tuple[Store, Figures, Clock]:
    clock = clock or Clock()
    guard = Guard()
    figures = Figures(guard, 0.0)
    return Store(rules, clock, guard, figures), figures, clock


def test_a_hit_is_counted_and_only_what_is_surely_fresh_is_one() -> None:
    store, figures, _ = store_of(Caching())
    store.put("a", ENTRY)
    store.put("b", replace(ENTRY, negative=True))
    store.put("c", replace(ENTRY, took_s=1.0))
    assert store.hit("a", 9.9) is ENTRY
    assert store.hit("b", 9.9) is not None
    assert store.hit("a", 10.0) is None
    assert store.hit("c", 0.1) is None, "it may be due for an early refresh"
    assert store.hit("x", 0.0) is None
    assert (figures.hits, figures.negatives) == (1, 1)


def test_it_is_kept_as_long_as_it_is_of_use() -> None:
    store, _, clock = store_of(Caching())
    store.put("a", ENTRY)
    clock.now_s = 29.9
    assert store.get("a") is not None
    clock.now_s = 30.0
    assert store.get("a") is None
    assert len(store) == 0
    assert store.size_bytes == 0
    assert store.put("a", ENTRY) is False, "of no use by now"
    assert store.get("a") is None


def test_an_entry_of_no_use_drops_the_one_before() -> None:
    store, _, clock = store_of(Caching())
    store.put("a", ENTRY)
    clock.now_s = 1.0
    store.put("a", replace(ENTRY, fresh_s=0.0, revalidate_s=0.0, on_error_s=0.0))
    assert store.get("a") is None


def test_the_least_recently_used_goes_first() -> None:
    store, _, _ = store_of(Caching(max_entries=2))
    store.put("a", ENTRY)
    store.put("b", ENTRY)
    assert store.hit("a", 0.0) is not None
    store.put("c", ENTRY)
    assert [key for key in "abc" if store.get(key)] == ["a", "c"]


def test_bytes_are_bounded_and_one_entry_has_a_tenth() -> None:
    store, _, _ = store_of(Caching(max_bytes=10_000))
    assert store.put("a", replace(ENTRY, size_bytes=1000 - OVERHEAD)) is True
    assert store.put("b", replace(ENTRY, size_bytes=1001 - OVERHEAD)) is False
    for n in range(20):
        store.put(n, replace(ENTRY, size_bytes=1000 - OVERHEAD))
    assert len(store) == 10
    assert store.size_bytes == 10_000
    store.put("a", ENTRY)
    store.put("a", replace(ENTRY, size_bytes=5000))
    assert store.get("a") is None, "the old value is not kept in place of one too large"


def test_several_are_kept_as_if_one_by_one() -> None:
    rules = Caching(max_entries=3)
    at_once, one_by_one = store_of(rules)[0], store_of(rules)[0]
    no_use = replace(ENTRY, fresh_s=0.0, revalidate_s=0.0, on_error_s=0.0)
    for store in (at_once, one_by_one):
        store.put(1, replace(ENTRY, value="old"))
        store.put("x", ENTRY)
    given = [(n, no_use if n in (5, 6) else replace(ENTRY, value=n)) for n in range(1, 7)]
    assert at_once.put_many(given) == 3
    for key, entry in given:
        one_by_one.put(key, entry)
    keys = ["x", *range(1, 7)]
    assert at_once.get_many(keys) == one_by_one.get_many(keys)
    assert [key for key in keys if at_once.get(key)] == [2, 3, 4]
    assert at_once.size_bytes == one_by_one.size_bytes


def test_a_full_store_drops_nothing_for_a_new_value_of_what_it_holds() -> None:
    store, _, _ = store_of(Caching(max_entries=2))
    store.put("a", ENTRY)
    store.put("b", ENTRY)
    store.put("b", replace(ENTRY, value="new"))
    assert [key for key in "ab" if store.get(key)] == ["a", "b"]


def test_forgetting_drops_what_is_on_its_way() -> None:
    store, _, _ = store_of(Caching())
    generation = store.generation
    store.put("a", ENTRY)
    store.put("b", replace(ENTRY, tags=("t",)))
    assert store.forget(lambda _, entry: "t" in entry.tags) == 1
    tagged = replace(ENTRY, tags=("t",))
    assert store.put("b", tagged, generation) is False
    assert store.put("b", ENTRY, generation) is True, "another is not meant"
    assert store.put("b", tagged, store.generation) is True


def test_what_is_older_than_the_known_invalidations_is_not_kept() -> None:
    store, _, _ = store_of(Caching())
    old = store.generation
    store.forget(lambda key, _: key == "b")
    since = store.generation
    for _ in range(64):
        store.forget(lambda key, _: key == "c")
    assert store.put("a", ENTRY, since) is True
    assert store.put("a", ENTRY, old) is False


def test_a_closed_store_keeps_nothing() -> None:
    store, _, _ = store_of(Caching())
    store.put("a", ENTRY)
    store.close()
    assert store.put("b", ENTRY) is False
    assert len(store) == 0


def test_a_handler_may_ask_in_the_midst_of_a_change() -> None:
    store, _, _ = store_of(Caching())
    with store._guard.lock:
        assert len(store) == 0
        assert store.put("a", ENTRY) is True


def test_a_child_of_a_fork_finds_the_lock_open() -> None:
    store, _, _ = store_of(Caching())
    store.put("a", ENTRY)
    store._guard.renew()
    assert store.get("a") is not None, "nobody stood in the midst of a change"
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._guard.lock:
            held.set()
            done.wait(5)

    other = threading.Thread(target=hold)
    lock = store._guard.lock
    other.start()
    held.wait(5)
    store._guard.renew()
    assert store._guard.lock is not lock
    assert len(store) == 0, "what may contradict itself is dropped"
    done.set()
    other.join()


@pytest.fixture
def _switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching")
def test_C1_eight_threads_break_nothing() -> None:
    most, each, count = 50, 20_000, 8
    store, figures, clock = store_of(Caching(max_entries=most, max_bytes=most * 700))
    failed: list[BaseException] = []
    hits = [0] * count

    def work(number: int) -> None:
        try:
            for n in range(each):
                key = (n * 7919 + number) % 120
                if n % 4 == 0:
                    store.put(key, replace(ENTRY, stored_s=clock.now_s, size_bytes=key))
                elif n % 97 == 0:
                    store.forget(lambda other, _, key=key: other == key)
                elif n % 31 == 0:
                    assert len(store) <= most
                    clock.now_s += 0.01
                else:
                    hits[number] += store.hit(key, clock.now_s) is not None
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(store) <= most
    assert store.size_bytes <= most * 700
    assert figures.hits == sum(hits), "no hit is lost in counting"
    for key in range(120):
        store.put(key, replace(ENTRY, stored_s=clock.now_s))
        assert store.get(key) is not None


class StoreMachine(RuleBasedStateMachine):
    """The store against a plain model of it, with time, tenants and leaders that come late."""

    MOST = 4

    def __init__(self) -> None:
        super().__init__()
        self.store, self.figures, self.clock = store_of(Caching(max_entries=self.MOST))
        self.model: OrderedDict[Any, Entry] = OrderedDict()
        self.under_way: list[tuple[Any, int, bool]] = []

    keys = st.tuples(st.sampled_from(["mine", "yours"]), st.integers(0, 2))

    def _expire(self) -> None:
        for key, entry in list(self.model.items()):
            if entry.stored_s + entry.fresh_s + entry.on_error_s <= self.clock.now_s:
                del self.model[key]

    def _keep(self, key: Any, entry: Entry) -> None:
        self._expire()
        self.model.pop(key, None)
        while len(self.model) >= self.MOST:
            self.model.popitem(last=False)
        self.model[key] = entry

    def _entry(self, key: Any, fresh_s: float, tags: tuple[str, ...] = ()) -> Entry:
        return Entry(key, self.clock.now_s, fresh_s, 0.0, 5.0, 0.0, 10, tags=tags)

    @rule(key=keys, fresh_s=st.sampled_from([1.0, 10.0]), tag=st.booleans())
    def put(self, key: Any, fresh_s: float, tag: bool) -> None:
        entry = self._entry(key, fresh_s, ("t",) if tag else ())
        assert self.store.put(key, entry, self.store.generation) is True
        self._keep(key, entry)

    @rule(key=keys)
    def get(self, key: Any) -> None:
        self._expire()
        found = self.store.get(key)
        assert (found.entry if found else None) == self.model.get(key)
        if found is not None:
            assert found.entry.value == key, "nobody gets another tenant's value"
            self.model.move_to_end(key)

    @rule(key=keys)
    def hit(self, key: Any) -> None:
        self._expire()
        found = self.store.hit(key, self.clock.now_s)
        known = self.model.get(key)
        fresh = known is not None and known.stored_s + known.fresh_s > self.clock.now_s
        assert (found is not None) == fresh
        if known is not None:
            self.model.move_to_end(key)

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule(key=keys)
    def forget(self, key: Any) -> None:
        self.store.forget(lambda other, _: other == key)
        self.model.pop(key, None)
        self.under_way = [(one, since, out or one == key) for one, since, out in self.under_way]

    @rule()
    def forget_tag(self) -> None:
        self.store.forget(lambda _, entry: "t" in entry.tags)
        for key in [key for key, entry in self.model.items() if "t" in entry.tags]:
            del self.model[key]  # what is under way has no tag

    @rule(key=keys)
    def leader_leaves(self, key: Any) -> None:
        self.under_way.append((key, self.store.generation, False))

    @precondition(lambda self: self.under_way)
    @rule(cancelled=st.booleans())
    def leader_lands(self, cancelled: bool) -> None:
        key, generation, outdated = self.under_way.pop(0)
        if cancelled:
            return
        entry = self._entry(key, 10.0)
        assert self.store.put(key, entry, generation) is not outdated
        if not outdated:
            self._keep(key, entry)

    @invariant()
    def bounded(self) -> None:
        self._expire()
        assert len(self.store) == len(self.model) <= self.MOST
        assert self.store.size_bytes == len(self.model) * (10 + OVERHEAD)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = machine(200, 50)
