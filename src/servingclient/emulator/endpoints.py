"""What an endpoint is told to be, and what it keeps while it runs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from servingclient.emulator.capacity import Capacity
from servingclient.emulator.fault import FaultQueue
from servingclient.emulator.metrics import LastMinute
from servingclient.emulator.models import takes_params
from servingclient.emulator.schema import check_type

if TYPE_CHECKING:
    import random

Model = Callable[..., Any]
Kind = Literal["custom", "feature", "agent"]
Permission = Literal["CAN_MANAGE", "CAN_QUERY", "CAN_VIEW"]

CUSTOM_LIMIT_BYTES = 16_777_216
AGENT_LIMIT_BYTES = 4_194_304


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """What can be chosen for one endpoint; ``Emulator.change_endpoint`` changes it live."""

    name: str
    """As in the URL."""
    model: Model | Mapping[str, Model] | None = None
    """Called with the rows and, where its signature has it, ``params=``; a mapping gives each
    served model its own; ``None`` is the default model of the kind. It runs on the emulator's loop,
    so it must not block."""
    kind: Kind = "custom"
    """``custom`` answers ``predictions``, ``feature`` ``outputs``, ``agent`` as a chat does."""
    route_optimized: bool = False
    """Whether it has a URL of its own, which takes OAuth tokens only."""
    also_on_workspace: bool = False
    """A route-optimized endpoint from before 2025-09-22 answers on the workspace URL too."""
    served_models: Mapping[str, float] | None = None
    """Traffic percentage by served model; by default one, named like the endpoint with ``-1``."""
    echo: str | None = None
    """The prediction of a row is its value in this column, in place of the default model's: a
    caller can tell that each answer is its own."""
    poison: str | float | None = None
    """A row that holds this value makes the request fail as an exception in model code does: a 400
    for all its rows."""
    msgpack: bool = False
    """Take ``application/msgpack`` bodies and answer them in kind. A gateway of one's own may; the
    service documents JSON alone, and the reference server answers 415."""
    schema: Mapping[str, str] | None = None
    """Column types to enforce; a name ending in ``?`` is optional."""
    outputs: str | Mapping[str, str] | None = None
    """Type of a prediction that the query schema tells, or types by name where it is an object;
    the model must keep to it. ``None`` tells no more than that there is a list."""
    max_request_bytes: int | None = None
    """``None`` is the documented limit of the kind: 16 MiB, for agents 4 MiB."""
    slots: int | None = None
    """Requests that run at once (provisioned concurrency); ``None`` means no limit."""
    queue: int | None = None
    """Requests that may wait for a slot before 429; ``None`` is four a slot, since the real
    threshold is not published."""
    max_slots: int | None = None
    """Slots grow up to this number when requests have to wait; ``None`` means no growth."""
    scale_lag_s: float = 1.0
    """How long each doubling of the slots takes."""
    service_time_s: float = 0.0
    """How long a request holds its slot."""
    row_time_s: float = 0.0
    """How much longer for each of its rows."""
    service_jitter: float = 0.0
    """Share by which the service time varies, evenly on both sides."""
    execution_limit_s: float | None = None
    """Longer executions are answered with ``execution_limit_status`` and keep their slot to the
    end."""
    execution_limit_status: Literal[504, 408] = 504
    """What an execution beyond the limit is answered with."""
    requests_per_minute: int | None = None
    """AI Gateway limit over a rolling window of ``minute_s``."""
    minute_s: float = 60.0
    """Length of that window, to make tests short."""
    state: Literal["READY", "NOT_READY", "STOPPED"] = "READY"
    """What its description says; a stopped one answers 400."""
    cold_start_s: float = 0.0
    """The first request wakes the endpoint, which takes this long."""
    cold_start: Literal["hold", "refuse"] = "hold"
    """While it wakes up, requests are held, or answered 503."""
    permission: Permission = "CAN_MANAGE"
    """What the caller may do, as its description says."""
    describable: bool = True
    """Whether the description may be read; else its GET is a 403."""
    metrics: str | None = None
    """What ``/metrics`` answers in place of the endpoint's own figures, word for word."""
    stream_interval_s: float = 0.0
    """Time between two events of a stream."""

    def __post_init__(self) -> None:
        """Check what would otherwise show only with the first request.

        Raises:
            ValueError: when a column type, the kind, or the traffic split makes no sense.
            TypeError: when the model cannot be called.
        """
        models = self.model.values() if isinstance(self.model, Mapping) else (self.model,)
        for model in models:
            if model is not None and not callable(model):
                raise TypeError(f"a model is a function of the rows, not {type(model).__name__}")
        for kind in (self.schema or {}).values():
            check_type(kind)
        outputs = self.outputs or {}
        for kind in (outputs,) if isinstance(outputs, str) else outputs.values():
            check_type(kind)
        if self.kind not in {"custom", "feature", "agent"}:
            raise ValueError(f"unknown kind {self.kind!r}; known are custom, feature, agent")
        if sum(self.traffic().values()) <= 0:
            raise ValueError(f"no traffic goes to any of {list(self.traffic())}")

    def limit_bytes(self) -> int:
        """Return the largest body that is accepted."""
        if self.max_request_bytes is not None:
            return self.max_request_bytes
        return AGENT_LIMIT_BYTES if self.kind == "agent" else CUSTOM_LIMIT_BYTES

    def traffic(self) -> Mapping[str, float]:
        """Return the percentage by served model."""
        return self.served_models or {f"{self.name}-1": 100}


@dataclass(slots=True, eq=False)
class Endpoint:
    """An endpoint as it runs: what was specified, and what happened to it since."""

    spec: EndpointSpec
    id: str
    created_ms: int
    faults: FaultQueue = field(default_factory=FaultQueue)
    executions: Counter[str | None] = field(default_factory=Counter)
    arrivals_s: deque[float] = field(default_factory=deque)
    last_minute: LastMinute = field(default_factory=LastMinute)
    awake_at_s: float | None = None
    capacity: Capacity = field(init=False)
    _takes_params: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Set up the slots."""
        self.capacity = Capacity(self.spec)

    @property
    def may_query(self) -> bool:
        """Whether the emulator's principal may call the endpoint."""
        return self.spec.permission != "CAN_VIEW"

    def pick_served_model(self, rng: random.Random) -> str:
        """Choose a served model by the traffic split."""
        traffic = self.spec.traffic()
        if len(traffic) == 1:
            return next(iter(traffic))
        return rng.choices(list(traffic), weights=list(traffic.values()))[0]

    def model_of(self, served_model: str) -> Model | None:
        """Return the callable behind a served model, ``None`` for the default one."""
        model = self.spec.model
        return model.get(served_model) if isinstance(model, Mapping) else model

    def takes_params(self, served_model: str) -> bool:
        """Tell whether the callable behind a served model wants ``params=``."""
        known = self._takes_params.get(served_model)
        if known is None:
            model = self.model_of(served_model)
            known = model is not None and takes_params(model)
            self._takes_params[served_model] = known
        return known

    def change(self, **changes: Any) -> None:
        """Change the specification in place."""
        self.spec = replace(self.spec, **changes)
        self._takes_params.clear()
        if changes.keys() & {"slots", "queue", "max_slots", "scale_lag_s"}:
            self.capacity.resize(self.spec)
        if "cold_start_s" in changes:
            self.awake_at_s = None

    def forget(self) -> None:
        """Forget scripts and counts; the specification stays."""
        self.faults.clear()
        self.executions.clear()
        self.arrivals_s.clear()
        self.last_minute.clear()
