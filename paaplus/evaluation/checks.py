"""Checks that the configurations of the studies share. Each raises InvalidInput and names the wrong value."""

from __future__ import annotations

from collections.abc import Sequence

from paaplus.errors import InvalidInput
from paaplus.evaluation.learner import Learner


def check_numbers(name: str, numbers: Sequence[int], least: int = 0) -> None:
    """One or more distinct numbers, none below `least`."""
    if not numbers:
        raise InvalidInput(f"{name} []: one or more distinct numbers, none below {least}")
    check_distinct(name, numbers, least)


def check_distinct(name: str, numbers: Sequence[int], least: int = 0) -> None:
    """Distinct numbers, none below `least`; there may be none at all."""
    if len(set(numbers)) != len(numbers) or any(number < least for number in numbers):
        raise InvalidInput(f"{name} {list(numbers)}: distinct numbers, none below {least}")


def check_learners(learners: Sequence[Learner]) -> None:
    """One or more learners, none of them twice."""
    if not learners or len(set(learners)) != len(learners):
        raise InvalidInput(f"learners {[learner.name for learner in learners]}: one or more, none twice")


def check_limit(num_people: int | None, least: int = 1) -> None:
    """A limit on the test people per seed, `None` for no limit."""
    if num_people is not None and num_people < least:
        raise InvalidInput(f"limit of {num_people} people: {least} or more")


def check_increments(num_ratings: int, increment: int) -> None:
    """A stream of two or more full increments of two or more ratings."""
    if increment < 2 or num_ratings % increment or num_ratings < 2 * increment:
        raise InvalidInput(f"{num_ratings} ratings in increments of {increment}: two or more full increments")
