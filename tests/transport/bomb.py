"""A process that reads one reply and says what it cost; for ``test_bombs``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from servingclient._types import Origin, WireFault
from tests.stopwatch import Stopwatch
from tests.transport.kit import Driver, settings_of, target_at


def memory_mib(what: str) -> float:
    """``VmRSS`` now or ``VmHWM`` at most. (``ru_maxrss`` starts with the parent's.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def main(name: str, port: str) -> None:
    driver = Driver(name, settings_of())
    target = target_at(Origin("http", "127.0.0.1", int(port)))
    driver.send(target)
    with Stopwatch() as watch:
        before = memory_mib("VmRSS")
        try:
            driver.send(target, timeout_s=15)
            outcome = "reply"
        except WireFault as fault:
            outcome = fault.kind.value
    driver.close()
    grown = memory_mib("VmHWM") - before
    sys.stdout.write(json.dumps({"outcome": outcome, "took_s": watch.took_s, "grown_mib": grown}))


if __name__ == "__main__":
    main(*sys.argv[1:])
