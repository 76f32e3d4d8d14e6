"""How an input comes to the size of its request, step by step.

Every step is made, not estimated: the input is encoded once for each. The error of rounding is
measured between what the endpoint would read without it and what it reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import orjson

from servingclient.errors import PayloadError
from servingclient.payload import columnar, dtypes, frames, narrow
from servingclient.payload.body import Body
from servingclient.payload.encode import encode
from servingclient.payload.fit import fitted, unknown_columns
from servingclient.payload.named import named
from servingclient.payload.pack import pack
from servingclient.payload.report import Explanation, Step
from servingclient.payload.signature import Schema, Signature
from servingclient.settings import Bulk, Payload


class Subject(NamedTuple):
    """What to explain, and what the client knows about it.

    Attributes:
        endpoint: Name of the endpoint.
        inputs: As given to ``predict``.
        params: Likewise.
        client_request_id: Likewise.
        usage_context: Likewise.
        served_model: Likewise.
        body: The request they were encoded to.
        encode_s: How long that took.
        schema: What the endpoint tells of its models' inputs; None when nobody subject.
        limit_bytes: Largest request the endpoint takes, where it is known.
        bulk: How ``map`` would cut it.
        compression: Whether it takes gzip: "unknown", "taken" or "refused".
    """

    endpoint: str
    inputs: Any
    params: Mapping[str, Any] | None
    client_request_id: str | None
    usage_context: Mapping[str, str] | None
    served_model: str | None
    body: Body
    encode_s: float
    schema: Schema | None
    limit_bytes: int | None
    bulk: Bulk
    compression: str


def explained(subject: Subject, settings: Payload) -> Explanation:
    """Explain one request.

    Args:
        subject: The request.
        settings: How it was encoded.

    Returns:
        The steps with their sizes.
    """

    def encoded(inputs: Any, rules: Payload) -> bytes:
        return encode(
            inputs,
            params=subject.params,
            client_request_id=subject.client_request_id,
            usage_context=subject.usage_context,
            settings=rules,
        ).data

    exact = replace(settings, floats="exact", significant_digits=None)
    signature = None if subject.schema is None else subject.schema.of(subject.served_model)
    kept, dropped = _pruned(subject.inputs, signature, exact)
    plain = encoded(subject.inputs, exact)
    steps = [*_as_written(subject.inputs, exact, plain), Step("without blanks", len(plain))]
    if dropped:
        plain = encoded(kept, exact)
        columns = f"{len(dropped)} unknown column{'s' * (len(dropped) > 1)}"
        steps.append(Step(f"without {columns}", len(plain)))
    if settings.floats != "exact":
        size = len(encoded(kept, replace(exact, floats=settings.floats)))
        steps.append(Step("floats of 32 bits", size))
    if settings.significant_digits is not None:
        digits = f"{settings.significant_digits} significant digits"
        steps.append(Step(digits, len(subject.body.data)))
    loss = _NO_LOSS
    if narrow.is_on(settings):
        loss = _loss(orjson.loads(plain), orjson.loads(subject.body.data))
    return Explanation(
        subject.endpoint,
        subject.body.rows,
        _columns(subject.body.data),
        (*steps, *_packed(subject, settings)),
        tuple(_options(subject, settings, kept, encoded)),
        tuple(dropped),
        _said_of(subject.schema, signature),
        loss.relative,
        loss.absolute,
        len(subject.body.data),
        subject.limit_bytes,
        _requests(subject),
        subject.encode_s,
        "off" if settings.gzip == "off" else subject.compression,
    )


def _pruned(inputs: Any, signature: Signature | None, settings: Payload) -> tuple[Any, list[str]]:
    table = named(inputs, settings)
    if signature is None or table is None or not settings.prune:
        return inputs, []
    rules = replace(settings, validate=False)
    return fitted(inputs, signature, rules), unknown_columns(table, signature)


def _requests(subject: Subject) -> int | None:
    rows, bulk = subject.body.rows, subject.bulk
    if rows is None:
        return None
    most_bytes = min(subject.limit_bytes or bulk.aim_request_bytes, bulk.aim_request_bytes)
    by_bytes = -(-len(subject.body.data) // most_bytes)
    return min(max(by_bytes, -(-rows // bulk.max_request_rows)), rows)


def _columns(data: bytes) -> int | None:
    body = orjson.loads(data)
    split = body.get("dataframe_split")
    names = split.get("columns") if isinstance(split, dict) else None
    return len(names) if isinstance(names, list) else None


def _said_of(schema: Schema | None, signature: Signature | None) -> str:
    if schema is None:
        return "not asked for (Payload.validate, Payload.prune)"
    if signature is None:
        return f"not known: {schema.why_none or 'none for this served model'}"
    return f"{len(signature.columns)} columns, {len(signature.required)} of them required"


# ------------------------------------------------------------------------------- as users write it


def _as_written(inputs: Any, settings: Payload, plain: bytes) -> Iterator[Step]:
    """The usual ways with the standard library, which is what databricks-sdk and mlflow send."""
    body = orjson.loads(plain)
    if named(inputs, settings) is not None and "dataframe_split" in body:
        split = body.pop("dataframe_split")
        records = _records(inputs) or [
            dict(zip(split["columns"], row, strict=True)) for row in split["data"]
        ]
        yield Step("json.dumps of records", _size({"dataframe_records": records, **body}))
        yield Step("columns once", _size({"dataframe_split": split, **body}))
    elif dtypes.is_numpy(inputs):
        yield Step("json.dumps of tolist()", _size({**body, "inputs": inputs.tolist()}))
    else:
        yield Step("json.dumps", _size(body))


def _records(inputs: Any) -> list[Any] | None:
    """The records a data frame's own library makes of it."""
    pd, pl = frames.pandas(), columnar.polars()
    if pd is not None and isinstance(inputs, pd.DataFrame):
        records: list[Any] = inputs.to_dict("records")
        return records
    if pl is not None and isinstance(inputs, pl.DataFrame):
        return list(inputs.to_dicts())
    return None


def _size(value: Any) -> int:
    return len(json.dumps(value, default=str))


# ------------------------------------------------------------------------------- beyond JSON


def _packed(subject: Subject, settings: Payload) -> Iterator[Step]:
    data = subject.body.data
    if settings.codec == "msgpack":
        yield Step("MessagePack", len(pack(data, settings, gzip=False).data))
    if settings.gzip == "off" or subject.compression == "refused":
        return
    if len(data) >= settings.gzip_min_bytes:
        known = "gzip" if subject.compression == "taken" else "gzip, if the endpoint takes it"
        yield Step(known, len(pack(data, settings, gzip=True).data))


def _options(
    subject: Subject, settings: Payload, kept: Any, encoded: Callable[[Any, Payload], bytes]
) -> Iterator[Step]:
    """Settings that are off and would make the request smaller."""
    size = len(subject.body.data)
    for name, rules in _NARROWER.items():
        if settings.floats == "exact" and settings.significant_digits is None:
            try:
                narrower = len(encoded(kept, replace(settings, **rules)))
            except PayloadError:
                continue
            if narrower < size:
                yield Step(name, narrower)
    if settings.gzip == "off" and size >= settings.gzip_min_bytes:
        yield Step("gzip='probe'", len(pack(subject.body.data, settings, gzip=True).data))


_NARROWER: Final[Mapping[str, Mapping[str, Any]]] = {
    "floats='float32'": {"floats": "float32"},
    "significant_digits=6": {"significant_digits": 6},
}


# ------------------------------------------------------------------------------- what was lost


class _Loss(NamedTuple):
    relative: float
    absolute: float


_NO_LOSS: Final = _Loss(0.0, 0.0)


def _loss(before: Any, after: Any) -> _Loss:
    """The largest errors between two values of one shape."""
    relative = absolute = 0.0
    for exact, sent in _floats(before, after):
        if exact != sent:
            error = abs(sent - exact)
            absolute = max(absolute, error)
            relative = max(relative, error / abs(exact))
    return _Loss(relative, absolute)


def _floats(before: Any, after: Any) -> Iterator[tuple[float, float]]:
    if type(before) is float:
        yield before, after
    elif isinstance(before, list):
        for one, other in zip(before, after, strict=True):
            yield from _floats(one, other)
    elif isinstance(before, dict):
        for name, one in before.items():
            yield from _floats(one, after[name])
