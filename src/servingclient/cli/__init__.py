"""The command ``servingclient``. Thin: it parses, calls the library and prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from servingclient._version import __version__

_EMULATE = "run a local Databricks Model Serving until it is interrupted"
_DEMO = "score a real data set through every part of the client, on the emulator"
_DOCTOR = "what is wrong with an endpoint, and what to do about it"
_LOADTEST = "what an endpoint can take: load of your choice, or the search for its knee"
_PLAN = "how much provisioned concurrency a load needs, and what callers will see"
_METRICS = "what an endpoint says of itself: processor, memory, requests, latency"
_INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process when left out.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["emulate"]:  # has a parser of its own
        from servingclient.emulator.__main__ import main as emulate

        return emulate(given[1:])
    if given[:1] == ["plan"]:  # likewise
        from servingclient.cli.plan import main as plan

        return plan(given[1:])
    if given[:1] == ["metrics"]:  # likewise
        from servingclient.cli.metrics import main as metrics

        return metrics(given[1:])
    if given[:1] == ["doctor"]:  # likewise
        from servingclient.cli.doctor import main as doctor

        return doctor(given[1:])
    if given[:1] == ["loadtest"]:  # likewise
        from servingclient.cli.loadtest import main as loadtest

        return loadtest(given[1:])
    arguments = _parser().parse_args(given)
    from servingclient.cli.demo import run

    try:
        return run(plain=arguments.plain)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="servingclient",
        description="Production client for Databricks Model Serving.",
        epilog="servingclient COMMAND --help says more about each.",
    )
    parser.add_argument("--version", action="version", version=f"servingclient {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo = commands.add_parser("demo", help=_DEMO, description=_sentence(_DEMO), epilog=_DEMO_CODES)
    demo.add_argument("--plain", action="store_true", help="no colours, also on a terminal")
    commands.add_parser("doctor", help=_DOCTOR)
    commands.add_parser("emulate", help=_EMULATE)
    commands.add_parser("loadtest", help=_LOADTEST)
    commands.add_parser("metrics", help=_METRICS)
    commands.add_parser("plan", help=_PLAN)
    return parser


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


_DEMO_CODES = "Exit code 0: every step went as expected; 1: one did not, the last line says which."
