"""What the commands that call an endpoint share: which one, how to reach it, what an error means
to a shell.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from servingclient import ServingClient, Settings, Tls
from servingclient.cli.piped import Unwritable, tell, unread
from servingclient.errors import CheckpointError, ConfigError, PayloadError, ServingError

GOOD: Final = 0
FAILED: Final = 1
"""The service, the network or the model said no, or gave figures that are not good enough."""
CANNOT_RUN: Final = 2
"""The command line or the input is wrong, and nothing was sent; also what argparse ends with."""
INTERRUPTED: Final = 130
"""What a shell reports for a command that Ctrl-C ended."""

CODES: Final = (
    "exit codes: 0 answered; 1 the endpoint could not be asked or refused; 2 the command or its\n"
    "input cannot be, and nothing was sent; 130 Ctrl-C."
)
AUTHENTICATION: Final = (
    "Databricks unified authentication decides who asks: environment, profile, notebook. Settings\n"
    "come from SERVINGCLIENT_* variables."
)


def add_endpoint(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which endpoint is called, and how it is reached."""
    parser.add_argument("endpoint", help="name of the serving endpoint")
    parser.add_argument("--host", help="workspace; else unified authentication knows it")
    parser.add_argument("--ca-file", metavar="FILE", help="certificates of a private authority")
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help=f"seconds for a call, its retries included ({Settings().timeout_s:g})",
    )


def add_call(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a call that ``predict`` and ``map`` share."""
    parser.add_argument("--params", type=json_object, metavar="JSON", help="of the model")
    parser.add_argument("--served-model", metavar="NAME", help="past the traffic split")
    parser.add_argument("--request-id", metavar="ID", help="your id for it, in the inference table")
    parser.add_argument(
        "--once",
        action="store_true",
        help="never resend what the model may have seen (idempotent=False)",
    )


def call_options(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``add_call`` as ``predict`` and ``map`` take them."""
    return {
        "params": given.params,
        "served_model": given.served_model,
        "client_request_id": given.request_id,
        "idempotent": False if given.once else None,
        "timeout": given.timeout,
    }


def settings_of(given: argparse.Namespace) -> Settings:
    """Settings from the environment, with the authority named on the command line.

    Raises:
        ConfigError: A variable holds what its setting cannot be.
    """
    settings = Settings.from_env()
    return settings if given.ca_file is None else settings.replace(tls=Tls(ca_file=given.ca_file))


def opened(given: argparse.Namespace) -> ServingClient:
    """A client of the endpoint that the arguments name.

    Raises:
        ConfigError: There are no credentials, or a setting is wrong.
    """
    return ServingClient(given.endpoint, host=given.host, settings=settings_of(given))


def ended(command: str, work: Callable[[], int]) -> int:
    """Run a command's work; an error becomes one line on the error output, and an exit code.

    Args:
        command: Its name, which begins the line.
        work: Does it, and returns the exit code where nothing is raised.
    """
    try:
        return work()
    except (ConfigError, PayloadError, CheckpointError) as error:
        complain(command, error)
        return CANNOT_RUN
    except (ServingError, Unwritable) as error:
        complain(command, error)
        return FAILED
    except BrokenPipeError:  # whoever read has seen enough
        unread()
        return GOOD
    except KeyboardInterrupt:
        return INTERRUPTED


def complain(command: str, what: object) -> None:
    """One line about a command on the error output."""
    tell(f"servingclient {command}: {what}")


def as_json(value: Any, *, indent: int | None = None) -> str:
    """JSON as the service writes it: floats that are no numbers as ``NaN`` and ``Infinity``."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def json_object(text: str) -> Mapping[str, Any]:
    """A JSON object on the command line."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError('is no JSON object such as {"temperature": 0.2}')
    return found
