"""The wall around databricks-sdk, with a stand-in for its Config."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import databricks.sdk.core
import pytest

from servingclient._types import FaultKind, WireFault
from servingclient.auth import blocking, sdk_config
from servingclient.auth.credentials import credentials_from
from servingclient.errors import (
    AuthError,
    ConfigError,
    ConnectionFailed,
    RouteOptimizedRequiresOAuth,
    TokenRefreshError,
)
from servingclient.settings import Settings, Token
from tests.auth.world import HOST, World, fault, own_url, reply


class Config:
    """What is used of ``databricks.sdk.core.Config``."""

    def __init__(self, auth_type: str = "databricks-cli", **fields: Any) -> None:
        self.host = HOST
        self.auth_type = auth_type
        self.client_id = fields.get("client_id")
        self.client_secret = fields.get("client_secret")
        self.workspace_id = fields.get("workspace_id")
        self.extra = fields.get("extra", {})
        self.left_s = fields.get("left_s", 3000.0)
        self.error: Exception | None = None
        self.asked = 0
        self.logins = 0
        self.threads: set[str] = set()
        self.init_auth()

    def init_auth(self) -> None:
        self.logins += 1
        self.number = self.logins

    def copy(self) -> Config:
        made = Config.__new__(Config)
        made.__dict__.update(self.__dict__)
        made.parent = self
        return made

    def authenticate(self) -> dict[str, str]:
        self.asked += 1
        self.threads.add(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return {"Authorization": f"Bearer sdk-{self.number}", **self.extra}

    def oauth_token(self) -> Any:
        if self.left_s is None:
            raise ValueError("OAuth tokens are not available")
        expiry = dt.datetime.now() + dt.timedelta(seconds=self.left_s)  # noqa: DTZ005 - naive
        return type("T", (), {"expiry": expiry})


def access_of(world: World, config: Config) -> Any:
    credentials, origin = credentials_from(config=config, settings=world.settings)
    return world.access_with(credentials, origin)


def bearer(grant: Any) -> str:
    return dict(grant.target.headers)["Authorization"]


def test_all_headers_are_kept_for_the_workspace(world: World) -> None:
    extra = {
        "X-Databricks-Azure-SP-Management-Token": "m",
        "X-Databricks-Azure-Workspace-Resource-Id": "r",
    }
    config = Config("azure-client-secret", extra=extra, workspace_id="123")
    grant = world.obtain(access_of(world, config))
    headers = dict(grant.target.headers)
    assert headers.items() >= extra.items()
    assert headers["Authorization"] == "Bearer sdk-1"
    assert headers["X-Databricks-Workspace-Id"] == "123"
    assert world.wire.reads[0].header("X-Databricks-Azure-SP-Management-Token") == "m"
    assert set(grant.secrets) == {"sdk-1", "m"}


def test_it_is_asked_in_a_thread_of_its_own(world: World) -> None:
    config = Config()
    world.obtain(access_of(world, config))
    assert config.threads == {"servingclient-login"}


def test_it_is_asked_again_behind_the_calls_every_half_minute(world: World) -> None:
    config = Config(left_s=None)
    access = access_of(world, config)
    world.obtain(access)
    asked = config.asked
    for _ in range(300):
        world.clock.time_s += 1.0
        assert world.ready(access) is not None
        world.settle()
    assert 9 <= config.asked - asked <= 12


def test_a_token_it_renewed_is_taken_over(world: World) -> None:
    config = Config()
    access = access_of(world, config)
    world.obtain(access)
    config.init_auth()
    world.clock.time_s += 31
    assert bearer(world.ready(access)) == "Bearer sdk-1"
    world.settle()
    assert bearer(world.ready(access)) == "Bearer sdk-2"


def test_a1_a_login_that_hangs_is_given_up_on(world: World) -> None:
    world.settings = Settings(token=Token(timeout_s=0.05))
    config, release = Config(), threading.Event()
    config.authenticate = lambda: release.wait(5)  # type: ignore[method-assign,assignment]
    told = r"databricks-sdk gave no token within 0\.\d s\. .* REQUESTS_CA_BUNDLE"
    with pytest.raises(TokenRefreshError, match=told):
        world.obtain(access_of(world, config))
    release.set()
    world.settle()


def test_a1_a_call_with_less_time_than_a_login_is_told_where_to_look(world: World) -> None:
    config, release = Config(), threading.Event()
    config.authenticate = lambda: release.wait(5)  # type: ignore[method-assign,assignment]
    with pytest.raises(TokenRefreshError, match=r"from \S+\.\S+ within this .* cannot be reached"):
        world.obtain(access_of(world, config), within_s=0.05)
    release.set()
    world.settle()


def test_a1_a_call_with_less_time_than_the_sdk_takes_is_told_where_to_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(sdk_config, "_opened", lambda *_: release.wait(5) and Config())
    access = world.access_with(*credentials_from())
    with pytest.raises(TokenRefreshError, match=r"within this call's time; .*host and network"):
        world.obtain(access, within_s=0.05)
    release.set()
    world.settle()


def nobody_listens() -> WireFault:
    return WireFault(FaultKind.NOT_CONNECTED, "connection refused", sent="no")


REFUSED = r"^No connection to ws\.cloud\.databricks\.com .*: connection refused\. Check host"


def test_a_host_that_refuses_is_told_while_the_sdk_still_tries(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "DOUBT_S", 0.01)
    world.wire.always_describe = nobody_listens()
    config, release = Config(), threading.Event()
    config.authenticate = lambda: release.wait(5)  # type: ignore[method-assign,assignment]
    with pytest.raises(ConnectionFailed, match=REFUSED):
        world.obtain(access_of(world, config))
    release.set()
    world.settle()


def test_a_host_that_refuses_is_told_while_the_sdk_is_set_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    class Slow(Config):
        def __init__(self, **fields: Any) -> None:
            self.host = HOST
            release.wait(5)  # it asks the host about itself
            super().__init__(**fields)

    monkeypatch.setattr(databricks.sdk.core, "Config", Slow)
    monkeypatch.setattr(blocking, "DOUBT_S", 0.01)
    world.wire.always_describe = nobody_listens()
    with pytest.raises(ConnectionFailed, match=REFUSED):
        world.obtain(world.access_with(*credentials_from()))
    release.set()
    world.settle()


def test_a_host_that_refuses_is_told_when_the_sdk_ran_out_of_time(world: World) -> None:
    world.settings = Settings(token=Token(timeout_s=0.05))
    world.wire.always_describe = nobody_listens()
    config, release = Config(), threading.Event()
    config.authenticate = lambda: release.wait(5)  # type: ignore[method-assign,assignment]
    with pytest.raises(ConnectionFailed, match=REFUSED):
        world.obtain(access_of(world, config))
    release.set()
    world.settle()


def test_a_host_that_answers_is_looked_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "DOUBT_S", 0.01)
    config, looked, more = Config(), threading.Event(), threading.Event()

    async def found() -> Any:
        looked.set()
        return reply(200, {})

    def slow() -> dict[str, str]:
        assert looked.wait(5)
        more.wait(0.05)  # time for several looks
        return {"Authorization": "Bearer sdk-1"}

    world.wire.describe_steps.append(found)
    config.authenticate = slow  # type: ignore[method-assign]
    world.obtain(access_of(world, config))
    look, *others = world.wire.reads
    assert (look.path, look.header("Authorization")) == (sdk_config._PUBLIC_PATH, None)
    assert [one.path for one in others] == ["/api/2.0/serving-endpoints/m"]


def test_a1_while_its_token_lives_a_hung_login_hurts_nobody(world: World) -> None:
    world.settings = Settings(token=Token(timeout_s=0.05))
    config, release = Config(), threading.Event()
    access = access_of(world, config)
    world.obtain(access)
    config.authenticate = lambda: release.wait(5)  # type: ignore[method-assign,assignment]
    for _ in range(5):
        world.clock.time_s += 100
        assert bearer(world.ready(access)) == "Bearer sdk-1"
    release.set()
    world.settle()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("canary"),
        OSError("canary"),
        KeyError("canary"),
        RuntimeError("Bearer canary-1234567"),
    ],
)
def test_its_errors_are_named_without_their_text_leaking(world: World, error: Exception) -> None:
    config = Config()
    config.error = error
    config.client_secret = "canary"
    with pytest.raises(TokenRefreshError, match=type(error).__name__) as caught:
        world.obtain(access_of(world, config))
    assert "canary" not in str(caught.value)
    assert "Log in again with `databricks auth login`" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_refused_token_is_renewed_on_a_copy_of_the_users_config(world: World) -> None:
    config = Config()
    access = access_of(world, config)
    grant = world.obtain(access)
    assert access.reject(grant)
    assert bearer(world.obtain(access)) == "Bearer sdk-2"
    assert config.number == 1


def test_a_refused_token_that_cannot_be_renewed_is_a_refresh_error(world: World) -> None:
    config = Config(client_secret="canary")
    access = access_of(world, config)
    assert access.reject(world.obtain(access))

    def fails(self: Config) -> None:
        raise OSError("canary login expired")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, "init_auth", fails)
        with pytest.raises(TokenRefreshError, match="could not log in again") as caught:
            world.obtain(access)
    assert "canary" not in str(caught.value)


def test_headers_without_a_bearer_cannot_be_exchanged(world: World) -> None:
    world.wire.description = own_url()
    config = Config("custom")
    config.authenticate = lambda: {"X-Own": "secret"}  # type: ignore[method-assign]
    with pytest.raises(RouteOptimizedRequiresOAuth, match=r"without a bearer \(custom\)"):
        world.obtain(access_of(world, config))


@pytest.mark.parametrize(
    ("auth_type", "renewable"), [("pat", False), ("basic", False), ("external-browser", True)]
)
def test_what_cannot_or_must_not_be_set_up_anew_is_not(
    world: World, auth_type: str, renewable: bool
) -> None:
    config = Config(auth_type)
    access = access_of(world, config)
    grant = world.obtain(access)
    assert access.reject(grant) is renewable
    assert bearer(world.grant(access)) == "Bearer sdk-1"
    assert config.logins == 1


def test_a_token_the_workspace_never_takes_is_an_auth_error(world: World) -> None:
    world.wire.always_describe = reply(401)
    with pytest.raises(AuthError, match="refuses the credential"):
        world.obtain(access_of(world, Config()))
    assert len(world.wire.reads) == 2


# ----------------------------------------------------------------------------- route-optimized


def test_an_oauth_login_is_exchanged_with_a_scope(world: World) -> None:
    world.wire.description = own_url()
    extra = {"X-Databricks-GCP-SA-Access-Token": "g"}
    grant = world.obtain(access_of(world, Config(extra=extra, workspace_id="123")))
    assert bearer(grant) == "Bearer tok-1"
    form = world.wire.logins[0].form
    assert form["assertion"] == "sdk-1"
    assert form["scope"] == "all-apis"
    # nothing but the endpoint's own token goes to its own host
    names = {name.lower() for name, _ in grant.target.headers}
    assert not names & {"x-databricks-gcp-sa-access-token", "x-databricks-workspace-id"}


def test_a_service_principal_needs_no_exchange(world: World) -> None:
    world.wire.description = own_url()
    config = Config("oauth-m2m", client_id="id", client_secret="s3cret")
    grant = world.obtain(access_of(world, config))
    assert bearer(grant) == "Bearer tok-1"
    login = world.wire.logins[0]
    assert login.form["grant_type"] == "client_credentials"
    assert login.form["authorization_details"] == '[{"id": "e1"}]'
    assert login.header("Authorization") == "Basic aWQ6czNjcmV0"


@pytest.mark.parametrize(
    "auth_type",
    [
        "pat",
        "basic",
        "runtime",
        "azure-cli",
        "azure-client-secret",
        "github-oidc-azure",
        "google-credentials",
        "google-id",
    ],
)
def test_a3_tokens_databricks_did_not_issue_are_refused_locally(
    world: World, auth_type: str
) -> None:
    world.wire.description = own_url()
    with pytest.raises(RouteOptimizedRequiresOAuth, match="client_id and client_secret"):
        world.obtain(access_of(world, Config(auth_type)))
    assert world.wire.logins == []
    assert len(world.wire.seen) == 1


def test_an_exchange_refused_for_its_token_is_tried_with_another(world: World) -> None:
    world.wire.description = own_url()
    world.wire.token_steps.append(reply(400, {"error": "invalid_grant"}))
    grant = world.obtain(access_of(world, Config()))
    assert bearer(grant) == "Bearer tok-1"
    assert [one.form["assertion"] for one in world.wire.logins] == ["sdk-1", "sdk-2"]


def test_an_exchange_that_fails_is_a_refresh_error(world: World) -> None:
    world.wire.description = own_url()
    world.wire.always_token = fault(FaultKind.CUT_OFF)
    with pytest.raises(TokenRefreshError, match="cut off"):
        world.obtain(access_of(world, Config()))


# ------------------------------------------------------------------------------------- making one


def test_the_host_comes_from_the_config_where_there_is_one() -> None:
    config = Config()
    assert str(credentials_from(config=config)[1]) == HOST
    assert credentials_from(config=config, host=HOST)[1] == credentials_from(config=config)[1]
    with pytest.raises(ConfigError, match=r"other\.example.*give one"):
        credentials_from(config=config, host="https://other.example")
    config.host = ""
    with pytest.raises(ConfigError, match="no host"):
        credentials_from(config=config)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"host": HOST}, {"host": HOST}),
        ({"token": "dapi-1"}, {"token": "dapi-1", "auth_type": "pat"}),
        (
            {"client_id": "id", "client_secret": "s"},
            {"client_id": "id", "client_secret": "s", "auth_type": "oauth-m2m"},
        ),
    ],
)
def test_without_a_host_or_credential_the_sdk_is_asked_at_the_first_call(
    world: World,
    given: dict[str, str],
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[dict[str, Any]] = []

    def opened(arguments: Any, *_: Any) -> Config:
        made.append({k: v if isinstance(v, str) else v.reveal() for k, v in arguments.items()})
        return Config()

    monkeypatch.setattr(sdk_config, "_opened", opened)
    credentials, origin = credentials_from(**given)  # type: ignore[arg-type]
    access = world.access_with(credentials, origin)
    assert made == []
    assert str(world.obtain(access).target.origin) == HOST
    assert made == [expected]


def test_no_credentials_anywhere_is_a_config_error_and_remembered_for_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def opened(*_: Any) -> Config:
        tries.append(1)
        raise ConfigError("databricks-sdk found no credentials: nothing")

    monkeypatch.setattr(sdk_config, "_opened", opened)
    access = world.access_with(*credentials_from())
    for _ in range(5):
        with pytest.raises(ConfigError, match="no credentials"):
            world.obtain(access)
    assert len(tries) == 1
