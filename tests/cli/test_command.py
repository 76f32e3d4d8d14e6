"""The command as a user types it: help, version, and the emulator as a process."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from servingclient import ServingClient, Settings, Tls, __version__, cli
from servingclient.cli import demo

COMMAND = [sys.executable, "-c", "import sys; from servingclient.cli import main; sys.exit(main())"]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: servingclient [-h] [--version] COMMAND")
    assert re.findall(r"^    (\w+)\b", told, re.MULTILINE) == list(cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: servingclient {command} [-h]")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"servingclient {__version__}\n"


def test_the_package_is_the_command() -> None:
    # where the script is not on the path: a wheel unpacked, another interpreter
    command = [sys.executable, "-I", "-m", "servingclient"]
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"servingclient {__version__}\n"
    assert subprocess.run([*command, "nonsense"], check=False, capture_output=True).returncode == 2


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["demo", "--nonsense"]])
def test_what_is_no_command_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: servingclient")


def test_ctrl_c_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert cli.main(["demo"]) == 130


def test_the_command_starts_without_what_it_does_not_need() -> None:
    script = (
        "import sys, servingclient.cli; print([m for m in sys.modules if m in "
        "('servingclient.emulator', 'rich', 'trustme', 'httpx', 'databricks')])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@contextmanager
def emulating(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "emulate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def exports(process: subprocess.Popen[str]) -> dict[str, str]:
    """The lines up to the comment that ends them, as the shell would read them."""
    assert process.stdout is not None
    found = {}
    for line in process.stdout:
        if line.startswith("#"):
            break
        export, assignment = shlex.split(line)
        assert export == "export"
        name, _, value = assignment.partition("=")
        found[name] = value
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_emulate_prints_exports_and_stops_when_told(number: int) -> None:
    with emulating("--auth", "pat") as process:
        found = exports(process)
        assert found["DATABRICKS_HOST"].startswith("https://127.0.0.1:")
        with ServingClient(
            "demo",
            host=found["DATABRICKS_HOST"],
            token=found["DATABRICKS_TOKEN"],
            settings=Settings(tls=Tls(ca_file=found["SSL_CERT_FILE"])),
        ) as client:
            assert client.predict([{"a": 1.0, "b": 2.0}]).predictions == [3.0]
        process.send_signal(number)
        _, complaints = process.communicate(timeout=10)
    assert (process.returncode, complaints) == (0, "")


def test_emulate_prints_json_and_takes_endpoints() -> None:
    with emulating("--http", "--json", "--endpoint", '{"name": "fraud"}') as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        with ServingClient("fraud", host=facts["host"], token=facts["token"]) as client:
            assert client.predict([{"a": 4.0}]).predictions == [4.0]


def test_emulate_refuses_what_is_no_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["emulate", "--http", "--endpoint", "nonsense"]) == 2
    assert "'nonsense' is no JSON" in capsys.readouterr().err
