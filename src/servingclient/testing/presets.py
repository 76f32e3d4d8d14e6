"""What goes wrong with serving endpoints, by name: scripts for the emulator.

Each is a :class:`Preset`, begun and ended by ``with``::

    with presets.outage().on(serving_emulator, "demo"):
        ...

``presets.ALL`` holds every one with its defaults, for ``pytest.mark.parametrize``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from servingclient.emulator import Emulator, Fault, faults


@dataclass(frozen=True, slots=True)
class Preset:
    """Something that goes wrong.

    Attributes:
        name: Of the function that makes it.
        what: What happens, in a sentence.
        begin: Makes it happen to an endpoint of an emulator.
        changes: Fields of the endpoint's specification that it takes.
    """

    name: str
    what: str
    begin: Callable[[Emulator, str], None]
    changes: tuple[tuple[str, Any], ...] = ()

    @contextmanager
    def on(self, emulator: Emulator, endpoint: str) -> Iterator[None]:
        """While it happens. At the end all scripts of the endpoint and of logins are gone.

        Args:
            emulator: A running one.
            endpoint: Name of one of its endpoints.
        """
        spec = emulator.endpoint_spec(endpoint)
        before = {name: getattr(spec, name) for name, _ in self.changes}
        ttl_s = emulator.token_ttl_s
        if self.changes:
            emulator.change_endpoint(endpoint, **dict(self.changes))
        self.begin(emulator, endpoint)
        try:
            yield
        finally:
            emulator.clear(endpoint)
            emulator.token_always(None)
            emulator.token_ttl_s = ttl_s
            if before:
                emulator.change_endpoint(endpoint, **before)

    def __str__(self) -> str:
        return self.name


def throttle_burst(replies: int = 3, *, retry_after_s: float | None = None) -> Preset:
    """The endpoint refuses the next requests with 429, then has room again.

    Args:
        replies: How many it refuses.
        retry_after_s: Seconds it asks to wait; None sends no hint, as the service mostly does.
    """
    script = [faults.throttled(retry_after=retry_after_s)] * replies
    return _scripted("throttle_burst", f"{replies} replies with 429", script)


def outage(status: int = 503) -> Preset:
    """Every request is answered with a gateway's page, until the end.

    Args:
        status: HTTP status of the page.
    """
    return _standing("outage", f"a page with {status} to each request", faults.html(status))


def slow(delay_s: float = 0.5) -> Preset:
    """Every reply comes late.

    Args:
        delay_s: Seconds it takes longer.
    """
    return _standing("slow", f"replies {delay_s:g} s late", faults.slow(delay_s))


def silence() -> Preset:
    """Requests are taken and never answered."""
    return _standing("silence", "no replies, open connections", faults.hang())


def resets(replies: int = 1, *, processed: bool = True) -> Preset:
    """The connection breaks under the next requests.

    Args:
        replies: How many.
        processed: The model runs before; else nobody has seen the request.
    """
    script = [faults.reset(when="after" if processed else "before")] * replies
    return _scripted("resets", f"{replies} connections reset", script)


def flaky(share: float = 0.3, *, requests: int = 100, seed: int = 0) -> Preset:
    """A share of the next requests fails in one of several ways; the same ones for a seed.

    Args:
        share: Of requests that fail, from 0 to 1.
        requests: How many are decided.
        seed: Decides which, and how.
    """
    chance = random.Random(seed)  # noqa: S311 - a scenario
    ways = (faults.throttled(), faults.html(503), faults.reset(), faults.html(502))
    script = [
        chance.choice(ways) if chance.random() < share else faults.ok() for _ in range(requests)
    ]
    return _scripted("flaky", f"{share:.0%} of {requests} requests fail", script)


def token_expires() -> Preset:
    """Every OAuth token that was issued so far is refused; new ones are good."""
    return Preset(
        "token_expires", "all tokens are refused", lambda emulator, _: emulator.revoke_tokens()
    )


def short_tokens(ttl_s: float = 2.0) -> Preset:
    """Tokens that are issued meanwhile end soon.

    Args:
        ttl_s: Seconds they are good for.
    """

    def begin(emulator: Emulator, _: str) -> None:
        emulator.token_ttl_s = ttl_s

    return Preset("short_tokens", f"tokens are good for {ttl_s:g} s", begin)


def login_down() -> Preset:
    """The login service answers 503: who has a token goes on, nobody gets another."""
    return Preset(
        "login_down",
        "no tokens are issued",
        lambda emulator, _: emulator.token_always(faults.html(503)),
    )


def no_permission() -> Preset:
    """The credential is good and lacks CAN QUERY: final."""
    return _standing("no_permission", "PERMISSION_DENIED", faults.permission_denied())


def login_page() -> Preset:
    """A proxy in between answers 200 with its login page."""
    return _standing("login_page", "a web page with status 200", faults.login_page())


def broken_streams(after_events: int = 1) -> Preset:
    """Streams break off.

    Args:
        after_events: Events that still come.
    """
    fault = faults.cut_stream(after_events)
    return _standing("broken_streams", f"streams end after {after_events} events", fault)


def busy(slots: int = 1, *, service_time_s: float = 0.1) -> Preset:
    """The endpoint runs few requests at once, and refuses what would have to wait.

    Args:
        slots: Requests at once.
        service_time_s: Seconds the model takes for each.
    """
    changes = (("slots", slots), ("queue", 0), ("service_time_s", service_time_s))
    return Preset("busy", f"{slots} requests at once, no queue", _nothing, changes)


def cold_start(wakes_after_s: float = 0.5) -> Preset:
    """The endpoint is scaled to zero: the first request wakes it, and all are held meanwhile.

    Args:
        wakes_after_s: Seconds it takes.
    """
    changes = (("cold_start_s", wakes_after_s), ("cold_start", "hold"))
    return Preset("cold_start", f"the first reply takes {wakes_after_s:g} s", _nothing, changes)


def _nothing(emulator: Emulator, endpoint: str) -> None:
    del emulator, endpoint


def _scripted(name: str, what: str, script: list[Fault]) -> Preset:
    return Preset(name, what, lambda emulator, endpoint: emulator.script(endpoint, *script))


def _standing(name: str, what: str, fault: Fault) -> Preset:
    return Preset(name, what, lambda emulator, endpoint: emulator.always(endpoint, fault))


ALL: tuple[Preset, ...] = (
    throttle_burst(),
    outage(),
    slow(),
    silence(),
    resets(),
    flaky(),
    token_expires(),
    short_tokens(),
    login_down(),
    no_permission(),
    login_page(),
    broken_streams(),
    busy(),
    cold_start(),
)
"""Every preset, with its defaults."""
