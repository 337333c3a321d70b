"""The most work that one training may be: what a policy asks for is checked when it is set and before it trains."""

from __future__ import annotations

from typing import Any

from paaplus.configs import Policy
from paaplus.errors import InvalidInput
from paaplus.settings import Settings


def check(policy: Policy | dict[str, Any], settings: Settings) -> None:
    """Check a policy, or overrides of the default one, against the deployment's limits.

    Raises:
        InvalidInput: the overrides are wrong, or their trainings would be too long for a worker that others wait for.
    """
    training = (Policy().overridden(policy) if isinstance(policy, dict) else policy).training
    rows = training.num_steps * (training.batch_size + training.replay_batch_size)
    if training.num_steps > settings.max_training_steps:
        raise InvalidInput(
            f"training.num_steps is {training.num_steps}; at most {settings.max_training_steps} are allowed here"
        )
    if rows > settings.max_training_rows:
        raise InvalidInput(
            f"a training of {training.num_steps} steps of {training.batch_size} + {training.replay_batch_size} rows "
            f"draws {rows} rows; at most {settings.max_training_rows} are allowed here"
        )
