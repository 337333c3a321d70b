"""How new feedback meets what was learned before: one file per strategy, one line here for each."""

from __future__ import annotations

from paaplus.strategies import (
    agem,
    bayes,
    cumulative,
    derpp,
    distillation,
    ewc,
    joint,
    mas,
    naive,
    replay,
    replay_ewc,
    replay_si,
    si,
)
from paaplus.strategies.base import Fit, Trained, TrainingRequest
from paaplus.strategies.gradient import by_gradient

STRATEGIES: dict[str, Fit] = {
    "naive": by_gradient(naive.build),
    "replay": by_gradient(replay.build),
    "ewc": by_gradient(ewc.build),
    "si": by_gradient(si.build),
    "mas": by_gradient(mas.build),
    "distillation": by_gradient(distillation.build),
    "derpp": by_gradient(derpp.build),
    "agem": by_gradient(agem.build),
    "replay_ewc": by_gradient(replay_ewc.build),
    "replay_si": by_gradient(replay_si.build),
    "cumulative": by_gradient(cumulative.build),
    "joint": by_gradient(joint.build, joint.see),
    "bayes": bayes.fit,
}

__all__ = ["STRATEGIES", "Fit", "Trained", "TrainingRequest"]
