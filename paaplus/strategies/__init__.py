"""How new feedback meets what was learned before: one file per strategy, one line here for each."""

from __future__ import annotations

from paaplus.strategies import bayes, ewc, naive, replay, replay_ewc
from paaplus.strategies.base import Fit, Trained, TrainingRequest
from paaplus.strategies.gradient import by_gradient

STRATEGIES: dict[str, Fit] = {
    "naive": by_gradient(naive.build),
    "replay": by_gradient(replay.build),
    "ewc": by_gradient(ewc.build),
    "replay_ewc": by_gradient(replay_ewc.build),
    "bayes": bayes.fit,
}

__all__ = ["STRATEGIES", "Fit", "Trained", "TrainingRequest"]
