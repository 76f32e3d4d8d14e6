"""Requests to the token endpoint, and what is made of its replies."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.auth.oidc import Login, client_credentials, exchange, read_token, refusal
from servingclient.auth.secret import Secret
from servingclient.errors import AuthError, PermissionDenied, TokenRefreshError

SECRET = Secret("canary/+=&")
DETAILS = '[{"type":"workspace_permission","object_path":"/serving-endpoints/é"}]'


def test_a_principals_form() -> None:
    login = client_credentials("id", SECRET, DETAILS)
    assert parse_qs(login.body().decode("ascii")) == {
        "grant_type": ["client_credentials"],
        "scope": ["all-apis"],
        "authorization_details": [DETAILS],
    }
    assert login.basic is not None
    assert login.basic.reveal() == "Basic aWQ6Y2FuYXJ5Lys9Jg=="
    assert b"canary" not in login.body()


def test_an_exchange_always_names_a_scope() -> None:
    login = exchange(SECRET, DETAILS)
    assert parse_qs(login.body().decode("ascii")) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "assertion": ["canary/+=&"],
        "authorization_details": [DETAILS],
        "scope": ["all-apis"],
    }
    assert login.basic is None


@pytest.mark.parametrize("login", [client_credentials("id", SECRET), exchange(SECRET, DETAILS)])
def test_a_login_shows_no_secret(login: Login) -> None:
    assert "canary" not in repr(login)
    assert "Y2FuYXJ5" not in repr(login)


def body(**fields: object) -> bytes:
    return json.dumps({"access_token": "t", "token_type": "Bearer"} | fields).encode()


@pytest.mark.parametrize(
    ("fields", "lifetime_s"),
    [
        ({"expires_in": 3600}, 3600.0),
        ({"expires_in": "3600"}, 3600.0),
        ({"expires_in": 2.5}, 2.5),
        ({"expires_in": "2.5"}, 2.5),
        ({"expires_in": None}, 3600.0),
        ({}, 3600.0),
        ({"expires_in": 1e12}, 365 * 86400.0),
        ({"expires_in": 60, "token_type": "bearer"}, 60.0),
    ],
)
def test_the_life_of_a_token(fields: dict[str, object], lifetime_s: float) -> None:
    issued = read_token(body(**fields), "ws")
    assert issued.lifetime_s == lifetime_s
    assert issued.access_token == Secret("t")
    assert "Secret" not in repr(issued)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>log in</html>",
        b"[]",
        b"{}",
        b"null",
        body(access_token=""),
        body(access_token=None),
        body(access_token=7),
        body(access_token="a b"),
        body(access_token="a\r\nX-Evil: 1"),
        body(access_token="\u00e9"),
        body(token_type="mac"),
        body(token_type=None),
        body(expires_in=0),
        body(expires_in=-5),
        body(expires_in="soon"),
        body(expires_in=True),
        body(expires_in=[1]),
        body(expires_in="nan"),
        body(expires_in="inf"),
    ],
)
def test_a_bad_reply_is_a_refresh_error(raw: bytes) -> None:
    with pytest.raises(TokenRefreshError, match="token endpoint of ws"):
        read_token(raw, "ws")


@given(st.binary(max_size=200))
def test_any_reply_is_a_token_or_a_refresh_error(raw: bytes) -> None:
    try:
        read_token(raw, "ws")
    except TokenRefreshError:
        pass


@pytest.mark.parametrize(
    ("status", "raw", "words", "retryable"),
    [
        (
            401,
            {"error": "invalid_client", "error_description": "bad"},
            "401 .*invalid_client: bad.*client_secret",
            False,
        ),
        (400, {"error": "invalid_scope"}, "400 .*invalid_scope", False),
        (403, {"message": "Source IP 1.2.3.4 is blocked"}, "403 .*blocked.*IP access list", False),
        (403, b"", "403.*IP access list", False),
        (
            429,
            {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "60 requests"},
            "429 .*later",
            True,
        ),
        (502, b"<html><title>Bad Gateway</title></html>", "502.*later", True),
        (500, b"", r"500\. Try", True),
        (302, b"", "302", False),
    ],
)
def test_a_refusal_in_the_services_own_words(
    status: int, raw: object, words: str, retryable: bool
) -> None:
    raw_bytes = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    error = refusal(status, raw_bytes, "ws", client_credentials("id", SECRET))
    assert type(error) is TokenRefreshError
    assert (error.status_code, error.retryable) == (status, retryable)
    with pytest.raises(AuthError, match=words):
        raise error


def test_a_refusal_for_lack_of_permission() -> None:
    raw = b'{"error":"invalid_authorization_details","error_description":"User is not authorized"}'
    error = refusal(400, raw, "ws", exchange(SECRET, DETAILS))
    assert type(error) is PermissionDenied
    assert "CAN QUERY" in str(error)


def test_a_refusal_repeats_no_secret() -> None:
    login = client_credentials("id", SECRET)
    raw = json.dumps({"error": "canary/+=& and Basic aWQ6Y2FuYXJ5Lys9Jg=="}).encode()
    error = refusal(400, raw, "ws", login)
    assert "canary" not in str(error)
    assert "Y2FuYXJ5" not in str(error)


def test_a_refusal_is_short() -> None:
    raw = json.dumps({"error": "x", "error_description": "y" * 100_000}).encode()
    assert len(str(refusal(400, raw, "ws", client_credentials("id", SECRET)))) < 600
