"""Judge what ``pyright --verifytypes --outputjson`` says of the installed wheel.

    basedpyright --verifytypes servingclient --ignoreexternal --outputjson | python typed.py

Every symbol that a user can reach has a known type that no checker has to guess, and a docstring
where it is a class. Of functions some have none: those that implement what a base class documents.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any


def incomplete(symbols: list[dict[str, Any]]) -> Iterator[str]:
    for symbol in symbols:
        known = symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"]
        if symbol["isExported"] and not known:
            yield f"{symbol['name']} ({symbol['category']})"


def main() -> int:
    told = json.load(sys.stdin)["typeCompleteness"]
    counts = told["exportedSymbolCounts"]
    total = sum(counts.values())
    found = list(incomplete(told["symbols"]))
    for line in found:
        print(f"a type checker has to guess: {line}")
    if total < 1000:  # a package that is not found has none, and is all known
        found.append("")
        print(f"only {total} symbols were found: the wheel is not what was looked at")
    if told["missingClassDocStringCount"]:
        found.append("")
        print(f"{told['missingClassDocStringCount']} classes have no docstring")
    print(f"public types: {counts['withKnownType']} of {total} symbols known without guessing")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
