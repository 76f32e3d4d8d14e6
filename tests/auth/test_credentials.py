"""What the user may give to sign in with, and what is refused before anything is sent."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest

from servingclient.auth.credentials import ClientCredentials, FixedToken, credentials_from
from servingclient.errors import ConfigError
from tests.auth.world import HOST, WORKSPACE, World


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"token": "dapi-1"}, FixedToken),
        ({"client_id": "id", "client_secret": "s"}, ClientCredentials),
    ],
)
def test_with_a_host_databricks_sdk_is_not_needed(
    given: dict[str, str], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "databricks", None)  # importing it would raise
    credentials, origin = credentials_from(host=HOST, **given)
    assert type(credentials) is kind
    assert origin == WORKSPACE


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"token": "t", "client_id": "i", "client_secret": "s"}, "token and client_id"),
        ({"token": "t", "config": object()}, "token and config"),
        ({"client_id": "i", "client_secret": "s", "config": object()}, "client_id and config"),
        ({"client_id": "i"}, "client_secret is missing"),
        ({"client_secret": "s"}, "client_id is missing"),
        ({"host": "", "token": "t"}, "host is empty"),
        ({"token": ""}, "token is empty"),
        ({"token": "canary\n"}, "newline.*strip"),
        ({"token": " canary"}, "strip"),
        ({"token": "canary\r\nX-Evil: 1"}, "strip"),
        ({"token": "canäry"}, "non-ASCII"),
        ({"token": 7}, "token must be text, not int"),
        ({"client_id": "i", "client_secret": "canary\n"}, "client_secret .*strip"),
        ({"client_id": "i\n", "client_secret": "canary"}, "client_id .*strip"),
        ({"client_id": "a:b", "client_secret": "canary"}, "colon"),
        ({"client_id": "i", "client_secret": ""}, "client_secret is empty"),
        ({"host": "http://ws.example", "token": "canary"}, "plain http"),
        ({"host": "https://u:canary@ws.example", "token": "canary"}, "user info"),
    ],
)
def test_30_bad_combinations_and_values(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        credentials_from(**({"host": HOST} | given))  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"token": "canary"}, {"client_id": "id", "client_secret": "canary"}]
)
def test_a5_credentials_show_no_secret(given: dict[str, str]) -> None:
    credentials, _ = credentials_from(host=HOST, **given)
    assert "canary" not in repr(credentials)
    assert "canary" not in repr(vars(credentials))
    assert copy.deepcopy(credentials) is not None
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(credentials)


@pytest.mark.parametrize("given", [{"token": "t"}, {"client_id": "id", "client_secret": "s"}])
def test_they_know_the_workspace_they_were_given_for(given: dict[str, str], world: World) -> None:
    credentials, _ = credentials_from(host=HOST, **given)
    assert world.run(lambda: credentials.find_origin(world.ports(), 0.0)) == WORKSPACE
