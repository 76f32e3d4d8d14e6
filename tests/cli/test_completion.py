"""Completion knows every command and option, and bash takes it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from importlib import import_module

import pytest

from servingclient import cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_every_command_is_in_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in cli.COMMANDS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_options(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["completion", "bash"])
    script = capsys.readouterr().out
    ask = (
        "COMP_WORDS=(servingclient map demo --check); COMP_CWORD=3; "
        "_shtab_servingclient; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["--checkpoint"]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_examples_of_every_help_are_command_lines(name: str) -> None:
    parser = import_module(cli.COMMANDS[name].module).parser()
    told = parser.format_help()
    assert "exit codes:" in told
    examples = re.findall(rf"^  .*\bservingclient {name}\b(.*)$", told, re.MULTILINE)
    assert examples, "no example"
    for example in examples:
        words = shlex.split(example.replace("`", ""))
        ends = [words.index(mark) for mark in ("|", ">", "&") if mark in words]
        parser.parse_args(words[: min(ends, default=len(words))])
