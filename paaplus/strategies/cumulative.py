"""Go on from the parent with all feedback there ever was: replay without a bound, and so the bound of replay."""

from __future__ import annotations

from typing import Any

from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    return run.strategy(plugins=[_Everything(run.past)]), []


class _Everything(SupervisedPlugin):
    def __init__(self, past: FeedbackData) -> None:
        super().__init__()
        self.past = past

    def before_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        everything = self.past.concat(strategy.adapted_dataset)
        strategy.load_from([(everything, strategy.config.batch_size)])
