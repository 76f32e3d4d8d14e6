"""The story of one call, from the caller's input to a prediction.

The only place that knows the order: encode, queue, token, send, answer; and after a failure: what
``_failures`` makes of it. Written once; the async client awaits it, the sync client steps it.

The first try runs straight; only a failed one enters the retry loop.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any, Final, Protocol

from servingclient import _ahead, _hedging, _tracing
from servingclient._failures import Failures, TryFailed
from servingclient._open import rank_of
from servingclient._ports import Grant, World
from servingclient._prediction import Prediction, header
from servingclient._running import Call
from servingclient._types import Attempt, Reply, Target, WireFault
from servingclient._watching import CallEnded, tell
from servingclient.errors import ServingError
from servingclient.payload.body import Body
from servingclient.payload.decode import predictions
from servingclient.payload.encode import check_size, encode
from servingclient.payload.fit import fitted
from servingclient.payload.pack import pack
from servingclient.policies.compression import NO_STATUS
from servingclient.policies.deadline import attempt_deadline
from servingclient.policies.retry import settle
from servingclient.settings import Settings
from servingclient.telemetry.recorder import SETTLE_AT

_OK: Final = 200

Given = tuple[object, Mapping[str, object] | None, str | None, Mapping[str, str] | None]
"""What a caller hands in: inputs, parameters, request id, labels."""


class Wanted(Protocol):
    """What a caller asked for, and how long it waited for its turn."""

    body: Body
    started_s: float
    encoded_s: float
    queue_s: float
    learn_s: float


class Story:
    """How one client calls one endpoint."""

    __slots__ = (
        "_own_limit_bytes",
        "_try_limit_s",
        "endpoint",
        "failures",
        "fits",
        "max_idle_s",
        "packs",
        "rank",
        "settings",
        "world",
    )

    def __init__(self, endpoint: str, settings: Settings, world: World) -> None:
        self.endpoint: str = endpoint
        self.settings: Settings = settings
        self.world: World = world
        self.failures: Failures = Failures(endpoint, settings, world)
        # A connection that died unnoticed costs an idempotent call one free resend, any other call
        # an error: those reuse only what was in use a moment ago.
        self.max_idle_s: tuple[float, float] = (settings.pool.keepalive_unsafe_s, math.inf)
        self.rank: int = rank_of(settings.priority)
        self._own_limit_bytes = settings.payload.max_request_bytes
        self._try_limit_s = settings.pool.attempt_timeout_s
        self.fits: bool = settings.payload.validate or settings.payload.prune
        self.packs: bool = settings.payload.codec != "json" or settings.payload.gzip != "off"

    def predict(
        self,
        inputs: object,
        params: Mapping[str, object] | None,
        client_request_id: str | None,
        usage_context: Mapping[str, str] | None,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
        priority: int,
    ) -> Coroutine[Any, Any, Prediction]:
        """Score ``inputs``; the doors say what each argument is.

        The input is encoded before anything is awaited. No coroutine of its own around ``score``:
        each costs 0.2 us to make, and some more whenever the call is resumed.
        """
        started_s = self.world.now()
        given = (inputs, params, client_request_id, usage_context)
        if self.fits:
            return self._predict_fitted(
                started_s, given, served_model, timeout_s, idempotent, priority
            )
        body = self.encoded(given, served_model)
        call = self.call_of(body, started_s, served_model, timeout_s, idempotent, priority)
        return self.score(call)

    async def _predict_fitted(
        self,
        started_s: float,
        given: Given,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
        priority: int,
    ) -> Prediction:
        learn_s = await self.learn(started_s + timeout_s, priority)
        call = self.begin(started_s, given, served_model, timeout_s, idempotent, priority)
        return await self.score(call.after(learn_s))

    async def score(self, call: Call) -> Prediction:
        """Bring a call to its end."""
        tracer = self.world.tracer
        if tracer is not None and call.span is None:
            now_s = self.world.now()
            return await _tracing.scored(tracer, self.endpoint, now_s, call, self.score)
        try:
            reply, values, done_s = await self.answer(call)
        except ServingError as error:
            self.failures.told(call, error)
            raise
        except BaseException as error:
            self.failures.broken_off(call, error)
            raise
        return self.finish(call, call, reply, values, done_s, len(reply.body))

    async def answer(
        self, call: Call, failed: TryFailed | None = None
    ) -> tuple[Reply, object, float]:
        """A good reply, what it holds, and when it was there. Observers hear of failed tries only.

        Args:
            call: What to send.
            failed: How the last try ended, for a call that others have begun.
        """
        try:
            if failed is not None:
                raise failed
            reply = await self._try(call)
        except TryFailed as first:
            reply = await self.failures.retry(call, first, self._try)
        done_s = self.world.now()
        try:
            values = (
                self._values(call, reply)
                if self.packs
                else predictions(reply.body, None, wrapped=call.body.wrapped)
            )
        except ServingError:
            raise self.failures.of_predictions(call, reply) from None
        if self.world.quota.spent:
            settle(call.progress, self.world.quota, self.settings.retry)
        facts = (_OK, call.advice.wait_s, None, done_s - call.tried_s, None)
        call.attempts += (tuple.__new__(Attempt, facts),)  # its own __new__ is Python: 0.1 us
        return reply, values, done_s

    def _values(self, call: Call, reply: Reply) -> object:
        """What a reply holds that may be MessagePack; its header line says so."""
        return predictions(
            reply.body,
            header(reply.headers, b"content-type"),
            wrapped=call.body.wrapped,
            msgpack=self.settings.payload.codec == "msgpack",
        )

    def finish(
        self,
        wanted: Wanted,
        sent: Call,
        reply: Reply,
        values: object,
        done_s: float,
        reply_bytes: int,
    ) -> Prediction:
        """Record a good call, tell the observers, and make what its caller gets.

        Args:
            wanted: What the caller asked for.
            sent: The call that was answered: that very one, or one that carried several.
            reply: The answer.
            values: The caller's part of what it holds.
            done_s: When it was there.
            reply_bytes: Size of the caller's part.
        """
        world = self.world
        ended_s = world.now()
        total_s = ended_s - wanted.started_s
        request_bytes = len(wanted.body.data)
        timing = (
            wanted.encoded_s - wanted.started_s,
            wanted.queue_s,
            sent.token_s,
            reply.connect_s,
            reply.first_byte_s - reply.sent_s,
            ended_s - done_s,
            sent.backoff_s,
            total_s,
        )
        if self.fits and wanted.learn_s:  # a wait for the workspace, like that for a token
            encode_s, queue_s, token_s = timing[:3]
            timing = (encode_s - wanted.learn_s, queue_s, token_s + wanted.learn_s, *timing[3:])
        answered = world.recorder.answered
        answered.append((ended_s, timing, request_bytes, reply_bytes, wanted is sent))
        if len(answered) >= SETTLE_AT:
            world.recorder.settle()
        if world.observers:
            facts = (
                self.endpoint,
                _OK,
                None,
                total_s,
                wanted.queue_s,
                len(sent.attempts),
                request_bytes,
                reply_bytes,
                False,
            )
            tell(world.observers, tuple.__new__(CallEnded, facts))
        return Prediction(values, reply.headers, sent.attempts, timing, _OK)

    def begin(
        self,
        started_s: float,
        given: Given,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
        priority: int,
        *,
        stream: bool = False,
    ) -> Call:
        """A call with what was given."""
        body = self.encoded(given, served_model, stream=stream)
        return self.call_of(body, started_s, served_model, timeout_s, idempotent, priority)

    def encoded(self, given: Given, served_model: str | None, *, stream: bool = False) -> Body:
        """Encode what was given, before anything is waited for: later changes cannot reach it."""
        inputs, params, client_request_id, usage_context = given
        try:
            if self.fits:
                inputs = self._fitted(inputs, served_model)
            return encode(
                inputs,
                params,
                client_request_id,
                usage_context,
                self.settings.payload,
                stream,
            )
        except ServingError as error:
            error.endpoint = self.endpoint
            raise

    def call_of(
        self,
        body: Body,
        started_s: float,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
        priority: int,
    ) -> Call:
        """A call with what is encoded already."""
        return Call(
            body,
            served_model,
            started_s,
            self.world.now(),
            timeout_s,
            idempotent,
            self.max_idle_s[idempotent],
            priority,
        )

    def _fitted(self, inputs: object, served_model: str | None) -> object:
        """The inputs as the model's signature wants them, where it is known."""
        schema = self.world.access.schema
        signature = None if schema is None else schema.of(served_model)
        return inputs if signature is None else fitted(inputs, signature, self.settings.payload)

    async def learn(self, deadline_s: float, priority: int) -> float:
        """Have the model's signature at hand where the settings ask for it.

        Only the first call waits for it, before its input is encoded.

        Returns:
            Seconds that took; 0.0 where it was at hand.
        """
        if not self.fits or self.world.access.schema is not None:
            return 0.0
        began_s = self.world.now()
        await _ahead.learn(self.world, deadline_s, priority)
        return self.world.now() - began_s

    async def _try(self, call: Call) -> Reply:
        """One try: a place in the queue, a grant, an exchange."""
        world = self.world
        gate = world.gate
        try:
            if not gate.try_enter():
                call.lined_up_s = world.now()
                size_bytes, again = len(call.body.data), call.had_turn
                await gate.enter(call.deadline_s, call.priority, size_bytes, again=again)
            try:
                grant = self.ready(call) or await self.obtain(call)
                if self.packs:
                    reply = await self._send_packed(call, grant)
                else:
                    reply = await self._send(call, grant.target, call.body.data)
            finally:
                gate.leave()
        except WireFault as fault:
            raise self.failures.of_fault(call, fault) from None
        if reply.status != _OK:
            raise self.failures.of_reply(call, grant, reply)
        gate.answered(reply.first_byte_s - reply.sent_s)
        return reply

    def _send(self, call: Call, target: Target, data: bytes) -> Awaitable[Reply]:
        world = self.world
        deadline_s = call.deadline_s if self._try_limit_s is None else self.try_deadline_s(call)
        if call.span is not None:
            target = call.span.carried(target)
        if world.hedging is None:
            return world.wire.send(target, data, deadline_s, max_idle_s=call.max_idle_s)
        return _hedging.send(world, world.hedging, call, target, data, deadline_s)

    async def _send_packed(self, call: Call, grant: Grant) -> Reply:
        """The same in another form: MessagePack, or compressed as far as the endpoint takes it."""
        world, rules = self.world, self.settings.payload
        refusals = NO_STATUS
        large = len(call.body.data) >= rules.gzip_min_bytes
        if rules.gzip != "off" and large and not call.progress.plain_used:
            refusals = world.compression.admit(harmless=call.idempotent)
        status = None
        try:
            packed = pack(call.body.data, rules, gzip=bool(refusals))
            if packed.data is not call.body.data:
                note, now_s = world.recorder.note, world.now()
                note(now_s, "unpacked", None, len(call.body.data))
                note(now_s, "packed", None, len(packed.data))
            reply = await self._send(call, grant.target.carrying(packed.form), packed.data)
            status = reply.status
        finally:
            call.coding_refusals = refusals
            if 400 in refusals:
                world.compression.answered(status)
        return reply

    def ready(self, call: Call) -> Grant | None:
        """For a call that has its place: where to send and with what token, if that is known."""
        world = self.world
        now_s = call.tried_s = world.now()
        if call.lined_up_s is not None:
            call.queue_s += now_s - call.lined_up_s
            call.lined_up_s = None
        if call.gathers:
            call.body = call.fill()
        grant = world.access.ready(call.served_model, now_s)
        if grant is None:
            return None
        call.grant = grant
        if len(call.body.data) > (self._own_limit_bytes or grant.max_request_bytes):
            self._check_size(call.body, grant)
        return grant

    async def obtain(self, call: Call) -> Grant:
        """Wait for route and token."""
        began_s = call.tried_s
        grant = await self.world.access.obtain(call.served_model, call.deadline_s)
        call.tried_s = self.world.now()
        call.token_s += call.tried_s - began_s
        call.grant = grant
        self._check_size(call.body, grant)
        return grant

    def _check_size(self, body: Body, grant: Grant) -> None:
        check_size(body, self._own_limit_bytes or grant.max_request_bytes)

    def try_deadline_s(self, call: Call) -> float:
        """When the try under way gives up."""
        if self._try_limit_s is None:
            return call.deadline_s
        return attempt_deadline(call.deadline_s, self._try_limit_s, call.tried_s)
