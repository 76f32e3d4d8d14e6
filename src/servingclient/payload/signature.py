"""What columns a model takes, and what it answers, as the endpoint's OpenAPI description says.

Documented are its frame and the types of ``long``, ``double`` and ``string``; the others are
OpenAPI's usual words for them. A type that is not known is not checked:
https://docs.databricks.com/aws/en/machine-learning/model-serving/manage-serving-endpoints
How the items of a reply are described is not documented; they are read as JSON Schema has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

import orjson

T = TypeVar("T")

Kind = Literal["long", "integer", "double", "float", "boolean", "string", "datetime", "binary"]

_KINDS: Mapping[tuple[object, object], Kind] = {
    ("integer", "int64"): "long",
    ("integer", "int32"): "integer",
    ("number", "double"): "double",
    ("number", "float"): "float",
    ("boolean", None): "boolean",
    ("string", None): "string",
    ("string", "date-time"): "datetime",
    ("string", "byte"): "binary",
}


class Column(NamedTuple):
    """One column of a model's input.

    Attributes:
        kind: Its type in MLflow's terms; None when it is not known.
        required: Whether a request without it is refused.
    """

    kind: Kind | None
    required: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """The columns a model takes, in the order of its signature."""

    columns: Mapping[str, Column]

    @property
    def required(self) -> list[str]:
        """Names of the columns a request cannot do without."""
        return [name for name, column in self.columns.items() if column.required]


class Output(NamedTuple):
    """What a model answers for one row: one of these.

    Attributes:
        kind: A value of this type.
        items: A list of these.
        fields: An object of these, by name.
    """

    kind: Kind | None = None
    items: Output | None = None
    fields: Mapping[str, Output] | None = None


class Schema(NamedTuple):
    """What an endpoint tells of the inputs its models take, and of what they answer.

    Attributes:
        signatures: By served model; under None that of the endpoint with its traffic split.
        why_none: Why there is no signature; None where there is one.
        outputs: Likewise what is answered for a row, where that is told in full.
    """

    signatures: Mapping[str | None, Signature]
    why_none: str | None
    outputs: Mapping[str | None, Output] = MappingProxyType({})

    def of(self, served_model: str | None) -> Signature | None:
        """The signature a call goes by."""
        return self.signatures.get(served_model)


_DEEPEST = 16  # levels of a reply that are read: no model's output has more
_PATH = re.compile(r"(?:/served-models/([^/]+))?/invocations")


def read_signatures(body: bytes) -> dict[str | None, Signature]:
    """The signatures in an endpoint's OpenAPI description.

    Args:
        body: The description, JSON.

    Returns:
        By served model; under None that of the endpoint with its traffic split, where there is one
        or all served models take the same. Empty when there is none that tells columns.
    """
    return _by_served_model(body, _of_operation)


def read_outputs(body: bytes) -> dict[str | None, Output]:
    """What models answer for a row, out of the same description; keys as for signatures.

    Args:
        body: The description, JSON.

    Returns:
        Those that are told in full. Nothing is guessed: a part of an unknown type is none.
    """
    return _by_served_model(body, _of_responses)


def _by_served_model(
    body: bytes, read: Callable[[dict[str, Any]], T | None]
) -> dict[str | None, T]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    found: dict[str | None, T] = {}
    for path, item in _dict(_dict(document).get("paths")).items():
        match = _PATH.search(path)
        value = read(_dict(_dict(item).get("post")))
        if match is not None and value is not None:
            found[match[1]] = value
    if None not in found and found:
        first, *others = found.values()
        if all(other == first for other in others):
            found[None] = first
    return found


def _of_responses(operation: dict[str, Any]) -> Output | None:
    content = _dict(_dict(_dict(operation.get("responses")).get("200")).get("content"))
    schema = _dict(_dict(content.get("application/json")).get("schema"))
    reply = _dict(schema.get("properties"))
    rows = _dict(reply.get("predictions") or reply.get("outputs"))  # the latter: feature serving
    return _output(_dict(rows.get("items")))


def _output(given: dict[str, Any], depth: int = 0) -> Output | None:
    """What a JSON schema describes; None where a part of it is not known."""
    if depth > _DEEPEST:
        return None
    if given.get("type") == "array":
        items = _output(_dict(given.get("items")), depth + 1)
        return None if items is None else Output(items=items)
    if fields := _dict(given.get("properties")):
        found = {name: _output(_dict(field), depth + 1) for name, field in fields.items()}
        known = {name: field for name, field in found.items() if field is not None}
        return Output(fields=known) if len(known) == len(found) else None
    kind = _kind(given)
    return None if kind is None else Output(kind=kind)


def _of_operation(operation: dict[str, Any]) -> Signature | None:
    content = _dict(_dict(operation.get("requestBody")).get("content"))
    schema = _dict(_dict(content.get("application/json")).get("schema"))
    forms = schema.get("oneOf")
    properties: dict[str, Any] = {}
    for form in forms if isinstance(forms, list) else [schema]:
        properties.update(_dict(_dict(form).get("properties")))
    return _of_records(properties) or _of_split(properties)


def _of_records(properties: dict[str, Any]) -> Signature | None:
    """Types and required columns in one place."""
    items = _dict(_dict(properties.get("dataframe_records")).get("items"))
    required = items.get("required")
    names = {n for n in required if isinstance(n, str)} if isinstance(required, list) else set()
    columns = {
        name: Column(_kind(given), name in names)
        for name, given in _dict(items.get("properties")).items()
    }
    return Signature(columns) if columns else None


def _of_split(properties: dict[str, Any]) -> Signature | None:
    """Types only: what is required stands in a sentence there, which nothing should rely on."""
    frame = _dict(_dict(properties.get("dataframe_split")).get("properties"))
    names = _dict(_dict(frame.get("columns")).get("items")).get("enum")
    row = _dict(_dict(_dict(frame.get("data")).get("items"))).get("prefixItems")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        return None
    kinds = row if isinstance(row, list) and len(row) == len(names) else [None] * len(names)
    return Signature(
        {name: Column(_kind(kind), False) for name, kind in zip(names, kinds, strict=True)}
    )


def _kind(given: object) -> Kind | None:
    found = _dict(given)
    words = (found.get("type"), found.get("format"))
    return _KINDS.get(words) if all(isinstance(w, (str, type(None))) for w in words) else None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
