"""The client under gevent, which puts sockets, threads and locks of its own in place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from servingclient.emulator import Emulator

pytest.importorskip("gevent", reason="gevent is not installed: make engines has it")


def run(scenario: str, emu: Emulator, token: str) -> None:
    script = Path(__file__).with_name("under_gevent.py")
    command = [sys.executable, str(script), scenario, emu.host, token, str(emu.ca_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=18, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_a_stalled_server_ends_at_the_deadline() -> None:
    with Emulator() as emu:
        emu.add_endpoint("stalled", service_time_s=60.0)
        run("stalled", emu, emu.token)


def test_an_upload_nobody_reads_ends_at_the_deadline() -> None:
    with Emulator() as emu:
        run("stalled_upload", emu, emu.token)


def test_fifty_greenlets_share_a_client_and_one_login() -> None:
    with Emulator() as emu:
        run("shared", emu, f"{emu.client_id}:{emu.client_secret}")
        paths = [request.path for request in emu.requests]
        assert sum(path.endswith("/invocations") for path in paths) == 50
        assert len([path for path in paths if path.endswith("/token")]) == 2
