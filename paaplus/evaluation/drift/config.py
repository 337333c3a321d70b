"""Configuration of the drift study."""

from __future__ import annotations

from dataclasses import dataclass, field

from paaplus.configs import DriftConfig, TrainingConfig
from paaplus.evaluation.checks import check_increments, check_limit, check_numbers


@dataclass(frozen=True)
class DriftStudyConfig:
    """The streams and the drift test."""

    num_ratings: int = 100  # of a stream
    increment: int = 10  # ratings per increment
    seeds: tuple[int, ...] = (0, 1, 2)
    limit_people: int | None = None  # test people per seed, the first of the split
    drift: DriftConfig = field(default_factory=DriftConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check_numbers("seeds", self.seeds)
        check_increments(self.num_ratings, self.increment)
        check_limit(self.limit_people)
