"""The blocking door."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from servingclient._beside import explain, warmup
from servingclient._call import Story
from servingclient._open import (
    changed_settings,
    checked_idempotent,
    checked_observers,
    checked_settings,
    checked_timeout,
    not_pickled,
    rank_of,
)
from servingclient._parts import ThreadParts, stats_of, thread_parts
from servingclient._prediction import Prediction
from servingclient._step import run
from servingclient._stream import Stream
from servingclient._types import Origin
from servingclient._watching import Observer, Reader, Tracer, Watching
from servingclient.auth.credentials import Credentials, credentials_from
from servingclient.auth.figures import read_figures
from servingclient.batching.batched import calls_of
from servingclient.bulk import threads
from servingclient.bulk.options import bulk_options
from servingclient.bulk.results import MapResult
from servingclient.payload.report import Explanation
from servingclient.settings import Priority, Settings
from servingclient.stages.copies import Copies
from servingclient.stages.functions import (
    Api,
    OnEnrichmentError,
    Stages,
    changed_stages,
    checked_stages,
)
from servingclient.stages.staging import Staging
from servingclient.stages.story import calls_around, opening_around
from servingclient.telemetry.endpoint_metrics import EndpointFigures
from servingclient.telemetry.snapshot import Stats

if TYPE_CHECKING:
    import httpx
    from databricks.sdk.core import Config

    from servingclient.capacity.doctor import Diagnosis, Probe, Targets


class ServingClient:
    """Calls one Databricks Model Serving endpoint, from any number of threads.

    It also works inside a running event loop, such as a notebook's, and in a forked child. Make
    one per endpoint and keep it: it holds warm connections and tokens.

    Args:
        endpoint: Name of the serving endpoint.
        host: Workspace URL or host name; ``http://`` for loopback hosts only.
        token: Personal access token or other bearer (standard endpoints).
        client_id: Application id of a service principal (needed for route-optimized endpoints).
        client_secret: Its OAuth secret.
        config: A ``databricks.sdk.core.Config``. With none of these, Databricks unified
            authentication decides: environment, profile, notebook.
        settings: See :class:`~servingclient.settings.Settings`; None takes the defaults with what
            ``Settings.from_env`` finds.
        transport: Any httpx transport to use instead of the own connections.
        observers: Objects that are told of finished calls and failed attempts, and exporters such
            as those in ``servingclient.integrations``.
        preprocess: Is given the inputs of each call first, and returns what goes on.
        enrich: Likewise after it, for what asks others, such as an external API.
        postprocess: Is given the predictions, and returns what stands in their place.
        on_enrichment_error: What becomes of a call when ``enrich`` raises: ``"raise"`` raises that;
            ``"null"`` goes on with what ``enrich`` was given; a function of that and the error
            returns what to go on with.
        apis: Clients of external APIs whose figures ``stats`` shows too.

    Raises:
        ConfigError: An argument is wrong or they contradict each other. Nothing was sent.

    Example:
        >>> with ServingClient("demo", **credentials) as client:
        ...     client.predict([{"a": 1.0, "b": 2.0}]).predictions
        [3.0]
    """

    def __init__(
        self,
        endpoint: str,
        *,
        host: str | None = None,
        token: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        config: Config | None = None,
        settings: Settings | None = None,
        transport: httpx.BaseTransport | None = None,
        observers: Sequence[Observer | Tracer | Reader] = (),
        preprocess: Callable[[Any], Any] | None = None,
        enrich: Callable[[Any], Any] | None = None,
        postprocess: Callable[[Any], Any] | None = None,
        on_enrichment_error: OnEnrichmentError = "raise",
        apis: Sequence[Api] = (),
    ) -> None:
        settings = checked_settings(settings)
        given = {
            "preprocess": preprocess,
            "enrich": enrich,
            "postprocess": postprocess,
            "on_enrichment_error": on_enrichment_error,
            "apis": apis,
        }
        stages = checked_stages(given, Stages(), asynchronous=False)
        watching = checked_observers(observers)
        credentials, origin = credentials_from(
            host=host,
            token=token,
            client_id=client_id,
            client_secret=client_secret,
            config=config,
            settings=settings,
        )
        self._parts = self._parts_for(endpoint, credentials, origin, settings, transport, watching)
        self._copies = Copies()
        self._follow(Story(endpoint, settings, self._parts.world), stages)
        self._readers = watching.readers
        self._original: ServingClient | None = None
        for reader in self._readers:
            reader.client_opened(self)

    def _parts_for(
        self,
        endpoint: str,
        credentials: Credentials,
        origin: Origin | None,
        settings: Settings,
        transport: httpx.BaseTransport | None,
        watching: Watching,
    ) -> ThreadParts:
        """What this client is made of; fake clients are made of something else."""
        return thread_parts(endpoint, credentials, origin, settings, transport, watching)

    def _follow(self, story: Story, stages: Stages) -> None:
        """Call as a story tells, with stages around each call. Chosen here, it costs no call."""
        self._story = story
        parts, world = self._parts, story.world
        self._staging = Staging(story.endpoint, stages, parts.hands, world.now, world.recorder)
        self._calls = calls_around(calls_of(story, parts.batcher), story, self._staging)
        self._open = opening_around(self._calls, story)
        self._copies.given(self, stages.apis)

    @property
    def endpoint(self) -> str:
        """Name of the serving endpoint."""
        return self._story.endpoint

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._story.settings

    @property
    def apis(self) -> tuple[Api, ...]:
        """The ``apis`` given to it and to its copies: exporters tell of all of them."""
        return self._copies.apis()

    def predict(
        self,
        inputs: Any,
        *,
        params: Mapping[str, Any] | None = None,
        client_request_id: str | None = None,
        usage_context: Mapping[str, str] | None = None,
        served_model: str | None = None,
        timeout: float | None = None,
        idempotent: bool | None = None,
        priority: Priority | None = None,
    ) -> Prediction:
        """Score ``inputs`` and return the predictions.

        Args:
            inputs: A pandas or polars DataFrame, pyarrow Table, list of dicts, dict of columns,
                numpy array or dict of arrays, list of rows, or an explicit body such as
                ``{"dataframe_split": ...}``.
            params: Parameters of the model.
            client_request_id: Your id for the request, stored in the inference table.
            usage_context: Labels stored in the usage table.
            served_model: Served model to use, past the traffic split.
            timeout: Seconds for the whole call: queue, token, attempts, backoff.
            idempotent: Whether running it twice does no harm; decides what may be resent.
            priority: Who goes first when calls wait: ``"critical"``, ``"default"``, ``"batch"``.

        Returns:
            The predictions with request id, attempts and timing.

        Raises:
            PayloadError: The input cannot be sent; names row and column.
            BadRequest: The endpoint refused the input.
            AuthError: The credential was refused, also after a refresh.
            Throttled: The endpoint stayed at its limit.
            DeadlineExceeded: Time ran out.
            ServingError: Any other failure; the root of all of these.
        """
        settings = self._story.settings
        return run(
            self._calls.predict(
                inputs,
                params,
                client_request_id,
                usage_context,
                served_model,
                settings.timeout_s if timeout is None else checked_timeout(timeout),
                settings.idempotent if idempotent is None else checked_idempotent(idempotent),
                self._story.rank if priority is None else rank_of(priority),
            )
        )

    def stream(
        self,
        inputs: Any,
        *,
        params: Mapping[str, Any] | None = None,
        client_request_id: str | None = None,
        usage_context: Mapping[str, str] | None = None,
        served_model: str | None = None,
        timeout: float | None = None,
        idempotent: bool | None = None,
        priority: Priority | None = None,
    ) -> Stream:
        """Ask for a stream of events and return an iterator over them.

        Use it in ``with``, which gives the connection back whatever happens. Once the reply began,
        each event may take ``settings.pool.stream_idle_s``.

        Args:
            inputs: As for ``predict``.
            params: As for ``predict``.
            client_request_id: As for ``predict``.
            usage_context: As for ``predict``.
            served_model: As for ``predict``.
            timeout: Seconds until the reply begins.
            idempotent: As for ``predict``; once the reply began, nothing is sent again.
            priority: As for ``predict``.

        Returns:
            The events, decoded from JSON, as they arrive.

        Raises:
            StreamError: While iterating: the stream broke after it began.
            ServingError: As for ``predict``, before it begins.
        """
        settings = self._story.settings
        return Stream(
            run(
                self._open(
                    inputs,
                    params,
                    client_request_id,
                    usage_context,
                    served_model,
                    settings.timeout_s if timeout is None else checked_timeout(timeout),
                    settings.idempotent if idempotent is None else checked_idempotent(idempotent),
                    self._story.rank if priority is None else rank_of(priority),
                )
            )
        )

    def map(
        self,
        inputs: Any,
        *,
        params: Mapping[str, Any] | None = None,
        client_request_id: str | None = None,
        usage_context: Mapping[str, str] | None = None,
        served_model: str | None = None,
        timeout: float | None = None,
        idempotent: bool | None = None,
        priority: Priority = "batch",
        rows_per_request: int | None = None,
        concurrency: int | None = None,
        on_error: Literal["raise", "return"] = "raise",
        progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> MapResult:
        """Score an input of any size: one prediction a row, in order, in bounded memory.

        The input is cut into requests of a good size, and several are under way at once. Nothing
        is read or sent before the first result is asked for, and never much more than results are
        asked for. Rows that are refused are found and fail alone.

        Args:
            inputs: What ``predict`` takes, apart from bodies; or an iterator of rows, of lists of
                rows, or of frames, tables and batches, which is read as it is needed.
            params: Parameters of the model.
            client_request_id: Start of your ids: each request gets it with ``-`` and the number of
                its first row.
            usage_context: Labels stored in the usage table.
            served_model: Served model to use, past the traffic split.
            timeout: Seconds for each request: queue, token, attempts, backoff. A job outlives an
                outage that is shorter.
            idempotent: Whether running a request twice does no harm; decides what may be resent.
            priority: Who goes first when calls wait.
            rows_per_request: Rows in each request; None follows ``settings.bulk``.
            concurrency: Requests at once; None follows the concurrency limit and ``settings.bulk``.
            on_error: ``"raise"`` ends with the error of the first row that failed, after the rows
                before it; ``"return"`` gives each row that failed its error in place of a
                prediction.
            progress: Show how far the job is: a bar in a terminal or notebook, else lines on the
                error output.
            checkpoint: Path of a file on a local disk to keep predictions in. The same call with
                the same input goes on where another run was ended, and sends no row again whose
                prediction stands there.

        Returns:
            An iterator over the predictions; also ``blocks()``, ``to_list()`` and ``to_pandas()``.

        Raises:
            ConfigError: An argument is wrong.
            PayloadError: The input is of no kind that can be sent.
        """
        story, parts = self._story, self._parts
        options = bulk_options(
            story.settings,
            params=params,
            client_request_id=client_request_id,
            usage_context=usage_context,
            served_model=served_model,
            timeout=timeout,
            idempotent=idempotent,
            priority=priority,
            rows_per_request=rows_per_request,
            concurrency=concurrency,
            on_error=on_error,
            progress=progress,
            checkpoint=checkpoint,
        )
        return threads.begin(
            story, parts.wire, parts.clock, self._limit, self._staging, options, inputs
        )

    def _limit(self) -> int:
        return self._parts.gate.stats().limit

    def explain(
        self,
        inputs: Any,
        *,
        params: Mapping[str, Any] | None = None,
        client_request_id: str | None = None,
        usage_context: Mapping[str, str] | None = None,
        served_model: str | None = None,
        timeout: float | None = None,
    ) -> Explanation:
        """Tell how ``inputs`` would become a request, and what that would cost; scores nothing.

        Prints as a table: bytes after each step, what other settings would save, the error of
        rounding, the share of the limit. It holds no value of the input. The endpoint's description
        is read if it is not known yet; the input is encoded several times.

        Args:
            inputs: As for ``predict``.
            params: As for ``predict``.
            client_request_id: As for ``predict``.
            usage_context: As for ``predict``.
            served_model: As for ``predict``.
            timeout: Seconds for asking the workspace.

        Returns:
            Names and figures, made for printing.

        Raises:
            PayloadError: The input cannot be sent.
        """
        settings = self._story.settings
        return run(
            explain(
                self._story,
                inputs,
                params,
                client_request_id,
                usage_context,
                served_model,
                settings.timeout_s if timeout is None else checked_timeout(timeout),
                self._story.rank,
            )
        )

    def warmup(self, *, timeout: float | None = None) -> None:
        """Resolve the endpoint, get a token and open connections before the first call.

        Args:
            timeout: Seconds for all of it.

        Raises:
            ServingError: One of these failed.
        """
        settings = self._story.settings
        limit_s = settings.timeout_s if timeout is None else checked_timeout(timeout)
        run(warmup(self._story, limit_s))

    def stats(self) -> Stats:
        """What this client has counted and holds now.

        Prints as a table, and shows as a card in a notebook. It may be asked for at any time and
        from any thread; windows are put together when they are read.
        """
        return stats_of(self._parts, self.endpoint, self._staging.stages.apis)

    def endpoint_figures(self, *, timeout: float | None = None) -> EndpointFigures:
        """What the endpoint says of itself: processor, memory, requests, latency in the service.

        Read anew from its workspace, which takes permission to view the endpoint. Where nothing can
        be had, ``why_none`` of the result says why.

        Args:
            timeout: Seconds for asking the workspace.

        Raises:
            ConfigError: prometheus-client, which reads them, is not installed.
            ServingError: The workspace cannot be asked at all.
        """
        settings = self._story.settings
        limit_s = settings.timeout_s if timeout is None else checked_timeout(timeout)
        parts = self._parts
        return run(read_figures(parts.access, parts.gate, parts.clock.now, self.endpoint, limit_s))

    def doctor(
        self,
        *,
        probe: Probe | None = None,
        targets: Targets | None = None,
        timeout: float | None = None,
    ) -> Diagnosis:
        """Hold the endpoint and its calls against targets, and say what to do where one is missed.

        Judges by what this client has seen, by the endpoint's description and by its own figures,
        both read anew. What cannot be read is told in the result. Prints as a table.

        Args:
            probe: Calls that may be made to measure; None makes none.
            targets: What to hold it to; None takes the defaults.
            timeout: Seconds for each question to the workspace, and for each probe.

        Raises:
            ConfigError: An argument is of the wrong kind.
            PayloadError: The probe's inputs cannot be sent.
            ClientClosedError: The client was closed.
        """
        from servingclient.capacity.doctor.gather import Room, diagnose

        story, parts = self._story, self._parts
        limit_s = story.settings.timeout_s if timeout is None else checked_timeout(timeout)
        now = parts.world.now
        room = Room(self.endpoint, parts.access, parts.gate, now, self.stats, story, self._calls)
        return run(diagnose(room, probe, targets, limit_s))

    def with_options(self, **changes: Any) -> ServingClient:
        """A copy with other settings that shares connections, queue, token and retry quota.

        Args:
            **changes: Fields of :class:`~servingclient.settings.Settings`, such as
                ``timeout_s=2.0`` or ``idempotent=False``; of batching only ``batching=None``, off
                for this copy. Also ``preprocess``, ``enrich``, ``postprocess``,
                ``on_enrichment_error`` and ``apis``.

        Raises:
            ConfigError: A name is no setting, or one that needs connections of its own.
        """
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._original = self._original or self
        before = self._staging.stages
        stages, changes = changed_stages(changes, before, asynchronous=False)
        settings = changed_settings(self._story.settings, changes)
        copy._follow(Story(self.endpoint, settings, self._story.world), stages)
        return copy

    def close(self) -> None:
        """Admit no more calls, wait ``close_timeout_s`` for those running, then end them.

        Copies made by ``with_options`` close with it. May be called again.
        """
        try:
            self._parts.close(self._story.settings.close_timeout_s)
        finally:
            for reader in self._readers:
                reader.client_closed(self._original or self)

    def __enter__(self) -> ServingClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise not_pickled("ServingClient")

    def __repr__(self) -> str:
        return f"ServingClient({self.endpoint!r}, {self._parts.gate!r}, {self._parts.wire!r})"
