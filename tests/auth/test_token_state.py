"""When a token is used and renewed. Ids name the tests of databricks-sdk's test_refreshable.py."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from servingclient.auth.secret import Secret
from servingclient.auth.token_state import (
    FOR_EVER,
    Freshness,
    Span,
    Token,
    TokenState,
    lease,
    plan,
)
from servingclient.errors import AuthError, TokenRefreshError
from servingclient.settings import Token as Rules
from tests.trials import machine

RULES = Rules()
HEADERS = (("Authorization", Secret("Bearer canary")),)
FRESH, STALE, EXPIRED = Freshness.FRESH, Freshness.STALE, Freshness.EXPIRED


def token(number: int = 1, lifetime_s: float = 3600.0, asked_s: float = 0.0) -> Token:
    return Token(number, HEADERS, plan(asked_s, lifetime_s, RULES, 0.0))


@pytest.mark.parametrize(
    ("lifetime_s", "chance", "expected"),
    [
        # an hour: 20 min ahead, up to a minute earlier, a minute of margin
        (3600, 0.0, (2400, 3540, 3600)),
        (3600, 1.0, (2340, 3540, 3600)),
        # half its life when that is less
        (1200, 0.0, (600, 1140, 1200)),
        (600, 1.0, (240, 540, 600)),
        # just above twice the margin: the margin eats half of it
        (121, 0.0, (60.5, 61, 121)),
        # short-lived: no margin worth the name, used nearly to its end
        (120, 0.0, (110.4, 117.6, 120)),
        (5, 1.0, (4.6, 4.9, 5)),
        (0.5, 0.0, (0.46, 0.49, 0.5)),
    ],
)
def test_stale_after_computation(
    lifetime_s: float, chance: float, expected: tuple[float, float, float]
) -> None:
    assert plan(0.0, lifetime_s, RULES, chance) == pytest.approx(expected)
    assert plan(100.0, lifetime_s, RULES, chance) == pytest.approx([100 + x for x in expected])


@given(
    st.floats(0.001, 1e7),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 600),
    st.floats(0, 7200),
    st.floats(0, 600),
)
def test_every_plan_is_in_order(
    lifetime_s: float, chance: float, margin_s: float, ahead_s: float, jitter_s: float
) -> None:
    rules = Rules(margin_s=margin_s, refresh_ahead_s=ahead_s, refresh_jitter_s=jitter_s)
    span = plan(50.0, lifetime_s, rules, chance)
    assert 50.0 < span.stale_s <= span.due_s <= span.end_s
    # never more than half its life plus a tenth of jitter is given away, so logins stay bounded
    assert span.stale_s - 50.0 >= 0.39 * lifetime_s


@pytest.mark.parametrize(
    ("lifetime_s", "expected"), [(3600.0, 30.0), (60.0, 15.0), (1.0, 0.25), (0.0, 0.0)]
)
def test_a_borrowed_token_is_asked_for_again_ever_more_often(
    lifetime_s: float, expected: float
) -> None:
    assert lease(10.0, lifetime_s, 30.0) == Span(10.0 + expected, 10 + lifetime_s, 10 + lifetime_s)


@pytest.mark.parametrize(
    ("now_s", "tried", "expected"),
    [
        pytest.param(2399.9, False, FRESH, id="test_fresh_does_not_refresh"),
        pytest.param(2400.0, False, STALE, id="test_stale_does_refresh_async"),
        pytest.param(3539.9, False, STALE, id="stale-until-the-margin"),
        pytest.param(3540.0, False, EXPIRED, id="margin-nobody-has-tried"),
        pytest.param(3540.0, True, STALE, id="margin-tried"),
        pytest.param(3600.0, True, EXPIRED, id="test_expired_does_refresh"),
        pytest.param(2000.0, True, FRESH, id="fresh-whatever-was-tried"),
    ],
)
def test_freshness(now_s: float, tried: bool, expected: Freshness) -> None:
    assert token().freshness(now_s, tried=tried) is expected


def test_no_token_does_refresh() -> None:
    assert TokenState(RULES).usable(0.0) is None


def test_disable_async_no_expiration_does_not_refresh() -> None:
    fixed = Token(1, HEADERS, FOR_EVER)
    assert fixed.freshness(1e12, tried=False) is FRESH


def test_a_refused_token_is_expired_at_once() -> None:
    state, one = TokenState(RULES), token()
    state.put(one)
    assert state.refuse(1, 10.0)
    assert one.freshness(0.0, tried=True) is EXPIRED
    assert state.usable(0.0) is None


def test_refusing_another_token_leaves_this_one() -> None:
    state = TokenState(RULES)
    assert not state.refuse(1, 10.0)
    state.put(token(2))
    assert not state.refuse(1, 10.0)
    assert state.usable(0.0) is state.token


def test_late_async_refresh_does_not_overwrite_blocking_refresh() -> None:
    state, newer = TokenState(RULES), token(2)
    assert state.put(newer)
    assert not state.put(token(1))
    assert not state.put(token(2))
    assert state.token is newer


def test_late_async_refresh_failure_does_not_backoff_newer_token() -> None:
    # a failure never touches the token: it only says when to try again
    state = TokenState(RULES)
    state.put(token(2))
    state.fail(TokenRefreshError("late"), 10.0)
    assert state.usable(11.0) is state.token
    assert token(2).freshness(11.0, tried=state.failing) is FRESH


def test_repeated_calls_during_async_failure_cooldown_do_not_refresh() -> None:
    state = TokenState(RULES)
    state.put(token())
    state.fail(TokenRefreshError("down"), 2500.0)
    assert state.cooling(2500.9) is not None
    assert state.failing


def test_call_after_async_failure_cooldown_refreshes_token_async() -> None:
    state = TokenState(RULES)
    state.put(token())
    state.fail(TokenRefreshError("down"), 2500.0)
    assert state.cooling(2501.0) is None


def test_stale_after_is_recomputed_after_blocking_refresh() -> None:
    state = TokenState(RULES)
    state.put(token(1))
    state.fail(TokenRefreshError("down"), 3700.0)
    newer = token(2, asked_s=3701.0)
    state.put(newer)
    assert not state.failing
    assert state.next_try_s(3702.0) == -math.inf
    assert newer.span.stale_s == 3701.0 + 2400.0


@pytest.mark.parametrize(
    ("has_token", "final", "pauses"),
    [
        (True, False, [1, 2, 4, 8, 16, 32, 60, 60]),
        (False, True, [1, 2, 4, 8, 16, 32, 60, 60]),
        (False, False, [1, 1, 1, 1]),
    ],
)
def test_the_pause_after_failures(has_token: bool, final: bool, pauses: list[float]) -> None:
    state = TokenState(RULES)
    if has_token:
        state.put(token())
    for pause_s in pauses:
        state.fail(TokenRefreshError("down"), 100.0, final=final)
        assert state.next_try_s(100.0) == 100.0 + pause_s


def test_a_long_pause_ends_with_the_token_it_was_for() -> None:
    state = TokenState(RULES)
    state.put(token())
    for _ in range(9):
        state.fail(TokenRefreshError("down"), 3590.0)
    assert state.cooling(3599.0) is not None
    assert state.cooling(3600.0) is None


def test_the_pause_survives_ten_thousand_failures() -> None:
    state = TokenState(RULES)
    for _ in range(10_000):
        state.fail(TokenRefreshError("no"), 0.0, final=True)
    assert state.next_try_s(0.0) == 60.0


def refused(state: TokenState, number: int, now_s: float) -> None:
    state.put(token(number, asked_s=now_s))
    assert state.refuse(number, now_s)


def test_one_refusal_is_what_renewing_is_for() -> None:
    state = TokenState(RULES)
    refused(state, 1, 10.0)
    assert state.cooling(10.0) is None


def test_tokens_refused_in_a_row_make_ever_longer_pauses() -> None:
    state, now_s = TokenState(RULES), 10.0
    refused(state, 1, now_s)
    for number, pause_s in enumerate([1, 2, 4, 8, 16, 32, 60, 60, 60], 2):
        refused(state, number, now_s)
        assert state.next_try_s(now_s) == now_s + pause_s
        error = state.cooling(now_s + pause_s - 0.5)
        assert isinstance(error, AuthError)
        assert f"refused {number} tokens in a row" in str(error)
        assert "tried in 0.5 s" in str(error)
        now_s += pause_s
        assert state.cooling(now_s) is None


def test_a_refusal_told_by_many_counts_once() -> None:
    state = TokenState(RULES)
    refused(state, 1, 10.0)
    refused(state, 2, 10.0)
    for later_s in range(11, 75):
        assert state.refuse(2, later_s)
    assert state.next_try_s(75.0) == 11.0


@pytest.mark.parametrize(
    ("life_s", "first_s", "again_s", "pauses"),
    [
        (3600.0, 0.0, 1.0, True),
        (3600.0, 0.0, 120.0, True),
        (3600.0, 0.0, 121.0, False),  # long after the first: revoked once more
        (5.0, 4.8, 9.3, True),
        (5.0, 4.8, 9.7, False),  # each near its end: refused for its age
    ],
)
def test_a_row_is_of_fresh_tokens_refused_soon_after_each_other(
    life_s: float, first_s: float, again_s: float, pauses: bool
) -> None:
    state = TokenState(RULES)
    state.put(token(1, life_s))
    state.refuse(1, first_s)
    state.put(token(2, life_s, asked_s=first_s))
    state.refuse(2, again_s)
    assert (state.cooling(again_s) is not None) is pauses


def test_a_good_token_ends_the_row() -> None:
    state = TokenState(RULES)
    for number in (1, 2):
        refused(state, number, 10.0)
    state.put(token(3, asked_s=11.0))
    state.put(token(4, asked_s=12.0))  # the third was replaced unrefused
    state.refuse(4, 13.0)
    assert state.cooling(13.0) is None


def test_what_others_refuse_makes_no_pause() -> None:
    state = TokenState(RULES)
    for number in range(1, 9):
        state.put(token(number))
        state.drop(number - 1)  # a late one: another token is here
        assert state.usable(0.0) is state.token
        state.drop(number)
        assert state.usable(0.0) is None
        assert state.cooling(0.0) is None


def test_nor_does_it_end_a_row() -> None:
    state = TokenState(RULES)
    refused(state, 1, 10.0)
    state.put(token(2))
    state.drop(2)
    refused(state, 3, 10.0)
    assert state.next_try_s(10.0) == 11.0


def test_a_login_that_fails_after_a_refusal_pauses_for_itself() -> None:
    state, down = TokenState(RULES), TokenRefreshError("down")
    for number in (1, 2):
        refused(state, number, 10.0)
    state.fail(down, 11.0)
    assert state.cooling(11.5) is down


def test_a_pause_after_refusals_says_how_many_and_for_how_long() -> None:
    state = TokenState(RULES)
    for number in (1, 2):
        state.put(token(number))
        state.refuse(number, 10.0)
    error = state.cooling(10.25)
    assert isinstance(error, AuthError)
    assert str(error) == (
        "The endpoint refused 2 tokens in a row, each soon after it was issued. Another login "
        "would not cure that: check that the principal is active, belongs to this workspace, and "
        "has CAN QUERY on the endpoint. The next login is tried in 0.8 s."
    )


def test_a_refusal_at_the_instant_of_staleness_is_one_of_age() -> None:
    state = TokenState(RULES)
    state.put(token(1))
    state.refuse(1, 2399.0)
    state.put(token(2))
    state.refuse(2, 2400.0)
    assert state.next_try_s(2400.0) == -math.inf


def test_a_new_token_is_at_hand_since_then_and_nobody_refused_it() -> None:
    fresh = Token(7, HEADERS, FOR_EVER, 12.5)
    assert (fresh.since_s, fresh.refused, fresh.dropped, fresh.refusal) == (
        12.5,
        False,
        False,
        None,
    )
    assert Token(7, HEADERS, FOR_EVER).since_s == 0.0


def test_a_token_shows_no_secret_and_is_not_pickled() -> None:
    assert "canary" not in repr(token())
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(token())


class TokenMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, no dead, refused or older token is ever handed out."""

    @initialize()
    def begin(self) -> None:
        self.state = TokenState(RULES)
        self.now_s = 0.0
        self.asked: list[int] = []
        self.number = 0
        self.put_numbers: list[int] = []
        self.refused: set[int] = set()

    @rule()
    def ask(self) -> None:
        self.number += 1
        self.asked.append(self.number)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), lifetime_s=st.sampled_from([1.0, 5.0, 119.0, 130.0, 600.0, 3600.0]))
    def answer(self, data: st.DataObject, lifetime_s: float) -> None:
        number = data.draw(st.sampled_from(self.asked))  # answers come in any order
        self.asked.remove(number)
        newest = max(self.put_numbers, default=0)
        assert self.state.put(token(number, lifetime_s, self.now_s)) is (number > newest)
        if number > newest:
            self.put_numbers.append(number)

    @precondition(lambda self: self.asked)
    @rule(final=st.booleans())
    def fail(self, final: bool) -> None:
        self.asked.pop()
        self.state.fail(TokenRefreshError("x"), self.now_s, final=final)
        assert self.state.failing

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, self.number + 1))
        if self.state.refuse(number, self.now_s):
            self.refused.add(number)
            assert number == self.put_numbers[-1]

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 59.0, 61.0, 1200.0, 4000.0]))
    def advance(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def what_is_handed_out_is_good(self) -> None:
        usable = self.state.usable(self.now_s)
        if usable is not None:
            assert usable.number not in self.refused
            assert usable.number == max(self.put_numbers)
            assert self.now_s < usable.span.end_s

    @invariant()
    def a_pause_ends(self) -> None:
        assert self.state.next_try_s(self.now_s) <= self.now_s + RULES.cooldown_cap_s


TestTokenMachine = TokenMachine.TestCase
TestTokenMachine.settings = machine(60, 30)
