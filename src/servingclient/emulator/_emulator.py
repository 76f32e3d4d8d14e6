"""The emulator as its user holds it: started, scripted, read and stopped from any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

from servingclient.emulator.control_plane import authorization_details
from servingclient.emulator.endpoints import Endpoint, EndpointSpec, Model
from servingclient.emulator.external import ExternalApi
from servingclient.emulator.fault import Fault
from servingclient.emulator.hosting import Hosting
from servingclient.emulator.journal import Journal, RequestRecord
from servingclient.emulator.settings import Settings
from servingclient.emulator.state import Workspace
from servingclient.emulator.wire import HostName


class Emulator:
    """A local Databricks Model Serving on loopback sockets: control plane, logins, data planes.

    It runs in a thread of its own with its own event loop. Two endpoints exist from the start:
    ``demo`` is a standard one, ``demo-fast`` is route-optimized; their model returns the sum of
    each row's numbers.

    Args:
        tls: https with an authority of its own (``ca_file``), or plain http.
        port: of the workspace host; 0 takes a free one.
        serving_port: of the data plane of route-optimized endpoints.
        external_port: of the external API.
        settings: workspace-wide behaviour.
        **changes: single fields of ``Settings``.

    Example:
        >>> from servingclient.emulator import Emulator, faults
        >>> with Emulator() as emu:
        ...     emu.script("demo", faults.throttled(), faults.reset(when="after"))
        ...     emu.host.startswith("https://127.0.0.1:")
        True
    """

    def __init__(
        self,
        *,
        tls: bool = True,
        port: int = 0,
        serving_port: int = 0,
        external_port: int = 0,
        settings: Settings | None = None,
        **changes: Any,
    ) -> None:
        chosen = replace(settings or Settings(), **changes)
        self._journal = Journal(chosen.journal_limit, chosen.keep_body_bytes)
        self._workspace = Workspace(self._journal, chosen)
        ports: dict[HostName, int] = {
            "workspace": port,
            "serving": serving_port,
            "external": external_port,
        }
        self._hosting = Hosting(self._workspace, ports, tls=tls)
        self.add_endpoint("demo")
        self.add_endpoint("demo-fast", route_optimized=True)

    # --- life

    def start(self) -> Emulator:
        """Open all hosts.

        Raises:
            OSError: when a port is taken.
            RuntimeError: when https is wanted and ``trustme`` is missing, or it is already started.
        """
        self._hosting.start()
        return self

    def stop(self) -> None:
        """Close listeners and connections and wait for the thread; harmless when not running."""
        self._hosting.stop()

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self._workspace.urls.get("workspace", "not started")
        return f"<Emulator {where} endpoints={list(self._workspace.endpoints)}>"

    # --- where and as whom

    @property
    def host(self) -> str:
        """URL of the workspace: control plane, logins and standard invocations."""
        return self._url("workspace")

    @property
    def serving_host(self) -> str:
        """URL of the data plane of route-optimized endpoints."""
        return self._url("serving")

    @property
    def external(self) -> ExternalApi:
        """An API to enrich rows from, on a host of its own."""
        return self._workspace.external

    @property
    def ca_file(self) -> str | None:
        """Path of the authority's certificate, removed on exit; ``None`` without TLS."""
        certificates = self._hosting.certificates
        return certificates.ca_file if certificates is not None else None

    @property
    def token(self) -> str:
        """A valid personal access token."""
        return self._workspace.token

    @property
    def client_id(self) -> str:
        """The service principal."""
        return self._workspace.client_id

    @property
    def client_secret(self) -> str:
        """Its OAuth secret."""
        return self._workspace.client_secret

    def endpoint_url(self, name: str) -> str:
        """Return the URL at which an endpoint takes invocations now."""
        return self._workspace.endpoint_url(self._endpoint(name))

    def endpoint_id(self, name: str) -> str:
        """Return the id an endpoint has now."""
        return self._endpoint(name).id

    def authorization_details(self, name: str) -> str:
        """Return what a token for a route-optimized endpoint must be asked with."""
        return authorization_details(self._endpoint(name))

    # --- endpoints

    def add_endpoint(self, name: str, model: Model | None = None, **spec: Any) -> None:
        """Add or replace an endpoint.

        Args:
            name: Of the endpoint.
            model: A function of the rows, dicts by column, or one for each served model; None is
                the default model of the kind.
            **spec: Further fields of :class:`~servingclient.emulator.EndpointSpec`.
        """
        self._workspace.create(EndpointSpec(name=name, model=model, **spec))

    def endpoint_spec(self, name: str) -> EndpointSpec:
        """Return what an endpoint is told to be now."""
        return self._endpoint(name).spec

    def change_endpoint(self, name: str, **changes: Any) -> None:
        """Change fields of an endpoint's specification while it runs.

        Args:
            name: Of the endpoint.
            **changes: Fields of :class:`~servingclient.emulator.EndpointSpec`.
        """
        endpoint = self._endpoint(name)
        self._hosting.do(lambda: endpoint.change(**changes))
        self._workspace.note_limit(endpoint.spec)

    def scale_endpoint(self, name: str, slots: int, *, over_s: float = 0.0) -> None:
        """Let an endpoint's slots go to a number, one at a time and evenly over ``over_s`` seconds.

        It is the service that scales: the specification stays. ``change_endpoint`` ends it.

        Args:
            name: Of the endpoint.
            slots: Requests it is to run at once.
            over_s: Seconds until it does.
        """
        capacity = self._endpoint(name).capacity
        self._hosting.do(lambda: capacity.scale(slots, over_s))

    def recreate_endpoint(self, name: str) -> None:
        """Delete and create an endpoint again: a new id and a new URL, the old URL answers 404."""
        self._workspace.create(self._endpoint(name).spec)

    def remove_endpoint(self, name: str) -> None:
        """Delete an endpoint."""
        del self._workspace.endpoints[self._endpoint(name).spec.name]

    # --- scripts

    def script(self, name: str, *faults: Fault) -> None:
        """Apply one fault to each of the next invocations of an endpoint.

        Args:
            name: Of the endpoint.
            *faults: In the order of the requests; ``faults.ok()`` leaves one as it is.

        Raises:
            TypeError: One is no fault, such as a function of ``faults`` that was not called.
        """
        self._endpoint(name).faults.script(faults)

    def always(self, name: str, fault: Fault) -> None:
        """Apply a fault to every invocation that has no scripted one, until ``clear``.

        Args:
            name: Of the endpoint.
            fault: What goes wrong.
        """
        self._endpoint(name).faults.stand(fault)

    def clear(self, name: str) -> None:
        """Remove the scripted faults and the standing one of an endpoint."""
        self._endpoint(name).faults.clear()

    def token_script(self, *faults: Fault) -> None:
        """Apply one fault to each of the next token requests."""
        self._workspace.token_faults.script(faults)

    def token_always(self, fault: Fault | None) -> None:
        """Apply a fault to every token request that has no scripted one; ``None`` ends it."""
        self._workspace.token_faults.stand(fault)

    def describe_script(self, *faults: Fault) -> None:
        """Apply one fault to each of the next reads of an endpoint's description."""
        self._workspace.describe_faults.script(faults)

    def describe_always(self, fault: Fault | None) -> None:
        """Apply a fault to every unscripted read of a description; ``None`` ends it."""
        self._workspace.describe_faults.stand(fault)

    def openapi_script(self, *faults: Fault) -> None:
        """Apply one fault to each of the next reads of an endpoint's query schema."""
        self._workspace.openapi_faults.script(faults)

    def openapi_always(self, fault: Fault | None) -> None:
        """Apply a fault to every unscripted read of a query schema; ``None`` ends it."""
        self._workspace.openapi_faults.stand(fault)

    def revoke_tokens(self) -> None:
        """Make every OAuth token that was issued so far invalid."""
        self._workspace.tokens.revoke_all()

    @property
    def token_ttl_s(self) -> float:
        """Life of the tokens issued from now on."""
        return self._workspace.settings.token_ttl_s

    @token_ttl_s.setter
    def token_ttl_s(self, value: float) -> None:
        self.change(token_ttl_s=value)

    @property
    def settings(self) -> Settings:
        """The workspace-wide behaviour."""
        return self._workspace.settings

    def change(self, **changes: Any) -> None:
        """Change fields of the settings from now on."""
        self._workspace.settings = replace(self._workspace.settings, **changes)

    def drop_connections(self) -> None:
        """Reset every open connection of all hosts."""
        for listener in self._hosting.listeners.values():
            self._hosting.do(listener.drop_connections)

    # --- what happened

    @property
    def requests(self) -> list[RequestRecord]:
        """Every request in the order it was decided; a record is there before its reply is."""
        return self._journal.snapshot()

    def executions(self, name: str) -> Counter[str | None]:
        """Return how often the model ran, by ``client_request_id``."""
        return self._endpoint(name).executions.copy()

    @property
    def token_requests(self) -> int:
        """Token requests seen."""
        return self._journal.counts["token"]

    @property
    def connections(self) -> Counter[HostName]:
        """TCP connections accepted, by host (``workspace``, ``serving``, ``external``)."""
        return self._journal.accepted.copy()

    @property
    def open_connections(self) -> dict[HostName, int]:
        """Connections open now, by host."""
        return {
            host: len(listener.connections) for host, listener in self._hosting.listeners.items()
        }

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Wait until something holds, asked after each request, execution and connection.

        Args:
            predicate: Whether it does.
            timeout_s: Seconds to wait at most.

        Returns:
            Whether it came to hold in time.
        """
        return self._journal.wait_for(predicate, timeout_s)

    def reset(self) -> None:
        """Forget the log, the counts and all scripts; endpoints, tokens and connections stay."""
        self._workspace.forget()

    # --- inside

    def _url(self, host: HostName) -> str:
        try:
            return self._workspace.urls[host]
        except KeyError:
            raise RuntimeError(
                "the emulator is not started: use `with Emulator() as emu`"
            ) from None

    def _endpoint(self, name: str) -> Endpoint:
        try:
            return self._workspace.endpoints[name]
        except KeyError:
            known = ", ".join(self._workspace.endpoints)
            raise KeyError(f"no endpoint {name!r}; there are {known}") from None
