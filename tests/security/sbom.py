"""A bill of materials of what a user of the wheel runs, the same wherever it is made.

``python tests/security/sbom.py MADE VERSION WRITTEN``

cyclonedx-py lists all that is installed in an environment, pip and setuptools among it, with
addresses out of each package's metadata. Kept is what the library needs, directly or not: names,
versions, licences, package URLs, and who needs whom. No date, no serial number, no path.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_KEPT = ("bom-ref", "name", "version", "purl", "licenses", "type")

Bom = dict[str, Any]


def rendered(made: Mapping[str, Any], version: str) -> Bom:
    """What is written of a bill that cyclonedx-py made of the wheel's environment.

    Args:
        made: Its JSON.
        version: The library's own version.

    Raises:
        ValueError: The bill lists nothing that the library needs.
    """
    root = made["metadata"]["component"]
    needs = {one["ref"]: sorted(one.get("dependsOn", ())) for one in made["dependencies"]}
    reached = _reached(root["bom-ref"], needs)
    components = [one for one in made.get("components", ()) if one["bom-ref"] in reached]
    if not components:
        raise ValueError("the bill lists nothing that the library needs")
    own = _plain(root) | {"version": version, "purl": f"pkg:pypi/{root['name']}@{version}"}
    return {
        "$schema": made["$schema"],
        "bomFormat": made["bomFormat"],
        "specVersion": made["specVersion"],
        "version": 1,
        "metadata": {"component": own},
        "components": sorted(map(_plain, components), key=lambda one: str(one["bom-ref"])),
        "dependencies": [{"ref": ref, "dependsOn": needs.get(ref, [])} for ref in sorted(reached)],
    }


def _reached(start: str, needs: Mapping[str, list[str]]) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        new = set(needs.get(todo.pop(), ())) - found
        found |= new
        todo += new
    return found


def _plain(component: Mapping[str, Any]) -> Bom:
    kept = {name: component[name] for name in _KEPT if name in component}
    if "purl" in kept:
        kept["purl"] = str(kept["purl"]).partition("?")[0]  # where it was downloaded from
    return kept


def main(made: str, version: str, written: str) -> int:
    """Render one file into another."""
    bill = rendered(json.loads(Path(made).read_text(encoding="utf-8")), version)
    Path(written).write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{written}: {len(bill['components'])} components\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
