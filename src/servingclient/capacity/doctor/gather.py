"""Reading all that a doctor judges by: one story, over what a client has at hand.

The model is called only where someone gave a :class:`Probe`. Whatever cannot be read is a sentence
in the result, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from servingclient._call import Story
from servingclient._explain import fault_error
from servingclient._ports import Gate
from servingclient._types import WireFault
from servingclient.auth.description import Asked
from servingclient.auth.endpoint import Description
from servingclient.auth.figures import Answered, read_figures
from servingclient.capacity import checks
from servingclient.capacity.doctor.diagnosis import Diagnosis
from servingclient.capacity.doctor.examine import examine
from servingclient.capacity.doctor.measured import Described, Measured, calls_of
from servingclient.errors import (
    AuthError,
    ClientClosedError,
    ConfigError,
    PayloadError,
    ServingError,
    WrongLoopError,
)
from servingclient.settings.targets import Targets
from servingclient.stages.story import Calls
from servingclient.telemetry.endpoint_metrics import EndpointFigures
from servingclient.telemetry.snapshot import Stats

_MOST_PROBES: Final = 10_000
_MOST_FAILURES: Final = 3
"""Probes in a row that may fail: of an endpoint that is down no more is learnt by asking on."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Calls that may be made to measure, one after the other.

    Attributes:
        inputs: What each sends, as for ``predict``.
        calls: How many. A P99 takes 100 of them; 20 tell the median and the parts of a call.

    Raises:
        ConfigError: ``calls`` is no whole number from 1 to 10,000.
    """

    inputs: Any
    calls: int = 20

    def __post_init__(self) -> None:
        checks.whole("Probe.calls", self.calls, most=_MOST_PROBES)


def _no_token(error: ServingError | None) -> bool:
    """Nobody could sign in, or with a credential the endpoint does not take; not that time or the
    network ran out, of which the cause is what the wire met.
    """
    return isinstance(error, (AuthError, ConfigError)) and not isinstance(
        error.__cause__, WireFault
    )


class Asks(Protocol):
    """Reads about the endpoint; ``Access`` does."""

    async def look(self, deadline_s: float) -> Asked | None:
        """See ``Access.look``."""

    async def figures(self, deadline_s: float) -> Answered:
        """See ``Access.figures``."""

    async def pause(self) -> None:
        """See ``Access.pause``."""


class Room(NamedTuple):
    """What a client lends its doctor.

    Attributes:
        endpoint: Its name.
        access: Reads about it.
        gate: Its places.
        now: Its clock, in seconds.
        stats: Its figures.
        story: How it calls.
        calls: Makes a call.
    """

    endpoint: str
    access: Asks
    gate: Gate
    now: Callable[[], float]
    stats: Callable[[], Stats]
    story: Story
    calls: Calls


async def diagnose(
    room: Room, probe: Probe | None, targets: Targets | None, timeout_s: float
) -> Diagnosis:
    """Read, probe where that is allowed, and examine.

    Raises:
        ConfigError: ``probe`` or ``targets`` is of another kind.
        ClientClosedError: The client was closed.
        PayloadError: The probe's inputs cannot be sent.
    """
    _check("probe", probe, Probe)
    _check("targets", targets, Targets)
    asked, error = await _looked(room, timeout_s)
    described = None if asked is None else asked.description
    # one that does not serve would hold each probe for as long as the call may take
    if probe is not None and (described is None or described.ready is not False):
        await _probed(room, probe, timeout_s)
    figures = await _figures(room, timeout_s)
    stats = room.stats()
    measured = Measured(
        endpoint=room.endpoint,
        calls=calls_of(stats),
        described=None if described is None else _described(described),
        why_undescribed="" if described is not None else _why(asked, error),
        figures=figures,
        token=stats.token,
        why_no_token=str(error) if _no_token(error) else "",
        apis=stats.enrichment,
        round_trip_s=None if asked is None else asked.round_trip_s,
    )
    return examine(measured, targets)


def _check(name: str, given: object, kind: type) -> None:
    if given is not None and not isinstance(given, kind):
        raise ConfigError(
            f"{name} must be a {kind.__name__} of servingclient.capacity.doctor, not "
            f"{type(given).__name__}."
        )


async def _looked(room: Room, timeout_s: float) -> tuple[Asked | None, ServingError | None]:
    """The description as it is now; else why it could not be asked for."""
    started_s = room.now()
    deadline_s = started_s + timeout_s
    try:
        # a place like any call's: a closed client has none, and closing waits for it
        if not room.gate.try_enter():
            await room.gate.enter(deadline_s)
        try:
            return await room.access.look(deadline_s), None
        finally:
            room.gate.leave()
    except (ClientClosedError, WrongLoopError):
        raise
    except ServingError as error:
        return None, error
    except WireFault as fault:
        spent_s = room.now() - started_s
        in_time = spent_s < timeout_s
        found = fault_error(fault, room.endpoint, 0, spent_s=spent_s, in_time=in_time)
        if isinstance(found, ClientClosedError):
            raise found from None
        return None, found


async def _figures(room: Room, timeout_s: float) -> EndpointFigures:
    try:
        return await read_figures(room.access, room.gate, room.now, room.endpoint, timeout_s)
    except (ClientClosedError, WrongLoopError):
        raise
    except ServingError as error:
        return EndpointFigures(why_none=str(error).rstrip("."))


async def _probed(room: Room, probe: Probe, timeout_s: float) -> None:
    """Make the calls. What they came to stands in the client's figures."""
    story, failures = room.story, 0
    rest = (None, None, None, None, timeout_s, story.settings.idempotent, story.rank)
    for _ in range(probe.calls):
        try:
            await room.calls.predict(probe.inputs, *rest)
            failures = 0
        except (ClientClosedError, WrongLoopError, PayloadError):
            raise
        except ServingError:
            failures += 1
            if failures == _MOST_FAILURES:
                return


def _described(found: Description) -> Described:
    return Described(
        ready=found.ready,
        updating=found.updating,
        route_optimized=found.url is not None,
        scale_to_zero=found.scale_to_zero,
        most_slots=found.provisioned_concurrency,
        workload_type=found.workload_type,
        limit_bytes=found.max_request_bytes,
    )


_NOT_READ: Final = "Settings.describe is off, or there is no token to ask the workspace with."
_MEANINGS: Final = {
    403: "No permission to see it: ask for CAN VIEW on the endpoint.",
    404: "The workspace knows no endpoint of that name.",
}


def _why(asked: Asked | None, error: ServingError | None) -> str:
    if asked is None:
        return _NOT_READ if error is None else str(error)
    if asked.status is None:
        return asked.why
    if asked.status == 200:
        return "The workspace answered something else, such as a login page."
    return _MEANINGS.get(asked.status, f"The workspace answered {asked.status}.")
