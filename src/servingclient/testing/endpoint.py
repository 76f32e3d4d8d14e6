"""A fake endpoint: a script, and a model for whatever the script does not say."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from servingclient.testing.clock import VirtualClock
from servingclient.testing.script import Answer, Model, NoAnswer, Step, rows_in


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One request as the endpoint got it; a call that is retried makes several.

    Attributes:
        body: The request's body.
        path: Where it went.
        at_s: When, on the virtual clock.
        deadline_s: The instant at which the client gives up.
    """

    body: dict[str, Any]
    path: str
    at_s: float
    deadline_s: float


class ScriptEndedError(AssertionError):
    """The script has no answer left for a request."""


class FakeEndpoint:
    """Answers requests by script; may be used from several threads.

    Args:
        script: What happens to the first requests, in order.
        model: Answers all others.
        clock: Says when.

    Raises:
        TypeError: The script holds something that is no step.
    """

    def __init__(self, script: Iterable[Step], model: Model | None, clock: VirtualClock) -> None:
        self.clock = clock
        self.requests: list[SentRequest] = []
        self._model = model
        self._steps: deque[Step] = deque()
        self._lock = threading.Lock()
        self.add(script)

    def add(self, script: Iterable[Step]) -> None:
        """Put more steps behind those that are left."""
        steps = list(script)
        given: list[object] = [*steps]
        for one in given:
            if not isinstance(one, Step):
                kind = type(one).__name__
                raise TypeError(f"a script holds reply(...), failure(...) and the like, no {kind}")
        with self._lock:
            self._steps.extend(steps)

    @property
    def left(self) -> int:
        """Steps that nothing has asked for yet."""
        return len(self._steps)

    def next(self, path: str, body: bytes, deadline_s: float) -> tuple[SentRequest, Step]:
        """Take a request, and say what happens to it.

        Raises:
            ScriptEndedError: There is nothing left.
        """
        content = orjson.loads(body)
        request = SentRequest(content, path, self.clock.now(), deadline_s)
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
            step = self._steps.popleft() if self._steps else None
        if step is not None:
            return request, step
        if self._model is None:
            raise ScriptEndedError(
                f"request {number} came, and the script has {number - 1} steps. Add one, or give "
                "the fake a model=."
            )
        return request, Answer(200, self._model(rows_in(content)))


def due_s(step: Step, request: SentRequest) -> float:
    """When a request is answered; not later than its deadline."""
    if isinstance(step, NoAnswer) and step.after_s > request.deadline_s - request.at_s:
        return request.deadline_s
    return min(request.at_s + step.after_s, request.deadline_s)


def is_late(step: Step, request: SentRequest) -> bool:
    """Whether the deadline comes before the answer."""
    return request.at_s + step.after_s > request.deadline_s
