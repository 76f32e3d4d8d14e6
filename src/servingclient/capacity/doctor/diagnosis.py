"""What a doctor says: one check a figure, and where the time of a call goes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from rich.console import Group

Verdict = Literal["ok", "warn", "bad", "unknown"]

VERDICTS: Final[tuple[Verdict, ...]] = ("bad", "warn", "unknown", "ok")
"""The worst first."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its target.

    Attributes:
        name: What was looked at.
        measured: What it is, in words with unit.
        target: What it should be.
        verdict: ``"bad"`` misses the target; ``"warn"`` does not yet, or on thin evidence;
            ``"unknown"`` could not be had.
        action: What to do; empty where all is well.
        why: Where the figure comes from, and what makes it good or bad.
    """

    name: str
    measured: str
    target: str
    verdict: Verdict
    action: str = ""
    why: str = ""


Dominant = Literal["client", "network", "queue", "model", "service"]


@dataclass(frozen=True, slots=True)
class Split:
    """Where the time of the mean call goes, in seconds; None is what cannot be told apart.

    Means, since only they add up: medians of parts are no parts of the median.

    Attributes:
        whole_s: The whole call.
        client_s: What the client spent: waiting for a place, token, connecting, encoding, pauses.
        network_s: From client to service and back.
        queue_s: Waiting for a slot at the endpoint.
        model_s: The model.
        service_s: What else the service spent.
        assumption: What it rests on.
    """

    whole_s: float | None = None
    client_s: float | None = None
    network_s: float | None = None
    queue_s: float | None = None
    model_s: float | None = None
    service_s: float | None = None
    assumption: str = ""

    def parts(self) -> Iterator[tuple[Dominant, float]]:
        """The parts that are known."""
        for name, value in (
            ("client", self.client_s),
            ("network", self.network_s),
            ("queue", self.queue_s),
            ("model", self.model_s),
            ("service", self.service_s),
        ):
            if value is not None:
                yield name, value  # type: ignore[misc]

    @property
    def dominant(self) -> Dominant | None:
        """The largest part; None unless queue and model are told apart."""
        if self.model_s is None or self.queue_s is None:
            return None
        return max(self.parts(), key=lambda part: part[1])[0]


@dataclass(frozen=True)
class Diagnosis:
    """All checks of one endpoint. Prints as a table, with columns that fit where rich prints it.

    Attributes:
        endpoint: Its name.
        checks: In reading order.
        split: Where the time of a call goes.
        examined: Whether anything was found to judge by.
        notes: Sentences about what could not be had.
    """

    endpoint: str
    checks: tuple[Check, ...]
    split: Split
    examined: bool = True
    notes: tuple[str, ...] = ()

    def of(self, verdict: Verdict) -> tuple[Check, ...]:
        """The checks with one verdict."""
        return tuple(check for check in self.checks if check.verdict == verdict)

    def __getitem__(self, name: str) -> Check:
        """The check of that name.

        Raises:
            KeyError: There is none.
        """
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    @property
    def healthy(self) -> bool:
        """Something was examined, and nothing is bad."""
        return self.examined and not self.of("bad")

    def as_dict(self) -> dict[str, Any]:
        """All of it as values JSON knows."""
        return {
            "endpoint": self.endpoint,
            "examined": self.examined,
            "healthy": self.healthy,
            "checks": [asdict(check) for check in self.checks],
            "split": asdict(self.split),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        from servingclient.capacity.doctor.render import text

        return text(self)

    def __rich__(self) -> Group:
        from servingclient.capacity.doctor.terminal import shown

        return shown(self)

    def _repr_html_(self) -> str:
        from servingclient.capacity.doctor.render import html

        return html(self)
