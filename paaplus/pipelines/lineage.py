"""Which version a training continues from, and which of the user's feedback is new to that version.

Shape letter: N = ratings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paaplus.configs import PRIOR_STRATEGIES
from paaplus.db.tables import AdapterRow
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter, adapter_from_bytes
from paaplus.services.adaptation.snapshot import Snapshot
from paaplus.services.feedback.counted_events import TRAINED_ON_NOTHING, TrainedUpTo, trained_up_to
from paaplus.services.feedback.feedback_log import LatestComparison, LatestLike


@dataclass(frozen=True)
class Lineage:
    """The version that the candidate is compared with, and what the training continues from.

    A training continues from the reference (`parent` and `state` are its adapter and learner state), or starts again
    at zero change (both are None); the reference is then only compared with.
    """

    reference: Adapter | None  # None: the generic scores
    reference_row: AdapterRow | None
    parent: Adapter | None
    state: bytes | None
    trained_up_to: TrainedUpTo  # of `parent`


@dataclass(frozen=True)
class SortedFeedback:
    """The user's latest ratings, and comparisons and likes: new to the parent, past, and held out.

    `training`: new and past ratings as one.
    """

    training: RatedSet
    new: RatedSet
    past: RatedSet
    held_out: RatedSet
    new_compared: list[LatestComparison | LatestLike]
    past_compared: list[LatestComparison | LatestLike]
    held_out_compared: list[LatestComparison | LatestLike]

    @property
    def num_new(self) -> int:
        return len(self.new) + len(self.new_compared)

    @property
    def num_past(self) -> int:
        return len(self.past) + len(self.past_compared)

    @property
    def num_held_out(self) -> int:
        return len(self.held_out) + len(self.held_out_compared)


def lineage_of(snapshot: Snapshot, by_hand: bool) -> Lineage:
    """Whether the training continues from the snapshot's reference version or starts again on all feedback.

    It starts again if the policy names another strategy or adapter, if trainings would now start from another prior
    or match, or if a person asked for the training (`by_hand`).
    """
    row = snapshot.reference
    if row is None:
        return Lineage(None, None, None, None, TRAINED_ON_NOTHING)
    reference = adapter_from_bytes(row.data)
    policy = snapshot.policy
    continues = not by_hand and (row.kind, row.strategy) == (policy.adapter, policy.strategy)
    if continues and policy.strategy not in PRIOR_STRATEGIES:  # those fit all feedback again in any case
        continues = not snapshot.starting_point.differs_from(row, reference)
    if not continues:
        return Lineage(reference, row, None, None, TRAINED_ON_NOTHING)
    return Lineage(reference, row, reference, row.learner_state, trained_up_to(row))


def must_train(snapshot: Snapshot, lineage: Lineage) -> bool:
    """True if a training is due even without new feedback: it would not start from the active version as it is."""
    if lineage.parent is not lineage.reference or lineage.reference_row is not snapshot.active:
        return True
    row, reference = lineage.reference_row, lineage.reference
    return row is not None and reference is not None and snapshot.starting_point.differs_from(row, reference)


def sort_feedback(snapshot: Snapshot, up_to: TrainedUpTo) -> SortedFeedback:
    """The latest feedback on images with features, sorted by whether a version that was trained up to here has it."""
    log, usable = snapshot.log, snapshot.images
    compared = [answer for answer in log.latest_compared() if usable.keys() >= set(answer.image_ids)]
    training_compared = [answer for answer in compared if not answer.held_out]
    training, held_out = snapshot.training_and_held_out()
    if log.is_plain:  # then the new ones are the last ones, which need not be copied
        num_past = int(np.searchsorted(training.sequence_N, up_to.high_water, side="right"))
        past, new = training.select(slice(num_past)), training.select(slice(num_past, None))
    else:
        new_sequences = [r.sequence for r in snapshot.ratings if not r.held_out and log.is_new(up_to, r)]
        is_new_N = np.isin(training.sequence_N, new_sequences, assume_unique=True)
        past, new = training.select(~is_new_N), training.select(is_new_N)
    return SortedFeedback(
        training=training,
        new=new,
        past=past,
        held_out=held_out,
        new_compared=[answer for answer in training_compared if log.is_new(up_to, answer)],
        past_compared=[answer for answer in training_compared if not log.is_new(up_to, answer)],
        held_out_compared=[answer for answer in compared if answer.held_out],
    )
