"""How often state machines are tried: little in the suite, more with ``make properties``.

What is found is printed as the steps that lead to it, and kept in ``.hypothesis``, so it is tried
first the next time.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings

_LONGER: Final = {"pull_request": (200, 50), "nightly": (5_000, 100)}
"""Examples and steps of each machine."""

for _name in _LONGER:
    settings.register_profile(
        _name, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )

# Whether an example takes 200 ms says how busy the machine is.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if settings.get_current_profile_name() == "default":  # nobody chose another
    settings.load_profile("suite")

# Mutants are to be killed, not explained; and each by the same examples.
settings.register_profile(
    "mutation",
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def machine(examples: int, steps: int, **more: Any) -> settings:
    """The settings of a state machine.

    Args:
        examples: In the suite; a longer profile has its own number.
        steps: Of each, likewise.
        more: Further settings of hypothesis.
    """
    examples, steps = _LONGER.get(settings.get_current_profile_name(), (examples, steps))
    return settings(max_examples=examples, stateful_step_count=steps, deadline=None, **more)
