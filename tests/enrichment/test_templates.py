"""Values are segments of a path, whatever they hold."""

from __future__ import annotations

from urllib.parse import unquote
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.enrichment.templates import Template, params_of, query_of
from servingclient.errors import ConfigError, PayloadError

USER = Template("/users/{id}")
WHO = UUID("12345678-1234-5678-1234-567812345678")


def path(template: str, **values: object) -> str:
    plan = Template(template)
    return plan.path(plan.segments(values))


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        (7, "7"),
        (-1, "-1"),
        (np.int64(7), "7"),
        ("7", "7"),
        ("a b", "a%20b"),
        ("../admin", "..%2Fadmin"),
        ("a/b", "a%2Fb"),
        ("%2e%2e", "%252e%252e"),
        ("a?b#c", "a%3Fb%23c"),
        ("é", "%C3%A9"),
        ("a\r\nX-Evil: 1", "a%0D%0AX-Evil%3A%201"),
        ("...", "..."),
        (WHO, str(WHO)),
    ],
)
def test_a_value_is_one_segment(value: object, segment: str) -> None:
    assert path("/users/{id}", id=value) == f"/users/{segment}"


@pytest.mark.parametrize("value", ["", ".", "..", "x" * 1025, "\ud800"])
def test_a_text_that_is_no_segment_is_refused(value: str) -> None:
    with pytest.raises(ConfigError):
        path("/users/{id}", id=value)


@pytest.mark.parametrize("value", [None, True, 1.0, b"7", [7], {"a": 1}, object(), np.float64(1)])
def test_a_value_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="for id must be text"):
        path("/users/{id}", id=value)


def test_a_subclass_of_text_is_judged_like_text() -> None:
    class Word(str):
        __slots__ = ()

    assert path("/users/{id}", id=Word("a/b")) == "/users/a%2Fb"
    for bad in ("", ".."):
        with pytest.raises(ConfigError):
            path("/users/{id}", id=Word(bad))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "needs id"),
        ({"ids": 7}, "needs id and has no place for ids"),
        ({"id": 7, "page": 1}, "has no place for page"),
    ],
)
def test_missing_and_surplus_values_are_named(values: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        USER.segments(values)
    assert "7" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "users/{id}",
        None,
        7,
        "/users/{id",
        "/users/{}",
        "/users/{1}",
        "/users/{a b}",
        "/{id}/{id}",
        "/users/{params}",
        "/users/{timeout}",
        "/users?id={id}",
        "//evil.com/{id}",
        "//",
        "/users//{id}",
        "/users/%2e%2e/{id}",
        "/users/%2E./{id}",
        "/users/.%2e",
        "/users/%2e",
        "/users/..%2fadmin/{id}",
        "/users/x%5c..",
        "/users#{id}",
        "/a b",
        "/é",
        "/50%",
        "/../{id}",
        "/a/./{id}",
        "/a\nb",
    ],
)
def test_a_malformed_template_is_refused(text: object) -> None:
    with pytest.raises(ConfigError):
        Template(text)


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "/users/",
        "/v1/{a}/b/{c}.json",
        "/x:y/{id}",
        "/a%20b",
        "/...",
        "/.well-known/{a}",
        "/a%2Fb",
    ],
)
def test_a_template_may_look_so(text: str) -> None:
    plan = Template(text)
    values = dict.fromkeys(plan.names, "v")
    assert plan.path(plan.segments(values)) == text.replace("{a}", "v").replace("{c}", "v").replace(
        "{id}", "v"
    )


@given(st.text(min_size=1, max_size=50).filter(lambda t: t not in (".", "..")))
def test_any_text_comes_back_from_its_one_segment(text: str) -> None:
    try:
        made = path("/a/{id}/b", id=text)
    except ConfigError:
        assert any("\ud800" <= c <= "\udfff" for c in text)
        return
    assert made.isascii()
    _, first, segment, last = made.split("/")
    assert (first, last) == ("a", "b")
    assert unquote(segment) == text
    assert not set(segment) & set("?#\r\n ")


def test_parameters_are_sorted_and_lists_keep_their_order() -> None:
    found = params_of({"b": [2, 1], "a": True, "c": "x&y=z", "d": 1.5, "e": WHO, "f": []})
    assert found == (
        ("a", "true"),
        ("b", "2"),
        ("b", "1"),
        ("c", "x&y=z"),
        ("d", "1.5"),
        ("e", str(WHO)),
    )
    assert query_of(found).startswith("?a=true&b=2&b=1&c=x%26y%3Dz&d=1.5&e=")
    assert query_of(params_of({"a": "1 2/3"})) == "?a=1%202%2F3"
    assert params_of({"a": 1, "b": 2}) == params_of({"b": 2, "a": 1})
    assert query_of(()) == ""


@pytest.mark.parametrize(
    "params", [[("a", 1)], "a=1", 0, {"a": None}, {"": 1}, {1: 1}, {"a": {"b": 1}}, {"a": [None]}]
)
def test_other_parameters_are_refused(params: object) -> None:
    with pytest.raises(ConfigError, match="params"):
        params_of(params)  # type: ignore[arg-type]


def test_half_a_pair_is_refused_in_parameters() -> None:
    with pytest.raises(ConfigError, match="surrogate"):
        query_of((("a", "\ud800"),))


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), np.float64("nan")])
def test_a_parameter_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(PayloadError, match="params: limit is"):
        params_of({"a": 1.5, "limit": [1.0, value]})


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**100), np.array([1, 2]), np.array(["a"])],
    ids=["huge", "large", "array", "texts"],
)
def test_odd_values_are_refused_in_our_own_words(value: object) -> None:
    with pytest.raises(ConfigError, match="value for id"):
        path("/users/{id}", id=value)


def test_numbers_of_numpy_are_parameters() -> None:
    params = params_of({"a": np.int64(3), "b": np.float64(0.5), "c": 2.0})
    assert params == (("a", "3"), ("b", "0.5"), ("c", "2.0"))
    with pytest.raises(ConfigError):
        params_of({"a": 10**5000})
