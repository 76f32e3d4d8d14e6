"""The doctor as a typed program uses it: checked by mypy, never run."""

from __future__ import annotations

from typing_extensions import assert_type

from servingclient import AsyncServingClient, ServingClient
from servingclient.capacity.doctor import (
    Check,
    Diagnosis,
    Measured,
    Probe,
    Targets,
    Verdict,
    examine,
)


def asked() -> None:
    with ServingClient("model") as client:
        found = client.doctor(probe=Probe([{"a": 1.0}], calls=5), targets=Targets(p99_s=0.2))
        assert_type(found, Diagnosis)
        assert_type(found.checks, tuple[Check, ...])
        assert_type(found["CPU"].verdict, Verdict)
        assert_type(found.healthy, bool)
        assert_type(found.split.network_s, float | None)


async def awaited() -> None:
    async with AsyncServingClient("model") as client:
        assert_type(await client.doctor(timeout=5.0), Diagnosis)


def by_hand() -> None:
    assert_type(examine(Measured(endpoint="model")), Diagnosis)
    client = ServingClient("model")
    client.doctor(probe=[{"a": 1.0}])  # type: ignore[arg-type]
    Targets(p98_s=1.0)  # type: ignore[call-arg]
