"""Configuration of the paradigm study."""

from __future__ import annotations

from dataclasses import dataclass, field

from paaplus.configs import TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.checks import check_limit, check_numbers


@dataclass(frozen=True)
class ParadigmConfig:
    """The numbers of answers after which people are measured; up to the second number, PAA+ asks quiz pairs."""

    answers: tuple[int, ...] = (0, 10, 25, 50, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    limit_people: int | None = None  # test people per seed, the first of the split
    training: TrainingConfig = field(default_factory=TrainingConfig)  # of the gradient methods

    def __post_init__(self) -> None:
        if len(self.answers) < 3 or self.answers[0] != 0 or list(self.answers) != sorted(set(self.answers)):
            raise InvalidInput(f"answers {list(self.answers)}: three or more rising numbers, the first of them 0")
        check_numbers("seeds", self.seeds)
        check_limit(self.limit_people)

    @property
    def num_pairs(self) -> int:
        """Pairs of the quiz."""
        return self.answers[1]
