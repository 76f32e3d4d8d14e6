"""What an endpoint shall carry: the questions a plan asks, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from servingclient.capacity import checks, service, sizes
from servingclient.capacity.service import Service
from servingclient.errors import ConfigError
from servingclient.settings.planning import SERVICE_SCV

Basis = Literal["given", "measured", "documented", "assumed", "computed"]
"""Where a figure comes from; computed ones are as good as what they are computed from."""


_MOST: Final = 1e6
"""Of what multiplies a rate, and of what is counted; beyond it figures mean nothing."""
_MOST_SLOTS: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the endpoint shall carry.

    Attributes:
        qps: Calls a second; with ``batch_rows``, rows a second.
        row: Time the model takes for a call of its own.
        spread: Where the spread of that time comes from.
        p99_goal_s: Seconds that 99 of 100 calls must not exceed, as the client sees them.
        burst: Highest rate, as a multiple of ``qps``, that lasts long enough to fill the queue.
        arrival_scv: Squared coefficient of variation of the time between calls; 1 is random.
        overhead_s: Seconds a call takes besides waiting and the model; None takes the documented.
        headroom: Share by which the rate may rise with the goal still kept.
        utilisation: Busy share of the slots that is allowed.
        row_time_s: Part of the model's time that each row costs.
        batch_rows: Rows the client puts into a request.
        payload_bytes: Size of a request.
        route_optimized: Whether the endpoint is; None decides.
        workload_type: Hardware the service time holds for.
        gpu_service_time_s: The same model's time on a GPU.
        scale_lag_s: Seconds until an added slot serves.
        client_processes: Client processes that share the load; None counts them.
        calls_per_core: Calls a second one core of the client makes.
        calls_per_core_basis: Where that comes from.
    """

    qps: float
    row: Service
    spread: Basis
    p99_goal_s: float | None
    burst: float
    arrival_scv: float
    overhead_s: float | None
    headroom: float
    utilisation: float
    row_time_s: float | None
    batch_rows: int
    payload_bytes: int | None
    route_optimized: bool | None
    workload_type: str
    gpu_service_time_s: float | None
    scale_lag_s: float | None
    client_processes: int | None
    calls_per_core: float
    calls_per_core_basis: Basis

    def __post_init__(self) -> None:
        self._number("qps", above=True)
        self._number("burst", least=1.0, most=_MOST)
        self._number("headroom", most=_MOST)
        self._number("calls_per_core", above=True)
        self._number("arrival_scv", most=checks.MOST_SCV)
        self._number("utilisation", above=True)
        if self.utilisation >= 1.0:
            raise ConfigError(
                f"utilisation is {self.utilisation:g}; it must be below 1: slots that are always "
                "busy have a line without end before them."
            )
        self._whole("batch_rows", most=int(_MOST))
        for name in ("overhead_s", "scale_lag_s"):
            if getattr(self, name) is not None:
                self._number(name)
        if self.gpu_service_time_s is not None:
            self._number("gpu_service_time_s", above=True)
        if self.client_processes is not None:
            self._whole("client_processes", most=int(_MOST))
        if self.workload_type not in sizes.WORKLOAD_TYPES:
            raise ConfigError(
                f"workload_type is {self.workload_type!r}; sold are "
                f"{', '.join(sizes.WORKLOAD_TYPES)}."
            )
        self._check_rows()
        self._check_units()
        self._check_payload()
        self._check_goal()

    def _number(self, name: str, **bounds: Any) -> None:
        """Check a field, and keep it as a plain float: it may be one of numpy's."""
        object.__setattr__(self, name, checks.number(name, getattr(self, name), **bounds))

    def _whole(self, name: str, **bounds: Any) -> None:
        object.__setattr__(self, name, checks.whole(name, getattr(self, name), **bounds))

    def _check_units(self) -> None:
        busy = self.load(self.qps * self.burst)
        if not busy * (1.0 + self.headroom) < _MOST_SLOTS:
            raise ConfigError(
                f"{busy:.3g} slots would be busy. Check the units: rates are calls a second, times "
                "are seconds."
            )

    def _check_rows(self) -> None:
        if self.row_time_s is None:
            if self.batch_rows > 1:
                raise ConfigError(
                    "batch_rows needs row_time_s: the part of the service time that each row "
                    "costs, without the part that each request costs."
                )
            return
        self._number("row_time_s")
        if self.row_time_s > self.row.mean_s:
            raise ConfigError(
                f"row_time_s is {duration(self.row_time_s)}, more than the "
                f"{duration(self.row.mean_s)} a request of one row takes; give the part of it that "
                "each further row adds."
            )

    def _check_payload(self) -> None:
        if self.payload_bytes is None:
            return
        self._whole("payload_bytes")
        if self.payload_bytes > sizes.MOST_REQUEST_BYTES:
            raise ConfigError(
                f"payload_bytes is {self.payload_bytes:,}; the service refuses requests above "
                f"{sizes.MOST_REQUEST_BYTES:,} bytes. Send fewer rows in each."
            )

    def _check_goal(self) -> None:
        if self.p99_goal_s is None:
            return
        self._number("p99_goal_s", above=True)
        if self.p99_goal_s <= self.service.mean_s:
            raise ConfigError(
                f"p99_goal_s is {duration(self.p99_goal_s)}, but the model alone takes "
                f"{duration(self.service.mean_s)} on average: no size makes it faster. "
                "Allow more, or make the model faster."
            )

    @property
    def service(self) -> Service:
        """Time the model takes for one request."""
        if self.row_time_s is None:
            return self.row
        return self.row.scaled(1.0 + (self.batch_rows - 1) * self.row_time_s / self.row.mean_s)

    @property
    def gathering_s(self) -> float:
        """Seconds the first row of a request waits for the others, on average."""
        return (self.batch_rows - 1) / self.qps

    def requests_per_s(self, qps: float) -> float:
        """Requests a second that so many calls a second make."""
        return qps / self.batch_rows

    def load(self, qps: float) -> float:
        """Slots that are busy on average at so many calls a second, in erlangs."""
        return self.requests_per_s(qps) * self.service.mean_s

    def with_rows(self, rows: int) -> Workload:
        """The same with so many rows in a request, and no goal to check that against."""
        return replace(self, batch_rows=rows, p99_goal_s=None)


def service_of(
    service_time_s: float | None,
    service_times: Iterable[float] | Mapping[float, int] | None,
    service_std_s: float | None,
    service_scv: float | None,
) -> tuple[Service, Basis]:
    """The service time, and where its spread comes from.

    Raises:
        ConfigError: Not exactly one of the ways to tell it is used, or a number cannot be.
    """
    if (service_time_s is None) == (service_times is None):
        raise ConfigError("Give service_time_s or service_times: how long the model takes.")
    if service_std_s is not None and service_scv is not None:
        raise ConfigError("Give service_std_s or service_scv, not both: they say the same.")
    if service_times is not None:
        if service_std_s is not None or service_scv is not None:
            raise ConfigError("service_times tell their spread; leave service_std_s and _scv out.")
        return service.of_times(service_times), "measured"
    mean_s = checks.number("service_time_s", service_time_s, above=True)
    if service_std_s is not None:
        spread_s = checks.number("service_std_s", service_std_s)
        if spread_s > math.sqrt(checks.MOST_SCV) * mean_s:
            raise ConfigError(
                f"service_std_s is {duration(spread_s)} around a mean of {duration(mean_s)}. Check "
                "the units: both are seconds."
            )
        return service.of_mean(mean_s, (spread_s / mean_s) ** 2), "given"
    if service_scv is not None:
        return service.of_mean(
            mean_s, checks.number("service_scv", service_scv, most=checks.MOST_SCV)
        ), "given"
    return service.of_mean(mean_s, SERVICE_SCV), "assumed"


def duration(seconds: float) -> str:
    """A time as people read it."""
    if math.isinf(seconds):
        return "no end"
    if 0.0 < seconds < 1e-5:
        return "< 0.01 ms"
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.9995 else f"{count(seconds)} s"


def count(number: float) -> str:
    """A number as people read it: three figures, or all before the point."""
    return f"{number:,.0f}" if number >= 999.5 else f"{number:.3g}"
