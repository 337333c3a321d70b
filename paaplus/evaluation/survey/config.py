"""Configuration of the survey study."""

from __future__ import annotations

from dataclasses import dataclass

from paaplus.errors import InvalidInput
from paaplus.evaluation.checks import check_limit, check_numbers


@dataclass(frozen=True)
class SurveyConfig:
    """The numbers of ratings and the survey of pairs."""

    ks: tuple[int, ...] = (0, 10, 25)
    seeds: tuple[int, ...] = (0, 1, 2)
    num_pairs: int = 10  # per group of images
    image_group: str = "subset"  # column of images.csv that divides the images into groups
    limit_people: int | None = None  # test people per seed, the first of the split
    learned_prior: bool = True  # False: the base model's own prior; a learned prior needs 50 train people

    def __post_init__(self) -> None:
        check_numbers("k", self.ks)
        check_numbers("seeds", self.seeds)
        if self.num_pairs < 1:
            raise InvalidInput(f"a survey of {self.num_pairs} pairs: 1 or more")
        check_limit(self.limit_people)
