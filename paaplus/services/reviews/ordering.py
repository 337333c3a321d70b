"""The order of open reviews: the largest expected value first, updated when a tool has learned."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import ReviewBatchRow, ReviewRow
from paaplus.db.tables.reviews import ReviewOrder, ReviewState
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.reviews.combined_labels import combine, expected_value, read_labels

_IN_BATCH: Final = 500  # ids in one statement


def rerank(database: Database, store: ServingStore, application: str) -> int:
    """Reorder open reviews by their current expected value, after a tool has learned; returns how many moved.

    The shown labels stay. A label that would be different now has a larger value. Batches in random order stay as
    they are.
    """
    with database.read_session() as session:
        rows = _open_reviews(session, application)
        if not rows:
            return 0
        image_ids = {row.image_id for row in rows}
        tools = {tool for row in rows for tool in row.shown["tools"]}
        labels, in_force = read_labels(session, application, image_ids, tools)
        spread_of = expert_spreads(session, application, image_ids)
    serving = store.load([], image_ids)
    aspects, digest = serving.scorer.aspects, serving.scorer.digest
    value: dict[UUID, float] = {}
    for row in rows:
        used = {tool: label for tool, label in labels.get(row.image_id, {}).items() if tool in row.shown["tools"]}
        now = combine(used, aspects, in_force, serving.images.get(row.image_id), digest)
        value[row.id] = expected_value(row.shown, now.scores, spread_of.get(row.image_id, {}))
    with database.session() as session:
        current = {row.id: row for row in _open_reviews(session, application, lock=True)}
        queues: dict[tuple[UUID, UUID], list[ReviewRow]] = {}
        for row in current.values():
            if row.id in value:
                queues.setdefault((row.batch_id, row.expert_id), []).append(row)
        num_moved = 0
        for queue in queues.values():
            places = sorted(row.position for row in queue)
            for place, row in zip(places, sorted(queue, key=lambda row: (-value[row.id], row.position)), strict=True):
                num_moved += row.position != place
                row.position, row.expected_value = place, value[row.id]
        return num_moved


def expert_spreads(session: Session, application: str, image_ids: Collection[UUID]) -> dict[UUID, dict[str, float]]:
    """Standard deviation of experts' scores, by image and aspect, of images that two or more experts have reviewed."""
    scores: dict[UUID, dict[str, dict[UUID, float]]] = {}
    ids = sorted(image_ids)
    for start in range(0, len(ids), _IN_BATCH):
        rows = session.execute(
            sa.select(ReviewRow.image_id, ReviewRow.expert_id, ReviewRow.answers)
            .join(ReviewBatchRow, ReviewBatchRow.id == ReviewRow.batch_id)
            .where(
                ReviewBatchRow.application == application,
                ReviewRow.image_id.in_(ids[start : start + _IN_BATCH]),
                ReviewRow.state == ReviewState.DONE,
            )
            .order_by(ReviewRow.decided_at)
        )
        for image_id, expert_id, answers in rows:
            for aspect, score in answers["scores"].items():
                scores.setdefault(image_id, {}).setdefault(aspect, {})[expert_id] = score
    return {
        image_id: {aspect: float(np.std(list(by.values()))) for aspect, by in of.items() if len(by) > 1}
        for image_id, of in scores.items()
    }


def _open_reviews(session: Session, application: str, *, lock: bool = False) -> list[ReviewRow]:
    query = (
        sa.select(ReviewRow)
        .join(ReviewBatchRow, ReviewBatchRow.id == ReviewRow.batch_id)
        .where(
            ReviewBatchRow.application == application,
            ReviewBatchRow.closed_at.is_(None),
            ReviewBatchRow.order == ReviewOrder.VALUE,
            ReviewRow.state == ReviewState.OPEN,
        )
        .order_by(ReviewRow.id)
    )
    if lock:
        query = query.with_for_update(of=ReviewRow).execution_options(populate_existing=True)
    return list(session.execute(query).scalars())
