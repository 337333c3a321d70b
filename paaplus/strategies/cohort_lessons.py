"""What a member of a cohort is taught beside its rows: images whose scores are to stay as they were.

Distillation asks the parent what they are; dark experience replay remembers them. `distillation.py` and `derpp.py`
say why, and do the same for `train`.
Shape letters: K = what can be drawn, I = images of a draw, V = images of every step, A = aspects, N = rows; the 2 in
2A are the first and the second image of a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from paaplus.strategies.base import TrainingRequest

if TYPE_CHECKING:
    from paaplus.strategies.cohort_rows import Rows


@dataclass(frozen=True, eq=False)
class Lessons:
    """Images by position among the member's, -1 for none. Weights are second derivatives of the loss by a score."""

    image_KI: np.ndarray
    num_drawn: int  # of K, in every step
    weight_KIA: np.ndarray
    image_V: np.ndarray
    weight_VA: np.ndarray
    said_KIA: np.ndarray | None  # the scores to keep; None: the parent's

    @property
    def num_columns(self) -> int:
        return self.num_drawn * self.image_KI.shape[1] + len(self.image_V)

    @property
    def images(self) -> np.ndarray:
        """All of them, one after the other."""
        return np.concatenate([self.image_KI.ravel(), self.image_V])


def from_parent(request: TrainingRequest, pool_K: np.ndarray, new_V: np.ndarray) -> Lessons:
    """Distillation: earlier images, a few each step, and new ones all the time."""
    config, precision_A = request.config, request.base.noise_sd_A.astype(np.float64) ** -2.0
    num_new = len(request.new) + len(request.new_compared)
    num_drawn = min(config.replay_batch_size, len(pool_K)) if config.distillation_pool else 0
    share = config.distillation_pool * len(pool_K) / num_new / max(num_drawn, 1)
    if not config.distillation_batch:
        new_V = new_V[:0]
    return Lessons(
        image_KI=pool_K[:, None],
        num_drawn=num_drawn,
        weight_KIA=np.broadcast_to(2.0 * share * precision_A, (len(pool_K), 1, len(precision_A))),
        image_V=new_V,
        weight_VA=np.broadcast_to(
            2.0 * config.distillation_batch / max(len(new_V), 1) * precision_A, (len(new_V), len(precision_A))
        ),
        said_KIA=None,
    )


class DarkScores(dict[int, np.ndarray]):
    """The scores, shape (2, A), that rows had when they were learned, by sequence number; NaN: no second image."""

    def restore(self, state: Mapping[str, np.ndarray], sequence_K: np.ndarray) -> None:
        """Take up what a learner state holds of the rows with these sequence numbers."""
        if "dark_K2A" in state:
            self.update(zip(state["dark_sequence_K"].tolist(), state["dark_K2A"], strict=True))
            self.keep(sequence_K)

    def keep(self, sequence_K: np.ndarray) -> None:
        """Forget all rows but these."""
        kept = set(sequence_K.tolist())
        for sequence in [each for each in self if each not in kept]:
            del self[sequence]

    def arrays(self) -> dict[str, np.ndarray]:
        if not self:
            return {}
        return {"dark_sequence_K": np.array(list(self), np.int64), "dark_K2A": np.stack(list(self.values()))}


def from_memory(request: TrainingRequest, dark: DarkScores, buffered: Rows, num_new: int) -> Lessons | None:
    """Dark experience replay: buffered rows whose scores are remembered, a few each step."""
    config, precision_A = request.config, request.base.noise_sd_A.astype(np.float64) ** -2.0
    known_K = np.flatnonzero(np.isin(buffered.sequence_N, list(dark)))
    num_drawn = min(config.replay_batch_size, len(known_K)) if config.derpp_alpha else 0
    if not num_drawn:
        return None
    said_K2A = np.stack([dark[sequence] for sequence in buffered.sequence_N[known_K].tolist()])
    share = config.derpp_alpha * len(known_K) / (num_new + len(buffered)) / num_drawn
    return Lessons(
        image_KI=np.stack([buffered.image_N[known_K], buffered.other_N[known_K]], axis=1),
        num_drawn=num_drawn,
        weight_KIA=np.where(np.isnan(said_K2A), 0.0, 2.0 * share * precision_A),
        image_V=np.empty(0, np.int64),
        weight_VA=np.empty((0, len(precision_A))),
        said_KIA=np.nan_to_num(said_K2A),
    )
