"""What is asked for differs exactly when its key does, and a key tells nobody what it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.enrichment.keys import Keys

API = "https://api.example.com/v1"

texts = st.text(max_size=5)
asked = st.tuples(
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/a/{x}/{y}", "/b/{x}/{y}"]),
    st.tuples(texts, texts),
    st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    st.binary(max_size=4),
)


def keys(principal: str = "me", api: str = API, *, hashed: bool = False) -> Keys:
    return Keys(api, principal, hashed=hashed)


@given(asked, asked, st.booleans())
def test_other_questions_have_other_keys(one: tuple, other: tuple, hashed: bool) -> None:
    made = keys(hashed=hashed)
    first, second = made.key(*one), made.key(*other)
    assert (first == second) == (one == other)
    assert (made.shared(first) == made.shared(second)) == (one == other)


def test_a_body_without_bytes_is_no_body() -> None:
    made = keys()
    assert made.key("GET", "/a", (), ()) == made.key("GET", "/a", (), (), b"")


@given(asked)
def test_principals_and_apis_never_meet(one: tuple) -> None:
    for hashed in (False, True):
        mine = keys(hashed=hashed)
        for others in (keys("you", hashed=hashed), keys(api=f"{API}/2", hashed=hashed)):
            assert mine.shared(mine.key(*one)) != others.shared(others.key(*one))
        assert mine.key(*one) != keys("you", hashed=hashed).key(*one)


@given(asked)
def test_processes_agree_on_shared_keys_hashed_or_not(one: tuple) -> None:
    plain, hashed = keys(), keys(hashed=True)
    assert plain.shared(plain.key(*one)) == hashed.shared(hashed.key(*one))
    assert plain.shared(plain.key(*one)) == keys().shared(keys().key(*one))


@pytest.mark.parametrize("hashed", [False, True])
def test_no_value_stands_in_a_shared_key(hashed: bool) -> None:
    made = keys("principal-canary", hashed=hashed)
    values, params = ("anna.canary@example.com",), (("token", "canary-2"),)
    key = made.key("POST", "/users/{id}", values, params, b"canary-3")
    shown = made.shared(key) + made.tag("canary-4") + made.resource("/users/{id}", values)
    assert "canary" not in shown
    if hashed:
        assert "canary-2" not in repr(key)
        assert "anna" not in repr(key)


def test_a_shared_key_is_found_by_the_start_of_its_template() -> None:
    made = keys()
    key = made.shared(made.key("GET", "/users/{id}/cards", ("7",), ()))
    assert key.startswith(made.prefix("/users/"))
    assert key.startswith(made.prefix("/users/{id}/cards") + "|")
    assert not key.startswith(made.prefix("/users/{id}") + "|")


def test_a_tag_is_the_same_for_all_principals_and_a_resource_is_not() -> None:
    assert keys().tag("user:7") == keys("you").tag("user:7")
    assert keys().tag("user:7") != keys().tag("user:8")
    assert keys().tag("user:7") != keys(api="https://other").tag("user:7")
    assert keys().resource("/u/{id}", ("7",)) != keys("you").resource("/u/{id}", ("7",))
    assert keys().resource("/u/{id}", ("7",)) != keys().resource("/v/{id}", ("7",))


def test_what_lies_in_shared_caches_is_found_again() -> None:
    # a change here makes every shared entry of older versions unknown: raise SCHEMA with it
    keys = Keys("a", "p", hashed=False)
    found = keys.shared(keys.key("GET", "/u/{id}", ("7", "é"), (("a", "1"),), b"x"))
    assert found == "a|1|/u/{id}|GET|3d823c1d172b35a5dbd5deb218665f6495fdf102"
