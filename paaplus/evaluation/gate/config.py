"""Configuration of the gate study."""

from __future__ import annotations

from dataclasses import dataclass, field

from paaplus.configs import GateConfig, TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.checks import check_learners, check_limit, check_numbers
from paaplus.evaluation.gate.lives import LIVES
from paaplus.evaluation.learner import Learner


@dataclass(frozen=True)
class GateStudyConfig:
    """The learners, the increments, the lives and the gate."""

    increments: tuple[int, ...] = (10,)  # answers between two trainings
    num_answers: int = 100  # of most lives
    lives: tuple[str, ...] = tuple(LIVES)
    seeds: tuple[int, ...] = (0, 1, 2)
    learners: tuple[Learner, ...] = (Learner("taste_vector", "bayes"),)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    limit_people: int | None = None  # test people per seed, the first of the split
    fresh_support: bool = False  # the base model is fitted on half of the train images; people rate the other half

    def __post_init__(self) -> None:
        check_numbers("increments", self.increments, least=2)
        if self.num_answers < 10:
            raise InvalidInput(f"lives of {self.num_answers} answers: 10 or more")
        check_numbers("seeds", self.seeds)
        check_learners(self.learners)
        if special := [learner.name for learner in self.learners if learner.prior or learner.asked]:
            raise InvalidInput(f"learners {special}: the gate study supports no options of learners")
        if unknown := sorted(set(self.lives) - set(LIVES)):
            raise InvalidInput(f"lives {unknown}; known: {list(LIVES)}")
        check_limit(self.limit_people)
