"""Load clients for a long time, and tell what grew: ``make soak``.

::

    make soak                                   5 minutes
    make soak ARGS="--minutes 60"               an hour, as every night
    make soak ARGS="--only tasks churn"         these parts, with their share of the time

The endpoint is an emulator in a process of its own. What is measured is this process: memory over
calls by least squares after a warm-up; descriptors, tasks, threads and futures after the last call;
objects; inputs that errors held; what nobody would see (warnings, exceptions never retrieved).
The status is 1 when a figure misses its bound.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.soak.endpoint import running
from tests.soak.gauges import resident_mb, watched
from tests.soak.parts import PARTS, Soak, garbage
from tests.soak.verdicts import Verdict, table

_MOST_MB_IN_ALL = 10.0
_LONG_MINUTES = 10.0
_WARM_SHARE = 0.1


def soaked(minutes: float, only: list[str]) -> list[Verdict]:
    """Run parts one after the other, each for its share of the time."""
    verdicts: list[Verdict] = []
    with watched() as unseen, running() as endpoint:
        if minutes >= _LONG_MINUTES:  # each part once, for what is loaded and filled once
            _all_parts(Soak(endpoint, minutes * 60.0 * _WARM_SHARE, []), only)
        early_mb = resident_mb()
        _all_parts(Soak(endpoint, minutes * 60.0, verdicts), only)
    verdicts.append(Verdict("all", "unseen warnings and errors", unseen.found.total(), most=0))
    verdicts += [Verdict("all", text[:60], count, most=0) for text, count in unseen.found.items()]
    verdicts.append(Verdict("all", "objects beyond collection", garbage(), most=0))
    bound = {"most": _MOST_MB_IN_ALL} if minutes >= _LONG_MINUTES else {}
    verdicts.append(Verdict("all", "RSS grown, MB", resident_mb() - early_mb, **bound))
    return verdicts


def _all_parts(soak: Soak, only: list[str]) -> None:
    for name in only:
        part, share = PARTS[name]
        began_s = time.monotonic()
        part(soak, name, share)
        soak.judge(name, "seconds", time.monotonic() - began_s)


def main() -> int:
    asked = argparse.ArgumentParser(prog="make soak", description="Load clients for long.")
    asked.add_argument("--minutes", type=float, default=5.0, help="of all parts together")
    asked.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    given = asked.parse_args()
    verdicts = soaked(given.minutes, given.only)
    print(table(verdicts))
    missed = [one for one in verdicts if not one.good]
    print(f"\n{len(missed)} of {len(verdicts)} figures missed their bound")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
