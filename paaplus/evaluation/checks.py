"""Checks that the configurations of evaluations share. Each raises InvalidInput with the value that is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from paaplus.errors import InvalidInput
from paaplus.evaluation.learner import Learner


def check_numbers(name: str, numbers: Sequence[int], least: int = 0) -> None:
    if not numbers or min(numbers) < least or len(set(numbers)) != len(numbers):
        raise InvalidInput(f"{name} {list(numbers)}: one or more distinct numbers, none below {least}")


def check_learners(learners: Sequence[Learner]) -> None:
    if not learners or len(set(learners)) != len(learners):
        raise InvalidInput(f"learners {[learner.name for learner in learners]}: one or more, none twice")


def check_limit(num_people: int | None, least: int = 1) -> None:
    if num_people is not None and num_people < least:
        raise InvalidInput(f"limit of {num_people} people: {least} or more")


def check_increments(num_ratings: int, increment: int) -> None:
    if increment < 2 or num_ratings % increment or num_ratings < 2 * increment:
        raise InvalidInput(f"{num_ratings} ratings in increments of {increment}: two or more whole ones")
