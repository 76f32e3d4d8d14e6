"""``mlflow.deployments``' client for Databricks over this library's calls.

One line of a program changes, the import::

    from servingclient.integrations.mlflow import get_deploy_client

mlflow itself is neither needed nor imported. What manages endpoints (``create_endpoint``, ...)
stays with mlflow's own client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from servingclient._watching import Observer, Reader, Tracer
from servingclient.errors import ConfigError, PayloadError, ServingError
from servingclient.integrations.by_endpoint import Clients
from servingclient.integrations.verbatim import VerbatimClient
from servingclient.settings import Settings

__all__ = ["DatabricksDeploymentClient", "DatabricksEndpoint", "get_deploy_client"]

_DATABRICKS = "databricks"


class DatabricksEndpoint(dict[str, Any]):
    """A reply: a dict whose keys are attributes too, as mlflow's class of that name."""

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"the reply has no {name!r}") from None
        return DatabricksEndpoint(value) if isinstance(value, dict) else value


class DatabricksDeploymentClient:
    """Queries serving endpoints with the arguments of mlflow's class of that name.

    Where the endpoint answered with an error, ``requests.HTTPError`` is raised as mlflow does, with
    ``response.status_code`` and this library's error as its ``__cause__``. mlflow rewrites some
    statuses to 500; here the last reply's is told. All other failures are this library's errors.

    Args:
        target_uri: ``"databricks"``, or ``"databricks://<profile>"``.
        settings: See :class:`~servingclient.settings.Settings`; None takes the defaults with what
            ``Settings.from_env`` finds. mlflow's ``MLFLOW_DEPLOYMENT_...`` variables are not read.
        observers: Told of finished calls and failed attempts, as with ``ServingClient``.

    Raises:
        ConfigError: The target is another one.
    """

    def __init__(
        self,
        target_uri: str = _DATABRICKS,
        *,
        settings: Settings | None = None,
        observers: Sequence[Observer | Tracer | Reader] = (),
    ) -> None:
        self.target_uri = target_uri
        config = _config_of(target_uri)
        self._clients = Clients(
            partial(VerbatimClient, config=config, settings=settings, observers=observers)
        )

    def predict(
        self,
        deployment_name: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> Any:
        """Query an endpoint.

        Args:
            deployment_name: Unused, as in mlflow.
            inputs: The request's whole body.
            endpoint: Name of the serving endpoint.

        Returns:
            The whole reply: a ``DatabricksEndpoint`` where it is an object, as it nearly always is.

        Raises:
            requests.HTTPError: The endpoint answered with an error.
            ServingError: Any other failure.
        """
        client = self._clients.of(_named(endpoint))
        try:
            reply = client.answer(_body(inputs)).predictions
        except ServingError as error:
            failed = _as_http_error(error)
            if failed is None:
                raise
            raise failed from error
        return DatabricksEndpoint(reply) if isinstance(reply, dict) else reply

    def predict_stream(
        self,
        deployment_name: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Query an endpoint that answers with a stream; the request is sent at the first event.

        Args:
            deployment_name: Unused, as in mlflow.
            inputs: The request's whole body, without ``stream``.
            endpoint: Name of the serving endpoint.

        Yields:
            The events of the reply.

        Raises:
            requests.HTTPError: The endpoint answered with an error.
            StreamError: The stream broke after it began.
            ServingError: Any other failure.
        """
        client = self._clients.of(_named(endpoint))
        try:
            events = client.stream({**_body(inputs), "stream": True})
        except ServingError as error:
            failed = _as_http_error(error)
            if failed is None:
                raise
            raise failed from error
        with events:
            yield from events

    def close(self) -> None:
        """Close the connections. May be called again."""
        self._clients.close()


def get_deploy_client(
    target_uri: str | None = None,
    *,
    settings: Settings | None = None,
    observers: Sequence[Observer | Tracer | Reader] = (),
) -> DatabricksDeploymentClient:
    """A client for the serving endpoints of a workspace, in place of mlflow's function.

    Args:
        target_uri: ``"databricks"``, or ``"databricks://<profile>"``; None is the first.
        settings: As for :class:`DatabricksDeploymentClient`.
        observers: Likewise.

    Raises:
        ConfigError: The target is another one.

    Example:
        >>> emulator.add_endpoint("fraud-model")
        >>> client = get_deploy_client("databricks")
        >>> client.predict(endpoint="fraud-model", inputs={"dataframe_records": [{"a": 1.0}]})
        {'predictions': [1.0]}
        >>> client.close()
    """
    chosen = _DATABRICKS if target_uri is None else target_uri
    return DatabricksDeploymentClient(chosen, settings=settings, observers=observers)


def _config_of(target_uri: str) -> Any:
    """databricks-sdk's configuration where a profile is named; None lets it look around."""
    scheme, _, profile = target_uri.partition("://")
    if scheme != _DATABRICKS:
        raise ConfigError(
            f"The target {scheme[:40]!r} is none of Databricks; use 'databricks', or mlflow's own "
            "client for other targets."
        )
    if not profile:
        return None
    from databricks.sdk.core import Config

    return Config(profile=profile)


def _named(endpoint: str | None) -> str:
    if endpoint is None:
        raise ConfigError("Name the serving endpoint: predict(endpoint=..., inputs=...).")
    return endpoint


def _body(inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    if not isinstance(inputs, Mapping):
        raise PayloadError(
            f"inputs is the request's whole body as a dict, such as {{'dataframe_split': ...}}, "
            f"not {type(inputs).__name__}."
        )
    return dict(inputs)


def _as_http_error(error: ServingError) -> Exception | None:
    """What mlflow's callers catch where the endpoint answered; None where it did not."""
    status = error.status_code
    if status is None or status < 400 or isinstance(error, TimeoutError):
        return None
    import requests

    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(str(error), response=response)
