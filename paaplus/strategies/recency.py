"""Recency: how much lighter feedback becomes as more of it arrives. Off unless a half life is configured.

Age is counted in later pieces of feedback, not in days: someone who comes back after a year has not changed their mind
by being away, and the same log gives the same adapter whenever it is learned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from paaplus.strategies.base import TrainingRequest


def aged(request: TrainingRequest) -> TrainingRequest:
    """The request with every weight halved for each `recency_half_life` of later ratings and comparisons."""
    half_life = request.config.recency_half_life
    if not half_life:
        return request
    sequences = np.sort(
        np.concatenate(
            [
                request.past.sequence_N,
                request.new.sequence_N,
                request.past_compared.sequence_C,
                request.new_compared.sequence_C,
            ]
        )
    )

    def weights(weight_N: np.ndarray, sequence_N: np.ndarray) -> np.ndarray:
        num_later_N = len(sequences) - np.searchsorted(sequences, sequence_N, side="right")
        return (weight_N * np.exp2(-num_later_N / half_life)).astype(np.float32)

    return replace(
        request,
        past=replace(request.past, weight_N=weights(request.past.weight_N, request.past.sequence_N)),
        new=replace(request.new, weight_N=weights(request.new.weight_N, request.new.sequence_N)),
        past_compared=replace(
            request.past_compared, weight_C=weights(request.past_compared.weight_C, request.past_compared.sequence_C)
        ),
        new_compared=replace(
            request.new_compared, weight_C=weights(request.new_compared.weight_C, request.new_compared.sequence_C)
        ),
    )


def ageing(request: TrainingRequest) -> float:
    """What this increment multiplies the weight of all earlier feedback by; importances of it follow."""
    half_life = request.config.recency_half_life
    num_new = len(request.new) + len(request.new_compared)
    return float(np.exp2(-num_new / half_life)) if half_life else 1.0
