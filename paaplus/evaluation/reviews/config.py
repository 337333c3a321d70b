"""Configuration of the review study."""

from __future__ import annotations

from dataclasses import dataclass

from paaplus.errors import InvalidInput
from paaplus.evaluation.checks import check_limit, check_numbers


@dataclass(frozen=True)
class ReviewStudyConfig:
    """The numbers of reviews and the behaviour of the experts."""

    counts: tuple[int, ...] = (0, 25, 50, 100, 200)  # of reviews, after which the labels are measured
    seeds: tuple[int, ...] = (0, 1, 2)
    limit_people: int | None = None  # test people per seed, the first of the split
    tolerance: float = 1.0  # score points: an expert accepts a label that is at most so far from the rating
    round_size: int = 25  # reviews after which the order by value is computed anew
    experts_per_tool: int = 1

    def __post_init__(self) -> None:
        check_numbers("counts", self.counts)
        check_numbers("seeds", self.seeds)
        check_limit(self.limit_people)
        if not self.tolerance >= 0.0 or self.round_size < 1 or self.experts_per_tool < 1:
            raise InvalidInput(
                f"tolerance {self.tolerance}, round size {self.round_size}, experts per tool {self.experts_per_tool}: "
                "0 or more, 1 or more, 1 or more"
            )
