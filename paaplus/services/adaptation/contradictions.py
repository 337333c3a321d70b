"""By how much served scores contradict new comparisons and likes: what their test for drift is made on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.row_sets import encoded, row_set
from paaplus.db.tables import AdapterRow, FeedbackRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.models import AdapterState
from paaplus.records import DISLIKED, LIKED
from paaplus.scoring.drift import wrong_by
from paaplus.services.feedback.feedback_log import PREFERENCE_OF, FeedbackLog
from paaplus.services.predictions.serving import Serving

MIDDLE: Final = "middle"  # in a version's metrics: the user's middle by aspect, if the user likes and dislikes

Said = bool | Mapping[str, float | None]  # liked; or a preference by aspect
Answer = tuple[int, UUID, UUID | None, Said]  # sequence, image, other image (None: a like)


def read(session: Session, spans: Mapping[UUID, tuple[int, int]]) -> dict[UUID, list[Answer]]:
    """Comparisons and likes of users, by user, in order of sequence.

    Args:
        session: a read session.
        spans: by user, the last sequence before them and their last one.
    """
    dialect = session.get_bind().dialect.name
    wanted = ((user_id, last, head) for user_id, (last, head) in spans.items())
    answers: dict[UUID, list[Answer]] = {}
    for user_id, *answer in session.execute(_answers(dialect), {"spans": encoded(dialect, wanted)}):
        answers.setdefault(user_id, []).append((answer[0], answer[1], answer[2], _said(answer[2], answer[3])))
    return answers


def of_log(log: FeedbackLog, last: int) -> list[Answer]:
    """The comparisons and likes of a log that follow an event, in order of sequence."""
    newer: list[Answer] = [
        (e.sequence, e.first_id, e.second_id, e.preferences) for e in log.comparisons if e.sequence > last
    ]
    newer += [(e.sequence, e.image_id, None, e.liked) for e in log.likes if e.sequence > last]
    return sorted(newer, key=lambda each: each[0])


def middles(session: Session, user_ids: Mapping[UUID, Any]) -> dict[UUID, dict[str, float]]:
    """The middles of users' active versions, by user and aspect."""
    rows = session.execute(
        sa.select(AdapterRow.user_id, AdapterRow.metrics).where(
            AdapterRow.user_id.in_(list(user_ids)), AdapterRow.state == AdapterState.ACTIVE
        )
    )
    return {row.user_id: row.metrics.get(MIDDLE, {}) for row in rows}


def image_ids(answers: Mapping[UUID, list[Answer]]) -> set[UUID]:
    return {each for given in answers.values() for _, first, other, _ in given for each in (first, other) if each}


def errors(
    serving: Serving, user_id: UUID, answers: list[Answer], middle: Mapping[str, float]
) -> list[tuple[int, float]]:
    """Sequence of each answer whose images can be scored, and `wrong_by`, mean over aspects.

    Args:
        serving: the images and the user's active version.
        user_id: the user.
        answers: of the user.
        middle: the user's middle by aspect; a like cannot be compared in an aspect without one.
    """
    aspects = serving.scorer.aspects
    middle_A = np.array([middle.get(aspect, np.nan) for aspect in aspects])
    found = []
    for sequence, image_id, other_id, said in answers:
        if not {image_id, other_id or image_id} <= serving.images.keys():
            continue
        difference_A = _score(serving, user_id, image_id)
        difference_A = difference_A - (middle_A if other_id is None else _score(serving, user_id, other_id))
        preference_of = dict.fromkeys(aspects, LIKED if said else DISLIKED) if isinstance(said, bool) else said
        wrong = [
            wrong_by(float(difference_A[a]), answer, float(serving.scorer.noise_sd_A[a]))
            for a, aspect in enumerate(aspects)
            if (answer := preference_of.get(aspect)) is not None and np.isfinite(difference_A[a])
        ]
        if wrong:
            found.append((sequence, float(np.mean(wrong))))
    return found


def _said(other_id: UUID | None, payload: Mapping[str, Any]) -> Said:
    if other_id is None:
        return bool(payload["liked"])
    return {aspect: PREFERENCE_OF[value] for aspect, value in payload["preference"].items()}


def _score(serving: Serving, user_id: UUID, image_id: UUID) -> np.ndarray:
    [image] = serving.images_of(user_id, [image_id])
    adapter = serving.adapter_of(user_id)
    return image.generic_A if adapter is None else adapter.score(image.taste_R[None], image.generic_A[None])[0]


@cache
def _answers(dialect: str) -> sa.Select[Any]:
    spans = row_set(dialect, "spans", {"user_id": sa.Uuid(), "last": sa.Integer(), "head": sa.Integer()})
    row = FeedbackRow
    within = sa.and_(
        row.user_id == spans.c.user_id,
        row.sequence > spans.c.last,
        row.sequence <= spans.c.head,
        row.image_id.is_not(None),  # not deleted
        sa.or_(row.kind == FeedbackKind.BINARY, row.other_image_id.is_not(None)),
        row.kind.in_((FeedbackKind.COMPARISON, FeedbackKind.BINARY)),
    )
    columns = (row.user_id, row.sequence, row.image_id, row.other_image_id, row.payload)
    return sa.select(*columns).join(spans, within).order_by(row.user_id, row.sequence)
