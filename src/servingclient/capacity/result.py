"""What :func:`~servingclient.capacity.plan` returns. It prints as a report, in a notebook too."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from servingclient.capacity import endpoint_config, plot, render, report, sizing
from servingclient.capacity.advice import ClientSide, Figure, Limit
from servingclient.capacity.sizes import Range, size_name
from servingclient.capacity.sizing import Candidate
from servingclient.capacity.workload import Workload
from servingclient.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Needed:
    """Provisioned concurrency by the guide's formula: calls a second times seconds.

    Attributes:
        busy_slots: With the model's execution time, which is what a slot is held for: slots that
            are busy on average. Nothing less can do.
        slots: That in sizes sold.
        busy_slots_whole: With the whole latency, as the production guide has it: the careful
            reading.
        slots_whole: That in sizes sold.
    """

    busy_slots: float
    slots: int
    busy_slots_whole: float
    slots_whole: int


@dataclass(frozen=True, slots=True)
class BatchEffect:
    """What rows that share a request change.

    Attributes:
        rows: Rows of a request.
        requests_per_s: Requests a second.
        service_s: Seconds the model takes for one.
        gathering_s: Seconds its first row waits for the others if every request is full; a client
            that sends at once while a slot is free waits less.
        busy_slots: Slots that are busy on average.
        slots: Smallest size that fits by utilisation and headroom; None where none sold does.
    """

    rows: int
    requests_per_s: float
    service_s: float
    gathering_s: float
    busy_slots: float
    slots: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The size to order for a load, and what follows from it.

    Attributes:
        workload: What was asked.
        needed: Slots by the guide's formula.
        scaling: Slots to order: least for the wanted rate, most for its peak. None where no size
            sold will do; ``problem`` then says why.
        candidates: That size and its neighbours, with what callers see at each.
        overhead_s: Seconds taken for what a call takes besides waiting and the model.
        route_optimized: Whether the figures hold for a route-optimized endpoint.
        advice: Route optimization, overhead, hardware, autoscaling: each with its source.
        batching: Effect of rows that share a request; empty where the time of a row is not known.
        client: What the callers need.
        limits: What gives way as the rate grows, first to last.
        problem: Why no size will do and what would help, or None.
    """

    workload: Workload
    needed: Needed
    scaling: Range | None
    candidates: tuple[Candidate, ...]
    overhead_s: float
    route_optimized: bool
    advice: tuple[Figure, ...]
    batching: tuple[BatchEffect, ...]
    client: ClientSide
    limits: tuple[Limit, ...]
    problem: str | None

    @property
    def reachable(self) -> bool:
        """Whether a size that is sold carries the load with the goal kept."""
        return self.problem is None

    @property
    def chosen(self) -> Candidate | None:
        """What callers see on the size to order; None where there is none."""
        least = None if self.scaling is None else self.scaling.least
        return next((one for one in self.candidates if one.slots == least), None)

    def create_body(
        self,
        *,
        endpoint: str = "my-endpoint",
        entity_name: str = "catalog.schema.model",
        entity_version: str = "1",
    ) -> dict[str, Any]:
        """JSON for ``POST /api/2.0/serving-endpoints``.

        Args:
            endpoint: Name of the endpoint to make.
            entity_name: Full name of the model.
            entity_version: Its version.

        Raises:
            ConfigError: No size sold will do, or no endpoint can have that name.
        """
        entity = self._entity(entity_name, entity_version)
        return endpoint_config.create_body(endpoint, entity, optimized=self.route_optimized)

    def update_body(
        self, *, entity_name: str = "catalog.schema.model", entity_version: str = "1"
    ) -> dict[str, Any]:
        """JSON for ``PUT /api/2.0/serving-endpoints/{name}/config``.

        It replaces all served entities; route optimization can only be chosen at creation.

        Args:
            entity_name: Full name of the model.
            entity_version: Its version.

        Raises:
            ConfigError: No size sold will do.
        """
        return endpoint_config.update_body(self._entity(entity_name, entity_version))

    def _entity(self, name: str, version: str) -> dict[str, Any]:
        if self.scaling is None or self.problem is not None:
            raise ConfigError(f"There is no size to order. {self.problem}")
        return endpoint_config.served_entity(
            self.scaling,
            entity_name=name,
            entity_version=version,
            workload_type=self.workload.workload_type,
        )

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON; what has no end is None."""
        scaling = None
        if self.scaling is not None:
            scaling = {**self.scaling._asdict(), "workload_size": size_name(self.scaling)}
        found: dict[str, Any] = plain(
            {
                "reachable": self.reachable,
                "problem": self.problem,
                "scaling": scaling,
                "needed": asdict(self.needed),
                "route_optimized": self.route_optimized,
                "figures": [one._asdict() for one in (*report.asked(self), *report.needed(self))],
                "advice": [one._asdict() for one in (*self.advice, *report.client(self))],
                "candidates": [asdict(one) for one in self.candidates],
                "batching": [asdict(one) for one in self.batching],
                "client": asdict(self.client),
                "limits": [one._asdict() for one in self.limits],
                "create": self.create_body() if self.reachable else None,
                "update": self.update_body() if self.reachable else None,
            }
        )
        return found

    def curves(self) -> tuple[plot.Curve, ...]:
        """P99 against the rate, for the size to order and its neighbours."""
        middle = self.chosen.slots if self.chosen else max(self._slots, default=0)
        shown = [one for one in self._slots if abs(one - middle) <= sizing.neighbour(middle)]
        return plot.curves(self.workload, shown, self.overhead_s)

    @property
    def _slots(self) -> list[int]:
        return [one.slots for one in self.candidates]

    def plot(self, *, width: int = 76, height: int = 18) -> str:
        """P99 against the rate as plain text, for a terminal.

        Args:
            width: Columns.
            height: Lines.
        """
        return plot.text(self.curves(), self.workload, width=width, height=height)

    def svg(self) -> str:
        """P99 against the rate as an SVG image."""
        return plot.svg(self.curves(), self.workload)

    def save_plot(self, path: str | Path) -> None:
        """Write the plot to a file: ``.svg``, or ``.png`` where matplotlib is installed.

        Raises:
            ConfigError: The name ends otherwise, or matplotlib is not there.
            OSError: The file cannot be written.
        """
        plot.save(self.curves(), self.workload, Path(path))

    def __str__(self) -> str:
        return render.text(self)

    def _repr_html_(self) -> str:
        return render.html(self)


def plain(value: Any) -> Any:
    """A value with infinities, which JSON does not know, as None."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return None if value == float("inf") else value
