"""One request to an API: again or not, how fast, and what a user is told."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import (
    AuthError,
    BadRequest,
    CircuitOpen,
    ClientClosedError,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    NotFound,
    PayloadError,
    PayloadTooLarge,
    PermissionDenied,
    QueueFull,
    ResponseFormatError,
    ResponseTooLarge,
    ServerError,
    ServingError,
    Throttled,
    TLSError,
    UnexpectedRedirect,
)
from servingclient._types import FaultKind
from servingclient.settings import Breaker, RateLimit, Retry
from tests.enrichment.world import DOWN, Answer, Breaks, FakeApi, quiet

Make = Callable[..., FakeApi]
ONCE = quiet(retry=Retry(max_attempts=1))
CANARY = "anna-canary"


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def made(request: pytest.FixtureRequest) -> Make:
    """Makes a client of a scripted API in one colour."""

    def make(script: Any = Answer(), **options: Any) -> FakeApi:  # noqa: B008 - it is frozen
        return FakeApi(script, suspends=request.param, **options)

    return make


def failed(api: FakeApi, **call: Any) -> ServingError:
    with pytest.raises(ServingError) as caught:
        api.get(id=CANARY, **call)
    return caught.value


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Answer(400), BadRequest),
        (Answer(401), AuthError),
        (Answer(403), PermissionDenied),
        (Answer(409), BadRequest),
        (Answer(413), PayloadTooLarge),
        (Answer(418), BadRequest),
        (Answer(429), Throttled),
        (Answer(500), ServerError),
        (Answer(501), ServerError),
        (Answer(503), ServerError),
        (Answer(301, headers={"Location": "https://evil.example/x"}), UnexpectedRedirect),
        (Answer(308, headers={"Location": "//[bad"}), UnexpectedRedirect),
        (Answer(206), ResponseFormatError),
        (Answer(100), ResponseFormatError),
        (Answer(200, body=b"<html>canary-in-page"), ResponseFormatError),
        (Answer(200, body=b""), ResponseFormatError),
        (Answer(200, body=b'{"a": NaN}'), ResponseFormatError),
        (Answer(200, body=b"1" * 5_000_000), ResponseTooLarge),
        (Breaks(FaultKind.TOO_LARGE), ResponseTooLarge),
        (Breaks(FaultKind.UNREADABLE), ResponseFormatError),
        (Breaks(FaultKind.TLS, "no"), TLSError),
        (Breaks(FaultKind.CLOSED, "no"), ClientClosedError),
        (Breaks(FaultKind.CUT_OFF), ConnectionLost),
        (DOWN, ConnectionFailed),
        (Answer(takes_s=60.0), DeadlineExceeded),
    ],
)
def test_each_end_is_a_typed_error(
    made: Make, step: Answer | Breaks, kind: type[ServingError]
) -> None:
    api = made(step, settings=ONCE)
    error = failed(api)
    assert type(error) is kind
    assert error.endpoint == "api.example.com"
    assert str(error).startswith("GET /users/{id} of api.example.com")
    assert "canary" not in str(error)
    if isinstance(step, Answer) and step.takes_s < 1.0:
        assert error.status_code == step.status
    assert error.elapsed_s is not None
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (kind, str(error))
    assert api.inside == 0
    assert not api.flights


@pytest.mark.parametrize("body", [b"", b"null"])
def test_no_content_is_a_value_of_none(made: Make, body: bytes) -> None:
    found = made(Answer(204, body=b"")).get()
    assert (found.value, found.source, found.found) == (None, "origin", True)
    assert made(Answer(200, body=b"null")).get().value is None
    assert made(Answer(201, value=1)).get().value == 1


def test_the_words_of_the_api_are_passed_on_without_secrets(made: Make) -> None:
    body = b'{"error_code": "BAD", "message": "your token-canary is odd"}'
    error = failed(made(Answer(400, body=body), settings=ONCE))
    assert "is odd" in str(error)
    assert "BAD" in str(error)
    assert "token-canary" not in str(error)


def test_a_failed_try_is_followed_by_another(made: Make) -> None:
    api = made([Answer(500), DOWN, Answer(value=1)])
    assert api.get().value == 1
    assert len(api.sends) == 3
    assert len(api.slept) == 2
    stats = api.stats
    assert (stats.requests, stats.error_rate) == (3, pytest.approx(2 / 3))


def test_tries_end_and_are_told(made: Make) -> None:
    api = made(Answer(500))
    error = failed(api)
    assert len(api.sends) == len(error.attempts) == 3
    assert error.stopped_by == "attempts"
    assert [attempt.status for attempt in error.attempts] == [500, 500, 500]


def test_a_client_error_is_final(made: Make) -> None:
    for status in (400, 401, 403, 301):
        api = made(Answer(status))
        failed(api)
        assert len(api.sends) == 1


def test_a_reused_connection_that_died_is_replaced_at_once(made: Make) -> None:
    api = made([Breaks(FaultKind.STALE, takes_s=0.0), Answer(value=1)])
    assert api.get().value == 1
    assert api.slept == []


def test_the_deadline_is_over_all_tries(made: Make) -> None:
    api = made(Answer(500, takes_s=0.4))
    api.rand_s = 0.999
    error = failed(api, timeout=0.42)
    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error.__cause__, ServerError)
    assert error.stopped_by == "deadline"
    assert api.now() - 1000.0 <= 0.42


def test_a_wait_the_api_asks_for_is_waited_by_all(made: Make) -> None:
    api = made([Answer(429, headers={"Retry-After": "2"}), Answer()])
    began_s = api.now()
    assert api.get().source == "origin"
    assert api.now() - began_s >= 2.0
    assert api.stats.throttled == 1
    slow = made([Answer(429, headers={"Retry-After": "2"}), Answer()], settings=ONCE)
    failed(slow)
    began_s = slow.now()
    slow.get(id=8)
    assert slow.now() - began_s >= 1.9, "another call waits for it too"


def test_a_wait_that_does_not_fit_fails_at_once(made: Make) -> None:
    api = made([Answer(429, headers={"Retry-After": "30"}), Answer()])
    first = failed(api)
    assert isinstance(first, Throttled)
    assert first.retry_after_s == 30.0
    began_s = api.now()
    second = failed(api)
    assert isinstance(second, Throttled)
    assert "nothing was sent" in str(second)
    assert "the API asked for a pause" in str(second)
    assert "calls_per_s" not in str(second)
    assert second.retry_after_s == pytest.approx(30.0, abs=0.2)
    assert api.now() == began_s
    assert len(api.sends) == 1


def test_a_wait_that_closing_ended_is_not_begun_again(made: Make) -> None:
    api = made(Answer(429, headers={"Retry-After": "3"}), settings=ONCE)
    failed(api)
    api.woken = api.full = True
    assert isinstance(failed(api), QueueFull)
    assert len(api.slept) == 1


def test_a_rate_of_ones_own_is_called_that(made: Make) -> None:
    rules = quiet(rate_limit=RateLimit(calls_per_s=0.1, burst_calls=1))
    api = made(settings=rules)
    api.get(id=1)
    error = failed(api)
    assert "raise RateLimit.calls_per_s" in str(error)
    assert "asked for a pause" not in str(error)


def test_a_limit_the_api_told_is_called_that(made: Make) -> None:
    told = {"X-RateLimit-Limit": "9", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"}
    rules = quiet(rate_limit=RateLimit(calls_per_s=100.0))
    api = made(Answer(headers=told), settings=rules)
    api.get(id=1)
    assert "the API asked for a pause" in str(failed(api))


def test_a_wait_for_all_the_time_there_is_takes_no_token(made: Make) -> None:
    rules = quiet(rate_limit=RateLimit(calls_per_s=0.5, burst_calls=1), retry=Retry(max_attempts=1))
    api = made(Answer(takes_s=0.0), settings=rules)
    api.get(id=1)
    for _ in range(3):
        assert isinstance(failed(api, timeout=2.0), Throttled)
    assert api.slept == []
    assert api.get(id=2, timeout=2.5).source == "origin"
    assert api.slept == [2.0], "those who gave up took nobody's turn"


def test_a_closed_client_says_so_whatever_else_there_is_to_say(made: Make) -> None:
    paused = made(Answer(429, headers={"Retry-After": "30"}), settings=ONCE)
    failed(paused)
    rules = quiet(breaker=Breaker(min_calls=1), retry=Retry(max_attempts=1))
    broken = made(DOWN, settings=rules)
    failed(broken)
    assert isinstance(failed(broken), CircuitOpen)
    for api in (paused, broken):
        api.api.fetcher.refuse()
        assert isinstance(failed(api), ClientClosedError)


def test_what_failed_before_is_the_cause(made: Make) -> None:
    rules = quiet(breaker=Breaker(min_calls=2))
    api = made(Answer(500), settings=rules)
    error = failed(api)
    assert isinstance(error, CircuitOpen)
    assert isinstance(error.__cause__, ServerError)
    assert len(error.attempts) == 2
    assert failed(api).__cause__ is None


def test_who_cannot_enter_gives_the_token_back(made: Make) -> None:
    rules = quiet(rate_limit=RateLimit(calls_per_s=0.1, burst_calls=1))
    api = made(settings=rules)
    api.full = True
    assert isinstance(failed(api), QueueFull)
    api.full = False
    assert api.get().source == "origin"
    assert api.slept == []


def test_the_rate_is_kept(made: Make) -> None:
    rules = quiet(rate_limit=RateLimit(calls_per_s=2.0, burst_calls=1), timeout_s=100.0)
    api = made(Answer(takes_s=0.0), settings=rules)
    api.get_many(range(10))
    at = [at_s for at_s, _, _ in api.sends]
    assert at == pytest.approx([1000.0 + 0.5 * n for n in range(10)])


def test_who_cannot_enter_gives_token_and_probe_back(made: Make) -> None:
    rules = quiet(
        rate_limit=RateLimit(calls_per_s=0.5, burst_calls=1),
        breaker=Breaker(min_calls=1, open_s=1.0, probe_calls=1),
        retry=Retry(max_attempts=1),
    )
    api = made([DOWN, Answer(), Answer()], settings=rules)
    failed(api)
    assert api.stats.breaker == "open"
    api.pass_time(5.0)
    api.full = True
    assert isinstance(failed(api), QueueFull)
    api.full = False
    assert api.get().source == "origin", "the probe's place and the token are free again"
    assert api.stats.breaker == "closed"


def test_a_retry_lines_up_as_one_that_had_a_place(made: Make) -> None:
    def fills(*_: object) -> Breaks:
        api.full = True
        return DOWN

    api = made(fills)
    assert isinstance(failed(api), QueueFull)
    assert isinstance(failed(api), QueueFull), "from the start"
    assert api.came_again == [True, False]


def test_the_breaker_refuses_at_once_and_lets_probes_through(made: Make) -> None:
    down = [True]
    rules = quiet(breaker=Breaker(min_calls=4, open_s=5.0), retry=Retry(max_attempts=1))
    api = made(lambda *_: DOWN if down[0] else Answer(), settings=rules)
    for _ in range(4):
        failed(api)
    for _ in range(10):
        assert isinstance(failed(api), CircuitOpen)
    assert (len(api.sends), api.stats.refused) == (4, 10)
    down[0] = False
    api.pass_time(5.1)
    assert {api.get(id=one).source for one in range(5)} == {"origin"}
    assert api.stats.breaker == "closed"


@pytest.mark.parametrize("step", [Answer(429), Answer(400), Answer(404), Answer(301)])
def test_what_is_no_fault_of_the_api_opens_nothing(made: Make, step: Answer) -> None:
    rules = quiet(breaker=Breaker(min_calls=2), retry=Retry(max_attempts=1))
    api = made(step, settings=rules)
    kinds = set()
    for one in range(10):
        try:
            api.get(id=one)
        except ServingError as error:
            kinds.add(type(error))
    assert CircuitOpen not in kinds
    assert len(api.sends) == 10
    assert api.stats.breaker == "closed"


def test_connections_that_died_idle_open_nothing(made: Make) -> None:
    rules = quiet(breaker=Breaker(min_calls=2, failure_ratio=0.1))
    steps = [Breaks(FaultKind.STALE, takes_s=0.0), Answer()] * 10
    api = made(steps, settings=rules)
    assert {api.get(id=one).source for one in range(10)} == {"origin"}
    stats = api.stats
    assert (stats.breaker, stats.error_rate, stats.requests) == ("closed", 0.0, 20)


def test_without_a_breaker_nothing_is_refused(made: Make) -> None:
    api = made(DOWN, settings=quiet(breaker=None, retry=Retry(max_attempts=1)))
    for _ in range(50):
        assert isinstance(failed(api), ConnectionFailed)
    assert api.stats.breaker is None


def test_retries_have_a_quota(made: Make) -> None:
    rules = quiet(breaker=None, retry=Retry(max_attempts=3, quota_capacity=100))
    api = made(DOWN, settings=rules)
    for _ in range(50):
        failed(api)
    assert len(api.sends) == 50 + 100 // 14
    assert failed(api).stopped_by == "quota"


# -- post --------------------------------------------------------------------------------------


def post(api: FakeApi, json: Any, *, cacheable: bool, **values: Any) -> Any:
    _source, asked = api.api.post(
        "/scores/{id}", values or {"id": 1}, None, json, (), None, cacheable=cacheable
    )
    if cacheable:
        return api.run(api.api.lookup.one(_source, asked, 5.0))
    return api.run(api.api.send(asked, 5.0))


def test_a_post_is_sent_each_time_and_once(made: Make) -> None:
    api = made([Answer(value=1), Answer(500), Answer(value=2)])
    assert post(api, {"b": 1, "a": [1.5]}, cacheable=False).value == 1
    with pytest.raises(ServerError) as caught:
        post(api, {}, cacheable=False)
    assert len(api.sends) == 2, "what may have been done is not done twice"
    assert caught.value.sent == "maybe"
    _, target, body = api.sends[0]
    assert (target.method, target.path, body) == ("POST", "/v1/scores/1", b'{"a":[1.5],"b":1}')
    assert ("Content-Type", "application/json") in target.headers
    assert api.stats.misses == 2


def test_a_post_that_only_looks_up_is_kept_by_its_body(made: Make) -> None:
    api = made(lambda _, body: Answer(value=body.decode()))
    found = [post(api, json, cacheable=True) for json in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {})]
    assert [one.source for one in found] == ["origin", "fresh", "origin"]
    assert post(made([Answer(500), Answer()]), {}, cacheable=True).source == "origin"
    api.forget("/scores/{id}", id=1)
    assert post(api, {}, cacheable=True).source == "origin"


def test_a_post_is_never_conditional(made: Make) -> None:
    api = made(Answer(headers={"ETag": '"e"', "Cache-Control": "no-cache"}))
    for _ in range(2):
        assert post(api, {}, cacheable=True).source == "origin"
    assert all("If-None-Match" not in dict(target.headers) for _, target, _ in api.sends)


def test_nothing_there_is_an_error_where_it_is_no_answer(made: Make) -> None:
    with pytest.raises(NotFound):
        post(made(Answer(404)), {}, cacheable=False)
    assert post(made(Answer(404)), {}, cacheable=True).source == "negative"


@pytest.mark.parametrize("json", [object(), {"a": {1, 2}}, 1 << 70, "\ud800"])
def test_a_body_that_cannot_be_sent(made: Make, json: Any) -> None:
    api = made()
    with pytest.raises(PayloadError):
        post(api, json, cacheable=False)
    assert not api.sends


def test_an_error_leaves_nothing_to_collect() -> None:
    def call(api: FakeApi) -> None:
        for ask in (
            lambda: api.get(id=1),
            lambda: api.get_many([1]),
            lambda: post(api, {}, cacheable=False),
        ):
            try:
                ask()
            except ServingError:
                continue
            raise AssertionError

    for step in (Answer(500), DOWN, Answer(429, headers={"Retry-After": "99"}), Answer(body=b"<")):
        api = FakeApi(step, settings=quiet(breaker=None))
        call(api)
        gc.collect()
        gc.disable()
        try:
            call(api)
            assert gc.collect() == 0
        finally:
            gc.enable()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupt_keeps_no_place_and_no_flight(made: Make, stop: type[BaseException]) -> None:
    rules = quiet(
        breaker=Breaker(min_calls=1, open_s=1.0, probe_calls=1), retry=Retry(max_attempts=1)
    )
    interrupted = [False]

    def script(*_: Any) -> Answer | Breaks:
        if interrupted[0]:
            interrupted[0] = False
            raise stop
        return Answer() if len(api.sends) > 1 else DOWN

    api = made(script, settings=rules)
    failed(api)
    api.pass_time(1.1)
    interrupted[0] = True
    with pytest.raises(stop):
        api.get()
    assert (api.inside, api.flights._flights) == (0, {})
    assert api.get().source == "origin", "the probe's place is free again"
