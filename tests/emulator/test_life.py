"""Starting and stopping: as a context manager, as a fixture, as a process."""

from __future__ import annotations

import asyncio
import builtins
import gc
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from servingclient.emulator import Emulator
from servingclient.emulator.__main__ import main
from tests.emulator.peer import TWO_SUMS, call, call_fast, connected, post

pytest_plugins = ["pytester"]


def test_no_arguments_are_needed() -> None:
    with Emulator() as emu:
        assert emu.host.startswith("https://127.0.0.1:")
        assert emu.serving_host.startswith("https://127.0.0.1:")
        assert emu.host != emu.serving_host
        assert call(emu).json() == TWO_SUMS
        assert call_fast(emu).json() == TWO_SUMS


def test_the_authority_is_its_own_and_goes_with_it() -> None:
    with Emulator() as first, Emulator() as second:
        files = [Path(str(emu.ca_file)) for emu in (first, second)]
        assert files[0].read_bytes() != files[1].read_bytes()
        context = ssl.create_default_context(cafile=files[0])
        port = int(second.host.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as sock,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(sock, server_hostname="127.0.0.1")
    assert not any(file.exists() or file.parent.exists() for file in files)
    assert first.ca_file is None


def test_connections_that_come_as_it_stops_are_closed() -> None:
    with Emulator(tls=False) as emu:
        address = ("127.0.0.1", int(emu.host.rpartition(":")[2]))
        hosting = emu._hosting
        listener, loop = hosting.listeners["workspace"], hosting._loop
        assert loop is not None
        late = [socket.socket() for _ in range(3)]

        async def stop_as_they_come() -> None:
            for sock in late:
                sock.connect(address)
            listener._accept()
            await listener.close()

        asyncio.run_coroutine_threadsafe(stop_as_they_come(), loop).result()
    for sock in late:  # the other end, where it was left open, warns when it is collected
        sock.close()
    gc.collect()


def test_without_tls_there_is_no_authority(emu: Emulator) -> None:
    assert emu.host.startswith("http://")
    assert emu.ca_file is None


def test_https_without_trustme_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name == "trustme":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(RuntimeError, match=r"pip install 'servingclient\[emulator\]'"):
        Emulator().start()


def test_a_chosen_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Emulator(tls=False, port=port) as emu:
        assert emu.host == f"http://127.0.0.1:{port}"


def test_a_taken_port_leaves_nothing_open() -> None:
    with Emulator(tls=False) as emu:
        port = int(emu.host.rpartition(":")[2])
        other = Emulator(tls=False, serving_port=port)
        with pytest.raises(OSError, match="in use"):
            other.start()
    other.start()
    other.stop()


def test_before_the_start_there_is_no_address() -> None:
    emu = Emulator()
    assert "not started" in repr(emu)
    with pytest.raises(RuntimeError, match="not started"):
        _ = emu.host
    emu.stop()


def test_it_starts_once(emu: Emulator) -> None:
    with pytest.raises(RuntimeError, match="already started"):
        emu.start()


def test_endpoints_may_be_added_before_the_start() -> None:
    emu = Emulator(tls=False)
    emu.add_endpoint("early", slots=2)
    emu.change_endpoint("early", slots=3)
    with emu:
        assert call(emu, "early").status == 200


def test_stopping_ends_every_connection_and_the_thread() -> None:
    emu = Emulator(tls=False).start()
    thread = emu._hosting.thread
    emu.change_endpoint("demo", service_time_s=30.0)
    with connected(emu) as idle, connected(emu) as waiting, connected(emu) as half:
        waiting.send(post(emu))
        half.send(b"POST /serving")
        assert emu.wait_for(lambda: emu.executions("demo")[None] == 1)
        assert emu.wait_for(lambda: emu.open_connections["workspace"] == 3)
        emu.stop()
        for peer in (idle, waiting, half):
            with pytest.raises(ConnectionResetError):
                peer.sock.recv(1)
    assert thread is not None
    assert not thread.is_alive()
    emu.stop()


def test_stopping_ends_unfinished_handshakes() -> None:
    with Emulator() as emu:
        port = int(emu.host.rpartition(":")[2])
        sock = socket.create_connection(("127.0.0.1", port), 5.0)
        assert emu.wait_for(lambda: emu.connections["workspace"] == 1)
    with sock:
        assert sock.recv(1) == b""


def test_it_stops_when_the_block_fails() -> None:
    before = set(threading.enumerate())  # another emulator may be serving a whole test session
    emu = Emulator(tls=False)
    with pytest.raises(ZeroDivisionError), emu:
        raise ZeroDivisionError
    assert set(threading.enumerate()) <= before


def test_what_happened_can_still_be_read_afterwards() -> None:
    with Emulator(tls=False) as emu:
        call(emu)
    assert [record.status for record in emu.requests] == [200]
    assert sum(emu.executions("demo").values()) == 1


# ---------------------------------------- as a fixture


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import http.client
        import ssl

        def ask(emulator):
            host = emulator.host.removeprefix("https://")
            context = ssl.create_default_context(cafile=emulator.ca_file)
            connection = http.client.HTTPSConnection(host, context=context)
            connection.request("GET", "/.well-known/databricks-config")
            status = connection.getresponse().status
            connection.close()
            return status

        def test_first(serving_emulator):
            assert ask(serving_emulator) == 200
            assert len(serving_emulator.requests) == 1

        def test_second(serving_emulator):
            assert serving_emulator.requests == []
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


def modules_after(imported: str) -> set[str]:
    code = f"import sys, {imported}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return set(done.stdout.split())


def test_the_plugin_imports_nothing_heavy() -> None:
    added = modules_after("servingclient.integrations.pytest_plugin") - modules_after(
        "servingclient, pytest"
    )
    assert added == {"servingclient.integrations", "servingclient.integrations.pytest_plugin"}


def test_the_emulator_imports_nothing_of_the_client() -> None:
    # It judges the client: a shared parser would share its bugs.
    added = modules_after("servingclient.emulator.__main__") - modules_after("servingclient")
    ours = {name for name in added if name.startswith("servingclient")}
    assert ours
    assert all(name.startswith("servingclient.emulator") for name in ours)


# ---------------------------------------- as a process


class Running:
    """The emulator as a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "servingclient.emulator", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    spec = json.dumps({"name": "mine", "served_models": {"m": 100}})
    with Running("--http", "--json", "--endpoint", spec) as running:
        facts = json.loads(running.line())
        assert facts["ca_file"] is None
        port = int(facts["host"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 5.0) as sock:
            auth = facts["token"]
            sock.sendall(
                b"POST /serving-endpoints/mine/invocations HTTP/1.1\r\nhost: x\r\n"
                b"content-type: application/json\r\nauthorization: Bearer "
                + auth.encode()
                + b"\r\n"
                b'content-length: 16\r\n\r\n{"inputs":[1,2]}'
            )
            assert b"served-model-name: m\r\n" in sock.recv(65536)
        os.kill(running.process.pid, number)
        assert running.process.wait(10) == 0


def test_a_process_is_told_over_http_what_to_be() -> None:
    with Running("--http", "--json") as running:
        facts = json.loads(running.line())
        connection = http.client.HTTPConnection(facts["host"].removeprefix("http://"), timeout=5)

        def ask(method: str, path: str, value: object = None) -> Any:
            headers = {
                "authorization": f"Bearer {facts['token']}",
                "content-type": "application/json",
            }
            connection.request(method, path, json.dumps(value), headers)
            return json.loads(connection.getresponse().read())

        spec = {"name": "load", "slots": 4, "queue": 64, "service_time_s": 0.005, "echo": "id"}
        ask("POST", "/_emulator/endpoint", spec)
        ask("POST", "/_emulator/scale", {"endpoint": "load", "slots": 16})
        described = ask("GET", "/api/2.0/serving-endpoints/load")
        (entity,) = described["config"]["served_entities"]
        assert entity["min_provisioned_concurrency"] == 4
        assert entity["max_provisioned_concurrency"] == 16
        rows = {"dataframe_split": {"columns": ["id"], "data": [[7], [8]]}}
        called = ask("POST", "/serving-endpoints/load/invocations", rows)
        assert called == {"predictions": [7, 8]}
        connection.close()


def test_a_process_prints_exports() -> None:
    with Running() as running:
        lines = [running.line() for _ in range(7)]
        names = [line.partition("=")[0].removeprefix("export ") for line in lines[:6]]
        assert names == [
            "DATABRICKS_HOST",
            "DATABRICKS_CLIENT_ID",
            "DATABRICKS_CLIENT_SECRET",
            "REQUESTS_CA_BUNDLE",
            "SSL_CERT_FILE",
            "SERVINGCLIENT_CA_FILE",
        ]
        ca_file = Path(lines[3].partition("=")[2])
        assert ca_file.exists()
        running.process.terminate()
        assert running.process.wait(10) == 0
        assert not ca_file.exists()


def test_or_those_of_a_personal_access_token() -> None:
    with Running("--http", "--auth", "pat") as running:
        running.line()
        assert running.line().startswith("export DATABRICKS_TOKEN=")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--endpoint", "no json"], "is no JSON"),
        (["--endpoint", "{}"], 'a JSON object with "name" is needed'),
        (["--endpoint", '{"name": "x", "colour": "red"}'], "has no colour"),
        (["--endpoint", '{"name": "x", "kind": "odd"}'], "unknown kind"),
    ],
)
def test_wrong_arguments(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_taken_port_is_told(capsys: pytest.CaptureFixture[str], emu: Emulator) -> None:
    assert main(["--http", "--port", emu.host.rpartition(":")[2]]) == 2
    assert "in use" in capsys.readouterr().err


async def test_it_starts_inside_a_running_event_loop() -> None:
    """As in a notebook, or in an async test."""
    with Emulator(tls=False) as emulator:
        assert emulator.host.startswith("http://127.0.0.1:")
