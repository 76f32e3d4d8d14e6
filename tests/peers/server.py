"""The real MLflow scoring server as a process of its own."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from types import TracebackType

SCRIPT = Path(__file__).with_name("serve_models.py")
# the first start after an install compiles and reads some thousand files; warm it is 3 s
READY_WITHIN_S = 90.0


class PeerNotRunningError(RuntimeError):
    """The peer could not be started; the text ends with what it printed."""


class MlflowServer:
    """Serves every model of ``serve_models.py``, each on a loopback port of its own.

    ``folder`` takes the saved models and the log. Leaving the context ends the process.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder
        self._log = folder / "server.log"
        self.ports: dict[str, int] = {}

    def url(self, model: str) -> str:
        """Where ``model`` is scored."""
        return f"http://127.0.0.1:{self.ports[model]}/invocations"

    def __enter__(self) -> MlflowServer:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._python, SCRIPT, self._folder],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment(),
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _environment(self) -> dict[str, str]:
        # Nothing of the caller's environment: no tracking server, no proxy, no usage reports.
        return {
            "PATH": f"{self._python.parent}:/usr/bin:/bin",
            "HOME": str(self._folder),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def _wait_until_ready(self) -> None:
        # The script prints its ports once all sockets listen, so a request made now is answered
        # when the model behind it is loaded: nothing has to be polled.
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerNotRunningError(
                f"the MLflow server ended before it was ready:\n{self.log_tail()}"
            )
        self.ports = json.loads(line)
        for port in self.ports.values():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_WITHIN_S)
            try:
                connection.request("GET", "/ping")
                status = connection.getresponse().status
            except OSError as error:
                raise PeerNotRunningError(f"no answer to /ping:\n{self.log_tail()}") from error
            finally:
                connection.close()
            if status != 200:
                raise PeerNotRunningError(f"/ping answered {status}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines the server wrote."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-30:])

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
