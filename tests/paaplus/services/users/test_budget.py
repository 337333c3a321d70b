"""The work of one training is bounded, with a clear error."""

from __future__ import annotations

import pytest

from paaplus.errors import InvalidInput
from paaplus.services.users import budget
from paaplus.settings import Settings

SETTINGS = Settings()


@pytest.mark.parametrize(
    "training",
    [{}, {"num_steps": 10_000, "batch_size": 32}, {"num_steps": 400, "batch_size": 4096, "replay_batch_size": 512}],
)
def test_usual_trainings_are_within_it(training: dict[str, int]) -> None:
    budget.check({"training": training}, SETTINGS)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"num_steps": 100_000, "batch_size": 4096}, "num_steps is 100000; at most 10000"),
        ({"num_steps": 10_000, "batch_size": 4096}, "draws 41280000 rows; at most 2000000"),
        ({"num_steps": 10_000, "batch_size": 1, "replay_batch_size": 4096}, "rows; at most"),
    ],
)
def test_longer_trainings_are_refused(training: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        budget.check({"training": training}, SETTINGS)


def test_limits_are_settings() -> None:
    settings = SETTINGS.model_copy(update={"max_training_steps": 100_000, "max_training_rows": 10**9})
    budget.check({"training": {"num_steps": 100_000, "batch_size": 4096}}, settings)
    with pytest.raises(InvalidInput, match="unknown policy field"):
        budget.check({"speed": 3}, settings)
