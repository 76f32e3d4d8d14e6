"""Replies of the token endpoint (``auth/oidc.py``): a token that can be sent, or a typed error."""

from __future__ import annotations

from servingclient.auth.oidc import client_credentials, read_token, refusal
from servingclient.auth.secret import Secret
from servingclient.errors import AuthError, TokenRefreshError
from servingclient.transport.exchange import is_header_value

_LOGIN = client_credentials("client-id", Secret("hunter2-canary"))
_YEAR_S = 366 * 86400.0
_LONGEST_ERROR = 2_000


def check(data: bytes) -> None:
    try:
        issued = read_token(data, "host.example")
    except TokenRefreshError as error:
        assert len(str(error)) <= _LONGEST_ERROR
    else:
        assert 0.0 < issued.lifetime_s <= _YEAR_S
        assert is_header_value(f"Bearer {issued.access_token.reveal()}")
    for status in (400, 503):
        found = refusal(status, data, "host.example", _LOGIN)
        assert isinstance(found, AuthError)
        assert "hunter2-canary" not in str(found)
        assert len(str(found)) <= _LONGEST_ERROR
