"""``servingclient completion``: what makes a shell complete the commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from servingclient.cli import COMMANDS, asking
from servingclient.cli.piped import show
from servingclient.errors import ConfigError

_EXAMPLES: Final = """\
examples:
  servingclient completion bash > ~/.local/share/bash-completion/completions/servingclient
  servingclient completion zsh > "${fpath[1]}/_servingclient"

exit codes: 0 printed; 2 shtab, which knows the shells, is not installed: pip install shtab.
"""


def main(argv: Sequence[str]) -> int:
    """Print, and return the exit code.

    Args:
        argv: Arguments after ``completion``.
    """
    given = parser().parse_args(argv)
    return asking.ended("completion", lambda: _printed(given.shell))


def _printed(shell: str) -> int:
    try:
        import shtab
    except ImportError:
        raise ConfigError(
            "Completion needs shtab, which the extra cli installs: pip install shtab."
        ) from None
    show(shtab.complete(whole(), shell))
    return asking.GOOD


def whole() -> argparse.ArgumentParser:
    """The command line with that of every command."""
    made = argparse.ArgumentParser(prog="servingclient")
    made.add_argument("--version", action="store_true", help="print the version")
    commands = made.add_subparsers()
    for name, command in COMMANDS.items():
        own = import_module(command.module).parser()
        commands.add_parser(
            name,
            parents=[own],
            add_help=False,  # it has the one of its own
            help=command.help,
            description=command.help,
        )
    return made


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient completion",
        description="Print what makes a shell complete the commands and their options.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return made
