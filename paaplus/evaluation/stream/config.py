"""Configuration of the stream study."""

from __future__ import annotations

from dataclasses import dataclass, field

from paaplus.configs import ADAPTER_STRATEGIES, TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.checks import check_increments, check_learners, check_limit, check_numbers
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.person_streams import SCENARIOS

ALL_LEARNERS = tuple(Learner(kind, name) for kind, names in ADAPTER_STRATEGIES.items() for name in names)


@dataclass(frozen=True)
class StreamConfig:
    """The learners to compare, and on which streams. The document's `ahead` is the lead over the first learner."""

    learners: tuple[Learner, ...] = ALL_LEARNERS
    num_ratings: int = 100  # of a stream
    increment: int = 10  # ratings per increment
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    limit_people: int | None = 8  # test people per seed, the first of the split
    scenarios: tuple[str, ...] = SCENARIOS
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check_learners(self.learners)
        check_numbers("seeds", self.seeds)
        if asked := [learner.name for learner in self.learners if learner.asked]:
            raise InvalidInput(f"learners {asked}: a stream does not support +asked, people choose what they rate")
        check_increments(self.num_ratings, self.increment)
        check_limit(self.limit_people, least=2)
        if unknown := sorted(set(self.scenarios) - set(SCENARIOS)):
            raise InvalidInput(f"unknown scenario(s) {unknown}; known: {list(SCENARIOS)}")
