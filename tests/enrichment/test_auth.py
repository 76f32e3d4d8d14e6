"""Who asks, what is sent for it, and what is never shown."""

from __future__ import annotations

import base64

import pytest

from servingclient import ApiKey, Basic, Bearer, EnrichmentClient, HeaderProvider
from servingclient.enrichment.auth import identity_of, provided, secrets_of
from servingclient.errors import ConfigError

CANARY = "canary-0123456789"


def line(auth: object) -> tuple[str, str]:
    (found,) = identity_of(auth, ()).fixed
    return found


def test_what_is_sent() -> None:
    assert line("tok") == line(Bearer("tok")) == ("Authorization", "Bearer tok")
    both = base64.b64encode("anna:pässword".encode()).decode()
    assert line(Basic("anna", "pässword")) == ("Authorization", f"Basic {both}")
    assert line(ApiKey("k")) == ("X-Api-Key", "k")
    assert line(ApiKey("k", header="Authorization")) == ("Authorization", "k")
    assert identity_of(None, ()).fixed == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bearer(""),
        lambda: Bearer(7),
        lambda: identity_of(Bearer("a\r\nX: y"), ()),
        lambda: identity_of("a\nb", ()),
        lambda: Basic("a:b", "c"),
        lambda: Basic("", "c"),
        lambda: Basic("a", None),
        lambda: identity_of(ApiKey("k", header="a b"), ()),
        lambda: identity_of(ApiKey("k", header="Host"), ()),
        lambda: identity_of(ApiKey("k", header="Content-Length"), ()),
        lambda: ApiKey("k", header=""),
        lambda: HeaderProvider(None, principal="p"),
        lambda: HeaderProvider(dict, principal=""),
        lambda: identity_of(dict, ()),
        lambda: identity_of(7, ()),
        lambda: identity_of(Bearer("t", principal=""), ()),
        lambda: identity_of(Bearer("t", principal=7), ()),
        lambda: identity_of(None, (("Authorization", "x"),)),
        lambda: identity_of(None, (("X-A", "a\nb"),)),
        lambda: identity_of(ApiKey("k"), (("x-api-key", "j"),)),
    ],
)
def test_what_cannot_be_sent_is_refused(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]


def test_a_principal_is_the_credential_unless_one_is_given() -> None:
    def who(auth: object, *headers: tuple[str, str]) -> str:
        return identity_of(auth, headers).principal

    assert who("a") == who(Bearer("a"))
    assert len({who("a"), who("b"), who(ApiKey("a")), who(Basic("a", "a")), who(None)}) == 5
    assert who(Bearer("a", principal="p")) == who(Bearer("b", principal="p"))
    assert who(HeaderProvider(dict, principal="p")) == who(Bearer("a", principal="p"))
    assert who(Bearer("a", principal="p")) != who(Bearer("a", principal="q"))
    # an answer may depend on any header
    assert who("a", ("X-Tenant", "1")) != who("a", ("X-Tenant", "2"))
    assert who("a", ("X-A", "1"), ("X-B", "2")) == who("a", ("x-b", "2"), ("x-a", "1"))
    assert who(None, ("X-A", "1")) != who(None)


@pytest.mark.parametrize(
    "auth", [Bearer(CANARY), Basic(CANARY, CANARY), ApiKey(CANARY)], ids=lambda a: type(a).__name__
)
def test_no_secret_is_shown(auth: object) -> None:
    assert CANARY not in repr(auth)
    assert CANARY not in identity_of(auth, ()).principal
    assert any(CANARY in secret for secret in secrets_of(identity_of(Bearer(CANARY), ()).fixed))


@pytest.mark.parametrize(
    "given",
    [None, "x", [("a", "b")], {"a": 1}, {1: "a"}, {"a": "x\ny"}, {"Host": "evil"}, {"": "x"}],
)
def test_a_provider_that_gives_something_else(given: object) -> None:
    with pytest.raises(ConfigError):
        provided(given)


def test_a_provider_may_give_what_a_user_may_not() -> None:
    assert provided({"Authorization": "Bearer x", "X-A": "b"}) == (
        ("Authorization", "Bearer x"),
        ("X-A", "b"),
    )


def test_what_basic_encodes_is_a_secret_in_any_form() -> None:
    secrets = secrets_of(Basic("anna", "pass-canary").headers())
    assert {"pass-canary", "anna:pass-canary"} <= set(secrets)
    assert secrets_of((("Authorization", "Basic not-base64!"),)) == (
        "Basic not-base64!",
        "not-base64!",
    )


def test_an_async_provider_is_for_the_async_client() -> None:
    async def headers() -> dict[str, str]:
        return {"authorization": "Bearer t"}

    with pytest.raises(ConfigError, match="use AsyncEnrichmentClient"):
        EnrichmentClient("https://api.example.com", ttl=1, auth=HeaderProvider(headers, "me"))
