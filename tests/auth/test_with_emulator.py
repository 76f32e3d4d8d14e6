"""Auth over real lanes against the emulated workspace, and the real databricks-sdk against it."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from servingclient import ServingClient, _step
from servingclient._ports import Grant
from servingclient.auth.access import Access
from servingclient.auth.credentials import credentials_from
from servingclient.auth.ports import task_ports, thread_ports
from servingclient.emulator import Emulator, faults
from servingclient.errors import (
    AuthError,
    ConnectionFailed,
    RouteOptimizedRequiresOAuth,
    TokenRefreshError,
)
from servingclient.settings import Settings, Token
from servingclient.transport.async_wire import AsyncLaneWire
from servingclient.transport.clock import LoopClock, ThreadClock
from servingclient.transport.wire import LaneWire
from tests.stopwatch import Stopwatch

T = TypeVar("T")
BODY = b'{"inputs":[[1.0]]}'


class Client(ABC):
    """As little of a client as auth needs: one try, one renewal, one reading again."""

    def __init__(self, emu: Emulator, settings: Settings) -> None:
        self.emu = emu
        self.settings = settings

    def open(self, endpoint: str, **given: Any) -> None:
        if not given:
            given = {"client_id": self.emu.client_id, "client_secret": self.emu.client_secret}
        if "config" not in given:
            given["host"] = self.emu.host
        credentials, origin = credentials_from(settings=self.settings, **given)
        self.access = Access(
            endpoint, credentials, origin, self.settings, self.ports(), version="1.0"
        )

    async def grant(self, within_s: float = 10.0) -> Grant:
        now_s = time.monotonic()
        return self.access.ready(None, now_s) or await self.access.obtain(None, now_s + within_s)

    async def call(self) -> tuple[int, int]:
        """Status and number of tries, with the story's rule for tokens and addresses."""
        for tries in (1, 2):
            grant = await self.grant()
            reply = await self.wire.send(grant.target, BODY, time.monotonic() + 5)
            if reply.status in (401, 403) and tries == 1 and self.access.reject(grant):
                continue
            if reply.status == 404 and tries == 1 and self.access.moved(grant):
                continue
            break
        return reply.status, tries

    wire: Any
    access: Access

    @abstractmethod
    def ports(self) -> Any: ...

    @abstractmethod
    def run(self, action: Callable[[], Awaitable[T]]) -> T: ...

    @abstractmethod
    def together(self, count: int, action: Callable[[], Awaitable[T]]) -> list[T]: ...

    @abstractmethod
    def close(self) -> None: ...


class ThreadClient(Client):
    def ports(self) -> Any:
        self.wire = LaneWire(self.settings)
        return thread_ports(self.wire, ThreadClock(), random)

    def run(self, action: Callable[[], Awaitable[T]]) -> T:
        return _step.run(action())  # type: ignore[arg-type]

    def together(self, count: int, action: Callable[[], Awaitable[T]]) -> list[T]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.run(action), range(count)))

    def close(self) -> None:
        self.wire.close()


class TaskClient(Client):
    def __init__(self, emu: Emulator, settings: Settings) -> None:
        super().__init__(emu, settings)
        self.loop = asyncio.new_event_loop()

    def ports(self) -> Any:
        self.wire = AsyncLaneWire(self.settings)
        return task_ports(self.wire, LoopClock(), random)

    def run(self, action: Callable[[], Awaitable[T]]) -> T:
        async def whole() -> T:
            return await action()

        return self.loop.run_until_complete(whole())

    def together(self, count: int, action: Callable[[], Awaitable[T]]) -> list[T]:
        async def all_of_them() -> list[T]:
            return await asyncio.gather(*(action() for _ in range(count)))

        return self.run(all_of_them)

    def close(self) -> None:
        async def end() -> None:
            await self.access.close()
            await self.wire.aclose()
            await self.loop.shutdown_asyncgens()

        self.run(end)
        self.loop.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        emulator.add_endpoint("std")
        emulator.add_endpoint("fast", route_optimized=True)
        yield emulator


@pytest.fixture
def emu(shared: Emulator) -> Emulator:
    shared.reset()
    shared.token_always(None)
    shared.token_ttl_s = 3600.0
    for name in ("std", "fast"):
        try:
            shared.remove_endpoint(name)
        except (KeyError, ValueError):
            pass
    shared.add_endpoint("std")
    shared.add_endpoint("fast", route_optimized=True)
    return shared


@pytest.fixture(params=[ThreadClient, TaskClient], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, emu: Emulator) -> Iterator[Client]:
    made = request.param(emu, Settings())
    yield made
    made.close()


@pytest.mark.parametrize("endpoint", ["std", "fast"])
def test_a_call_is_answered(client: Client, endpoint: str) -> None:
    client.open(endpoint)
    assert client.run(client.call) == (200, 1)
    assert client.run(client.call) == (200, 1)
    assert client.emu.token_requests == (2 if endpoint == "fast" else 1)


def test_a_personal_access_token_answers_the_standard_way_only(client: Client) -> None:
    client.open("std", token=client.emu.token)
    assert client.run(client.call) == (200, 1)
    assert client.emu.token_requests == 0
    client.close()
    client.__init__(client.emu, client.settings)  # type: ignore[misc]
    client.open("fast", token=client.emu.token)
    with pytest.raises(RouteOptimizedRequiresOAuth):
        client.run(client.call)


@pytest.mark.parametrize("endpoint", ["std", "fast"])
def test_a2_64_calls_over_an_expiry_one_refresh_no_error(client: Client, endpoint: str) -> None:
    client.open(endpoint)
    client.run(client.call)
    before = client.emu.token_requests
    client.emu.revoke_tokens()
    outcomes = client.together(64, client.call)
    assert {status for status, _ in outcomes} == {200}
    assert client.emu.token_requests - before == 1


def test_row_20_revoked_with_64_in_flight_costs_at_most_128_posts(client: Client) -> None:
    client.open("fast")
    client.run(client.call)
    client.emu.revoke_tokens()
    before = len(client.emu.requests)
    client.together(64, client.call)
    posts = [one for one in client.emu.requests[before:] if one.path.endswith("/invocations")]
    assert len(posts) <= 128


def test_short_lived_tokens_are_renewed_without_an_error(client: Client) -> None:
    client.emu.token_ttl_s = 0.4
    client.open("fast")
    calls, retried = 0, 0
    with Stopwatch() as watch:
        while watch.elapsed_s < 1.5 or calls <= 20:
            status, tries = client.run(client.call)
            assert status == 200
            calls += 1
            retried += tries - 1
    # none in theory: each takes a stall of 2 % of its life between the look at it and its arrival
    assert retried <= 1 + watch.machine_s / (0.02 * 0.4)
    assert 4 <= client.emu.token_requests <= 14 * watch.elapsed_s / 1.5


def test_a1_hung_login_expired_token_all_fail_by_their_deadline(client: Client) -> None:
    client.emu.token_always(faults.hang())
    client.open("std")
    with Stopwatch() as watch:

        async def fails() -> str:
            try:
                await client.grant(within_s=0.3)
            except TokenRefreshError as error:
                return type(error).__name__
            return "granted"

        outcomes = client.together(16, fails)
        assert set(outcomes) == {"TokenRefreshError"}
    assert watch.took_s < 2.0
    assert client.emu.token_requests == 1


def test_a_login_that_fails_for_a_moment_is_not_noticed(client: Client) -> None:
    client.emu.token_script(faults.html(502), faults.reset())
    client.open("std")
    assert client.run(client.call) == (200, 1)
    assert client.emu.token_requests == 3


def test_a3_a_recreated_endpoint_heals_with_one_read(client: Client) -> None:
    client.open("fast")
    client.run(client.call)
    client.emu.recreate_endpoint("fast")
    before = len(client.emu.requests)
    assert client.run(client.call) == (200, 2)
    reads = [one for one in client.emu.requests[before:] if one.method == "GET"]
    assert len(reads) == 1


def test_an_endpoint_that_may_not_be_described_is_called_the_standard_way(client: Client) -> None:
    client.emu.change_endpoint("std", describable=False)
    client.open("std")
    assert client.run(client.call) == (200, 1)


def test_403_permission_denied_is_not_taken_for_a_bad_token(client: Client) -> None:
    client.emu.change_endpoint("std", describable=False, permission="CAN_VIEW")
    client.open("std")
    status, _ = client.run(client.call)
    assert status == 403


def test_wrong_secrets_are_told_at_once(client: Client) -> None:
    client.open("std", client_id=client.emu.client_id, client_secret="canary-wrong")
    with pytest.raises(AuthError, match="invalid_client") as caught:
        client.run(client.call)
    assert "canary" not in str(caught.value)
    assert client.emu.token_requests == 1


# -------------------------------------------------------------------------- the real databricks-sdk


@pytest.fixture(scope="module")
def sdk() -> Any:
    return pytest.importorskip("databricks.sdk.core")


@pytest.mark.parametrize("endpoint", ["std", "fast"])
@pytest.mark.usefixtures("sdk")
def test_the_sdks_own_config(client: Client, endpoint: str, sdk: Any) -> None:
    config = sdk.Config(
        host=client.emu.host,
        client_id=client.emu.client_id,
        client_secret=client.emu.client_secret,
        retry_timeout_seconds=1,
    )
    client.open(endpoint, config=config)
    assert client.run(client.call) == (200, 1)


@pytest.mark.usefixtures("sdk")
def test_the_sdk_finds_credentials_in_the_environment(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", client.emu.host)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", client.emu.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", client.emu.client_secret)
    credentials, origin = credentials_from(settings=client.settings)
    assert origin is None
    client.access = Access(
        "fast", credentials, origin, client.settings, client.ports(), version="1.0"
    )
    assert client.run(client.call) == (200, 1)


@pytest.mark.usefixtures("sdk")
def test_a_token_with_the_host_of_the_environment(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", client.emu.host)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "another")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "another")
    credentials, origin = credentials_from(token=client.emu.token)
    client.access = Access(
        "std", credentials, origin, client.settings, client.ports(), version="1.0"
    )
    assert client.run(client.call) == (200, 1)
    grant = client.run(client.grant)
    assert not client.access.reject(grant)


@pytest.mark.usefixtures("sdk")
def test_a_revoked_token_of_the_sdk_is_replaced(client: Client, sdk: Any) -> None:
    config = sdk.Config(
        host=client.emu.host,
        client_id=client.emu.client_id,
        client_secret=client.emu.client_secret,
        retry_timeout_seconds=1,
    )
    client.open("std", config=config)
    client.run(client.call)
    client.emu.revoke_tokens()
    assert client.run(client.call) == (200, 2)


@pytest.mark.usefixtures("sdk")
def test_no_credentials_at_all(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials, origin = credentials_from(host=client.emu.host, settings=client.settings)
    client.access = Access(
        "std", credentials, origin, client.settings, client.ports(), version="1.0"
    )
    with pytest.raises(ValueError, match=r"found no usable credentials.*databricks auth login"):
        client.run(client.call)


@pytest.mark.usefixtures("sdk")
def test_the_sdk_with_a_host_that_is_not_there(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "id")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "canary-secret")
    settings = Settings(token=Token(timeout_s=5.0, try_timeout_s=0.5))
    credentials, origin = credentials_from(host="http://127.0.0.1:9", settings=settings)
    client.access = Access("std", credentials, origin, settings, client.ports(), version="1.0")
    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1 .*connection refused") as caught:
        client.run(client.call)
    assert "canary" not in str(caught.value)


@pytest.mark.usefixtures("sdk")
def test_the_sdks_login_that_hangs_is_given_up_on(emu: Emulator, sdk: Any) -> None:
    client = ThreadClient(emu, Settings(token=Token(timeout_s=0.3)))
    config = sdk.Config(
        host=emu.host,
        client_id=emu.client_id,
        client_secret=emu.client_secret,
        retry_timeout_seconds=1,
    )
    client.open("std", config=config)
    emu.token_always(faults.hang())
    with Stopwatch() as watch, pytest.raises(TokenRefreshError, match=r"databricks-sdk"):
        client.run(client.call)
    assert watch.took_s < 2.0
    emu.drop_connections()
    client.close()


def test_an_endpoint_that_is_not_to_be_described_is_called_the_standard_way() -> None:
    """One switch less to mock: the only request is the call itself."""
    with Emulator(tls=False) as emulator:
        client = ServingClient(
            "demo", host=emulator.host, token=emulator.token, settings=Settings(describe=False)
        )
        with client:
            assert client.predict([{"a": 1.0}]).predictions == [1.0]
        assert [record.kind for record in emulator.requests] == ["invocation"]
