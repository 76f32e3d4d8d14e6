"""An endpoint's OpenAPI description (``payload/signature.py``)."""

from __future__ import annotations

from servingclient.payload.signature import Output, read_outputs, read_signatures

_DEEPEST = 20


def check(data: bytes) -> None:
    for served, signature in read_signatures(data).items():
        assert served is None or "/" not in served
        assert signature.columns
        assert set(signature.required) <= set(signature.columns)
    for output in read_outputs(data).values():
        _check(output, 0)


def _check(output: Output, depth: int) -> None:
    assert depth <= _DEEPEST
    told = [part for part in (output.kind, output.items, output.fields) if part is not None]
    assert len(told) == 1
    for inner in [output.items] if output.items else list((output.fields or {}).values()):
        _check(inner, depth + 1)
