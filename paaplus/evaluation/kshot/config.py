"""Configuration of the k-shot study."""

from __future__ import annotations

from dataclasses import dataclass, field

from paaplus.configs import TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.checks import check_learners, check_limit, check_numbers
from paaplus.evaluation.kshot.answers import ANSWERS, RATINGS
from paaplus.evaluation.learner import Learner


@dataclass(frozen=True)
class KShotConfig:
    """The learners to compare, and how. The document's `personal` and `gain` are those of the first learner."""

    ks: tuple[int, ...] = (0, 10, 25, 50, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    learners: tuple[Learner, ...] = (Learner("taste_vector", "bayes"),)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    limit_people: int | None = None  # test people per seed, the first of the split
    people_prior: bool = True  # False: the base model learns no directions in which people differ
    answers: str = RATINGS  # what the k answers are, see `answers`
    fresh_support: bool = False  # the base model is fitted on half of the train images; people rate the other half

    def __post_init__(self) -> None:
        check_numbers("k", self.ks)
        check_numbers("seeds", self.seeds)
        check_learners(self.learners)
        check_limit(self.limit_people)
        if self.answers not in ANSWERS:
            raise InvalidInput(f"answers {self.answers!r}; known: {', '.join(ANSWERS)}")
