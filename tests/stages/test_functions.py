"""Which functions a client takes, and what it says of others."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from servingclient import ConfigError, EnrichmentStats
from servingclient.stages.functions import Stages, changed_stages, checked_stages

NONE = Stages()


def plain(rows: Any) -> Any:
    return rows


async def asynchronous(rows: Any) -> Any:
    return rows


def yields(rows: Any) -> Iterator[Any]:
    yield rows


async def yields_later(rows: Any) -> AsyncIterator[Any]:
    yield rows


class Called:
    def __call__(self, rows: Any) -> Any:
        return rows


class CalledLater:
    async def __call__(self, rows: Any) -> Any:
        return rows


class Api:
    def stats(self) -> EnrichmentStats:
        return EnrichmentStats("https://api.example")


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (plain, False),
        (Called(), False),
        (functools.partial(plain), False),
        (list, False),
        (asynchronous, True),
        (CalledLater(), True),
        (functools.partial(asynchronous), True),
    ],
)
def test_anything_that_is_called_is_taken(function: Any, is_async: bool) -> None:
    stages = checked_stages({"enrich": function}, NONE, asynchronous=True)
    assert stages.enrich == ("enrich", function, is_async)
    assert stages.any
    if is_async:
        with pytest.raises(ConfigError, match=r"^enrich is an async function.*AsyncServingClient"):
            checked_stages({"enrich": function}, NONE, asynchronous=False)
    else:
        assert checked_stages({"enrich": function}, NONE, asynchronous=False) == stages


@pytest.mark.parametrize("name", ["preprocess", "enrich", "postprocess"])
@pytest.mark.parametrize(
    ("function", "says"),
    [
        (3, "must be a function, not of type int"),
        ("rows", "must be a function, not of type str"),
        (yields, "generator function; return the result"),
        (yields_later, "generator function; return the result"),
    ],
)
def test_anything_else_is_refused(name: str, function: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} .*{says}"):
        checked_stages({name: function}, NONE, asynchronous=True)


@pytest.mark.parametrize("fallback", ["raise", "null"])
def test_what_becomes_of_a_failed_enrichment_is_chosen(fallback: str) -> None:
    given = {"enrich": plain, "on_enrichment_error": fallback}
    assert checked_stages(given, NONE, asynchronous=False).on_enrichment_error == fallback


@pytest.mark.parametrize("fallback", ["nil", None, 3, True, yields])
def test_a_wrong_choice_is_refused(fallback: object) -> None:
    given = {"enrich": plain, "on_enrichment_error": fallback}
    with pytest.raises(ConfigError, match=r"^on_enrichment_error is"):
        checked_stages(given, NONE, asynchronous=True)


def test_a_choice_without_enrich_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="without enrich"):
        checked_stages({"on_enrichment_error": "null"}, NONE, asynchronous=True)
    checked_stages({"on_enrichment_error": "raise", "enrich": None}, NONE, asynchronous=True)


@pytest.mark.parametrize("apis", [3, Api(), [object()], [Api]])
def test_apis_are_a_list_of_clients(apis: object) -> None:
    with pytest.raises(ConfigError, match=r"^apis "):
        checked_stages({"apis": apis}, NONE, asynchronous=False)


def test_no_stage_is_no_stages() -> None:
    assert not NONE.any
    given = {"preprocess": None, "enrich": None, "postprocess": None, "apis": [Api()]}
    assert not checked_stages(given, NONE, asynchronous=False).any


def test_a_copy_changes_what_is_named() -> None:
    api = Api()
    given = {"preprocess": plain, "enrich": plain, "on_enrichment_error": "null", "apis": [api]}
    before = checked_stages(given, NONE, asynchronous=False)
    changes = {"enrich": None, "postprocess": list, "timeout_s": 2.0}
    stages, others = changed_stages(changes, before, asynchronous=False)
    assert others == {"timeout_s": 2.0}
    assert stages.preprocess == before.preprocess
    assert stages.enrich is None
    assert stages.postprocess == ("postprocess", list, False)
    assert (stages.on_enrichment_error, stages.apis) == ("null", (api,))
    assert changed_stages({}, before, asynchronous=False) == (before, {})
