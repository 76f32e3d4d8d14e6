"""A5: whatever fails, no secret is in the error, its traceback, the log or any ``repr``."""

from __future__ import annotations

import copy
import logging
import pickle
import pprint
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from servingclient._types import FaultKind
from servingclient.auth.credentials import credentials_from
from servingclient.auth.headers import check_user_headers
from servingclient.errors import ServingError
from tests.auth.test_sdk_config import Config
from tests.auth.world import HOST, World, fault, own_url, reply

SECRET = "canary-s3cret-9d1f"
TOKEN = "canary-t0ken-77ab"
JWT = "eyJjYW5hcnk.eyJjYW5hcnk.canary-sig"
BASIC = "Basic aWQ6Y2FuYXJ5LXMzY3JldC05ZDFm"


def echo(*sent: str) -> dict[str, str]:
    """A refusal that quotes what it was sent."""
    return {"error": "invalid_request", "error_description": f"got {' '.join(sent)}"}


ECHO = echo(SECRET, BASIC)
CANARIES = ("canary", "Y2FuYXJ5", "jYW5hcnk")

Path = Callable[[World], None]


def principal(world: World) -> None:
    world.obtain(world.access(client_id="id", client_secret=SECRET))


def fixed(world: World) -> None:
    world.obtain(world.access(token=TOKEN))


def jwt(world: World) -> None:
    world.wire.description = own_url()
    world.obtain(world.access(token=JWT))


def sdk(world: World, **fields: Any) -> None:
    config = Config(client_secret=SECRET)
    for name, value in fields.items():
        setattr(config, name, value)
    world.obtain(world.access_with(*credentials_from(config=config)))


def login(step: object, path: Path = principal) -> Path:
    def run(world: World) -> None:
        world.wire.always_token = step  # type: ignore[assignment]
        path(world)

    return run


def describe(step: object, path: Path = principal) -> Path:
    def run(world: World) -> None:
        world.wire.always_describe = step  # type: ignore[assignment]
        path(world)

    return run


def own_address(url: str) -> Path:
    def run(world: World) -> None:
        world.wire.description = own_url()
        world.wire.description["data_plane_info"]["query_info"]["endpoint_url"] = url
        principal(world)

    return run


def given(**arguments: Any) -> Path:
    return lambda _: credentials_from(**({"host": HOST} | arguments)) and None


PATHS: dict[str, Path] = {
    "login-400-echo": login(reply(400, ECHO)),
    "login-401-echo": login(reply(401, ECHO)),
    "login-403-echo": login(reply(403, ECHO)),
    "login-500-echo": login(reply(500, ECHO)),
    "login-text-echo": login(reply(400, f"bad {SECRET}".encode())),
    "login-html-echo": login(reply(502, f"<title>{SECRET}</title>".encode())),
    "login-200-no-token": login(reply(200, {"refresh_token": TOKEN})),
    "login-200-bad-token": login(reply(200, {"access_token": f"{TOKEN}\r\nX: y"})),
    "login-200-expired": login(reply(200, {"access_token": TOKEN, "expires_in": -1})),
    "login-200-html": login(reply(200, f"<html>{SECRET}".encode())),
    "login-redirect": login(reply(302, ECHO)),
    "login-timeout": login(fault(FaultKind.TIMEOUT)),
    "login-refused": login(fault(FaultKind.NOT_CONNECTED)),
    "login-tls": login(fault(FaultKind.TLS)),
    "login-cut-off": login(fault(FaultKind.CUT_OFF)),
    "login-closed": login(fault(FaultKind.CLOSED)),
    "describe-401-echo": describe(reply(401, echo(TOKEN))),
    "describe-401-fixed": describe(reply(401, echo(TOKEN)), fixed),
    "describe-closed": describe(fault(FaultKind.CLOSED), fixed),
    "exchange-400-echo": login(reply(400, echo(JWT)), jwt),
    "exchange-denied": login(
        reply(400, echo(JWT) | {"error": "invalid_authorization_details"}), jwt
    ),
    "pat-on-route-optimized": lambda world: (
        setattr(world.wire, "description", own_url()) or fixed(world)
    ),
    "address-user-info": own_address(f"https://{TOKEN}@evil.com/x"),
    "address-query": own_address(f"https://e1.serving.cloud.databricks.com/x?t={TOKEN}"),
    "sdk-value-error": lambda world: sdk(world, error=ValueError(f"no {SECRET}")),
    "sdk-bearer-error": lambda world: sdk(world, error=OSError(f"Bearer {JWT}")),
    "sdk-header-injection": lambda world: sdk(world, extra={"X-A": f"{TOKEN}\r\nX: y"}),
    "sdk-no-text": lambda world: sdk(world, extra={"X-A": None}),
    "token-newline": given(token=f"{TOKEN}\n"),
    "secret-newline": given(client_id="id", client_secret=f"{SECRET}\n"),
    "host-user-info": given(host=f"https://u:{SECRET}@ws.example", token=TOKEN),
    "host-path": given(host=f"https://ws.example/{SECRET}", token=TOKEN),
    "two-ways": given(token=TOKEN, client_id="id", client_secret=SECRET),
    "user-header": lambda _: check_user_headers([("X-Key", f"{SECRET}\n")]) and None,
    "user-authorization": lambda _: (
        check_user_headers([("Authorization", f"Bearer {TOKEN}")]) and None
    ),
}


def assert_clean(what: str, text: str) -> None:
    for canary in CANARIES:
        assert canary not in text, f"{what} shows a secret"


@pytest.mark.parametrize("path", PATHS)
def test_no_secret_in_an_error(world: World, path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        warnings.catch_warnings(record=True) as warned,
        pytest.raises(ServingError) as caught,
    ):
        PATHS[path](world)
    error = caught.value
    for what, text in {
        "str": str(error),
        "repr": repr(error),
        "fields": repr(vars(error)),
        "traceback": "".join(
            line
            for line in traceback.format_exception(type(error), error, error.__traceback__)
            if "tests/auth" not in line  # this file's own source lines spell the canaries out
        ),
        "log": caplog.text,
        "warnings": repr(warned),
        "pickle": repr(pickle.loads(pickle.dumps(error))) + repr(pickle.dumps(error)),
    }.items():
        assert_clean(what, text)
    for access in world.accesses:
        assert_clean("repr of access", repr(access) + repr(access._credentials))


@pytest.mark.parametrize("path", [principal, fixed, jwt, sdk])
def test_no_secret_in_what_is_kept(
    world: World, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world.wire.always_token = reply(200, {"access_token": TOKEN})
    path(world)
    (access,) = world.accesses
    grant = world.ready(access)
    assert grant is not None
    book = access._book
    assert book is not None
    tokens = access._renewal.tokens
    for one in (access, grant, grant.target, book, book.token, tokens, access._credentials):
        assert_clean(type(one).__name__, f"{one!r} {one!s} {one} {pprint.pformat(one)}")
    assert_clean("token", repr(book.token.headers))
    assert_clean("log", caplog.text)
    for one in (grant, book.token, access._credentials):
        with pytest.raises(TypeError):
            pickle.dumps(one)
    assert copy.copy(book.token.headers) == book.token.headers
    assert any(canary in "".join(grant.secrets) for canary in ("canary", "sdk-1"))
