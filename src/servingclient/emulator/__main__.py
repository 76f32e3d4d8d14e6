"""The emulator as a process: ``python -m servingclient.emulator --port 0``."""

from __future__ import annotations

import argparse
import gc
import json
import shlex
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from servingclient.emulator._emulator import Emulator
from servingclient.emulator.admin import check_fields

if TYPE_CHECKING:
    from collections.abc import Sequence


_EXAMPLES = """\
examples:
  servingclient emulate
  servingclient emulate --http --json --port 8080
  servingclient emulate --endpoint '{"name": "fraud", "slots": 4, "service_time_s": 0.04}'

It prints what a shell has to export for a client to find it, then serves until Ctrl-C or SIGTERM.

exit codes: 0 it was told to end; 2 it cannot begin: a port is taken, an endpoint cannot be.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="servingclient emulate",
        description="Run a local Databricks Model Serving until it is interrupted.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--port", type=int, default=0, help="of the workspace host; 0 takes a free one"
    )
    made.add_argument(
        "--serving-port", type=int, default=0, help="of the route-optimized data plane"
    )
    made.add_argument("--external-port", type=int, default=0, help="of the external API")
    made.add_argument("--http", action="store_true", help="plain http instead of https")
    made.add_argument("--auth", choices=("m2m", "pat"), default="m2m", help="credentials to print")
    made.add_argument(
        "--json", action="store_true", help="print one line of JSON, not shell exports"
    )
    made.add_argument("--seed", type=int, default=0, help="seeds traffic split and request ids")
    made.add_argument("--token-ttl-s", type=float, default=3600.0, help="life of a token")
    made.add_argument("--journal-limit", type=int, default=5_000, help="requests remembered")
    made.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="JSON",
        help="add an endpoint, or change demo and demo-fast: "
        '\'{"name": "fraud", "slots": 4, "service_time_s": 0.04}\'; may be repeated',
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; return the exit code."""
    arguments = parser().parse_args(argv)
    emulator = Emulator(
        tls=not arguments.http,
        port=arguments.port,
        serving_port=arguments.serving_port,
        external_port=arguments.external_port,
        seed=arguments.seed,
        token_ttl_s=arguments.token_ttl_s,
        journal_limit=arguments.journal_limit,
    )
    try:
        for text in arguments.endpoint:
            emulator.add_endpoint(**_endpoint(text))
        emulator.start()
    except (OSError, RuntimeError, ValueError, TypeError) as wrong:
        sys.stderr.write(f"servingclient emulate: {wrong}\n")
        return 2
    gc.freeze()  # what exists now stays; collections then look at requests only
    stopped = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        sys.stdout.write(
            _as_json(emulator) if arguments.json else _as_exports(emulator, arguments.auth)
        )
        sys.stdout.flush()
        stopped.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        emulator.stop()
    return 0


def _endpoint(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as wrong:
        raise ValueError(f"--endpoint {text!r} is no JSON: {wrong}") from None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError(  # noqa: TRY004 - a value on the command line
            f'--endpoint {text!r}: a JSON object with "name" is needed'
        )
    try:
        check_fields(value)
    except ValueError as wrong:
        raise ValueError(f"--endpoint {text!r}: {wrong}") from None
    return value


def _as_exports(emulator: Emulator, auth: str) -> str:
    """Return shell lines; only one kind of credentials, since unified auth refuses two."""
    exports = {"DATABRICKS_HOST": emulator.host}
    if auth == "pat":
        exports["DATABRICKS_TOKEN"] = emulator.token
    else:
        exports["DATABRICKS_CLIENT_ID"] = emulator.client_id
        exports["DATABRICKS_CLIENT_SECRET"] = emulator.client_secret
    if emulator.ca_file is not None:
        exports["REQUESTS_CA_BUNDLE"] = emulator.ca_file
        exports["SSL_CERT_FILE"] = emulator.ca_file
        exports["SERVINGCLIENT_CA_FILE"] = emulator.ca_file
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()]
    others = (
        f"# route-optimized data plane: {emulator.serving_host}\n",
        f"# external API: {emulator.external.base_url}\n",
    )
    return "".join((*lines, *others))


def _as_json(emulator: Emulator) -> str:
    facts = {
        "host": emulator.host,
        "serving_host": emulator.serving_host,
        "external_url": emulator.external.base_url,
        "ca_file": emulator.ca_file,
        "token": emulator.token,
        "client_id": emulator.client_id,
        "client_secret": emulator.client_secret,
    }
    return json.dumps(facts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
