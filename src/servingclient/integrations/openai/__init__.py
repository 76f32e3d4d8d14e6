"""The OpenAI client for serving endpoints, with this library's connections, tokens and retries.

The ``model`` of a request names the serving endpoint. Each request becomes one call of the
library's own client: one deadline over everything, retries with a quota, tokens that are renewed,
as many calls at once as the endpoint takes. Route-optimized endpoints are called like any other.

Tested with openai 1.66, 2.54, 3.0 and 3.54. From 3.0 that package sends with httpx2, and takes a
client of httpx as well, which is what it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from servingclient._async_client import AsyncServingClient
from servingclient._client import ServingClient
from servingclient._watching import Observer, Reader, Tracer
from servingclient.auth.credentials import credentials_from
from servingclient.errors import ConfigError
from servingclient.settings import Settings

if TYPE_CHECKING:
    import openai
    from databricks.sdk.core import Config

__all__ = ["async_openai_client", "openai_client"]

_NO_KEY = "signed-in-by-servingclient"
"""The OpenAI client wants an ``api_key``; it goes nowhere."""
_HOST_UNKNOWN = "https://workspace.invalid"
"""Stands in ``base_url`` where only the environment knows the workspace: it is asked at the first
call, and no request is ever sent to what stands there (RFC 6761)."""


def openai_client(
    *,
    host: str | None = None,
    token: str | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    config: Config | None = None,
    settings: Settings | None = None,
    observers: Sequence[Observer | Tracer | Reader] = (),
) -> openai.OpenAI:
    """An ``openai.OpenAI`` whose models are the serving endpoints of a workspace.

    Retries are this library's: the OpenAI client's own are off, since two layers multiply. A
    failed call is raised as the OpenAI client's errors, with this library's words; where there was
    no reply, this library's error is in the chain of causes. ``timeout=`` of a request is the
    whole call's, up to the head of a stream. Header lines of a request (``extra_headers=``) are
    not sent: those for all requests are ``Settings.headers``.

    Args:
        host: Workspace URL or host name; ``http://`` for loopback hosts only.
        token: Personal access token or other bearer.
        client_id: Application id of a service principal.
        client_secret: Its OAuth secret.
        config: A ``databricks.sdk.core.Config``. With none of these, Databricks unified
            authentication decides: environment, profile, notebook.
        settings: None takes ``Settings.llm()`` with what ``Settings.from_env`` finds: 300 s, and
            nothing is run twice.
        observers: Told of finished calls and failed attempts, as with ``ServingClient``.

    Returns:
        The client. Close it, or use it in ``with``: that closes connections.

    Raises:
        ConfigError: An argument is wrong, or the package ``openai`` is missing. Nothing was sent.

    Example:
        >>> emulator.add_endpoint("assistant", kind="agent")
        >>> with openai_client(**credentials) as client:
        ...     reply = client.chat.completions.create(
        ...         model="assistant", messages=[{"role": "user", "content": "good morning"}]
        ...     )
        >>> reply.choices[0].message.content
        'good morning'
    """
    set_up = _set_up(
        ServingClient, settings, observers, host, token, client_id, client_secret, config
    )
    import httpx

    from servingclient.integrations.openai.transport import ServingTransport

    transport = ServingTransport(set_up.base_url, set_up.make)
    sender = httpx.Client(transport=transport, timeout=set_up.timeout_s, trust_env=False)
    made: openai.OpenAI = set_up.package.OpenAI(http_client=sender, **set_up.arguments())
    return made


def async_openai_client(
    *,
    host: str | None = None,
    token: str | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    config: Config | None = None,
    settings: Settings | None = None,
    observers: Sequence[Observer | Tracer | Reader] = (),
) -> openai.AsyncOpenAI:
    """An ``openai.AsyncOpenAI`` whose models are the serving endpoints of a workspace.

    Arguments, errors and retries are those of :func:`openai_client`.

    Returns:
        The client. Close it, or use it in ``async with``: that closes connections.

    Raises:
        ConfigError: An argument is wrong, or the package ``openai`` is missing. Nothing was sent.

    Example:
        >>> emulator.add_endpoint("assistant", kind="agent")
        >>> async with async_openai_client(**credentials) as client:
        ...     reply = await client.chat.completions.create(
        ...         model="assistant", messages=[{"role": "user", "content": "good morning"}]
        ...     )
        >>> reply.choices[0].message.content
        'good morning'
    """
    set_up = _set_up(
        AsyncServingClient, settings, observers, host, token, client_id, client_secret, config
    )
    import httpx

    from servingclient.integrations.openai.transport import AsyncServingTransport

    transport = AsyncServingTransport(set_up.base_url, set_up.make)
    sender = httpx.AsyncClient(transport=transport, timeout=set_up.timeout_s, trust_env=False)
    made: openai.AsyncOpenAI = set_up.package.AsyncOpenAI(http_client=sender, **set_up.arguments())
    return made


class _SetUp(NamedTuple):
    """What an OpenAI client is made of, in either colour."""

    package: Any
    base_url: str
    timeout_s: float
    make: Callable[..., Any]

    def arguments(self) -> dict[str, Any]:
        """Of the OpenAI client; its own retries are off."""
        return {
            "api_key": _NO_KEY,
            "base_url": self.base_url,
            "timeout": self.timeout_s,
            "max_retries": 0,
        }


def _set_up(
    door: type[ServingClient | AsyncServingClient],
    settings: Settings | None,
    observers: Sequence[Observer | Tracer | Reader],
    host: str | None,
    token: str | None,
    client_id: str | None,
    client_secret: str | None,
    config: Config | None,
) -> _SetUp:
    """Check the arguments, and say what becomes of them.

    Raises:
        ConfigError: One is wrong, or the package ``openai`` is missing.
    """
    package = _package()
    from servingclient.integrations.openai.asked import BASE_PATH

    chosen = Settings.from_env(Settings.llm()) if settings is None else settings
    who: dict[str, Any] = {
        "host": host,
        "token": token,
        "client_id": client_id,
        "client_secret": client_secret,
        "config": config,
    }
    _, origin = credentials_from(**who, settings=chosen)
    base_url = f"{_HOST_UNKNOWN if origin is None else origin}{BASE_PATH}"
    make = partial(door, **who, settings=chosen, observers=observers)
    return _SetUp(package, base_url, chosen.timeout_s, make)


def _package() -> Any:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ConfigError(
            "The package openai is not installed; pip install 'servingclient[openai]'."
        ) from error
    return openai
