"""The query schema of an endpoint, ``GET /api/2.0/serving-endpoints/{name}/openapi``.

Documented are the frame, the two ``dataframe_*`` forms under ``oneOf``, ``description`` and
``enum`` of the columns, ``prefixItems``, ``required``, and the types of ``long``, ``double``,
``string`` and of a column nothing is known about (``object``, format ``unknown``):
https://docs.databricks.com/aws/en/machine-learning/model-serving/manage-serving-endpoints. The
types of other columns and what a tensor signature looks like are not, and are marked below.
``params``, which stand beside the form where a signature has some, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servingclient.emulator.schema import split_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servingclient.emulator.endpoints import EndpointSpec

_DOCUMENTED = {
    "long": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
}
# Not documented: OpenAPI's usual words. A client must take any other as "not known".
_GUESSED = {
    "integer": {"type": "integer", "format": "int32"},
    "float": {"type": "number", "format": "float"},
    "boolean": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "binary": {"type": "string", "format": "byte"},
}
_TYPES = {**_DOCUMENTED, **_GUESSED}


def document(spec: EndpointSpec, schema: Mapping[str, str], base_url: str) -> dict[str, Any]:
    """Return the OpenAPI description of an endpoint whose model has this signature.

    Args:
        spec: the endpoint.
        schema: column types by name, see ``EndpointSpec.schema``.
        base_url: where the paths of the description start.
    """
    operation = {"post": _operation(spec, schema)}
    paths = [f"/served-models/{name}/invocations" for name in spec.traffic()]
    return {
        "openapi": "3.1.0",
        "info": {"title": spec.name, "version": "1"},
        "servers": [{"url": base_url}],
        "paths": dict.fromkeys((*paths, "/invocations"), operation),
    }


def _operation(spec: EndpointSpec, schema: Mapping[str, str]) -> dict[str, Any]:
    # feature serving documents only records
    forms = [_records] if spec.kind == "feature" else [_split, _records]
    reply = "outputs" if spec.kind == "feature" else "predictions"
    body = {"oneOf": [form(schema) for form in forms]}
    # what the items are follows from the output signature; how it is written is not documented
    rows = {"type": "array"} if spec.outputs is None else _rows_of(spec.outputs)
    answer = {"type": "object", "properties": {reply: rows}}
    return {
        "requestBody": {"content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {
                "description": "Successful operation",
                "content": {"application/json": {"schema": answer}},
            }
        },
    }


def _rows_of(outputs: str | Mapping[str, str]) -> dict[str, Any]:
    if isinstance(outputs, str):
        return {"type": "array", "items": _TYPES[outputs]}
    fields = {name: _TYPES[kind] for name, kind in outputs.items()}
    return {"type": "array", "items": {"type": "object", "properties": fields}}


def _split(schema: Mapping[str, str]) -> dict[str, Any]:
    types, required = split_names(schema)
    columns = {
        # documented as a sentence, though the same is said by ``required`` of the other form
        "description": f"required fields: {', '.join(required)}",
        "type": "array",
        "items": {"type": "string", "enum": list(types)},
    }
    row = {"type": "array", "prefixItems": [_TYPES[kind] for kind in types.values()]}
    frame = {"columns": columns, "data": {"type": "array", "items": row}}
    return _body("dataframe_split", {"type": "object", "properties": frame})


def _records(schema: Mapping[str, str]) -> dict[str, Any]:
    types, required = split_names(schema)
    row = {
        "required": required,
        "type": "object",
        "properties": {name: _TYPES[kind] for name, kind in types.items()},
    }
    return _body("dataframe_records", {"type": "array", "items": row})


def _body(form: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {form: value}}
