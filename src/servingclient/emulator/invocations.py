"""One invocation from its path to its reply: the only place that knows the order of the checks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from servingclient.emulator import (
    agents,
    compression,
    encoding,
    models,
    scoring,
    security,
    throttling,
)
from servingclient.emulator.delivery import PLAIN
from servingclient.emulator.journal import Note
from servingclient.emulator.schema import enforce
from servingclient.emulator.wire import MSGPACK, Reply, error

if TYPE_CHECKING:
    from collections.abc import Callable

    from servingclient.emulator.connection import Connection
    from servingclient.emulator.delivery import Delivery
    from servingclient.emulator.endpoints import Endpoint
    from servingclient.emulator.fault import Fault
    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import Request


class Invocation:
    """One call of an endpoint, while it is worked on."""

    __slots__ = (
        "_connection",
        "_ended_s",
        "_endpoint",
        "_instead",
        "_note",
        "_parsed",
        "_queued_s",
        "_request",
        "_started_s",
        "_workspace",
    )

    def __init__(
        self,
        workspace: Workspace,
        connection: Connection,
        request: Request,
        endpoint: Endpoint,
        served_model: str | None,
    ) -> None:
        """Take the request of this connection for this endpoint."""
        self._workspace = workspace
        self._connection = connection
        self._request = request
        self._endpoint = endpoint
        self._note = Note("invocation", endpoint.spec.name, served_model)
        self._note.request_id = workspace.new_id()
        self._instead: Callable[[Reply], None] | None = None
        self._parsed: scoring.Parsed | scoring.Refused | None = None
        self._queued_s = self._ended_s = 0.0
        self._started_s: float | None = None

    def start(self) -> None:
        """Check in the order of the service: credentials, gateway, limits, model server."""
        refusal = security.check_invocation(self._workspace, self._request, self._endpoint)
        if refusal is None and self._off_its_host():
            status = self._workspace.settings.off_workspace_status
            message = "This endpoint is route optimized and must be called at its endpoint_url."
            refusal = error(status, "BAD_REQUEST", message)
        if refusal is not None:
            self._note.client_request_id = scoring.peek_client_request_id(self._request.body)
            self._reply(refusal)
            return
        self._read()
        fault = self._endpoint.faults.take()
        if fault is None:
            self._gate()
        else:
            self._under(fault)

    def _off_its_host(self) -> bool:
        spec = self._endpoint.spec
        on_workspace = not spec.route_optimized or spec.also_on_workspace
        return self._request.host == "workspace" and not on_workspace

    def _read(self) -> None:
        """Parse the body now, so that the record knows its id; complaints come later."""
        content_type = self._request.headers.get("content-type")
        try:
            self._parsed = scoring.read(
                content_type, self._body(), msgpack=self._endpoint.spec.msgpack
            )
            self._note.client_request_id = self._parsed.client_request_id
            self._note.rows = self._parsed.rows
        except scoring.Refused as refused:
            self._parsed = refused
            self._note.client_request_id = scoring.peek_client_request_id(self._request.body)

    def _body(self) -> bytes:
        body = self._request.body
        treated = self._workspace.settings.gzip_requests
        if self._request.headers.get("content-encoding") != "gzip" or treated == "misread":
            return body
        if treated == "refused":
            raise scoring.unsupported("Unsupported content encoding: gzip")
        inflated = compression.inflated(body, self._endpoint.spec.limit_bytes())
        if inflated is None:
            self._request.oversize = True
            return b"{}"
        return inflated

    def _under(self, fault: Fault) -> None:
        """Apply a fault around the processing."""
        self._note.fault = fault.name

        def finish(reply: Reply) -> None:
            if fault.answer is not None:
                reply = fault.answer(self._request)
            if fault.reshape is not None:
                reply = fault.reshape(reply)
            if fault.delay_s:
                later(fault.delay_s, lambda: self._send(reply, fault.delivery))
            else:
                self._send(reply, fault.delivery)

        if fault.runs:
            self._instead = finish
            self._gate()
        else:
            finish(Reply(200))

    def _gate(self) -> None:
        """Apply size, state and rate limits, then wait for a slot."""
        spec = self._endpoint.spec
        if self._request.oversize:
            message = f"Request size cannot exceed {spec.limit_bytes()} bytes"
            self._answer(error(400, "BAD_REQUEST", message))
        elif (refusal := self._not_serving()) is not None:
            self._answer(refusal)
        elif not self._within_minute():
            self._answer(throttling.reply("ai_gateway", spec.name))
        elif not self._within_workspace_limit():
            self._answer(throttling.reply("workspace_parallel", spec.name))
        else:
            self._wake()

    def _not_serving(self) -> Reply | None:
        spec = self._endpoint.spec
        if spec.state == "STOPPED":
            message = f"Endpoint '{spec.name}' is stopped. Start it before querying."
            return error(400, "BAD_REQUEST", message)
        if spec.state == "NOT_READY":
            return error(503, "TEMPORARILY_UNAVAILABLE", f"Endpoint '{spec.name}' is not ready.")
        if spec.cold_start == "refuse" and self._asleep_s() > 0:
            return error(503, "TEMPORARILY_UNAVAILABLE", f"Endpoint '{spec.name}' is scaling up.")
        return None

    def _asleep_s(self) -> float:
        """Return how long the endpoint still sleeps; the first request wakes it."""
        endpoint = self._endpoint
        if not endpoint.spec.cold_start_s:
            return 0.0
        if endpoint.awake_at_s is None:
            endpoint.awake_at_s = time.monotonic() + endpoint.spec.cold_start_s
        return endpoint.awake_at_s - time.monotonic()

    def _within_minute(self) -> bool:
        spec, arrivals = self._endpoint.spec, self._endpoint.arrivals_s
        if spec.requests_per_minute is None:
            return True
        now_s = time.monotonic()
        while arrivals and arrivals[0] <= now_s - spec.minute_s:
            arrivals.popleft()
        if len(arrivals) >= spec.requests_per_minute:
            return False
        arrivals.append(now_s)
        return True

    def _within_workspace_limit(self) -> bool:
        limit = self._workspace.settings.workspace_parallel_limit
        if limit is None or self._endpoint.spec.route_optimized:
            return True
        if self._workspace.standard_in_flight >= limit:
            return False
        self._workspace.standard_in_flight += 1
        answer = self._instead or self._send

        def leave(reply: Reply) -> None:
            self._workspace.standard_in_flight -= 1
            answer(reply)

        self._instead = leave
        return True

    def _wake(self) -> None:
        asleep_s = self._asleep_s()
        if asleep_s > 0:
            later(asleep_s, self._queue)
        else:
            self._queue()

    def _queue(self) -> None:
        self._queued_s = time.monotonic()
        if not self._endpoint.capacity.admit(self._run):
            self._answer(throttling.reply("endpoint", self._endpoint.spec.name))

    def _run(self, started_s: float) -> None:
        """Hold a slot for the service time; the model runs at once and is on record."""
        spec, capacity = self._endpoint.spec, self._endpoint.capacity
        self._started_s = started_s
        reply = self._predict()
        busy_s = self._service_time_s() if self._note.executed else 0.0
        if not busy_s:
            capacity.release(started_s)
            self._answer(reply)
            return
        ended_s = started_s + busy_s
        at(ended_s, lambda: capacity.release(ended_s))
        if spec.execution_limit_s is not None and busy_s > spec.execution_limit_s:
            text = b"Request processing time exceeded limit"
            late = Reply(spec.execution_limit_status, text)
            at(started_s + spec.execution_limit_s, lambda: self._answer(late))
        else:
            at(ended_s, lambda: self._answer(reply))

    def _service_time_s(self) -> float:
        spec = self._endpoint.spec
        busy_s = spec.service_time_s + spec.row_time_s * (self._note.rows or 0)
        if spec.service_jitter:
            busy_s *= 1 + spec.service_jitter * self._workspace.rng.uniform(-1, 1)
        return busy_s

    def _predict(self) -> Reply:
        """Run the model, unless the body is refused before it."""
        parsed, endpoint, note = self._parsed, self._endpoint, self._note
        if not isinstance(parsed, scoring.Parsed):
            return parsed.reply if parsed is not None else Reply(500)
        if note.served_model is None:
            note.served_model = endpoint.pick_served_model(self._workspace.rng)
        model = endpoint.model_of(note.served_model)
        takes_params = endpoint.takes_params(note.served_model)
        try:
            if endpoint.spec.schema is not None:
                parsed = enforce(endpoint.spec.schema, parsed, takes_params=takes_params)
        except scoring.Refused as refused:
            return refused.reply
        note.executed = True
        endpoint.executions[note.client_request_id] += 1
        self._workspace.journal.touch()
        try:
            if endpoint.spec.poison is not None:
                models.check_poison(parsed, endpoint.spec.poison)
            if model is None:
                predictions = models.predict(endpoint.spec, parsed)
            elif takes_params:
                predictions = model(parsed.data, params=parsed.params)
            else:
                predictions = model(parsed.data)
            return self._good(parsed, predictions)
        except Exception as failure:  # noqa: BLE001 - a model may raise anything
            return scoring.evaluation_failed(failure)

    def _good(self, parsed: scoring.Parsed, predictions: object) -> Reply:
        spec = self._endpoint.spec
        headers = (("served-model-name", self._note.served_model or ""),)
        if spec.kind == "agent":
            answer = agents.reply(spec, parsed, predictions, self._note.request_id)
            return answer.with_headers(*headers)
        wrapper = "outputs" if spec.kind == "feature" else "predictions"
        key = None if parsed.form == "unified" else wrapper
        if self._request.headers.get("content-type") == MSGPACK:
            return Reply(200, encoding.pack(key, predictions), MSGPACK, headers)
        return Reply(200, encoding.encode(key, predictions), headers=headers)

    def _answer(self, reply: Reply) -> None:
        """The processing is over: send the reply, or hand it to whoever wants it first."""
        self._ended_s = time.monotonic()
        if self._instead is None:
            self._send(reply)
        else:
            self._instead(reply)

    def _send(self, reply: Reply, delivery: Delivery = PLAIN) -> None:
        """Count the outcome in the endpoint's own metrics, then let the reply go."""
        self._count(reply.status)
        self._reply(reply, delivery)

    def _count(self, status: int) -> None:
        """Add to the figures of the last minute.

        The service measures without authentication and rate limiting, so neither a refused token
        nor any 429 is among them; whether that of a full endpoint is in reality, is unknown.
        """
        if status == 429:
            return
        now_s, endpoint = time.monotonic(), self._endpoint
        served_model = self._note.served_model or next(iter(endpoint.spec.traffic()))
        figures = endpoint.last_minute.of(served_model, now_s)
        figures.add(status, 1000 * (now_s - self._request.received_at_s))
        if self._started_s is not None:
            figures.queue_time.add(1000 * (self._started_s - self._queued_s))
            figures.prediction.add(1000 * (self._ended_s - self._started_s))

    def _reply(self, reply: Reply, delivery: Delivery = PLAIN) -> None:
        """Record the outcome and let the reply go."""
        settings = self._workspace.settings
        if settings.gzip_replies and "gzip" in self._request.headers.get("accept-encoding", ""):
            reply = compression.gzipped(reply)
        names = settings.request_id_headers
        request_id = self._note.request_id or ""
        extra = tuple((name, request_id) for name in names)
        self._connection.reply(reply, self._note, delivery, extra)


def at(instant_s: float, action: Callable[[], None]) -> None:
    """Do something at an instant of the monotonic clock, whatever has become of the connection."""
    asyncio.get_running_loop().call_at(instant_s, action)


def later(delay_s: float, action: Callable[[], None]) -> None:
    """Do something after a while, whatever has become of the connection."""
    asyncio.get_running_loop().call_later(delay_s, action)
