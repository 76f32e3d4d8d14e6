"""Faults of all kinds, one after the other and some at once, drawn by a seed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from servingclient.emulator import Emulator, Fault, faults
from tests.faults.proxy import FaultProxy
from tests.faults.rules import always, both, every, nothing, share, share_of_requests
from tests.faults.toxics import (
    Bandwidth,
    Blackhole,
    CutBody,
    Drip1xx,
    DripBody,
    DripHead,
    FinAfter,
    HalfOpen,
    IdleClose,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

ENDPOINT = "echo"
Change = Callable[[], object]

TOXICS: tuple[Toxic, ...] = (
    Latency(0.02, 0.02),
    Latency(0.3, 0.3),
    Bandwidth(5_000.0),
    SlowClose(0.2),
    Timeout(0.1),
    ResetPeer(0.0),
    ResetPeer(0.05),
    Slicer(1),
    Slicer(7, 0.001),
    LimitData(700),
    Blackhole("up"),
    Blackhole("down"),
    HalfOpen(),
    FinAfter(1),
    FinAfter(3),
    IdleClose(0.02),
    CutBody("rst"),
    CutBody("fin"),
    Drip1xx(0.02),
    DripHead(0.01),
    DripBody(0.05),
)

# No second, unasked reply: behind a proxy it may arrive when the next request has been sent, and
# then nothing in HTTP/1.1 tells it from that one's answer. Where it can be told, T8 has it.
REPLIES: tuple[Fault, ...] = (
    faults.throttled(),
    faults.throttled(retry_after=0),
    faults.throttled(retry_after=1),
    faults.throttled("absurd"),
    faults.reset("before"),
    faults.reset("after"),
    faults.reset("mid_reply"),
    faults.disconnect("before"),
    faults.disconnect("after"),
    faults.disconnect("mid_reply"),
    faults.hang("before"),
    faults.hang("after"),
    faults.slow(0.05),
    faults.slow(0.5),
    faults.close_silently(),
    faults.announce_close(),
    faults.drip("head"),
    faults.drip("body"),
    faults.informational(),
    faults.html(502, executed=True),
    faults.plain(503),
    faults.plain(503, executed=True),
    faults.answer(503, b"{}", headers={"retry-after": "1"}, executed=True),
    faults.execution_timeout(),
    faults.answer(500, b"{}", executed=True),
    faults.login_page(),
    faults.redirect("https://elsewhere.example/"),
    faults.truncated_json(),
    faults.gzip("good"),
    faults.gzip("truncated"),
    faults.gzip("bad_checksum"),
    faults.invalid_token(401),
    faults.invalid_token(403),
)

LOGINS: tuple[Fault, ...] = (
    faults.hang(),
    faults.empty(500),
    faults.slow(0.5),
    faults.reset("after"),
    faults.html(502),
)


@dataclass
class Weather:
    """Changes what is wrong at random, between ``with`` and its end; then all is well.

    Args:
        emulator: Whose endpoint is ``ENDPOINT``.
        proxy: Before it.
        seed: Of everything drawn.
        stall: Holds up an event loop of the callers for so many seconds.
        longest_s: Longest time from one change to the next.
    """

    emulator: Emulator
    proxy: FaultProxy
    seed: int
    stall: Callable[[float], object]
    longest_s: float = 0.5
    changes: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _broken: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._thread = threading.Thread(target=self._run, name="weather")

    def __enter__(self) -> Weather:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.clear_up()
        if self._broken:
            raise self._broken[0]

    def _run(self) -> None:
        kinds: tuple[tuple[Change, float], ...] = (
            (self._wire, 4.0),
            (self._replies, 4.0),
            (self.clear_up, 4.0),
            (self._connections, 2.0),
            (self._tokens, 1.0),
            (self._capacity, 1.0),
            (self._description, 0.5),
            (lambda: self.stall(self._chance.uniform(0.05, 0.4)), 1.0),
        )
        weights = [weight for _, weight in kinds]
        try:
            while not self._over.wait(self._chance.uniform(0.02, self.longest_s)):
                change, _ = self._chance.choices(kinds, weights)[0]
                change()
                self.changes += 1
        except BaseException as error:  # noqa: BLE001 - raised where the run is judged
            self._broken.append(error)

    def clear_up(self) -> None:
        """From now on all is well."""
        self.proxy.use(nothing)
        self.proxy.listen()
        self.emulator.clear(ENDPOINT)
        self.emulator.token_always(None)
        self.emulator.describe_always(None)
        self.emulator.change_endpoint(ENDPOINT, slots=None, queue=None, service_time_s=0.005)

    def _wire(self) -> None:
        """Connections and replies are mistreated, all or some of them."""
        chance = self._chance
        one, two = chance.choice(TOXICS), chance.choice(TOXICS)
        seed = chance.randrange(1000)
        rule = chance.choice(
            (
                always(one),
                every(chance.randrange(2, 12), one),
                share(chance.random(), one, seed=seed),
                share_of_requests(chance.random(), one, seed=seed),
                both(every(3, one), share(0.2, two, seed=seed)),
            )
        )
        self.proxy.use(rule)

    def _replies(self) -> None:
        """The endpoint misbehaves: always, or for some requests."""
        chance = self._chance
        if chance.random() < 0.3:
            self.emulator.always(ENDPOINT, chance.choice(REPLIES))
        else:
            some = [*(chance.choice(REPLIES) for _ in range(8)), *[faults.ok()] * 12]
            chance.shuffle(some)
            self.emulator.script(ENDPOINT, *some)

    def _connections(self) -> None:
        """What befalls all connections at once, or those that are to be made."""
        proxy = self.proxy
        what = (proxy.cut, proxy.freeze, proxy.refuse, proxy.drop_syns, proxy.listen)
        self._chance.choice((*what, self.emulator.drop_connections))()

    def _tokens(self) -> None:
        """Tokens end, and new ones are hard to get."""
        self._chance.choice(
            (
                self.emulator.revoke_tokens,
                lambda: self.emulator.token_always(self._chance.choice(LOGINS)),
                lambda: self.emulator.token_always(None),
            )
        )()

    def _capacity(self) -> None:
        """The endpoint takes a few at once, and may queue some."""
        chance = self._chance
        self.emulator.change_endpoint(
            ENDPOINT,
            slots=chance.choice((1, 2, 8)),
            queue=chance.choice((0, 4, 100)),
            service_time_s=chance.choice((0.005, 0.02, 0.1)),
        )

    def _description(self) -> None:
        """The endpoint's description is not to be had."""
        self.emulator.describe_always(self._chance.choice((faults.hang(), faults.empty(500), None)))
