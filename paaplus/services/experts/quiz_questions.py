"""What a quiz asks next: the pair whose answer is expected to tell most after what was said, until that is little."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from paaplus.db.tables import QuizPairRow
from paaplus.db.users import existing_user
from paaplus.records import PREFERS_FIRST, PREFERS_SECOND, TIE
from paaplus.services.experts import match_evidence
from paaplus.services.experts.match_evidence import MatchEvidence
from paaplus.services.feedback.feedback_log import LatestComparison
from paaplus.services.predictions.latest_feedback import shared_images
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

POOL_SIZE: Final = 300
_PREFERENCE: Final = {"first": PREFERS_FIRST, "second": PREFERS_SECOND, "tie": TIE}


@dataclass(frozen=True)
class Asker:
    """What the next pair depends on, from one moment; `pool`: the images that may be asked about."""

    seen: MatchEvidence
    pool: list[UUID]


@dataclass(frozen=True, slots=True)
class NextQuestion:
    """The pair to ask, or why to stop."""

    first_id: UUID | None
    second_id: UUID | None
    expected_information: float
    stop: str | None


def read(session: Session, user_id: UUID, settings: Settings) -> Asker:
    """What there is now.

    Raises:
        NotFound: no such user.
    """
    user = existing_user(session, user_id)
    seen = match_evidence.read(session, user, settings)
    digest = seen.base_row.extractor_digest
    return Asker(seen, shared_images(session, user, digest, settings, limit=POOL_SIZE, with_held_out=False))


def next_question(
    blobs: BlobStore,
    store: ServingStore,
    asker: Asker,
    asked: list[tuple[UUID, UUID]],
    num_answered: int,
    max_pairs: int,
) -> NextQuestion:
    """The pair that is expected to tell most after what was said, or the reason to stop."""
    from paaplus.scoring import matching  # with scipy, which no other request needs

    seen, said = asker.seen, asker.seen.said
    serving = seen.load_serving(store, asker.pool)
    pool = [image_id for image_id in asker.pool if image_id in serving.images]
    place = {image_id: i for i, image_id in enumerate(pool)}
    said_of = [(word.first_id, word.second_id) for word in said.comparisons]
    base = serving.scorer
    question = matching.next_pair(
        base,
        seen.shifted(seen.prior_in_force(blobs, base)),
        [model.for_matching() for model in seen.models],
        said.rated_set(serving),
        said.compared_set(serving),
        *said.inputs_of(serving, pool),
        asked=[(place[a], place[b]) for a, b in [*asked, *said_of] if a in place and b in place],
        seed=zlib.crc32(said.user_id.bytes),
    )
    stop = matching.enough(num_answered, question, max_pairs)
    if question is None or stop is not None:
        return NextQuestion(None, None, 0.0, stop)
    return NextQuestion(pool[question.first], pool[question.second], question.expected_information, None)


def with_answer(asker: Asker, pair: QuizPairRow, told: Mapping[str, str]) -> Asker:
    """As if the answer were in the log."""
    preferences = {aspect: _PREFERENCE[value] for aspect, value in told.items() if value in _PREFERENCE}
    if not preferences:
        return asker
    said = asker.seen.said
    word = LatestComparison(
        sequence=said.head + 1,
        first_id=pair.first_image_id,
        second_id=pair.second_image_id,
        preferences=preferences,
        held_out=False,
        sequences=frozenset({said.head + 1}),
    )
    supposed = replace(said, comparisons=[*said.comparisons, word])
    return replace(asker, seen=replace(asker.seen, said=supposed))
