"""The story of a value: what is given out, what is asked for, what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import (
    CircuitOpen,
    ConfigError,
    ConnectionFailed,
    DeadlineExceeded,
    ResponseFormatError,
    ServerError,
)
from servingclient.settings import Breaker, RateLimit, Retry
from tests.enrichment.world import DOWN, Answer, Breaks, FakeApi, FakeShared, quiet

Make = Callable[..., FakeApi]
NO_RETRY = Retry(max_attempts=1)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def made(request: pytest.FixtureRequest) -> Make:
    """Makes a client of a scripted API in one colour."""

    def make(script: Any = Answer(), **options: Any) -> FakeApi:  # noqa: B008 - it is frozen
        return FakeApi(script, suspends=request.param, **options)

    return make


def sources(api: FakeApi, *calls: Any) -> list[str]:
    return [api.get(**call).source for call in calls]


# -- one value ---------------------------------------------------------------------------------


def test_a_value_is_asked_for_once(made: Make) -> None:
    api = made(Answer(value={"name": "Anna"}))
    first, second = api.get(id=7), api.get(id="7")
    assert (first.value, first.source, first.age_s) == ({"name": "Anna"}, "origin", 0.0)
    api.pass_time(59.0)
    third = api.get(id=7)
    assert (second.source, third.source, third.found) == ("fresh", "fresh", True)
    assert third.age_s == pytest.approx(59.0)
    assert api.paths == ["/v1/users/7"]
    (_, target, body) = api.sends[0]
    assert (target.method, body) == ("GET", b"")
    assert ("Authorization", "Bearer token-canary") in target.headers
    stats = api.stats
    assert (stats.calls, stats.hits, stats.misses, stats.requests) == (3, 2, 1, 1)
    assert (stats.entries, stats.api) == (1, "https://api.example.com/v1")


def test_other_questions_are_other_values(made: Make) -> None:
    api = made(lambda target, _: Answer(value=target.path))
    for options in ({"id": 7}, {"id": 8}, {"id": 7, "params": {"a": 1}}):
        assert api.get(**options).source == "origin"
    assert api.get(id=7, params={"a": 1}).value == "/v1/users/7?a=1"
    assert len(api.sends) == 3


@pytest.mark.parametrize("status", [404, 410])
def test_that_there_is_none_is_remembered_for_a_while(made: Make, status: int) -> None:
    api = made(Answer(status, body=b"<html>"))
    first, second = api.get(), api.get()
    assert (first.value, first.source, first.found) == (None, "negative", False)
    assert second.source == "negative"
    assert len(api.sends) == 1
    api.pass_time(5.1)
    assert api.get().source == "negative"
    assert len(api.sends) == 2
    stats = api.stats
    assert (stats.negatives, stats.misses, stats.error_rate) == (1, 2, 0.0)


def test_what_is_past_its_time_is_given_out_while_a_new_one_is_fetched(made: Make) -> None:
    api = made([Answer(value=1), Answer(value=2)])
    api.get()
    api.pass_time(61.0)
    stale = api.get()
    assert (stale.value, stale.source) == (1, "stale")
    assert api.get().source == "stale"
    assert len(api.sends) == 1, "nobody waits for it"
    assert len(api.behind) == 1, "once, whoever asks"
    api.work_behind()
    assert len(api.sends) == 2
    found = api.get()
    assert (found.value, found.source) == (2, "fresh")
    stats = api.stats
    assert (stats.calls, stats.stale, stats.misses, stats.hits) == (4, 2, 1, 1)


def test_a_refresh_that_fails_is_not_tried_again_at_once(made: Make) -> None:
    api = made([Answer(), DOWN], settings=quiet(retry=NO_RETRY))
    api.get()
    api.pass_time(61.0)
    for _ in range(3):
        assert api.get().source == "stale"
        api.work_behind()
    assert len(api.sends) == 2
    api.pass_time(1.1)
    api.get()
    api.work_behind()
    assert len(api.sends) == 3


def test_a_refresh_that_fails_leaves_the_old_value(made: Make) -> None:
    api = made([Answer(value=1), Answer(500)], settings=quiet(retry=NO_RETRY))
    api.get()
    api.pass_time(61.0)
    api.get()
    api.work_behind()
    assert api.get().value == 1


def test_when_there_is_none_to_be_had_the_old_one_is_given_out(made: Make) -> None:
    api = made([Answer(value=1), Answer(500)], settings=quiet(retry=NO_RETRY))
    api.get()
    api.pass_time(60.0 + 60.0 + 1.0)
    found = api.get()
    assert (found.value, found.source) == (1, "stale")
    assert found.age_s == pytest.approx(121.2, abs=0.2)
    assert len(api.sends) == 2, "it was asked for"
    api.pass_time(3600.0)
    with pytest.raises(ServerError):
        api.get()


@pytest.mark.parametrize(
    "failure",
    [
        Answer(500),
        Answer(429),
        Answer(200, body=b"<html>"),
        Answer(301),
        Answer(401),
        Answer(400),
        Breaks(),
        DOWN,
        Answer(takes_s=9.0),
    ],
)
def test_any_failure_gives_out_the_old_value(made: Make, failure: Answer | Breaks) -> None:
    api = made([Answer(value=1), failure], settings=quiet(retry=NO_RETRY))
    api.get()
    api.pass_time(130.0)
    assert api.get()[::2] == (1, "stale")


def test_stale_if_error_can_be_switched_off(made: Make) -> None:
    rules = quiet(
        retry=NO_RETRY, caching={"stale_if_error_s": 0.0, "stale_while_revalidate_s": 0.0}
    )
    api = made([Answer(), DOWN], settings=rules)
    api.get()
    api.pass_time(60.5)
    with pytest.raises(ConnectionFailed):
        api.get()


def test_the_rate_limit_gives_out_the_old_value(made: Make) -> None:
    rules = quiet(rate_limit=RateLimit(calls_per_s=0.001, burst_calls=1), retry=NO_RETRY)
    api = made(settings=rules)
    api.get()
    api.pass_time(130.0)
    assert api.get().source == "stale"
    assert len(api.sends) == 1


def test_a_full_queue_gives_out_the_old_value(made: Make) -> None:
    api = made()
    api.get()
    api.pass_time(130.0)
    api.full = True
    assert api.get().source == "stale"


def test_an_old_value_that_is_gone_by_now_is_replaced(made: Make) -> None:
    api = made([Answer(), Answer(404)])
    api.get()
    api.pass_time(130.0)
    assert api.get().source == "negative"
    assert api.get().source == "negative"


def test_a_fetch_that_ended_just_before_is_not_made_again(made: Make) -> None:
    api = made(Answer(value=1))
    other = made(Answer(value=2), clock=api)
    other.get()
    enter = api.flights.enter

    def late(key: Any, mine: Any) -> Any:
        kept = other.store.get(key)
        assert kept is not None
        api.store.put(key, kept.entry)
        return enter(key, mine)

    api.flights.enter = late  # type: ignore[method-assign]
    assert api.get()[::2] == (2, "fresh")
    assert not api.sends
    assert not api.flights._flights


# -- what the API says of keeping ---------------------------------------------------------------


def test_the_api_shortens_the_time(made: Make) -> None:
    api = made(Answer(headers={"Cache-Control": "max-age=5, must-revalidate"}))
    api.get()
    api.pass_time(5.1)
    assert api.get().source == "origin"
    assert made(Answer(headers={"Cache-Control": "max-age=5"})).get().source == "origin"


def test_the_api_does_not_lengthen_it(made: Make) -> None:
    api = made(Answer(headers={"Cache-Control": "max-age=5000"}))
    api.get()
    api.pass_time(61.0)
    assert api.get().source == "stale"


def test_the_headers_can_be_left_unheard(made: Make) -> None:
    rules = quiet(caching={"follow_cache_control": False})
    answer = Answer(headers={"Cache-Control": "no-store", "ETag": '"e"'})
    api = made(answer, settings=rules)
    assert sources(api, {}, {}) == ["origin", "fresh"]
    api.pass_time(200.0)
    api.get()
    assert all("If-None-Match" not in dict(target.headers) for _, target, _ in api.sends)


def test_no_store_is_not_kept(made: Make) -> None:
    api = made(Answer(headers={"Cache-Control": "no-store"}), shared=FakeShared())
    assert sources(api, {}, {}) == ["origin", "origin"]
    assert api.stats.entries == 0
    assert api.shared is not None
    assert not api.shared.entries


def test_private_stays_in_this_process(made: Make) -> None:
    shared = FakeShared()
    api = made(Answer(headers={"Cache-Control": "private"}), shared=shared)
    assert sources(api, {}, {}) == ["origin", "fresh"]
    assert not shared.entries


def test_not_modified_renews_the_value(made: Make) -> None:
    steps = [
        Answer(value={"a": 1}, headers={"ETag": '"e1"', "Cache-Control": "no-cache"}),
        Answer(304, body=b"", headers={"Cache-Control": "max-age=30"}),
        Answer(304, body=b"", headers={"ETag": '"e2"', "Cache-Control": "no-cache"}),
        Answer(value={"a": 2}),
    ]
    api = made(steps)
    api.get()
    second = api.get()
    assert (second.value, second.source, second.age_s) == ({"a": 1}, "origin", 0.0)
    assert api.get().source == "fresh"
    api.pass_time(200.0)
    assert api.get()[::2] == ({"a": 1}, "origin")
    assert api.get().value == {"a": 2}
    sent = [dict(target.headers).get("If-None-Match") for _, target, _ in api.sends]
    assert sent == [None, '"e1"', '"e1"', '"e2"']


def test_not_modified_that_was_not_asked_for_is_an_error(made: Make) -> None:
    api = made(Answer(304, body=b""))
    with pytest.raises(ResponseFormatError, match=r"nothing has changed \(304\)") as caught:
        api.get()
    assert "redirect" not in str(caught.value)


def test_a_value_the_api_calls_past_its_time_is_asked_for_again(made: Make) -> None:
    api = made(Answer(headers={"Cache-Control": "max-age=0"}))
    assert sources(api, {}, {}, {}) == ["origin"] * 3


# -- failures ----------------------------------------------------------------------------------


def test_a_failure_is_not_remembered_unless_asked(made: Make) -> None:
    api = made([Answer(500), Answer(value=1)], settings=quiet(retry=NO_RETRY))
    with pytest.raises(ServerError):
        api.get()
    assert api.get().value == 1


def test_a_failure_is_remembered_where_asked(made: Make) -> None:
    rules = quiet(retry=NO_RETRY, caching={"error_ttl_s": 0.5})
    api = made([Answer(500), Answer(value=1)], settings=rules)
    for _ in range(3):
        with pytest.raises(ServerError):
            api.get()
    assert len(api.sends) == 1
    api.pass_time(0.6)
    assert api.get().value == 1


def test_a_short_deadline_of_one_caller_is_not_remembered_for_others(made: Make) -> None:
    rules = quiet(retry=NO_RETRY, caching={"error_ttl_s": 1.0})
    api = made(Answer(takes_s=0.5), settings=rules)
    with pytest.raises(DeadlineExceeded):
        api.get(timeout=0.1)
    assert api.get().source == "origin"


def test_an_outage_of_a_minute_with_a_warm_cache(made: Make) -> None:
    down = [False]
    api = made(lambda *_: DOWN if down[0] else Answer())
    ids = range(20)
    for one in ids:
        api.get(id=one)
    down[0] = True
    began_s, sent = api.now(), len(api.sends)
    opened: int | None = None
    while api.now() < began_s + 60.0:
        for one in ids:
            found = api.get(id=one)
            assert found.found
            assert found.source in ("fresh", "stale")
            api.work_behind()
            if opened is None and api.stats.breaker == "open":
                opened = len(api.sends) - sent
        api.pass_time(1.0)
    # everything was fresh for TTL_S of that; go on until nothing is
    began_s = api.now()
    while api.now() < began_s + 60.0:
        for one in ids:
            assert api.get(id=one).source == "stale"
            api.work_behind()
            if opened is None and api.stats.breaker != "closed":
                opened = len(api.sends) - sent
        api.pass_time(1.0)
    assert opened is not None
    assert opened <= 20
    tries = [at_s for at_s, _, _ in api.sends[sent + opened :]]
    for first in tries:
        assert sum(first <= at_s < first + 10.0 for at_s in tries) <= 3
    down[0] = False
    api.pass_time(70.0)
    for one in ids:
        api.get(id=one)
        api.work_behind()
    api.pass_time(1.1)
    for one in ids:
        api.get(id=one)
        api.work_behind()
    assert api.stats.breaker == "closed"
    assert {api.get(id=one).source for one in ids} == {"fresh"}


def test_without_a_warm_cache_the_open_breaker_says_so(made: Make) -> None:
    rules = quiet(retry=NO_RETRY, breaker=Breaker(min_calls=3, open_s=5.0))
    api = made(DOWN, settings=rules)
    for one in range(3):
        with pytest.raises(ConnectionFailed):
            api.get(id=one)
    with pytest.raises(CircuitOpen, match="left alone") as caught:
        api.get(id=9)
    assert len(api.sends) == 3
    assert 0.0 < (caught.value.retry_after_s or 0.0) <= 5.0
    assert api.stats.refused == 1


# -- several values ----------------------------------------------------------------------------


def test_many_ids_are_asked_for_once_each_and_keep_their_order(made: Make) -> None:
    api = made(lambda target, _: Answer(404 if target.path.endswith("/3") else 200))
    api.get(id=2)
    found = api.get_many([3, 1, "1", 2, 1])
    assert list(found) == [3, 1, "1", 2]
    assert [one.source for one in found.values()] == ["negative", "origin", "origin", "fresh"]
    assert len(api.sends) == 3
    assert api.get_many([]) == {}


def test_the_first_failure_ends_it_or_takes_its_place(made: Make) -> None:
    def script(target: Any, _: bytes) -> Answer:
        return Answer(500 if target.path.endswith("/2") else 200)

    api = made(script, settings=quiet(retry=NO_RETRY))
    with pytest.raises(ServerError):
        api.get_many([1, 2, 3, 4])
    assert api.paths == ["/v1/users/1", "/v1/users/2"]
    found = api.get_many([1, 2, 3], on_error="return")
    assert [type(one).__name__ for one in found.values()] == ["Enriched", "ServerError", "Enriched"]
    assert len(api.flights) == 0


def test_an_id_that_can_be_none_has_its_error_in_its_place(made: Make) -> None:
    api = made()
    ids = [1, None, "..", 2.5, "\ud800", 2]
    found = api.get_many(ids, on_error="return")
    assert list(found) == ids
    assert [type(one).__name__ for one in found.values()] == [
        *("Enriched", "ConfigError", "ConfigError", "ConfigError", "ConfigError", "Enriched")
    ]
    assert "ids[1] (of type NoneType)" in str(found[None])
    assert api.paths == ["/v1/users/1", "/v1/users/2"]
    with pytest.raises(ConfigError, match=r"ids\[4\]"):
        api.get_many([1, 2, 3, 4, "\ud800"])
    assert len(api.sends) == 2


def test_such_an_id_never_has_the_answer_of_another(made: Make) -> None:
    api = made()
    for ids in ([1, True], [True, 1]):  # the same key of a dict
        (found,) = api.get_many(ids, on_error="return").values()
        assert isinstance(found, ConfigError)
    with pytest.raises(ConfigError, match=r"ids\[1\] \(of type list\)"):
        api.get_many([1, [2]], on_error="return")


def test_stale_ids_are_fetched_behind(made: Make) -> None:
    api = made()
    api.get_many([1, 2])
    api.pass_time(61.0)
    assert {one.source for one in api.get_many([1, 2, 3]).values()} == {"stale", "origin"}
    assert len(api.sends) == 3
    assert api.work_behind() == 1
    assert len(api.sends) == 5


@pytest.mark.parametrize(
    "options",
    [
        {"ids": "abc"},
        {"ids": 7},
        {"ids": {1: 2}},
        {"ids": [None]},
        {"name": "x"},
        {"concurrency": 0},
        {"concurrency": True},
        {"on_error": "ignore"},
        {"on_error": None},
        {"timeout": 0},
        {"ttl": -1},
        {"ttl": float("nan")},
        {"tags": "a"},
        {"tags": [1]},
    ],
)
def test_bad_arguments_of_many(made: Make, options: dict[str, Any]) -> None:
    api = made()
    with pytest.raises(ConfigError):
        api.get_many(**{"ids": [1]} | options)
    assert not api.sends


def test_a_bad_id_is_named_by_its_place_and_kind(made: Make) -> None:
    api = made()
    with pytest.raises(ConfigError, match=r"ids\[2\] \(of type float\): .* not float"):
        api.get_many([1, 2, 3.25, 4])
    assert not api.sends


# -- the shared cache --------------------------------------------------------------------------


def test_what_one_process_fetched_another_finds(made: Make) -> None:
    shared = FakeShared()
    one = made(Answer(value=1), shared=shared)
    other = made(Answer(value=2), shared=shared, clock=one)
    assert one.get().value == 1
    found = other.get()
    assert (found.value, found.source) == (1, "fresh")
    assert other.get().source == "fresh"
    assert not other.sends
    assert shared.trips == ["get", "lease", "set", "release", "get"]
    assert other.stats.hits == 2


def test_two_principals_never_meet(made: Make) -> None:
    shared = FakeShared()
    mine = made(Answer(value="mine"), shared=shared, auth="a")
    yours = made(Answer(value="yours"), shared=shared, auth="b", clock=mine)
    for one in range(100):
        assert mine.get(id=one).value == "mine"
        assert yours.get(id=one).value == "yours"
    assert len(shared.entries) == 200


def test_a_thousand_ids_take_two_round_trips(made: Make) -> None:
    shared = FakeShared()
    api = made(Answer(takes_s=0.0), shared=shared)
    api.get_many(range(1000))
    assert shared.trips == ["get", "set"]
    other = made(shared=shared, clock=api)
    assert {one.source for one in other.get_many(range(1000)).values()} == {"fresh"}
    assert shared.trips == ["get", "set", "get"]


def test_another_process_is_at_it(made: Make) -> None:
    shared = FakeShared()
    api, other = made(shared=shared), FakeShared()
    filler = made(Answer(value="theirs"), shared=other, clock=api)
    filler.get()
    shared.foreign = True
    shared.on_wait = lambda: shared.entries.update(other.entries)
    found = api.get()
    assert found.value == "theirs"
    assert not api.sends
    assert len(api.slept) == 1


def test_another_process_that_never_comes_back_is_not_waited_for(made: Make) -> None:
    shared = FakeShared()
    shared.foreign = True
    api = made(shared=shared)
    assert api.get().source == "origin"
    assert sum(api.slept) == pytest.approx(2.5), "half of its time"
    assert [round(wait_s, 3) for wait_s in api.slept] == [0.1, 0.2, *[0.4] * 5, 0.2]
    hurried = made(shared=shared)
    began_s = hurried.now()
    assert hurried.get(id=8, timeout=1.0).source == "origin"
    assert hurried.now() - began_s == pytest.approx(0.6), "half of its time, and the API's"


def test_another_process_is_waited_for_while_it_is_at_it(made: Make) -> None:
    shared, other = FakeShared(), FakeShared()
    api = made(shared=shared)
    filler = made(Answer(value="theirs"), shared=other, clock=api)
    filler.get()
    shared.foreign = True
    looks = iter(range(99))
    shared.on_wait = lambda: shared.entries.update(other.entries if next(looks) == 3 else {})
    assert api.get().value == "theirs"
    assert not api.sends


def test_with_an_old_value_another_process_is_not_waited_for(made: Make) -> None:
    shared = FakeShared()
    api = made([Answer(value=1), Answer(500)], shared=shared)
    api.get()
    api.pass_time(130.0)
    shared.foreign = True
    assert api.get().source == "stale"
    assert sum(api.slept) == pytest.approx(0.1)


def test_closing_ends_the_wait_for_another_process(made: Make) -> None:
    shared = FakeShared()
    shared.foreign = api_woken = True
    api = made(shared=shared)
    api.woken = api_woken
    assert api.get().source == "origin"
    assert len(api.slept) == 1


def test_a_lease_is_given_back_after_a_write(made: Make) -> None:
    shared = FakeShared()
    made(shared=shared).get()
    assert shared.trips == ["get", "lease", "set", "release"]
    assert not shared.leases


def test_a_shared_value_is_as_fresh_as_who_reads_it_wants(made: Make) -> None:
    shared = FakeShared()
    api = made(Answer(value=1), shared=shared)
    api.get()
    api.pass_time(10.0)
    brief = made(Answer(value=2), shared=shared, clock=api, ttl=5.0)
    assert brief.get()[::2] == (1, "stale")
    brief.work_behind()
    assert brief.get()[::2] == (2, "fresh")
    assert api.get()[::2] == (1, "fresh")


def test_who_asks_after_an_invalidation_does_not_join_a_fetch_from_before(made: Make) -> None:
    api = made([Answer(value="old"), Answer(value="new")])
    inner: list[Any] = []
    answer = api.script

    def script(target: Any, body: bytes) -> Any:
        found = answer(target, body)
        if not inner:
            inner.append(None)
            api.forget("/users/{id}", id=7)
            assert not api.flights.flying(
                api.api.get("/users/{id}", {"id": 7}, None, (), None)[1].key
            )
        return found

    api.script = script
    assert api.get(id=7).value == "old"
    assert api.get(id=7).value == "new", "and what came from before is not kept"


def test_no_more_requests_at_once_than_are_set(made: Make) -> None:
    api = made()
    options: dict[str, Any] = dict.fromkeys(("name", "params", "ttl", "timeout"))
    options |= {"tags": (), "on_error": "raise"}
    for given, most in ((None, 16), (3, 3), (10**6, 16)):
        assert api.api.get_many("/users/{id}", [1], {}, concurrency=given, **options).most == most


def test_a_lease_is_given_back_when_there_is_nothing_to_write(made: Make) -> None:
    shared = FakeShared()
    api = made(Answer(500), shared=shared, settings=quiet(retry=NO_RETRY))
    with pytest.raises(ServerError):
        api.get()
    assert shared.trips == ["get", "lease", "release"]


def test_a_shared_value_past_its_time_is_given_out_and_fetched_behind(made: Make) -> None:
    shared = FakeShared()
    one = made(Answer(value=1), shared=shared)
    one.get()
    one.pass_time(61.0)
    other = made(Answer(value=2), shared=shared, clock=one)
    assert other.get()[::2] == (1, "stale")
    assert not other.sends
    other.work_behind()
    assert other.get()[::2] == (2, "fresh")
    assert one.get().source == "stale"
    one.work_behind()
    assert one.get()[::2] == (2, "fresh"), "had from the shared cache"
    assert len(one.sends) == 1


def test_an_early_refresh_is_not_content_with_what_is_shared(made: Make) -> None:
    shared = FakeShared()
    rules = quiet(caching={"early_refresh_factor": 1.0})
    api = made([Answer(value=1, takes_s=1.0), Answer(value=2)], shared=shared, settings=rules)
    api.get()
    api.pass_time(57.0)
    api.rand_s = math.exp(-5.0)
    assert api.get()[::2] == (1, "fresh")
    api.rand_s = 0.9  # by which what lies in the shared cache is fresh enough
    assert api.work_behind() == 1
    assert len(api.sends) == 2
    assert api.get().value == 2


def test_the_shared_cache_serves_when_the_api_is_down(made: Make) -> None:
    shared = FakeShared()
    one = made(Answer(value=1), shared=shared)
    one.get()
    one.pass_time(130.0)
    other = made(DOWN, shared=shared, clock=one, settings=quiet(retry=NO_RETRY))
    assert other.get()[::2] == (1, "stale")
    assert len(other.sends) == 1


def test_no_name_of_a_person_stands_in_the_shared_cache(made: Make) -> None:
    shared = FakeShared()
    api = made(shared=shared, auth="secret-canary")
    api.get(id="anna-canary", tags=["user:anna-canary"], params={"q": "canary"})
    shown = repr([(key, entry.tags) for key, entry in shared.entries.items()])
    assert "canary" not in shown


# -- invalidation ------------------------------------------------------------------------------


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize(
    ("what", "left"),
    [
        ({"template": "/users/{id}", "id": 7}, {"8", "cards", "tagged"}),
        ({"template": "/users/{id}"}, {"cards"}),
        ({"prefix": "/users/{id}/"}, {"7", "7?", "8", "tagged"}),
        ({"prefix": "/"}, set()),
        ({"tag": "t"}, {"7", "7?", "8", "cards"}),
    ],
)
def test_what_is_forgotten(made: Make, hashed: bool, what: dict[str, Any], left: set[str]) -> None:
    shared = FakeShared()
    rules = quiet(hash_keys=hashed)
    api = made(shared=shared, settings=rules)
    calls: dict[str, dict[str, Any]] = {
        "7": {"id": 7},
        "7?": {"id": 7, "params": {"a": 1}},
        "8": {"id": 8},
        "cards": {"template": "/users/{id}/cards", "id": 7},
        "tagged": {"id": 9, "tags": ["t", "u"]},
    }
    for call in calls.values():
        api.get(**call)
    api.forget(**what)
    # first what is left in the shared cache, as another process sees it
    other = made(shared=FakeShared(), settings=rules, clock=api)
    assert other.shared is not None
    other.shared.entries = dict(shared.entries)
    assert {name for name, call in calls.items() if other.get(**call).source == "fresh"} == left
    shared.entries.clear()
    assert {name for name, call in calls.items() if api.get(**call).source == "fresh"} == left


def test_what_is_being_fetched_while_it_is_forgotten_is_not_kept(made: Make) -> None:
    shared = FakeShared()
    api: FakeApi

    def script(*_: Any) -> Answer:
        if len(api.sends) == 1:
            api.api.forget(lambda *_: True)
        return Answer(value=len(api.sends))

    api = made(script, shared=shared)
    assert api.get().value == 1
    assert not shared.entries
    assert api.get()[::2] == (2, "origin")
    assert api.get()[::2] == (2, "fresh")


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"prefix": "/a", "tag": "t"},
        {"template": "/a", "tag": "t"},
        {"tag": ""},
        {"tag": "t", "id": 7},
    ],
)
def test_what_to_forget_must_be_said_once(made: Make, what: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        made().forget(**what)
