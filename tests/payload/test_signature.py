"""What columns a model takes, read from descriptions as the service documents them, and others."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.payload.signature import (
    Column,
    Output,
    Signature,
    read_outputs,
    read_signatures,
)

# As in Databricks' documentation: a served model's own path alone, two forms, three types.
DOCUMENTED: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "cat-iris", "version": "1"},
    "servers": [{"url": "https://my-workspace.databricks.com/serving-endpoints/cat-iris"}],
    "paths": {
        "/served-models/iris-1/invocations": {
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "oneOf": [
                                    {
                                        "type": "object",
                                        "properties": {
                                            "dataframe_split": {
                                                "type": "object",
                                                "properties": {
                                                    "columns": {
                                                        "description": "required fields: n, x",
                                                        "type": "array",
                                                        "items": {
                                                            "type": "string",
                                                            "enum": ["n", "x", "s", "o"],
                                                        },
                                                    },
                                                    "data": {
                                                        "type": "array",
                                                        "items": {
                                                            "type": "array",
                                                            "prefixItems": [
                                                                {
                                                                    "type": "integer",
                                                                    "format": "int64",
                                                                },
                                                                {
                                                                    "type": "number",
                                                                    "format": "double",
                                                                },
                                                                {"type": "string"},
                                                                {
                                                                    "type": "object",
                                                                    "format": "unknown",
                                                                },
                                                            ],
                                                        },
                                                    },
                                                },
                                            },
                                            "params": {
                                                "type": "object",
                                                "properties": {
                                                    "t": {"type": "number", "default": "0.5"}
                                                },
                                            },
                                        },
                                    },
                                    {
                                        "type": "object",
                                        "properties": {
                                            "dataframe_records": {
                                                "type": "array",
                                                "items": {
                                                    "required": ["n", "x"],
                                                    "type": "object",
                                                    "properties": {
                                                        "n": {
                                                            "type": "integer",
                                                            "format": "int64",
                                                        },
                                                        "x": {
                                                            "type": "number",
                                                            "format": "double",
                                                        },
                                                        "s": {"type": "string"},
                                                        "o": {
                                                            "type": "object",
                                                            "format": "unknown",
                                                        },
                                                    },
                                                },
                                            }
                                        },
                                    },
                                ]
                            }
                        }
                    }
                }
            }
        }
    },
}
PATH = "/served-models/iris-1/invocations"
COLUMNS = {
    "n": Column("long", True),
    "x": Column("double", True),
    "s": Column("string", False),
    "o": Column(None, False),
}


def schema_of(document: dict[str, Any], path: str = PATH) -> dict[str, Any]:
    body = document["paths"][path]["post"]["requestBody"]
    return body["content"]["application/json"]["schema"]


def read(document: Any) -> dict[str | None, Signature]:
    return read_signatures(json.dumps(document).encode())


def changed() -> dict[str, Any]:
    return copy.deepcopy(DOCUMENTED)


def test_the_documented_form_is_read():
    found = read(DOCUMENTED)
    assert found == {"iris-1": Signature(COLUMNS), None: Signature(COLUMNS)}
    assert found[None].required == ["n", "x"]
    assert list(found[None].columns) == ["n", "x", "s", "o"]


def test_records_alone_do_and_so_does_split_alone_but_then_nothing_is_required():
    for at, required in ((0, False), (1, True)):
        document = changed()
        schema = schema_of(document)
        schema["oneOf"] = [schema["oneOf"][at]]
        kinds = {n: (c.kind, c.required) for n, c in read(document)[None].columns.items()}
        assert kinds["n"] == ("long", required)
        assert kinds["s"] == ("string", False)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"type": "integer", "format": "int32"}, "integer"),
        ({"type": "number", "format": "float"}, "float"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "string", "format": "date-time"}, "datetime"),
        ({"type": "string", "format": "byte"}, "binary"),
        ({"type": "string", "format": "uuid"}, None),
        ({"type": "integer"}, None),
        ({"type": ["integer", "null"], "format": "int64"}, None),
        ({"type": "array", "items": {"type": "number"}}, None),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_a_type_that_is_not_known_is_left_open(given, kind):
    document = changed()
    rows = schema_of(document)["oneOf"][1]["properties"]["dataframe_records"]["items"]
    rows["properties"]["x"] = given
    assert read(document)[None].columns["x"] == Column(kind, True)


def test_served_models_of_one_endpoint_may_differ():
    document = changed()
    document["paths"]["/served-models/iris-2/invocations"] = changed()["paths"][PATH]
    assert set(read(document)) == {"iris-1", "iris-2", None}
    rows = schema_of(document)["oneOf"][1]["properties"]["dataframe_records"]["items"]
    rows["required"] = []
    found = read(document)
    assert set(found) == {"iris-1", "iris-2"}  # whose turn it is cannot be told
    document["paths"]["/invocations"] = changed()["paths"][PATH]
    assert read(document)[None] == Signature(COLUMNS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>login</html>",
        b"[]",
        b"null",
        b'"paths"',
        b'{"error_code":"BAD_REQUEST","message":"no signature"}',
        b'{"paths":{}}',
        b'{"paths":{"/invocations":{}}}',
        b'{"paths":{"/invocations":{"post":{"requestBody":[]}}}}',
        b'{"paths":{"/ping":{"get":{}}}}',
    ],
)
def test_what_tells_no_columns_is_no_signature(body):
    assert read_signatures(body) == {}


def test_a_tensor_signature_tells_no_columns():
    document = changed()
    tensor = {"type": "array", "items": {"type": "number"}}
    schema_of(document)["oneOf"] = [{"type": "object", "properties": {"inputs": tensor}}]
    assert read(document) == {}


leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(values, st.data())
def test_whatever_stands_in_its_place_is_no_reason_to_fail(value, data):
    document = changed()
    place: Any = document
    while True:
        at = data.draw(st.sampled_from(sorted(place, key=str) if isinstance(place, dict) else [0]))
        inner = place[at]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            place[at] = value
            break
        place = inner
    for signature in read(document).values():
        assert all(isinstance(column, Column) for column in signature.columns.values())


def describing(items: Any) -> bytes:
    reply = {"type": "object", "properties": {"predictions": {"type": "array", "items": items}}}
    answer = {"200": {"content": {"application/json": {"schema": reply}}}}
    return json.dumps(
        {"paths": {"/served-models/m-1/invocations": {"post": {"responses": answer}}}}
    ).encode()


DOUBLE = {"type": "number", "format": "double"}


@pytest.mark.parametrize(
    ("items", "read"),
    [
        (DOUBLE, Output(kind="double")),
        ({"type": "array", "items": DOUBLE}, Output(items=Output(kind="double"))),
        (
            {"type": "object", "properties": {"label": {"type": "string"}, "score": DOUBLE}},
            Output(fields={"label": Output(kind="string"), "score": Output(kind="double")}),
        ),
    ],
)
def test_what_is_answered_for_a_row_is_read(items: Any, read: Output) -> None:
    assert read_outputs(describing(items)) == {"m-1": read, None: read}


def nested(levels: int) -> Any:
    items: Any = DOUBLE
    for _ in range(levels):
        items = {"type": "array", "items": items}
    return items


@pytest.mark.parametrize(
    "items",
    [
        None,
        {},
        {"type": "object"},
        {"type": "array"},
        {"type": "object", "format": "unknown"},
        {"type": "object", "properties": {"a": DOUBLE, "b": {"type": "object"}}},
        {"type": "object", "properties": [1]},
        nested(200),
    ],
)
def test_what_is_not_told_in_full_is_not_known(items: Any) -> None:
    assert read_outputs(describing(items)) == {}


@given(st.binary(max_size=60))
def test_no_description_tells_no_output(body: bytes) -> None:
    assert read_outputs(body) == {}
