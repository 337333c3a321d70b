"""Choose a quiz's next pair: the one with the largest expected information, until that is small.

Now and then an earlier pair is asked again, with its sides swapped (`scoring.check_pairs`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from paaplus.db.tables import QuizPairRow
from paaplus.db.users import existing_user
from paaplus.records import PREFERS_FIRST, PREFERS_SECOND, TIE
from paaplus.scoring import check_pairs
from paaplus.services.experts import match_evidence
from paaplus.services.experts.match_evidence import MatchEvidence
from paaplus.services.feedback.feedback_log import LatestComparison
from paaplus.services.predictions.latest_feedback import LatestFeedback, shared_images
from paaplus.services.predictions.serving import Serving
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

POOL_SIZE: Final = 300
_PREFERENCE: Final = {"first": PREFERS_FIRST, "second": PREFERS_SECOND, "tie": TIE}


@dataclass(frozen=True)
class QuestionBasis:
    """What the next pair depends on, from one moment. `pool`: the images that may be asked about."""

    evidence: MatchEvidence
    pool: list[UUID]


@dataclass(frozen=True, slots=True)
class NextQuestion:
    """The pair to ask, or the reason to stop. `expected_information` is in nats; 0 if the pair was asked before."""

    first_id: UUID | None
    second_id: UUID | None
    expected_information: float
    stop: str | None


def read(session: Session, user_id: UUID, settings: Settings) -> QuestionBasis:
    """Read what the next pair depends on.

    Raises:
        NotFound: no such user.
    """
    user = existing_user(session, user_id)
    evidence = match_evidence.read(session, user, settings)
    digest = evidence.base_row.extractor_digest
    return QuestionBasis(evidence, shared_images(session, user, digest, settings, limit=POOL_SIZE, with_held_out=False))


def next_question(
    blobs: BlobStore,
    store: ServingStore,
    basis: QuestionBasis,
    asked: list[tuple[UUID, UUID]],
    num_answered: int,
    max_pairs: int,
) -> NextQuestion:
    """The pair with the largest expected information, given the user's feedback, or the reason to stop.

    Args:
        asked: pairs that the quiz has asked already, in order.
    """
    from paaplus.scoring import matching  # imports scipy, which no other request needs

    evidence, feedback = basis.evidence, basis.evidence.feedback
    serving = evidence.load_serving(store, basis.pool)
    pool = [image_id for image_id in basis.pool if image_id in serving.images]
    place = {image_id: i for i, image_id in enumerate(pool)}
    compared = [(each.first_id, each.second_id) for each in feedback.comparisons]
    base = serving.scorer
    question = matching.next_pair(
        base,
        evidence.shifted(evidence.prior_in_force(blobs, base)),
        [model.for_matching() for model in evidence.models],
        feedback.rated_set(serving),
        feedback.compared_set(serving),
        *feedback.inputs_of(serving, pool),
        asked=[(place[a], place[b]) for a, b in [*asked, *compared] if a in place and b in place],
        seed=zlib.crc32(feedback.user_id.bytes),
    )
    stop = matching.enough(num_answered, question, max_pairs)
    if question is None or stop is not None:
        return NextQuestion(None, None, 0.0, stop)
    if check_pairs.is_due(num_answered) and (again := _to_ask_again(serving, feedback, asked)):
        return NextQuestion(*again, 0.0, None)
    return NextQuestion(pool[question.first], pool[question.second], question.expected_information, None)


def _to_ask_again(
    serving: Serving, feedback: LatestFeedback, asked: Sequence[tuple[UUID, UUID]]
) -> tuple[UUID, UUID] | None:
    preferred = {frozenset(each.image_ids) for each in feedback.comparisons if set(each.preferences.values()) != {TIE}}
    generic = {image_id: image.generic_A for image_id, image in serving.images.items()}
    return check_pairs.choose(asked, generic, lambda pair: frozenset(pair) in preferred)


def with_answer(basis: QuestionBasis, pair: QuizPairRow, answer: Mapping[str, str]) -> QuestionBasis:
    """The basis with one more comparison, as if the answer were in the log. It replaces an earlier one of its images.

    Args:
        answer: first, second, tie or cannot_say, by aspect.
    """
    preferences = {aspect: _PREFERENCE[value] for aspect, value in answer.items() if value in _PREFERENCE}
    feedback, images = basis.evidence.feedback, {pair.first_image_id, pair.second_image_id}
    others = [each for each in feedback.comparisons if set(each.image_ids) != images]
    if not preferences:
        extended = replace(feedback, comparisons=others)
        return replace(basis, evidence=replace(basis.evidence, feedback=extended))
    comparison = LatestComparison(
        sequence=feedback.head + 1,
        first_id=pair.first_image_id,
        second_id=pair.second_image_id,
        preferences=preferences,
        held_out=False,
        sequences=frozenset({feedback.head + 1}),
    )
    extended = replace(feedback, comparisons=[*others, comparison])
    return replace(basis, evidence=replace(basis.evidence, feedback=extended))
