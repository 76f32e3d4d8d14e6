"""Load from many machines with Locust: ``pip install 'servingclient[locust]'``.

::

    class Callers(ServingUser):
        endpoint = "fraud-model"
        inputs = [[{"a": 1.0, "b": 2.0}]]
        wait_time = constant_throughput(1)

A user of Locust waits for its answer before it asks again, so with it an endpoint that is slow is
asked less (coordinated omission); ``servingclient loadtest`` makes calls when they are due. Locust
is for what one machine cannot send, and for users that do several things in turn.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

try:
    from locust import User
    from locust.exception import RescheduleTask, StopTest
except ModuleNotFoundError as absent:
    raise ModuleNotFoundError(  # what whoever imports this module looks for
        f"Load with Locust needs {(absent.name or 'locust').partition('.')[0]}, which is not "
        "installed here. Install it with: pip install 'servingclient[locust]' (on each machine "
        "that makes load).",
        name=absent.name,
    ) from None

from servingclient._client import ServingClient
from servingclient._prediction import Prediction
from servingclient._watching import AttemptEnded, CallEnded
from servingclient.errors import ConfigError, ServingError
from servingclient.loadtest.running import IN_FLIGHT, TIMEOUT_S
from servingclient.loadtest.worker import load_settings
from servingclient.settings import Settings

_KIND: Final = "PREDICT"
"""What stands in Locust's column of request types."""


class Failed(Exception):  # noqa: N818 - says what happened
    """A call that failed, as Locust lists it: by class. Our texts hold figures, so each would be a
    line of its own.

    Its ``__cause__`` is the error with everything it says.
    """

    def __repr__(self) -> str:
        return str(self)


class _Last(threading.local):
    """The last call of each user: an observer is told in the greenlet that made the call."""

    reply_bytes = 0

    def call_ended(self, event: CallEnded) -> None:
        self.reply_bytes = event.reply_bytes

    def attempt_failed(self, event: AttemptEnded) -> None:
        pass


class _Shared:
    """What the users of one class share in one process."""

    def __init__(self, client: ServingClient, last: _Last, inputs: Iterator[Any]) -> None:
        self.client = client
        self.last = last
        self.inputs = inputs


_shared: dict[tuple[type, Any], _Shared] = {}
"""By the class of the users and Locust's environment. Greenlets take turns, so it needs no lock:
nothing between looking and adding waits."""


class ServingUser(User):  # type: ignore[misc] # locust is untyped here
    """A user that asks a serving endpoint. All users of a process share one client.

    With ``inputs`` it sends them in turn; a class with tasks of its own calls ``predict`` in them.

    Args:
        environment: Locust's, which makes the users.

    Attributes:
        endpoint: Name of the serving endpoint.
        inputs: Inputs of calls, where there is no task of its own.
        host: The workspace; where neither this nor ``--host`` says, as the credentials do.
        credentials: ``token=`` or ``client_id=`` and ``client_secret=`` of the client; none of
            them for Databricks unified authentication, on each machine its own.
        settings: Of the client, used as they are: for load as the application makes it. None is
            as in ``servingclient loadtest``, without retries, batching, hedging or a limit that
            adapts, so that the endpoint is seen as it is.
        options: Further arguments of ``predict``.
    """

    abstract = True
    endpoint: ClassVar[str] = ""
    inputs: ClassVar[Sequence[Any]] = ()
    credentials: ClassVar[Mapping[str, Any]] = {}
    settings: ClassVar[Settings | None] = None
    options: ClassVar[Mapping[str, Any]] = {}
    tasks: ClassVar[list[Any]]

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        own = [task for task in cls.tasks if task is not _send_next]
        cls.tasks = own or [_send_next]

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        try:
            self._with = _share(self)
        except ServingError as error:
            environment.process_exit_code = 2  # Locust's own would be 0: no call has failed
            raise StopTest(str(error)) from error

    @property
    def client(self) -> ServingClient:
        """The client that all users of this class share; what it does is not in the statistics."""
        return self._with.client

    def predict(self, inputs: Any, *, name: str | None = None, **options: Any) -> Prediction:
        """Make one call, which Locust counts.

        Args:
            inputs: What to send.
            name: What it is called in the statistics; the endpoint's name unless given.
            **options: Further arguments of the client's ``predict``.

        Raises:
            locust.exception.RescheduleTask: It failed, which is counted already. It ends the task,
                and the user goes on with the next. The error is its ``__cause__``.
        """
        shared = self._with
        shared.last.reply_bytes = 0
        began_s = time.perf_counter()
        try:
            prediction = shared.client.predict(inputs, **{**self.options, **options})
        except ServingError as error:
            self._tell(name, began_s, _listed(error))
            raise RescheduleTask from error
        self._tell(name, began_s, None)
        return prediction

    def _tell(self, name: str | None, began_s: float, failed: Failed | None) -> None:
        took_ms = (time.perf_counter() - began_s) * 1e3
        self.environment.events.request.fire(
            request_type=_KIND,
            name=name or self.endpoint,
            response_time=took_ms,
            response_length=self._with.last.reply_bytes,
            exception=failed,
            context=self.context(),
        )


def _send_next(user: ServingUser) -> None:
    user.predict(next(user._with.inputs))  # noqa: SLF001 - a task is a method that Locust lists


def _listed(error: ServingError) -> Failed:
    failed = Failed(type(error).__name__)
    failed.__cause__ = error
    return failed


def _share(user: ServingUser) -> _Shared:
    """What its class shares; the first makes it.

    Raises:
        ConfigError: The class lacks something, or the credentials do.
    """
    key = (type(user), user.environment)
    found = _shared.get(key)
    if found is None:
        found = _shared[key] = _begun(user)
        user.environment.events.quit.add_listener(lambda **_: _closed(key))
    return found


def _begun(user: ServingUser) -> _Shared:
    kind = type(user)
    if not user.endpoint:
        raise ConfigError(f'{kind.__name__} names no endpoint: give the class endpoint = "...".')
    if kind.tasks == [_send_next] and not user.inputs:
        raise ConfigError(
            f"{kind.__name__} has nothing to send: give the class inputs = [...], or a task that "
            "calls self.predict(...)."
        )
    settings = user.settings
    if settings is None:
        settings = load_settings(None, in_flight=IN_FLIGHT, timeout_s=TIMEOUT_S)
    host = {"host": user.host} if user.host else {}
    last = _Last()
    client = ServingClient(
        user.endpoint, settings=settings, observers=[last], **{**host, **user.credentials}
    )
    return _Shared(client, last, itertools.cycle(user.inputs))


def _closed(key: tuple[type, Any]) -> None:
    found = _shared.pop(key, None)
    if found is not None:
        found.client.close()
