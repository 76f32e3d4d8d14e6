"""What the service sells and where it draws lines, as its vendor documents it.

Documented as of June 2026; nothing here was measured. What is not documented stands in
:data:`NOT_DOCUMENTED` and is never used as a figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

_DOCS: Final = "docs.databricks.com/aws/en/machine-learning/model-serving/"
LIMITS: Final = _DOCS + "model-serving-limits"
GUIDE: Final = _DOCS + "production-optimization"
CUSTOM_MODELS: Final = _DOCS + "custom-models"
CREATE: Final = _DOCS + "create-manage-serving-endpoints"


class Range(NamedTuple):
    """Slots an endpoint scales between.

    Attributes:
        least: Slots it never goes below.
        most: Slots it never goes above.
    """

    least: int
    most: int


SLOTS_STEP: Final = 4
"""Provisioned concurrency comes in fours (``CREATE``)."""

WORKLOAD_SIZES: Final[Mapping[str, Range]] = {
    "Small": Range(4, 4),
    "Medium": Range(8, 16),
    "Large": Range(16, 64),
}
"""Sizes with a name: ``ServedEntityInput.workload_size`` of databricks-sdk."""

MOST_SLOTS_STANDARD: Final = 64
"""The largest size with a name. Larger ones are documented with route optimization only."""
MOST_SLOTS: Final = 1024
"""One model, custom size with route optimization (``LIMITS``)."""
MOST_SLOTS_WORKSPACE: Final = 4096
"""All endpoints of a workspace together (``LIMITS``)."""
SLOTS_PER_GPU_REPLICA: Final = 4
"""12 slots are 3 replicas (``CREATE``)."""

MOST_QPS_STANDARD: Final = 200
"""Requests a second of all standard endpoints of a workspace together (``LIMITS``)."""
MOST_QPS_ROUTE_OPTIMIZED: Final = 300_000
"""Requests a second of a route-optimized endpoint, and of a workspace (``LIMITS``)."""
LEAST_CLIENTS_STANDARD: Final = 192
"""Requests at once over all standard endpoints of a workspace: 192 to 1,024 by region (``GUIDE``).
"""

OVERHEAD_STANDARD_S: Final = 0.050
"""What a standard endpoint adds to the model's time is documented to stay below it (``LIMITS``)."""
OVERHEAD_ROUTE_OPTIMIZED_S: Final = 0.020
"""The same of a route-optimized one (``LIMITS``)."""

MOST_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""One request to a custom model (``LIMITS``)."""
IDLE_TO_ZERO_S: Final = 1800.0
"""Without a request for so long, an endpoint that may scale to zero does (``CUSTOM_MODELS``)."""

WORKLOAD_TYPES: Final = (
    "CPU",
    "CPU_MEDIUM",
    "CPU_LARGE",
    "GPU_SMALL",
    "GPU_MEDIUM",
    "GPU_LARGE",
    "GPU_XLARGE",
    "GPU_XLARGE_8",
)
"""``ServedEntityInput.workload_type`` of databricks-sdk."""

NOT_DOCUMENTED: Final = (
    "how many requests may wait for a slot before the endpoint answers 429",
    "how long a new replica takes until it serves: it downloads the model first",
    "what burst scaling does for custom models",
)


def size_name(slots: Range) -> str | None:
    """The workload size that scales between exactly these; None where it is a custom one."""
    for name, sold in WORKLOAD_SIZES.items():
        if sold == slots:
            return name
    return None


def rounded_up(slots: float) -> int:
    """The smallest size sold with at least so many slots."""
    return max(int(-(-slots // SLOTS_STEP)) * SLOTS_STEP, SLOTS_STEP)
