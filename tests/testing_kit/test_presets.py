"""Each preset makes happen what its name says, and leaves the emulator as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from servingclient import (
    DeadlineExceeded,
    PermissionDenied,
    Prediction,
    ResponseFormatError,
    ServerError,
    ServingClient,
    ServingError,
    Settings,
    StreamError,
    TokenRefreshError,
)
from servingclient.emulator import Emulator
from servingclient.settings import Retry
from servingclient.testing import Preset, presets
from tests.testing_kit.kit import ROWS

QUICK = Settings(
    timeout_s=0.4, retry=Retry(throttled_base_s=0.001, backoff_base_s=0.001, max_attempts=4)
)


@pytest.fixture(scope="module")
def _emulator() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        yield emulator


@pytest.fixture
def emulator(_emulator: Emulator) -> Emulator:
    _emulator.add_endpoint("demo")
    _emulator.add_endpoint("assistant", kind="agent")
    _emulator.reset()
    return _emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[ServingClient]:
    with ServingClient(
        "demo",
        host=emulator.host,
        client_id=emulator.client_id,
        client_secret=emulator.client_secret,
        settings=QUICK,
    ) as client:
        client.warmup(timeout=5.0)
        yield client


def outcome(client: ServingClient, **options: Any) -> list[int | None] | type[ServingError]:
    """Statuses of the tries of a call that was answered; else the kind of its error."""
    try:
        prediction: Prediction = client.predict(ROWS, **options)
    except ServingError as error:
        return type(error)
    return [attempt.status for attempt in prediction.attempts]


SEEN: dict[str, Any] = {
    "throttle_burst": [429, 429, 429, 200],
    "outage": ServerError,
    "slow": DeadlineExceeded,
    "silence": DeadlineExceeded,
    "resets": [None, 200],
    "flaky": [200],  # the first of the seed; more below
    "token_expires": [403, 200],
    "short_tokens": [200],  # the token at hand stays; more below
    "login_down": [200],
    "no_permission": PermissionDenied,
    "login_page": ResponseFormatError,
    "broken_streams": [200],
    "busy": [200],
    "cold_start": DeadlineExceeded,
}


@pytest.mark.parametrize("preset", presets.ALL, ids=str)
def test_a_preset_does_what_it_says_and_ends(
    preset: Preset, emulator: Emulator, client: ServingClient
) -> None:
    spec, ttl_s = emulator.endpoint_spec("demo"), emulator.token_ttl_s
    with preset.on(emulator, "demo"):
        assert outcome(client) == SEEN[preset.name]
    assert emulator.endpoint_spec("demo") == spec
    assert emulator.token_ttl_s == ttl_s
    assert outcome(client, timeout=5.0) == [200]


def test_every_preset_is_among_all() -> None:
    made = {
        name
        for name, value in vars(presets).items()
        if callable(value) and getattr(value, "__annotations__", {}).get("return") == "Preset"
    }
    made = {name for name in made if not name.startswith("_")}
    assert {preset.name for preset in presets.ALL} == made == SEEN.keys()
    assert all(preset.what and str(preset) == preset.name for preset in presets.ALL)


def test_what_is_left_of_a_script_is_gone_after_an_error_too(
    emulator: Emulator, client: ServingClient
) -> None:
    with pytest.raises(KeyError), presets.throttle_burst(50).on(emulator, "demo"):
        raise KeyError
    assert outcome(client) == [200]


def test_a_slow_reply_takes_as_long_as_it_is_told(
    emulator: Emulator, client: ServingClient
) -> None:
    with presets.slow(0.05).on(emulator, "demo"):
        prediction = client.predict(ROWS)
    assert prediction.timing.first_byte_s >= 0.05


def test_a_flaky_endpoint_fails_in_the_same_way_for_a_seed(emulator: Emulator) -> None:
    seen = []
    for seed in (1, 1, 2):
        emulator.reset()
        with presets.flaky(0.5, requests=30, seed=seed).on(emulator, "demo"):
            seen.append([fault.name for fault in emulator._endpoint("demo").faults._script])
    assert seen[0] == seen[1] != seen[2]
    assert 5 <= seen[0].count("ok") <= 25


def test_without_a_login_only_who_has_a_token_goes_on(emulator: Emulator) -> None:
    with (
        presets.login_down().on(emulator, "demo"),
        ServingClient(
            "demo",
            host=emulator.host,
            client_id=emulator.client_id,
            client_secret=emulator.client_secret,
            settings=QUICK,
        ) as late,
        pytest.raises(TokenRefreshError),
    ):
        late.predict(ROWS, timeout=5.0)


def test_tokens_issued_meanwhile_end_soon(emulator: Emulator) -> None:
    with (
        presets.short_tokens(30.0).on(emulator, "demo"),
        ServingClient(
            "demo",
            host=emulator.host,
            client_id=emulator.client_id,
            client_secret=emulator.client_secret,
        ) as client,
    ):
        client.predict(ROWS)
        token = client.stats().token
    assert token is not None
    assert token.left_s is not None
    assert token.left_s <= 30.0


def test_streams_break_where_they_are_told_to(emulator: Emulator) -> None:
    question = {"messages": [{"role": "user", "content": "a b c"}]}
    got = []
    with (
        presets.broken_streams(2).on(emulator, "assistant"),
        ServingClient("assistant", host=emulator.host, token=emulator.token) as client,
        client.stream(question) as events,
    ):
        got += [next(events), next(events)]
        with pytest.raises(StreamError):
            next(events)
    assert len(got) == 2
