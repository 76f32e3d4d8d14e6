"""databricks-sdk's ``serving_endpoints.query`` over this library's calls.

One line of a program changes, the import::

    from servingclient.integrations.databricks_sdk import WorkspaceClient

Everything else of the workspace client is databricks-sdk's own. Beside ``auth`` this is the only
module that imports it: whoever imports this one has it loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from databricks.sdk import WorkspaceClient as SdkWorkspaceClient
from databricks.sdk.errors import platform as sdk_errors
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.mixins.open_ai_client import ServingEndpointsExt
from databricks.sdk.service.serving import (
    ChatMessage,
    DataframeSplitInput,
    QueryEndpointResponse,
)

from servingclient._watching import Observer, Reader, Tracer
from servingclient.errors import (
    ConfigError,
    DeadlineExceeded,
    PayloadError,
    PayloadTooLarge,
    QueueFull,
    ServingError,
)
from servingclient.integrations.by_endpoint import Clients
from servingclient.integrations.verbatim import VerbatimClient
from servingclient.settings import Settings
from servingclient.transport.fork_lock import fork_lock

__all__ = ["ServingEndpoints", "WorkspaceClient"]

_making = fork_lock()


class ServingEndpoints(ServingEndpointsExt):
    """databricks-sdk's serving endpoints API, with this library's calls behind ``query``.

    Route-optimized endpoints are called like any other.

    Args:
        workspace: Any workspace client of databricks-sdk: its host and credentials are used.
        settings: See :class:`~servingclient.settings.Settings`; None takes the defaults with what
            ``Settings.from_env`` finds. databricks-sdk's own time-outs and retries have no effect.
        observers: Told of finished calls and failed attempts, as with ``ServingClient``.
    """

    def __init__(
        self,
        workspace: SdkWorkspaceClient,
        *,
        settings: Settings | None = None,
        observers: Sequence[Observer | Tracer | Reader] = (),
    ) -> None:
        super().__init__(workspace.api_client)  # type: ignore[no-untyped-call] # as is all of it
        self._clients = Clients(
            partial(VerbatimClient, config=workspace.config, settings=settings, observers=observers)
        )

    def query(
        self,
        name: str,
        *,
        client_request_id: str | None = None,
        dataframe_records: list[Any] | None = None,
        dataframe_split: DataframeSplitInput | None = None,
        extra_params: dict[str, str] | None = None,
        input: Any | None = None,  # noqa: A002 - databricks-sdk's name
        inputs: Any | None = None,
        instances: list[Any] | None = None,
        max_tokens: int | None = None,
        messages: list[ChatMessage] | None = None,
        n: int | None = None,
        prompt: Any | None = None,
        stop: list[str] | None = None,
        stream: bool | None = None,
        temperature: float | None = None,
        usage_context: dict[str, str] | None = None,
    ) -> QueryEndpointResponse:
        """Query a serving endpoint, with the arguments of databricks-sdk's method of that name.

        Args:
            name: Name of the serving endpoint.
            client_request_id: Your id for the request, stored in the inference table.
            dataframe_records: Rows as dicts.
            dataframe_split: Columns and rows.
            extra_params: Further parameters of foundation models and external models.
            input: Text to embed.
            inputs: Tensors by column.
            instances: Tensors by row.
            max_tokens: Longest answer of a chat or completion, in tokens.
            messages: A conversation.
            n: How many answers are wanted.
            prompt: Text to complete.
            stop: Texts that end an answer.
            stream: Must not be True: one response is no stream, neither here nor there.
            temperature: How random an answer is, from 0 to 2.
            usage_context: Labels stored in the usage table.

        Returns:
            databricks-sdk's response.

        Raises:
            databricks.sdk.errors.DatabricksError: The call failed: the subclass for the status
                where there was a reply. This library's error is the ``__cause__``.
            DeadlineExceeded: Time ran out. It is a ``TimeoutError``, as in databricks-sdk.
            PayloadError: The input cannot be sent. It is a ``ValueError``, as in databricks-sdk.
            ConfigError: Likewise a ``ValueError``: the credentials are not of the kind needed.
        """
        if stream:
            raise ConfigError(
                "query returns one response, which is no stream. Leave stream out, or read events "
                "with ServingClient.stream or servingclient.integrations.openai."
            )
        given = {
            "client_request_id": client_request_id,
            "dataframe_records": dataframe_records,
            "dataframe_split": _plain(dataframe_split),
            "extra_params": extra_params,
            "input": input,
            "inputs": inputs,
            "instances": instances,
            "max_tokens": max_tokens,
            "messages": None if messages is None else [_plain(one) for one in messages],
            "n": n,
            "prompt": prompt,
            "stop": stop,
            "stream": stream,
            "temperature": temperature,
            "usage_context": usage_context,
        }
        body = {key: value for key, value in given.items() if value is not None}
        try:
            prediction = self._clients.of(name).answer(body)
        except ServingError as error:
            failed = _as_sdk_error(error)
            if failed is None:
                raise
            raise failed from error
        reply = prediction.predictions
        if not isinstance(reply, dict):
            kind = type(reply).__name__
            raise DatabricksError(f"The reply of {name!r} is a JSON {kind}, not an object.")
        served = prediction.served_model
        return QueryEndpointResponse.from_dict({"served-model-name": served, **reply})

    def close(self) -> None:
        """Close the connections. May be called again."""
        self._clients.close()


class WorkspaceClient(SdkWorkspaceClient):
    """databricks-sdk's workspace client; ``serving_endpoints.query`` goes through this library.

    Example:
        >>> emulator.add_endpoint("fraud-model")
        >>> w = WorkspaceClient(**credentials)
        >>> w.serving_endpoints.query("fraud-model", dataframe_records=[{"a": 1.0}]).predictions
        [1.0]
        >>> w.serving_endpoints.close()
    """

    _queried: ServingEndpoints | None = None

    @property
    def serving_endpoints(self) -> ServingEndpoints:
        """The serving endpoints API."""
        if self._queried is None:
            with _making:  # a second one would have connections of its own
                if self._queried is None:
                    self._queried = ServingEndpoints(self)
        return self._queried


def _plain(value: Any) -> Any:
    """databricks-sdk's dataclasses as dicts; dicts are taken, too."""
    return value.as_dict() if hasattr(value, "as_dict") else value


def _as_sdk_error(error: ServingError) -> DatabricksError | None:
    """What databricks-sdk's callers catch; None where the error is of a kind they do already."""
    if isinstance(error, PayloadTooLarge):
        return sdk_errors.BadRequest(str(error))  # as the service would answer it
    if isinstance(error, (ConfigError, PayloadError, DeadlineExceeded)):
        return None
    kind: type[DatabricksError] = DatabricksError
    if isinstance(error, QueueFull):
        kind = sdk_errors.TooManyRequests
    elif error.status_code in sdk_errors.STATUS_CODE_MAPPING:
        kind = sdk_errors.STATUS_CODE_MAPPING[error.status_code]
    wait_s = getattr(error, "retry_after_s", None)
    return kind(str(error), retry_after_secs=None if wait_s is None else int(wait_s))
