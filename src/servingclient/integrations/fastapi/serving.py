"""The clients of a service, from its start to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from servingclient._async_client import AsyncServingClient
from servingclient.errors import ClientClosedError, ConfigError, DeadlineExceeded, ServingError
from servingclient.integrations.fastapi.ending import Drain, Ending
from servingclient.integrations.fastapi.problems import problem_of
from servingclient.integrations.fastapi.readiness import Readiness
from servingclient.integrations.fastapi.request import RequestLife, answer, time_left

_log = logging.getLogger("servingclient.service")

_DEFAULT = Drain()


class Serving:
    """The clients that a FastAPI or Starlette app calls endpoints with.

    Make it where the app is made. Clients are made when the app starts, in the process that serves:
    a server may fork after it has loaded the app (gunicorn's ``--preload``).

    Args:
        *clients: For each endpoint its name, for Databricks unified authentication and default
            settings, or a function that returns an ``AsyncServingClient``.
        drain: How long the service goes on after SIGTERM.
        warmup_s: Seconds at the start for description, token and first connection of each endpoint.
            Where they do not come, the app starts, is not ready, and tries again when it is probed.

    Raises:
        ConfigError: No client was given, or something that is none.

    Example:
        from fastapi import FastAPI
        from servingclient import Settings

        serving = Serving(
            "churn-model",
            lambda: AsyncServingClient("fraud-model", settings=Settings(timeout_s=2.0)),
        )
        app = FastAPI(lifespan=serving.lifespan)
        serving.install(app)
    """

    def __init__(
        self,
        *clients: str | Callable[[], AsyncServingClient],
        drain: Drain = _DEFAULT,
        warmup_s: float = 10.0,
    ) -> None:
        if not clients:
            raise ConfigError('Serving() calls nothing: name an endpoint, Serving("fraud-model").')
        for one in clients:
            if not isinstance(one, str) and not callable(one):
                raise ConfigError(
                    "Serving takes names of endpoints and functions that make a client, not "
                    f"{type(one).__name__}. A client itself would be made before the server forks: "
                    'give Serving(lambda: AsyncServingClient("fraud-model")).'
                )
        self._made_by = [
            partial(AsyncServingClient, one) if isinstance(one, str) else one for one in clients
        ]
        self._warmup_s = warmup_s
        self._ending = Ending(drain)
        self._clients: dict[str, AsyncServingClient] = {}
        self._readiness: dict[str, Readiness] = {}
        self._wanted: set[str] = set()

    # ------------------------------------------------------------------ start and end

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Open the clients, and close them at the end: ``FastAPI(lifespan=serving.lifespan)``.

        An app with a lifespan of its own enters this one in it.

        Raises:
            ConfigError: A client cannot be made, two are for one endpoint, or one that the app
                depends on is missing.
        """
        async with AsyncExitStack() as stack:
            for make in self._made_by:
                await self._open(await stack.enter_async_context(make()), stack)
            missing = self._wanted - self._clients.keys()
            if missing:
                has = _listed(self._clients)
                raise ConfigError(f"The app depends on {_listed(missing)}, and Serving has {has}.")
            await asyncio.gather(*(one.warm() for one in self._readiness.values()))
            with self._ending.awaited():
                yield

    async def _open(self, client: AsyncServingClient, stack: AsyncExitStack) -> None:
        name = client.endpoint
        if name in self._clients:
            raise ConfigError(
                f"Serving has two clients for {name!r}. Give it one for each endpoint."
            )
        readiness = Readiness(client, self._warmup_s)
        self._clients[name], self._readiness[name] = client, readiness
        stack.callback(self._readiness.pop, name)
        stack.callback(self._clients.pop, name)
        stack.push_async_callback(readiness.close)

    def install(
        self, app: Starlette, *, livez: str | None = "/livez", readyz: str | None = "/readyz"
    ) -> None:
        """Give an app its probes, its answers to errors, and requests that end when they should.

        Args:
            app: A FastAPI or Starlette app that has not started yet.
            livez: Path that answers 200 as long as the process does; None adds none.
            readyz: Path that answers 200 while calls can be made, else 503; None adds none.
        """
        app.add_middleware(RequestLife, ending=self._ending)
        app.add_exception_handler(ServingError, told)
        for path, probe in ((livez, _alive), (readyz, self._ready)):
            if path is not None:
                app.router.routes.append(Route(path, probe, include_in_schema=False))

    # ------------------------------------------------------------------ what handlers depend on

    def client(
        self, endpoint: str | None = None
    ) -> Callable[[Request], Awaitable[AsyncServingClient]]:
        """A dependency: ``Annotated[AsyncServingClient, Depends(serving.client())]``.

        What a handler gets is the client with the time that is left of the request as its time
        limit, where the caller gives less than the client's ``timeout_s``.

        Args:
            endpoint: Name of the endpoint; may be left out where there is one.

        Returns:
            The dependency. It raises ``ClientClosedError`` once the service takes nothing new,
            ``DeadlineExceeded`` when no time is left, and ``ConfigError`` outside of the lifespan.

        Raises:
            ConfigError: No endpoint is named, and there are several.
        """
        if endpoint is not None:
            self._wanted.add(endpoint)
        elif len(self._made_by) > 1:
            raise ConfigError('Serving has several clients: say which, client("fraud-model").')

        async def of_request(request: Request) -> AsyncServingClient:
            client = self._found(endpoint)
            left_s = time_left(request)
            if left_s is None or left_s >= client.settings.timeout_s:
                return client
            if left_s <= 0.0:
                raise _too_late(client.endpoint)
            return client.with_options(timeout_s=left_s)

        return of_request

    def _found(self, endpoint: str | None) -> AsyncServingClient:
        if not self._clients:
            raise ConfigError(
                "The service's clients are not open: give the app lifespan=serving.lifespan, and "
                "test it with something that runs its lifespan, such as a TestClient in `with`."
            )
        if self._ending.closed:
            raise ClientClosedError("The service ends and begins no more calls.")
        return next(iter(self._clients.values())) if endpoint is None else self._clients[endpoint]

    async def _ready(self, _request: Request) -> Response:
        why = dict.fromkeys(self._clients, "ending")
        if not self._ending.begun:
            for name, readiness in self._readiness.items():
                why[name] = await readiness.why_not() or "ready"
        ready = bool(why) and all(state == "ready" for state in why.values())
        return JSONResponse({"ready": ready, "endpoints": why}, 200 if ready else 503)


async def _alive(_request: Request) -> Response:
    return JSONResponse({"alive": True})


async def told(_request: Request, error: Exception) -> Response:
    """The answer to a request whose call failed; the error's own text goes to the log."""
    assert isinstance(error, ServingError)
    problem = problem_of(error)
    _log.log(
        logging.WARNING if problem.status >= 500 else logging.INFO,
        "request_failed status=%d error=%s endpoint=%s request_id=%s text=%r",
        problem.status,
        problem.error,
        error.endpoint,
        error.request_id,
        str(error),
    )
    return answer(problem)


def _too_late(endpoint: str) -> DeadlineExceeded:
    error = DeadlineExceeded(
        f"{endpoint!r}: the request's time was over before it could be asked. Nothing was sent. "
        "Callers say how long they wait: allow more, or begin the call sooner."
    )
    error.endpoint, error.stopped_by = endpoint, "deadline"
    return error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
