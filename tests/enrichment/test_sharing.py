"""The shared cache in the story: who waits for what, and what nobody waits for. Virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.enrichment.world import Answer, Breaks, FakeApi, FakeShared

Make = Callable[..., FakeApi]


@pytest.fixture(params=["sync", "async"])
def made(request: pytest.FixtureRequest) -> Make:
    def make(script: Any = None, **options: Any) -> FakeApi:
        suspends = request.param == "async"
        return FakeApi(Answer() if script is None else script, suspends=suspends, **options)

    return make


@pytest.fixture
def shared() -> FakeShared:
    return FakeShared()


def test_nobody_waits_while_a_value_is_written(made: Make, shared: FakeShared) -> None:
    api = made(shared=shared)
    api.holds_back = True
    assert api.get().source == "origin"
    assert shared.trips == ["get", "lease"]
    api.get_many(range(3))
    assert shared.trips == ["get", "lease", "get"]
    assert api.tell_shared() == 2
    assert shared.trips == ["get", "lease", "get", "set", "release", "set"]
    assert not shared.leases


def test_a_look_and_its_lease_have_one_budget_and_the_lease_lasts_as_the_call(
    made: Make, shared: FakeShared
) -> None:
    api = made(shared=shared)
    began_s = api.now()
    api.get(timeout=3.0)
    assert shared.leased_s == [(3.0, began_s)]
    shared.foreign = True
    api.get(id=8, timeout=0.4)
    # looks at 0 s, 0.1 s and 0.2 s, each with a budget of its own
    started_s = [since_s for _, since_s in shared.leased_s[1:] if since_s is not None]
    assert [one - began_s - 0.1 for one in started_s] == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize("how", ["before", "meanwhile"])
def test_an_invalidation_overtakes_what_is_yet_to_be_written(
    made: Make, shared: FakeShared, how: str
) -> None:
    api = made(shared=shared)
    api.holds_back = True
    api.get()
    if how == "before":
        api.forget("/users/{id}", id=7)
        api.holds_back = False
        api.tell_shared()
        assert "set" not in shared.trips
    else:
        written = shared.set_many

        async def set_many(entries: Any, deadline_s: float) -> None:
            # its command is sent first and carried out last
            found = api.api.forgotten("/users/{id}", None, None, {"id": 7})
            await api.api.invalidate(found)
            await written(entries, deadline_s)

        shared.set_many = set_many  # type: ignore[method-assign]
        api.tell_shared()
        assert "set" in shared.trips
    assert not shared.entries
    assert not shared.leases


def test_what_the_holder_wrote_is_found_by_who_gets_its_lease(
    made: Make, shared: FakeShared
) -> None:
    other = FakeShared()
    api = made(shared=shared)
    filler = made(Answer(value="theirs"), shared=other, clock=api)
    filler.get()
    shared.foreign = True

    def ends() -> None:
        """The other process writes and gives its lease back between our look and our try for it."""
        if shared.trips.count("lease") == 2:
            shared.entries.update(other.entries)
            shared.foreign = False

    shared.on_lease = ends
    assert api.get().value == "theirs"
    assert not api.sends
    assert shared.trips == ["get", "lease", "get", "lease", "get", "release"]


def test_who_gets_the_lease_of_one_that_failed_asks(made: Make, shared: FakeShared) -> None:
    api = made(shared=shared)
    shared.foreign = True

    def ends() -> None:
        shared.foreign = shared.trips.count("lease") < 3

    shared.on_lease = ends
    assert api.get().source == "origin"
    assert len(api.sends) == 1
    assert shared.trips[-4:] == ["lease", "get", "set", "release"]
    assert not shared.leases


@pytest.mark.parametrize("script", [Breaks(), Answer(404)])
def test_a_lease_is_given_back_whatever_came(made: Make, shared: FakeShared, script: Any) -> None:
    api = made(script, shared=shared)
    try:
        api.get(timeout=0.15)
    except Exception:  # noqa: BLE001 - of no interest here
        pass
    assert "lease" in shared.trips
    assert not shared.leases


def test_a_lease_is_given_back_by_who_is_interrupted(made: Make, shared: FakeShared) -> None:
    class Interrupted(BaseException):
        pass

    def script(*_: Any) -> Answer:
        raise Interrupted

    api = made(script, shared=shared)
    with pytest.raises(Interrupted):
        api.get()
    assert shared.trips == ["get", "lease", "release"]
    assert not shared.leases


def test_where_nothing_more_may_wait_behind_it_is_left_out(made: Make, shared: FakeShared) -> None:
    api = made(shared=shared)
    api.start = lambda action: False  # type: ignore[method-assign]
    assert api.get().source == "origin"
    assert shared.trips == ["get", "lease"]

    def no_loop(action: Any) -> bool:
        raise RuntimeError("no running event loop")

    api.start = no_loop  # type: ignore[method-assign]
    assert api.get(id=8).source == "origin"
