"""The emulated workspace: what all handlers share."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from servingclient.emulator.endpoints import CUSTOM_LIMIT_BYTES, Endpoint, EndpointSpec
from servingclient.emulator.external import ExternalApi
from servingclient.emulator.fault import FaultQueue
from servingclient.emulator.oidc import Tokens
from servingclient.emulator.settings import Settings
from servingclient.emulator.wire import Dates

if TYPE_CHECKING:
    from servingclient.emulator.journal import Journal
    from servingclient.emulator.wire import HostName

WORKSPACE_ID = "1234567890123456"

# Well known on purpose: they open the emulator only.
TOKEN = "dapi-emulator-0123456789abcdef"  # noqa: S105
CLIENT_ID = "00000000-5e41-4c11-8000-e3a1a70a0001"
CLIENT_SECRET = "dose-emulator-0123456789abcdef"  # noqa: S105


@dataclass(slots=True, eq=False)
class Workspace:
    """Endpoints, tokens, scripts and the journal of one emulator."""

    journal: Journal
    settings: Settings = field(default_factory=Settings)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=Tokens)
    token_faults: FaultQueue = field(default_factory=FaultQueue)
    describe_faults: FaultQueue = field(default_factory=FaultQueue)
    openapi_faults: FaultQueue = field(default_factory=FaultQueue)
    urls: dict[HostName, str] = field(default_factory=dict)
    dates: Dates = field(default_factory=Dates)
    rng: random.Random = field(init=False)
    external: ExternalApi = field(init=False)
    standard_in_flight: int = 0
    smallest_limit_bytes: int = CUSTOM_LIMIT_BYTES
    """No body below it needs to be checked while it arrives."""
    token: str = TOKEN
    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET

    def __post_init__(self) -> None:
        """Seed the randomness and add the external API."""
        self.rng = random.Random(self.settings.seed)  # noqa: S311 - simulation
        self.external = ExternalApi(self.settings.seed, self.urls, self.journal)

    def new_id(self) -> str:
        """Return a request or endpoint id, the same sequence for the same seed."""
        text = f"{self.rng.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def create(self, spec: EndpointSpec) -> Endpoint:
        """Add an endpoint, or replace the one of that name by a new one with a new id."""
        endpoint = Endpoint(spec, self.new_id().replace("-", ""), int(time.time() * 1000))
        self.endpoints[spec.name] = endpoint
        self.note_limit(spec)
        return endpoint

    def note_limit(self, spec: EndpointSpec) -> None:
        """Take notice of an endpoint's size limit."""
        self.smallest_limit_bytes = min(self.smallest_limit_bytes, spec.limit_bytes())

    def endpoint_url(self, endpoint: Endpoint) -> str:
        """Return where an endpoint is to be called.

        The real data plane names the endpoint id in the first label of the host; a loopback address
        has no labels, so here the id leads the path. Clients must read the URL either way.
        """
        name = endpoint.spec.name
        if endpoint.spec.route_optimized:
            base = self.urls["serving"]
            return f"{base}/{endpoint.id}/{WORKSPACE_ID}/serving-endpoints/{name}/invocations"
        return f"{self.urls['workspace']}/serving-endpoints/{name}/invocations"

    def forget(self) -> None:
        """Forget the journal, scripts, counts; endpoints and tokens stay."""
        self.journal.clear()
        self.token_faults.clear()
        self.describe_faults.clear()
        self.openapi_faults.clear()
        self.external.forget()
        for endpoint in self.endpoints.values():
            endpoint.forget()
