"""Pass or fail, with every figure shown: one failed check does not hide the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Check:
    """One figure against its limit."""

    name: str
    measured: str
    limit: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.name} {self.measured} ({self.limit}){'' if self.passed else ' FAILED'}"


@dataclass
class Judge:
    """Collects the checks of one row; leaving ``with`` fails the test if one of them failed.

    Attributes:
        row: Number of the row.
        variant: Which client or setting it was measured with.
        checks: What was checked.
        stall_s: How long the machine stood still.
        noise: Why times are not judged; nothing on a quiet machine.
    """

    row: int
    variant: str
    properties: list[tuple[str, object]]
    checks: list[Check] = field(default_factory=list)
    stall_s: float = 0.0
    noise: str = ""

    def at_most(self, name: str, measured: float, limit: float, *, timed: bool = False) -> None:
        """``measured <= limit``. What is ``timed`` is judged on a quiet machine only."""
        self._add(name, _figure(measured), f"<= {_figure(limit)}", measured <= limit, timed)

    def at_least(self, name: str, measured: float, limit: float, *, timed: bool = False) -> None:
        """``measured >= limit``."""
        self._add(name, _figure(measured), f">= {_figure(limit)}", measured >= limit, timed)

    def in_time(self, name: str, measured_s: float, limit_s: float) -> None:
        """``measured_s <= limit_s``, and as much longer as the machine stood still."""
        limit = f"<= {_figure(limit_s)} + {_figure(self.stall_s)}"
        passed = measured_s <= limit_s + self.stall_s
        self._add(name, _figure(measured_s), limit, passed, timed=True)

    def exactly(self, name: str, measured: Any, expected: Any, *, timed: bool = False) -> None:
        """``measured == expected``."""
        passed = measured == expected
        self._add(name, _figure(measured), f"= {_figure(expected)}", passed, timed)

    def told(self, name: str, measured: float) -> None:
        """A figure for the table that nothing depends on."""
        self._add(name, _figure(measured), "told", True)

    def _add(self, name: str, measured: str, limit: str, passed: bool, timed: bool = False) -> None:
        if timed and self.noise:
            limit, passed = f"{limit}, not judged", True
        self.checks.append(Check(name, measured, limit, passed))

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        figures = "; ".join(str(check) for check in self.checks)
        passed = error is None and all(check.passed for check in self.checks)
        if self.noise:
            figures += f"; {self.noise}"
        line = {"row": self.row, "variant": self.variant, "figures": figures, "passed": passed}
        self.properties.append(("chaos", line))
        if error is None:
            assert self.checks, "a row without a check proves nothing"
            failed = [str(check) for check in self.checks if not check.passed]
            assert not failed, f"row {self.row} {self.variant}: {failed}; all: {figures}"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
