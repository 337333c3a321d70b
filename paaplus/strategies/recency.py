"""Recency: how much lighter feedback becomes as more of it arrives. Off unless a half life is configured.

Age is counted in later pieces of feedback, not in days: someone who comes back after a year has not changed their mind
by being away, and the same log gives the same adapter whenever it is learned.
"""

from dataclasses import replace

import numpy as np

from paaplus.strategies.base import TrainingRequest

_PARTS = {
    **dict.fromkeys(("past", "new"), ("sequence_N", "weight_N")),
    **dict.fromkeys(("past_compared", "new_compared"), ("sequence_C", "weight_C")),
}


def aged(request: TrainingRequest) -> TrainingRequest:
    """The request with every weight halved for each `recency_half_life` of later ratings and comparisons."""
    half_life = request.config.recency_half_life
    if not half_life:
        return request
    sequences, parts = np.sort(request.sequences()), {}
    for name, (sequence, weight) in _PARTS.items():
        rows = getattr(request, name)
        num_later_N = len(sequences) - np.searchsorted(sequences, getattr(rows, sequence), side="right")
        weight_N = (getattr(rows, weight) * np.exp2(-num_later_N / half_life)).astype(np.float32)
        parts[name] = replace(rows, **{weight: weight_N})
    return replace(request, **parts)


def ageing(request: TrainingRequest) -> float:
    """What this increment multiplies the weight of all earlier feedback by; importances of it follow."""
    half_life = request.config.recency_half_life
    num_new = len(request.new) + len(request.new_compared)
    return float(np.exp2(-num_new / half_life)) if half_life else 1.0
