"""Choose a match: the most probable starting point, or the best of a requested kind, and fit its version."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from paaplus.db.tables.experts import MatchKind
from paaplus.errors import InvalidInput
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import Prior
from paaplus.services.experts.match_evidence import MatchEvidence
from paaplus.services.predictions.serving import UsedPreference
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.storage.blobs import BlobStore

if TYPE_CHECKING:
    from paaplus.scoring.matching import Selection


@dataclass(frozen=True)
class ChosenMatch:
    """The selected starting point, and the adapter that serves it."""

    selection: Selection
    adapter: TasteVector
    num_ratings: int
    num_comparisons: int
    is_forced: bool
    preference: UsedPreference | None  # the user's generic scores were computed with it

    @property
    def kind(self) -> MatchKind:
        return MatchKind(self.selection.kind)


def choose(blobs: BlobStore, store: ServingStore, evidence: MatchEvidence, kind: MatchKind | None) -> ChosenMatch:
    """Choose the most probable match, or the best of `kind`, and fit its adapter.

    Raises:
        InvalidInput: the kind needs an expert, and there is none.
        Unavailable: another base model has become the default, or an artifact is damaged.
    """
    from paaplus.scoring import closed_form, matching  # imports scipy, which no other request needs

    serving = evidence.load_serving(store)
    base, prior = serving.scorer, evidence.prior_in_force(blobs, serving.scorer)
    rated, compared = evidence.feedback.rated_set(serving), evidence.feedback.compared_set(serving)
    people = [model.for_matching() for model in evidence.models]
    selection = matching.select(base, prior, people, rated, compared, evidence.shift_PA)
    if kind is not None:
        selection = _forced(base, prior, people, selection, kind)
    fitted = closed_form.fit(base, evidence.shifted(selection.prior or prior), rated, compared)
    return ChosenMatch(
        selection,
        fitted.adapter,
        len(rated),
        len(compared),
        is_forced=kind is not None,
        preference=serving.preferences.get(evidence.feedback.user_id),
    )


def _forced(base: BaseScorer, prior: Prior, people: list[Any], found: Selection, kind: MatchKind) -> Selection:
    """The best match of one kind, with the probabilities of the selection."""
    from paaplus.scoring import matching

    reason = f"requested; {found.kind} was more probable: {found.reason}" if found.kind != kind else found.reason
    if kind == MatchKind.GENERIC:
        return replace(found, kind=kind.value, expert_id=None, prior=None, shares={}, reason=reason)
    if not people:
        raise InvalidInput(f"no expert to match with: a match of kind {kind.value!r} needs at least one")
    if kind == MatchKind.COMBINATION:
        if found.kind == kind:
            return found
        shares = {person.id: 1.0 / len(people) for person in people}
        combined = matching.combination_prior(base, prior, people)
        return replace(found, kind=kind.value, expert_id=None, prior=combined, shares=shares, reason=reason)
    best = max(people, key=lambda person: (found.probabilities[person.id], person.id))
    alone = matching.expert_prior(base, prior, best)
    return replace(found, kind=kind.value, expert_id=best.id, prior=alone, shares={best.id: 1.0}, reason=reason)
