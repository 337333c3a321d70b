"""An optional rule of the gate: a new version is not much easier to fool than its parent, at the same budget."""

from __future__ import annotations

from dataclasses import dataclass

from paaplus.errors import InvalidInput
from paaplus.gate.judgement import GateCheck


@dataclass(frozen=True)
class RobustnessLimits:
    """How much more easily a new version's scores may rise than its parent's: RASR in percentage points, MSI in points.

    Raises:
        InvalidInput: a limit below 0.
    """

    rasr: float = 10.0
    msi: float = 0.2

    def __post_init__(self) -> None:
        if not (self.rasr >= 0.0 and self.msi >= 0.0):
            raise InvalidInput(f"limits of RASR {self.rasr} and MSI {self.msi}: 0 or more")


def robustness_checks(
    parent: tuple[float, float], candidate: tuple[float, float], limits: RobustnessLimits | None = None
) -> tuple[GateCheck, GateCheck]:
    """Compare two versions that the same filters were tried on.

    Args:
        parent: RASR (0-100) and MSI (score points) of the version that is served.
        candidate: the same of the new version.
        limits: how much higher they may be.
    """
    limits = limits or RobustnessLimits()
    checks = []
    for name, unit, before, after, limit in (
        ("robustness_rasr", "percentage points", parent[0], candidate[0], limits.rasr),
        ("robustness_msi", "score points", parent[1], candidate[1], limits.msi),
    ):
        rise, passed = after - before, after - before <= limit
        word = "is within" if passed else "is above"
        detail = (
            f"filters raise the new version's scores by {rise:+.2f} {unit} more, which {word} the limit of {limit:g}"
        )
        checks.append(GateCheck(name, passed, rise, limit, detail))
    return checks[0], checks[1]
