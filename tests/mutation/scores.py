"""What a run of mutmut came to: killed per module, and the mutants that survived.

python tests/mutation/scores.py build/mutation/mutants [least percent]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PACKAGE = "src/servingclient/"
KILLED = frozenset({1, 3})
"""A test failed, or broke; a time-out (36, 24, and the signals for it) is counted too."""
NO_TEST = 33


def is_killed(code: int) -> bool:
    """Whether a mutant that ended so was noticed: anything but a good end of the tests."""
    return code in KILLED or code in {24, 36, 152, 255} or code < 0


def modules(mutants: Path) -> dict[str, dict[str, Any]]:
    """The exit codes of each module's mutants, by name of the mutant."""
    found = {}
    for meta in sorted(mutants.glob(f"{PACKAGE}**/*.meta")):
        codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        tried = {name: code for name, code in codes.items() if code is not None}
        if tried:
            found[str(meta.relative_to(mutants / PACKAGE)).removesuffix(".meta")] = tried
    return found


def main() -> int:
    """Print it; 1 where a module has less than was asked for."""
    mutants = Path(sys.argv[1])
    least = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    killed_of_all = of_all = 0
    poor = []
    survivors: list[str] = []
    print(f"{'module':32} {'mutants':>8} {'killed':>7} {'share':>7}")
    for module, codes in modules(mutants).items():
        killed = sum(map(is_killed, codes.values()))
        share = 100.0 * killed / len(codes)
        print(f"{module:32} {len(codes):8} {killed:7} {share:6.1f}%")
        killed_of_all, of_all = killed_of_all + killed, of_all + len(codes)
        survivors += [name for name, code in codes.items() if not is_killed(code)]
        if share < least:
            poor.append(module)
    print(f"{'all':32} {of_all:8} {killed_of_all:7} {100.0 * killed_of_all / max(1, of_all):6.1f}%")
    print(
        f"\n{len(survivors)} survived; `mutmut show NAME` in {mutants.parent} tells what they are:"
    )
    for name in survivors:
        print(f"    {name}")
    if poor:
        print(f"\nless than {least:g} %: {', '.join(poor)}")
    return 1 if poor else 0


if __name__ == "__main__":
    sys.exit(main())
