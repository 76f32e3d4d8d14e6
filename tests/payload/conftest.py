"""Shared by the payload tests: encode with few words, and read back what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from servingclient.payload.encode import Body, encode
from servingclient.settings import Payload


def encoded(inputs: Any, **settings: Any) -> Body:
    return encode(
        inputs,
        params=None,
        client_request_id=None,
        usage_context=None,
        settings=Payload(**settings),
    )


@pytest.fixture
def enc() -> Callable[..., Body]:
    """``encode`` without extras; keywords are fields of ``Payload``."""
    return encoded


@pytest.fixture
def sent() -> Callable[..., Any]:
    """What the endpoint would read: the encoded body, parsed by the standard library."""

    def read(inputs: Any, **settings: Any) -> Any:
        return json.loads(encoded(inputs, **settings).data, parse_constant=_no_constants)

    return read


def _no_constants(name: str) -> None:
    raise AssertionError(f"bare {name} was written")
