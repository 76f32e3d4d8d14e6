"""The command ``servingclient``. Thin: it parses, calls the library and prints.

Each command is a module with ``main(argv)``, which returns the exit code, and ``parser()``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final, NamedTuple

from servingclient._version import __version__
from servingclient.cli.piped import Unwritable, ready, tell, unread


class Command(NamedTuple):
    """One command.

    Attributes:
        module: Where it is; imported when it is called for, as each needs other libraries.
        help: What it is for.
    """

    module: str
    help: str


COMMANDS: Final = MappingProxyType(
    {
        "predict": Command("servingclient.cli.predict", "score an input by one call"),
        "map": Command("servingclient.cli.map", "score an input of any size, in bounded memory"),
        "explain": Command(
            "servingclient.cli.explain", "how an input becomes a request, and what would save bytes"
        ),
        "stats": Command(
            "servingclient.cli.stats", "figures of the calls that services wrote into their logs"
        ),
        "metrics": Command(
            "servingclient.cli.metrics",
            "what an endpoint says of itself: processor, memory, requests, latency",
        ),
        "doctor": Command(
            "servingclient.cli.doctor", "what is wrong with an endpoint, and what to do about it"
        ),
        "plan": Command(
            "servingclient.cli.plan",
            "how much provisioned concurrency a load needs, and what callers will see",
        ),
        "loadtest": Command(
            "servingclient.cli.loadtest",
            "what an endpoint can take: load of your choice, or the search for its knee",
        ),
        "emulate": Command(
            "servingclient.emulator.__main__",
            "run a local Databricks Model Serving until it is interrupted",
        ),
        "demo": Command(
            "servingclient.cli.demo",
            "score a real data set through every part of the client, on the emulator",
        ),
        "completion": Command(
            "servingclient.cli.completion", "print what makes a shell complete these commands"
        ),
    }
)
_INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process when left out.
    """
    ready()
    given = list(sys.argv[1:] if argv is None else argv)
    command = COMMANDS.get(given[0]) if given else None
    if command is None:
        parser().parse_args(given)  # ends the process: it asks for help, or is no command
        return 2
    try:
        code: int = import_module(command.module).main(given[1:])
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Unwritable as error:
        tell(f"servingclient {given[0]}: {error}")
        return 1
    except BrokenPipeError:  # whoever read has seen enough
        unread()
        return 0
    return code


def parser() -> argparse.ArgumentParser:
    """The command line as far as the command's name."""
    made = argparse.ArgumentParser(
        prog="servingclient",
        description="Production client for Databricks Model Serving.",
        epilog="servingclient COMMAND --help says more about each.",
    )
    made.add_argument("--version", action="version", version=f"servingclient {__version__}")
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help)
    return made
