"""An optional rule of the gate: a new version is not much easier to fool than its parent, at the same budget."""

from __future__ import annotations

from dataclasses import dataclass

from paaplus.errors import InvalidInput
from paaplus.gate.check import GateCheck


@dataclass(frozen=True)
class RobustnessEvidence:
    """RASR (0-100) and MSI (score points) of two versions on the same edits of the same images.

    Attributes:
        num_images: images that were edited; without one, the numbers mean nothing.
        parent: of the version that is served, or of the generic scores.
        candidate: of the new version.
    """

    num_images: int
    parent: tuple[float, float] = (0.0, 0.0)
    candidate: tuple[float, float] = (0.0, 0.0)


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


def check_robustness(evidence: RobustnessEvidence, limits: RobustnessLimits) -> tuple[GateCheck, ...]:
    """The checks of a training. Without an image, one that passes and says so."""
    if not evidence.num_images:
        detail = "Robustness: not tested, no image of the user's could be edited."
        return (GateCheck("robustness", True, None, limits.msi, detail),)
    return robustness_checks(evidence.parent, evidence.candidate, limits)


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
    for name, what, unit, before, after, limit in (
        (
            "robustness_rasr",
            "images whose score filters raise",
            "percentage points",
            parent[0],
            candidate[0],
            limits.rasr,
        ),
        ("robustness_msi", "how far filters raise scores", "points", parent[1], candidate[1], limits.msi),
    ):
        rise, passed = after - before, after - before <= limit
        change = f"{abs(rise):.2f} {unit} {'more' if rise > 0 else 'less'}"
        detail = f"Robustness, {what}: {change} than before (allowed: {limit:g} more)."
        checks.append(GateCheck(name, passed, rise, limit, detail))
    return checks[0], checks[1]
