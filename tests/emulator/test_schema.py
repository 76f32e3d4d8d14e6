"""A signature's types, beyond the facts that are put to the real MLflow server in tests/peers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from servingclient.emulator import Emulator
from tests.emulator.peer import call


def convert(emu: Emulator, kind: str, value: Any) -> Any:
    """What the model gets for one value of one column, or the refusal."""
    seen: list[Any] = []
    emu.add_endpoint("typed", seen.append, schema={"c": kind})
    answer = call(emu, "typed", {"dataframe_records": [{"c": value, "extra": 1}]})
    if answer.status == 200:
        ((row,),) = seen
        assert list(row) == ["c"]
        return row["c"]
    assert answer.status == 400
    return answer.json()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("double", 1, 1.0),
        ("double", "1.5", 1.5),
        ("double", True, 1.0),
        ("float", 2.5, 2.5),
        ("long", 2.5, 2),
        ("long", "7", 7),
        ("integer", True, 1),
        ("boolean", "x", True),
        ("boolean", None, False),
        ("binary", "YWJj", b"abc"),
        ("binary", "!!", b""),
        ("string", 5, 5),
        ("string", None, None),
        ("datetime", "2024-05-01T10:00:00", datetime(2024, 5, 1, 10)),  # noqa: DTZ001
        ("datetime", "2024-05-01", datetime(2024, 5, 1)),  # noqa: DTZ001
        ("datetime", "2024-05-01T10:00:00.123456789", datetime(2024, 5, 1, 10, 0, 0, 123456)),  # noqa: DTZ001
        ("datetime", 3_000_000_000, datetime(1970, 1, 1, 0, 0, 3)),  # noqa: DTZ001
        ("datetime", None, None),
    ],
)
def test_accepted(emu: Emulator, kind: str, value: Any, expected: Any) -> None:
    got = convert(emu, kind, value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("double", "x", "column c to type 'float64'. Error: 'ValueError(\"could not convert"),
        ("double", [1], "setting an array element with a sequence."),
        ("double", {"x": 1}, "float() argument must be a string or a real number, not 'dict'"),
        ("long", None, "column c to type 'int64'. Error: 'TypeError("),
        ("long", "x", "invalid literal for int() with base 10: 'x'"),
        ("integer", "x", "column c to type 'int32'"),
        ("binary", None, "encoding without a string argument"),
        ("binary", 5, "encoding without a string argument"),
        ("datetime", "soon", "Unknown datetime string format, unable to parse: soon"),
        ("datetime", True, "dtype bool cannot be converted to datetime64[ns]"),
        ("datetime", [1], "is not convertible to datetime"),
    ],
)
def test_refused(emu: Emulator, kind: str, value: Any, words: str) -> None:
    refusal = convert(emu, kind, value)
    assert refusal["error_code"] == "BAD_REQUEST"
    assert words in refusal["message"]


@pytest.mark.parametrize(
    "value", ["2024-05-01T10:00:00Z", "2024-05-01T10:00:00+02:00", "2024-05-01T10:00:00.5Z"]
)
def test_a_zone_is_a_schema_failure(emu: Emulator, value: str) -> None:
    refusal = convert(emu, "datetime", value)
    assert refusal["error_class"] == "SCHEMA_ENFORCEMENT_FAILED"
    assert "timezone-naive" in refusal["message"]


def test_a_missing_column_is_named_and_the_data_echoed(emu: Emulator) -> None:
    emu.add_endpoint("typed", schema={"a": "double", "b": "long", "s?": "string"})
    answer = call(emu, "typed", {"dataframe_records": [{"a": 1, "zz": "private"}]})
    assert answer.status == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert answer.json()["sqlstate"] == "KAM01"
    assert "Model is missing inputs ['b']. Note that there were extra inputs: ['zz']." in (
        answer.message
    )
    assert "'b': long (required), 's': string (optional)" in answer.message
    assert "private" in answer.message


def test_a_conversion_fails_before_a_missing_column_is_noticed(emu: Emulator) -> None:
    emu.add_endpoint("typed", schema={"a": "double", "b": "long"})
    answer = call(emu, "typed", {"dataframe_records": [{"a": "x"}]})
    assert "Failed to convert column a" in answer.message


def test_an_optional_column_may_be_missing(emu: Emulator) -> None:
    emu.add_endpoint("typed", schema={"a": "double", "s?": "string"})
    assert call(emu, "typed", {"dataframe_records": [{"a": 1}]}).json() == {"predictions": [1.0]}


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"inputs": {"a": [1.5], "b": [2.9]}}, 200),
        ({"inputs": [{"a": 1.5, "b": 2}]}, 200),
        ({"instances": [{"a": 1.5, "b": 2}]}, 200),
        ({"inputs": {"a": ["x"], "b": [2]}}, 400),
        ({"inputs": {"a": [1.5]}}, 400),
        ({"instances": [[1.5, 2]]}, 400),
        ({"inputs": 5}, 400),
    ],
)
def test_the_other_forms_are_checked_too(emu: Emulator, value: Any, status: int) -> None:
    emu.add_endpoint("typed", schema={"a": "double", "b": "long"})
    answer = call(emu, "typed", value)
    assert answer.status == status
    if status == 200:
        assert answer.json() == {"predictions": [3.5]}
    else:
        assert not emu.executions("typed")


def test_params_must_be_an_object_for_a_model_that_takes_them(emu: Emulator) -> None:
    emu.add_endpoint("typed", lambda rows, params: [1], schema={"a": "double"})
    emu.add_endpoint("plain", lambda rows: [1], schema={"a": "double"})
    body = {"dataframe_records": [{"a": 1}], "params": 3}
    refused = call(emu, "typed", body)
    assert refused.status == 400
    assert "Parameters must be a dictionary. Got type 'int'." in refused.message
    assert call(emu, "plain", body).status == 200
