"""The other side of the soak: an emulator in a process of its own, so that its memory is not ours.

Takes one line of JSON a command on standard input (``{"weather": "mixed"}``, ``{"ttl_s": 5}``,
``{}``) and answers each with what it has seen. Ends with its input.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from servingclient.emulator import Emulator, faults
from servingclient.emulator.fault import Fault, FaultQueue

FAULT_SHARE = 0.2
"""Of requests in mixed weather."""
SEED = 7
LARGEST_REPLY = 1024 * 1024
"""Bytes that the clients of the soak take; what inflates to more is refused."""


class Weather(FaultQueue):
    """What becomes of each request: nothing, anything, or always the same."""

    def __init__(self) -> None:
        super().__init__()
        self._chance = random.Random(SEED)
        self.name = "fair"

    def take(self) -> Fault | None:
        if self.name == "outage":
            return faults.plain(503)
        if self.name == "mixed" and self._chance.random() < FAULT_SHARE:
            return self._chance.choice(MIXED)
        return None


MIXED: tuple[Fault, ...] = (
    faults.throttled(),
    faults.throttled(retry_after=1),
    *(faults.reset(when) for when in ("before", "after", "mid_reply")),
    *(faults.disconnect(when) for when in ("before", "mid_reply")),
    faults.close_silently(),
    faults.announce_close(),
    faults.slow(0.05),
    *(faults.drip(part, interval_s=0.001) for part in ("body", "head")),
    faults.informational(3),
    faults.second_reply(),
    faults.hang(),
    faults.html(502),
    faults.plain(503),
    faults.empty(),
    faults.login_page(),
    faults.redirect("https://elsewhere.invalid/"),
    faults.truncated_json(),
    faults.wrong_content_type(),
    faults.body(b'{"predictions": [NaN, '),
    faults.misshapen("missing"),
    faults.gzip_bomb(4 * LARGEST_REPLY),
    faults.invalid_token(403),
    faults.execution_timeout(),
)


@dataclass(frozen=True)
class Endpoint:
    """A handle on the process, held by the soak.

    Attributes:
        host: URL.
        token: A personal access token.
        client_id: A service principal.
        client_secret: Its secret.
    """

    host: str
    token: str
    client_id: str
    client_secret: str
    _process: subprocess.Popen[str]

    def tell(self, **wanted: Any) -> dict[str, int]:
        """Change the weather or the life of tokens; returns what was seen so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        seen: dict[str, int] = json.loads(self._process.stdout.readline())
        return seen


@contextlib.contextmanager
def running() -> Iterator[Endpoint]:
    """Start the process, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.soak.endpoint"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Endpoint(**json.loads(process.stdout.readline()), _process=process)
    finally:
        process.stdin.close()
        process.wait(10.0)
        process.stdout.close()


def main() -> None:
    weather = Weather()
    with Emulator(tls=False, journal_limit=100) as emulator:
        emulator.add_endpoint("other")
        for name in ("demo", "other"):
            emulator._endpoint(name).faults = weather
        known = ("host", "token", "client_id", "client_secret")
        _say({name: getattr(emulator, name) for name in known})
        for line in sys.stdin:
            wanted = json.loads(line)
            weather.name = wanted.get("weather", weather.name)
            if "ttl_s" in wanted:
                emulator.token_ttl_s = wanted["ttl_s"]
            counts = emulator._journal.counts
            _say(
                {
                    "calls": counts["invocation"],
                    "tokens": counts["token"],
                    "connections": emulator.open_connections["workspace"],
                }
            )


def _say(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
