"""``servingclient predict``: one call, its predictions on the standard output."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from servingclient import Prediction
from servingclient.cli import asking, inputs
from servingclient.cli.asking import as_json
from servingclient.cli.piped import show, tell, write

_EXAMPLES: Final = f"""\
examples:
  echo '{{"amount": 12.5, "country": 1}}' | servingclient predict fraud-model
  servingclient predict fraud-model --input rows.csv --text zip_code
  servingclient predict fraud-model --input rows.parquet --json | jq .timing.total_s
  servingclient predict chat --input chat.json --params '{{"temperature": 0}}' --stream

JSON may be a request body ({{"dataframe_split": ...}}, {{"messages": ...}}), columns, a list of
rows, or rows one a line. Predictions come one a line, as JSON. Files of any size:
`servingclient map`.
{asking.AUTHENTICATION}

{asking.CODES}
"""


def main(argv: Sequence[str]) -> int:
    """Call, print, and return the exit code.

    Args:
        argv: Arguments after ``predict``.
    """
    given = parser().parse_args(argv)
    return asking.ended("predict", lambda: _called(given))


def _called(given: argparse.Namespace) -> int:
    wanted = inputs.whole(given)
    with asking.opened(given) as client:
        options = asking.call_options(given)
        if given.stream:
            with client.stream(wanted, **options) as events:
                for event in events:
                    write(as_json(event))
            return asking.GOOD
        prediction = client.predict(wanted, **options)
        if given.stats:
            tell(client.stats())
    if given.json:
        show(as_json(as_dict(prediction), indent=2))
    else:
        show("\n".join(map(as_json, _lines(prediction.predictions))))
    return asking.GOOD


def _lines(predictions: Any) -> list[Any]:
    return predictions if isinstance(predictions, list) else [predictions]


def as_dict(prediction: Prediction) -> dict[str, Any]:
    """All that is known of a call; durations in seconds."""
    return {
        "predictions": prediction.predictions,
        "request_id": prediction.request_id,
        "served_model": prediction.served_model,
        "status": prediction.status,
        "timing": asdict(prediction.timing),
        "attempts": [attempt._asdict() for attempt in prediction.attempts],
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient predict",
        description="Score an input by one call.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asking.add_endpoint(made)
    inputs.add_input(made)
    asking.add_call(made)
    output = made.add_argument_group("what to print")
    form = output.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="with request id, timing and attempts")
    form.add_argument("--stream", action="store_true", help="events as they come, one a line")
    output.add_argument(
        "--stats", action="store_true", help="figures of the client, on the error output"
    )
    return made
