"""An emulator in a process of its own: it can be frozen, and shares no lock with a client."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

ANSWERS_WITHIN_S = 10.0


class Apart:
    """``python -m servingclient.emulator`` between ``with`` and its end.

    Args:
        endpoints: Each as fields of ``EndpointSpec``.
    """

    def __init__(self, *endpoints: Mapping[str, Any]) -> None:
        self._command = [sys.executable, "-m", "servingclient.emulator", "--http", "--json"]
        self._command += ["--journal-limit", "100000"]
        for one in endpoints:
            self._command += ["--endpoint", json.dumps(one)]

    def __enter__(self) -> Apart:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        facts = json.loads(self._process.stdout.readline())
        self.host: str = facts["host"]
        self.token: str = facts["token"]
        self.port: int = urlsplit(self.host).port or 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(ANSWERS_WITHIN_S)
        finally:
            self._process.kill()
            self._process.communicate()

    def freeze(self) -> None:
        """SIGSTOP: its kernel goes on to accept connections and to take bytes, and that is all."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def change(self, **spec: Any) -> None:
        """Change fields of an endpoint; ``name`` says which."""
        self._ask("POST", "/_emulator/endpoint", spec)

    def always(self, endpoint: str, *faults: str | Mapping[str, Any]) -> None:
        """Let a fault stand, or end it with none."""
        self._ask(
            "POST",
            "/_emulator/script",
            {"endpoint": endpoint, "faults": list(faults), "always": True},
        )

    def executions(self, endpoint: str) -> Counter[str]:
        """How often the model ran, by ``client_request_id``."""
        return Counter(self._ask("GET", "/_emulator/journal", None)["executions"][endpoint])

    def requests(self, endpoint: str) -> list[dict[str, Any]]:
        """The requests to score, as ``RequestRecord`` has them."""
        records = self._ask("GET", "/_emulator/journal", None)["requests"]
        return [
            one for one in records if one["kind"] == "invocation" and one["endpoint"] == endpoint
        ]

    def _ask(self, method: str, path: str, body: object) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWERS_WITHIN_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            reply = connection.getresponse()
            answer = json.loads(reply.read())
        finally:
            connection.close()
        assert reply.status == 200, answer
        return answer
