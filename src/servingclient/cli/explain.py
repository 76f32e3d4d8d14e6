"""``servingclient explain``: what a request would weigh, without scoring anything."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from servingclient.cli import asking, inputs
from servingclient.cli.asking import as_json
from servingclient.cli.piped import show
from servingclient.payload.report import Explanation

_EXAMPLES: Final = f"""\
examples:
  servingclient explain fraud-model --input rows.parquet
  servingclient explain fraud-model --input rows.csv --json

The input is encoded, measured and held to the endpoint's limit and the model's signature. The
workspace may be asked for those; the model is not called.
{asking.AUTHENTICATION}

exit codes: 0 it fits; 1 it is larger than the endpoint takes, or the workspace could not be asked;
2 the command or its input cannot be; 130 Ctrl-C.
"""


def main(argv: Sequence[str]) -> int:
    """Explain, print, and return the exit code.

    Args:
        argv: Arguments after ``explain``.
    """
    given = parser().parse_args(argv)
    return asking.ended("explain", lambda: _explained(given))


def _explained(given: argparse.Namespace) -> int:
    wanted = inputs.whole(given)
    with asking.opened(given) as client:
        found = client.explain(wanted, params=given.params, timeout=given.timeout)
    show(as_json(as_dict(found), indent=2) if given.json else str(found))
    share = found.share_of_limit  # None where the workspace could not be asked
    return asking.GOOD if share is not None and share <= 1.0 else asking.FAILED


def as_dict(found: Explanation) -> dict[str, Any]:
    """All figures of it under their names; sizes in bytes."""
    figures = asdict(found)
    figures["steps"] = {step.name: step.size_bytes for step in found.steps}
    figures["options"] = {step.name: step.size_bytes for step in found.options}
    return {**figures, "sent_bytes": found.sent_bytes, "share_of_limit": found.share_of_limit}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient explain",
        description="Say how an input becomes a request, what it weighs and what would save.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asking.add_endpoint(made)
    inputs.add_input(made)
    made.add_argument("--params", type=asking.json_object, metavar="JSON", help="of the model")
    made.add_argument("--json", action="store_true", help="as JSON")
    return made
