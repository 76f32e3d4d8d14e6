"""A secret shows itself to no one who did not ask by name (A5)."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from servingclient.auth.secret import Secret, quoted

CANARY = "canary-7f3a"


def test_every_way_of_showing_it_gives_stars() -> None:
    secret = Secret(CANARY)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{secret:>40}",
        f"{secret}",
        str([secret]),
        str({"x": secret}),
    ]
    assert all("***" in one for one in shown)
    assert CANARY not in "".join(shown)
    assert secret.reveal() == CANARY


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="make the client where it is used"):
        pickle.dumps({"deep": [Secret(CANARY)]}, protocol)


def test_copies_are_itself_and_json_refuses_it() -> None:
    secret = Secret(CANARY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert not hasattr(secret, "__dict__")


def test_equal_texts_are_equal_secrets_and_unlike_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))


@pytest.mark.parametrize(
    "text",
    [
        f"refused {CANARY}",
        "header Authorization: Bearer canaryabcdef12",
        "token eyJcanary.eyJcanary.canary",
        "client_secret=canary-long-enough",
        "dapi0123456789abcdef canary"[:20],
    ],
)
def test_words_of_others_are_cleaned_before_they_are_quoted(text: str) -> None:
    assert "canary" not in quoted(text, [Secret(CANARY), Secret("")])


def test_a_quote_is_one_short_line() -> None:
    line = quoted("a\n b\t" + "x" * 1000)
    assert line.startswith("a b xxx")
    assert len(line) <= 300
