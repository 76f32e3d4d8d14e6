"""Every setting is frozen, keyword-only, reasoned, and written once."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
from collections.abc import Iterator

import pytest

from servingclient import settings
from servingclient.settings import EnrichmentSettings, Settings

GROUPS = [
    kind
    for _, kind in inspect.getmembers(settings, inspect.isclass)
    if dataclasses.is_dataclass(kind) and kind.__module__.startswith(settings.__name__)
]
FIELDS = [(group, field) for group in GROUPS for field in dataclasses.fields(group)]

# figures without a unit: counts and shares
UNITLESS = re.compile(
    r"jitter|\w*_(calls|processes|factor|share|samples|in_flight|attempts|lanes)|prewarm|quota_\w+|"
    r"\w+_cost|\w+_credit|smoothing|tolerance|quantile|\w+_digits|\w+_level|\w+_entries|\w+_ratio|"
    r"\w+_threads"
)


def documented(group: type) -> Iterator[tuple[str, str]]:
    """Names of fields with the text that stands below each."""
    body = ast.parse(inspect.getsource(group)).body[0].body  # type: ignore[attr-defined]
    for field, below in itertools.pairwise(body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_setting_gives_its_reason(group: type) -> None:
    reasons = dict(documented(group))
    assert list(reasons) == [field.name for field in dataclasses.fields(group)]
    assert all(reasons.values())
    assert group.__doc__


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_settings_are_frozen_slotted_and_keyword_only(group: type) -> None:
    assert group.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(group)
    assert all(field.kw_only for field in dataclasses.fields(group))
    assert hash(group()) == hash(group())
    assert group() == group()


@pytest.mark.parametrize(
    ("group", "field"), FIELDS, ids=[f"{g.__name__}.{f.name}" for g, f in FIELDS]
)
def test_figures_carry_their_unit(group: type, field: dataclasses.Field[object]) -> None:
    if re.fullmatch(r"(int|float)( \| None)?", str(field.type)):
        assert UNITLESS.search(field.name) or re.search(r"_(s|ms|bytes|rows)$", field.name)


def test_every_group_is_reached_from_settings() -> None:
    annotated = {
        str(field.type).partition(" |")[0]
        for root in (Settings, EnrichmentSettings)
        for field in dataclasses.fields(root)
    }
    assert annotated >= {group.__name__ for group in GROUPS} - {"Settings", "EnrichmentSettings"}
