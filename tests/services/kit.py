"""A small service over the integration, and its callers without a server in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI

from servingclient import AsyncServingClient, Retry, Settings
from servingclient.emulator import Emulator
from servingclient.integrations.fastapi import Drain, Serving

ONCE = Settings(timeout_s=12.0, retry=Retry(max_attempts=1))
ROW = {"a": 1.0, "b": 2.0}


def making(
    emulator: Emulator, endpoint: str = "demo", settings: Settings = ONCE, **more: Any
) -> Callable[[], AsyncServingClient]:
    """What ``Serving`` takes for an endpoint of the emulator."""
    who = {"host": emulator.host, "token": emulator.token, **more}
    return lambda: AsyncServingClient(endpoint, settings=settings, **who)


def scoring(serving: Serving) -> FastAPI:
    """``POST /score`` asks the endpoint."""
    app = FastAPI(lifespan=serving.lifespan)
    serving.install(app)

    @app.post("/score")
    async def score(
        rows: list[dict[str, float]],
        model: Annotated[AsyncServingClient, Depends(serving.client())],
    ) -> Any:
        return (await model.predict(rows)).predictions

    return app


@asynccontextmanager
async def service(emulator: Emulator, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Who calls a service over ``demo``, in this process."""
    async with calling(scoring(Serving(making(emulator), **more))) as caller:
        yield caller


@asynccontextmanager
async def calling(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Who calls ``app``, from its start to its end."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as caller,
    ):
        yield caller


class RawRequest:
    """A request as a server hands it to an app, so that it can break off.

    Attributes:
        sent: What the app has sent.
        gone: Set it, and the caller has hung up.
    """

    def __init__(self, path: str = "/score", body: bytes = b'[{"a":1.0}]', *headers: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST" if body else "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", b"application/json"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self._parts = [{"type": "http.request", "body": body, "more_body": False}]
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._parts:
            return self._parts.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    async def to(self, app: Any) -> None:
        """Let the app answer it."""
        await app(self.scope, self.receive, self.send)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


NO_NOTICE = Drain(notice_s=0.0)
