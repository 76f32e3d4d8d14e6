"""Draw the diagrams of the concept pages, each beside its source.

python docs/diagrams/draw.py            # rewrite them
python docs/diagrams/draw.py --check    # exit code 1 where they are out of date
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = (
    "bulk_job",
    "external_value",
    "life_of_a_call",
    "one_time_limit",
    "retry_quota",
    "shared_requests",
    "token_life",
)


def drawn() -> dict[Path, str]:
    """Each file with what it should hold."""
    found = {}
    for name in NAMES:
        module = importlib.import_module(name)
        found[HERE / f"{name}.svg"] = module.drawn()
    return found


def main(arguments: list[str]) -> int:
    """Write them, or with ``--check`` only say which are out of date."""
    late = {
        path: text
        for path, text in drawn().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in late.items():
        if "--check" in arguments:
            sys.stderr.write(f"{path.name} is out of date: run python docs/diagrams/draw.py\n")
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if late and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
