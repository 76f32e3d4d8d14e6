"""Both doors under one handle, and the emulator they call, as a user would hold them."""

from __future__ import annotations

import asyncio
import inspect
import logging
import pickle
import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

from servingclient import (
    AsyncServingClient,
    Prediction,
    ServingClient,
    ServingError,
    Settings,
)
from servingclient.emulator import Emulator, RequestRecord

Client = Any
"""``ServingClient`` or ``AsyncServingClient``: their parity is tested elsewhere."""

WORD = "canaryrow7391"
NUMBER = 7391739.25
ROW = {"a": NUMBER, "b": 1.0}
SUM = NUMBER + 1.0


class Who(NamedTuple):
    """Arguments with which a client signs in, and what of them must never be shown."""

    host: str
    arguments: dict[str, str]

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(v for k, v in self.arguments.items() if k in {"token", "client_secret"})


def pat(emulator: Emulator) -> Who:
    """By personal access token."""
    return Who(emulator.host, {"token": emulator.token})


def principal(emulator: Emulator) -> Who:
    """As a service principal."""
    secret = {"client_id": emulator.client_id, "client_secret": emulator.client_secret}
    return Who(emulator.host, secret)


class Door:
    """One colour of client. Closes what it opened."""

    def __init__(self, colour: Literal["sync", "async"]) -> None:
        self.colour = colour
        self.loop = asyncio.new_event_loop()
        self._opened: list[Client] = []

    @property
    def kind(self) -> type[Any]:
        return ServingClient if self.colour == "sync" else AsyncServingClient

    def open(
        self, endpoint: str, who: Who, settings: Settings | None = None, **more: Any
    ) -> Client:
        """A client that is closed at the end of the test."""
        client = self.kind(endpoint, host=who.host, **who.arguments, settings=settings, **more)
        self._opened.append(client)
        return client

    def run(self, outcome: Any) -> Any:
        """The result of a call that may have to be awaited."""
        if not inspect.isawaitable(outcome):
            return outcome

        async def wait() -> Any:
            return await outcome

        return self.loop.run_until_complete(wait())

    def predict(self, client: Client, inputs: Any = (ROW,), **options: Any) -> Prediction:
        given = list(inputs) if isinstance(inputs, tuple) else inputs
        result: Prediction = self.run(client.predict(given, **options))
        return result

    def events(self, client: Client, inputs: Any, **options: Any) -> list[Any]:
        """All events of a stream."""
        if self.colour == "sync":
            with client.stream(inputs, **options) as stream:
                return list(stream)

        async def collect() -> list[Any]:
            async with await client.stream(inputs, **options) as stream:
                return [event async for event in stream]

        return list(self.run(collect()))

    def many(
        self,
        client: Client,
        calls: Iterable[dict[str, Any]],
        meanwhile: Callable[[], None] | None = None,
    ) -> list[Prediction | BaseException]:
        """All calls at once; ``meanwhile`` runs beside them. What each came to, in order."""
        options = list(calls)
        if self.colour == "sync":
            with ThreadPoolExecutor(len(options)) as pool:
                running = [pool.submit(client.predict, **one) for one in options]
                if meanwhile is not None:
                    meanwhile()
                return [_outcome(one.result) for one in running]

        async def gather() -> list[Prediction | BaseException]:
            tasks = [asyncio.ensure_future(client.predict(**one)) for one in options]
            if meanwhile is not None:
                await asyncio.get_running_loop().run_in_executor(None, meanwhile)
            return await asyncio.gather(*tasks, return_exceptions=True)

        return list(self.run(gather()))

    def close(self, client: Client) -> None:
        self.run(client.close() if self.colour == "sync" else client.aclose())

    def end(self) -> None:
        """Close all, and see that no task is left."""
        try:
            for client in self._opened:
                self.close(client)
            self.run(_rounds(3))  # what was cancelled ends
            left = asyncio.all_tasks(self.loop)
            self.run(self.loop.shutdown_asyncgens())
            self.run(self.loop.shutdown_default_executor())
            assert not left, f"tasks left: {left}"
        finally:
            self.loop.close()


async def _rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _outcome(call: Callable[[], Prediction]) -> Prediction | BaseException:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - an outcome like any other here
        return error


def errors(outcomes: Iterable[Prediction | BaseException]) -> list[BaseException]:
    """Those that are no predictions."""
    return [one for one in outcomes if isinstance(one, BaseException)]


def invocations(emulator: Emulator) -> list[RequestRecord]:
    """What was sent to be scored."""
    return [record for record in emulator.requests if record.kind == "invocation"]


class Overheard(logging.Handler):
    """Every record of every logger, as text with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self._lock = threading.Lock()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        with self._lock:
            self.lines.append(self.format(record))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def shown(error: BaseException) -> str:
    """Everything of an error that a log, a console or a pickle may show."""
    parts = ["".join(traceback.format_exception(type(error), error, error.__traceback__))]
    one: BaseException | None = error
    while one is not None:
        parts += [str(one), repr(one), repr(one.__dict__), repr(one.args)]
        if isinstance(one, ServingError):
            parts.append(pickle.dumps(one).decode("latin-1"))
        one = one.__cause__ or one.__context__
    return "\n".join(parts)


def found_in(text: str, canaries: Iterable[str]) -> list[str]:
    """The canaries that are seen in ``text``."""
    return [canary for canary in canaries if canary in text]
