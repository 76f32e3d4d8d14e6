"""What a ``Scorer`` does with a batch needs no Ray: the types of its columns, what is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from servingclient import ConfigError
from servingclient.emulator import Emulator
from servingclient.integrations.ray import Scorer
from servingclient.settings import Settings, Tls

FORMATS = ["numpy", "pandas", "pyarrow"]
TEXT = {"numpy": {"object"}, "pandas": {"object", "str"}, "pyarrow": {"string"}}
"""What a column of text may be; pandas 3 has a type for it."""


@pytest.fixture
def emu() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.add_endpoint("echo", echo="id", poison=-1.0)
        yield emulator


@pytest.fixture
def scorer(emu: Emulator) -> Iterator[Scorer]:
    settings = Settings(tls=Tls(ca_file=emu.ca_file))
    made = Scorer("echo", host=emu.host, token=emu.token, settings=settings)
    yield made
    made._client.close()


def batch(form: str, ids: list[Any], a: float) -> Any:
    columns = {"id": ids, "a": [a] * len(ids)}
    if form == "pyarrow":
        return pa.table(columns)
    if form == "pandas":
        return pd.DataFrame(columns)
    return {name: np.array(values) for name, values in columns.items()}


def told(scored: Any, name: str) -> tuple[str, list[Any]]:
    """The type of a column, and what it holds."""
    if isinstance(scored, pa.Table):
        return str(scored.column(name).type), scored.column(name).to_pylist()
    return str(scored[name].dtype), list(scored[name])


@pytest.mark.parametrize("form", FORMATS)
def test_predictions_are_64_bit_floats_also_where_there_is_none(scorer: Scorer, form: str) -> None:
    double = "double" if form == "pyarrow" else "float64"
    none = scorer(batch(form, [1.0, 2.0], a=-1.0))
    some = scorer(batch(form, [1.0, 2.0], a=1.0))
    again = scorer(batch(form, [1.0, 2.0], a=-1.0))
    for scored in (none, again):
        kind, values = told(scored, "prediction")
        assert kind == double
        assert [pd.isna(value) for value in values] == [True, True]
        kind, errors = told(scored, "prediction_error")
        assert kind in TEXT[form]
        assert all(error.startswith("BadRequest: ") for error in errors)
    assert told(some, "prediction") == (double, [1.0, 2.0])
    kind, errors = told(some, "prediction_error")
    assert kind in TEXT[form]
    assert errors == [None, None]


@pytest.mark.parametrize("form", FORMATS)
def test_a_batch_without_a_prediction_is_like_the_one_before(scorer: Scorer, form: str) -> None:
    for a, expected in ((1.0, ["x", "y"]), (-1.0, [None, None])):
        kind, values = told(scorer(batch(form, ["x", "y"], a=a)), "prediction")
        assert kind in TEXT[form]
        assert values == expected


@pytest.mark.parametrize("form", ["pandas", "pyarrow"])
def test_it_scores_where_ray_is_not_installed(
    scorer: Scorer, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert told(scorer(batch(form, [1.0], a=1.0)), "prediction")[1] == [1.0]


def test_it_says_what_to_install(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    given = batch("numpy", [1.0], a=1.0)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"needs pandas, which is not installed .* pip install"):
        scorer(given)
