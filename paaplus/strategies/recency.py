"""Recency: how much lighter feedback becomes as more of it arrives. Off unless a half life is configured.

Age is counted in pieces of feedback that were given later, not in days: someone who comes back after a year has not
changed their mind by being away, and the same log gives the same adapter whenever it is learned.
"""

from dataclasses import replace

import numpy as np

from paaplus.strategies.base import TrainingRequest

_PARTS = {
    **dict.fromkeys(("past", "new"), ("sequence_N", "answered_at_N", "weight_N")),
    **dict.fromkeys(("past_compared", "new_compared"), ("sequence_C", "answered_at_C", "weight_C")),
}


def aged(request: TrainingRequest) -> TrainingRequest:
    """The request with every weight halved for each `recency_half_life` of answers that were given later."""
    half_life = request.config.recency_half_life
    if not half_life:
        return request
    columns = {name: [getattr(getattr(request, name), column) for column in _PARTS[name]] for name in _PARTS}
    sequence_X, answered_at_X = (np.concatenate([each[i] for each in columns.values()]) for i in (0, 1))
    num_later_X = np.empty(len(sequence_X), np.int64)
    num_later_X[np.lexsort((sequence_X, answered_at_X))] = np.arange(len(sequence_X))[::-1]
    parts, start = {}, 0
    for name, (sequence_N, _, weight_N) in columns.items():
        num_later_N = num_later_X[start : start + len(sequence_N)]
        aged_N = (weight_N * np.exp2(-num_later_N / half_life)).astype(np.float32)
        parts[name] = replace(getattr(request, name), **{_PARTS[name][2]: aged_N})
        start += len(sequence_N)
    return replace(request, **parts)


def ageing(request: TrainingRequest) -> float:
    """What this increment multiplies the weight of all earlier feedback by; importances of it follow."""
    half_life = request.config.recency_half_life
    num_new = len(request.new) + len(request.new_compared)
    return float(np.exp2(-num_new / half_life)) if half_life else 1.0
