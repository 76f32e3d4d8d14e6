"""Load clients for a long time, and tell what grew: ``make soak``.

::

    make soak                                   5 minutes
    make soak ARGS="--minutes 60"               an hour, as every night
    make soak ARGS="--only tokens --minutes 10" this part alone, all the time

The endpoint is an emulator in a process of its own. What is measured is this process: memory over
calls by least squares after a warm-up; descriptors, tasks, threads and futures after the last call;
objects; inputs that errors held; what nobody would see (warnings, exceptions never retrieved).
The status is 1 when a figure misses its bound.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from tests.soak.endpoint import Endpoint, running
from tests.soak.gauges import garbage, resident_mb, watched
from tests.soak.parts import PARTS
from tests.soak.session import Soak
from tests.soak.verdicts import HEAD, Verdict

_MOST_MB_IN_ALL = 10.0
"""Of the process over all parts, with any weather, after each has run once."""
_LONG_MINUTES = 10.0
_WARM_SHARE = 0.1


def soaked(minutes: float, only: Sequence[str]) -> Iterator[Sequence[Verdict]]:
    """Run parts one after the other, each for its share of the time; yields what each came to."""
    with watched() as unseen, running() as endpoint:
        if minutes >= _LONG_MINUTES:  # each part once, for what is loaded and filled once
            for _ in _parts(endpoint, minutes * 60.0 * _WARM_SHARE, only):
                pass
        early_mb = resident_mb()
        yield from _parts(endpoint, minutes * 60.0, only)
    bound = {"most": _MOST_MB_IN_ALL} if minutes >= _LONG_MINUTES else {}
    yield [
        Verdict("all", "unseen warnings and errors", unseen.found.total(), most=0),
        *(Verdict("all", text[:60], count, most=0) for text, count in unseen.found.items()),
        Verdict("all", "objects beyond collection", garbage(), most=0),
        Verdict("all", "RSS grown, MB", resident_mb() - early_mb, **bound),
    ]


def _parts(endpoint: Endpoint, seconds: float, only: Sequence[str]) -> Iterator[list[Verdict]]:
    whole = sum(PARTS[name].share for name in only) or 1.0
    for name in only:
        soak = Soak(endpoint, seconds / whole, [])
        began_s = time.monotonic()
        PARTS[name].run(soak, name, PARTS[name].share)
        soak.judge(name, "seconds", time.monotonic() - began_s)
        yield soak.verdicts


def main() -> int:
    asked = argparse.ArgumentParser(prog="make soak", description="Load clients for long.")
    asked.add_argument("--minutes", type=float, default=5.0, help="of all parts together")
    asked.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    given = asked.parse_args()
    print(HEAD)
    judged = missed = 0
    for verdicts in soaked(given.minutes, given.only):
        print(*verdicts, sep="\n", flush=True)
        judged += sum(one.judged for one in verdicts)
        missed += sum(not one.good for one in verdicts)
    print(f"\n{missed} of {judged} figures missed their bound")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
