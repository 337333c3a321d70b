"""Recency: how much lighter feedback becomes as more of it arrives. Off unless a half life is configured.

Age is counted in pieces of feedback that were given later, not in days: being away changes nobody's mind, and the same
log gives the same adapter whenever it is learned.
"""

from dataclasses import replace

import numpy as np

from paaplus.strategies.base import TrainingRequest


def aged(request: TrainingRequest) -> TrainingRequest:
    """The request with every weight halved for each `recency_half_life` of answers that were given later."""
    half_life = request.config.recency_half_life
    if not half_life:
        return request
    letters = {"past": "N", "new": "N", "past_compared": "C", "new_compared": "C"}
    rows = {name: getattr(request, name) for name in letters}
    sequence_X, answered_at_X = (
        np.concatenate([getattr(rows[name], f"{column}_{letter}") for name, letter in letters.items()])
        for column in ("sequence", "answered_at")
    )
    num_later_X = np.empty(len(sequence_X), np.int64)
    num_later_X[np.lexsort((sequence_X, answered_at_X))] = np.arange(len(sequence_X))[::-1]
    share_X = np.exp2(-num_later_X / half_life)
    for name, letter in letters.items():
        share_N, share_X = share_X[: len(rows[name])], share_X[len(rows[name]) :]
        aged_N = (getattr(rows[name], f"weight_{letter}") * share_N).astype(np.float32)
        rows[name] = replace(rows[name], **{f"weight_{letter}": aged_N})
    joined = request.joined
    if joined is not None:
        order_N = np.argsort(np.concatenate([rows["past"].sequence_N, rows["new"].sequence_N]))
        joined = replace(joined, weight_N=np.concatenate([rows["past"].weight_N, rows["new"].weight_N])[order_N])
    return replace(request, **rows, joined=joined)


def ageing(request: TrainingRequest) -> float:
    """What this increment multiplies the weight of all earlier feedback by; importances of it follow."""
    half_life = request.config.recency_half_life
    num_new = len(request.new) + len(request.new_compared)
    return float(np.exp2(-num_new / half_life)) if half_life else 1.0
