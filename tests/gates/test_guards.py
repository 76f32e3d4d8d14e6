"""The guards catch what they are there for, each shown on a small suite run by itself."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.checkout


@pytest.fixture
def run(pytester: pytest.Pytester, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Run a test file under the project's own configuration and guards."""
    root = request.config.rootpath
    monkeypatch.setenv("PYTHONPATH", str(root))
    guards = "from tests.guards import " + ", ".join(GUARDS)
    pytester.makeconftest(guards)

    def run(source: str) -> pytest.RunResult:
        path = pytester.makepyfile(source)
        return pytester.runpytest_subprocess(
            "-c",
            str(root / "pyproject.toml"),
            "--rootdir",
            str(pytester.path),
            "-p",
            "no:cacheprovider",
            path,
        )

    return run


GUARDS = (
    "_asyncio_is_heard",
    "_loopback_only",
    "_machine_unseen",
    "_nothing_left_behind",
    "_nothing_left_to_collect",
    "_only_what_tests_make_is_collected",
    "_tasks_are_awaited",
)


def test_a_clean_test_passes(run) -> None:
    run("def test_nothing(): pass").assert_outcomes(passed=1)


def test_what_a_test_leaves_behind_fails_it(run) -> None:
    result = run(
        """
        import asyncio, socket, threading

        stop = threading.Event()
        tasks = []

        def test_thread():
            threading.Thread(target=stop.wait, name="forgotten", daemon=True).start()

        async def test_task():
            tasks.append(asyncio.create_task(asyncio.Event().wait(), name="dropped"))

        async def test_exception_nobody_asked_for():
            async def fail():
                raise ValueError("unheard")
            asyncio.create_task(fail())
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        def test_afterwards():
            pass
        """
    )
    result.assert_outcomes(passed=4, errors=3)
    result.stdout.fnmatch_lines_random(
        ["*thread left running: forgotten*", "*task left running: *dropped*", "*never retrieved*"]
    )


def test_warnings_are_errors(run) -> None:
    result = run(
        """
        import socket, warnings

        def test_warning():
            warnings.warn("old", DeprecationWarning)

        def test_socket_never_closed():
            socket.socket()
        """
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(["*DeprecationWarning: old*", "*unclosed <socket.socket*"])


def test_only_loopback_is_reached(run) -> None:
    result = run(
        """
        import asyncio, socket, pytest

        def test_connect():
            with socket.socket() as s:
                with pytest.raises(BaseException):
                    s.connect(("192.0.2.1", 443))

        def test_bind():
            with socket.socket() as s:
                with pytest.raises(BaseException):
                    s.bind(("0.0.0.0", 0))

        def test_name():
            with pytest.raises(BaseException):
                socket.create_connection(("example.com", 443))

        async def test_asyncio():
            with pytest.raises(BaseException):
                await asyncio.open_connection("192.0.2.1", 443)

        def test_loopback():
            with socket.create_server(("127.0.0.1", 0)) as server:
                with socket.create_connection(server.getsockname()):
                    pass

        def test_a_name_that_cannot_exist():
            with pytest.raises(socket.gaierror):
                socket.create_connection(("nowhere.invalid", 443))
        """
    )
    # a refusal fails the test even where the code under test swallows it
    result.assert_outcomes(passed=6, errors=4)


def test_the_machine_is_not_seen(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "somebody's")
    monkeypatch.setenv("https_proxy", "http://192.0.2.1:3128")
    run(
        """
        import os

        def test_environment():
            assert "DATABRICKS_TOKEN" not in os.environ
            assert "https_proxy" not in os.environ
        """
    ).assert_outcomes(passed=1)


def test_every_test_has_a_time_limit(request: pytest.FixtureRequest) -> None:
    assert float(request.config.getini("timeout")) <= 20
