"""Experts' reviews of pseudo labels: batches for the application, and each expert's own queue."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response
from sqlalchemy.orm import Session

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import (
    ApplicationKey,
    Context,
    ExpertKey,
    IdempotencyKey,
    Limit,
    ReadSession,
    WriteSession,
    begin_once,
    give_again,
)
from paaplus.api.routing import router_of
from paaplus.api.schemas.common import FlagText, Page
from paaplus.api.schemas.reviews import (
    BatchDetailOut,
    BatchIn,
    BatchOut,
    NextOut,
    ReviewAgreementOut,
    ReviewOut,
    ReviewProgressOut,
    VerdictIn,
)
from paaplus.db.tables import ReviewBatchRow, ReviewRow
from paaplus.services import idempotency
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.reviews import batches, progress, reviews
from paaplus.services.users.keys import Principal, application_of
from paaplus.services.users.rate_limits import RateLimitKind

router = router_of("/v1", "reviews")

PICTURE = {
    "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/jpeg", "image/png")}
}


@router.post("/review-batches", status_code=201)
def create_batch(body: BatchIn, key: ApplicationKey, context: Context, once: IdempotencyKey) -> BatchOut:
    """Send labelled images to experts. Every expert gets a queue.

    An expert sees the tools' labels after calibration by earlier reviews, averaged with their confidences as weights.
    """
    new = batches.NewBatch(
        application=application_of(key, body.application),
        name=body.name,
        experts=tuple(body.experts),
        tools=tuple(body.tools) if body.tools is not None else None,
        image_ids=tuple(body.images) if body.images is not None else None,
        order=body.order,
        seed=body.seed,
        overlap=body.overlap,
        limit=body.limit,
    )
    give_again(context.database, once)  # the images of the first call are not open to a second one
    store = ServingStore(context.database, context.blobs, context.settings)

    def finish(session: Session, row: ReviewBatchRow) -> None:
        if once is not None:
            out = _batch(row, progress.progress(session, [row.id])[row.id])
            idempotency.finish(session, once, 201, out.model_dump_json().encode())

    row = batches.create(
        context.database,
        store,
        key,
        new,
        begin=lambda session: begin_once(session, once) if once is not None else None,
        finish=finish,
    )
    with context.database.read_session() as session:
        found = progress.progress(session, [row.id])
    return _batch(row, found[row.id])


@router.get("/review-batches")
def list_batches(key: ApplicationKey, session: ReadSession, cursor: Cursor, limit: Limit = 50) -> Page[BatchOut]:
    """Review batches with each expert's progress."""
    rows = batches.list_batches(session, key, limit=limit, before=cursor.after)
    found = progress.progress(session, [row.id for row in rows])
    return Page(items=[_batch(row, found[row.id]) for row in rows], next_cursor=cursor.next(rows, limit))


@router.get("/review-batches/{batch_id}")
def get_batch(batch_id: UUID, key: ApplicationKey, session: ReadSession) -> BatchDetailOut:
    """One batch with each expert's progress, and the experts' agreement on shared images."""
    row = batches.get(session, key, batch_id)
    batch = _batch(row, progress.progress(session, [row.id])[row.id])
    agreement = [ReviewAgreementOut.model_validate(one) for one in progress.agreement(session, row.id)]
    return BatchDetailOut(**dict(batch), agreement=agreement)


@router.post("/review-batches/{batch_id}/close")
def close_batch(batch_id: UUID, key: ApplicationKey, session: WriteSession) -> BatchOut:
    """Close the batch: open reviews leave all queues, finished reviews stay."""
    row = batches.close(session, key, batch_id)
    return _batch(row, progress.progress(session, [row.id])[row.id])


@router.get("/reviews/next")
def next_review(
    key: ExpertKey,
    session: ReadSession,
    batch: Annotated[UUID | None, Query(description="Only reviews of this batch.")] = None,
    skipped: Annotated[FlagText, Query(description="Give skipped reviews, which are left out otherwise.")] = False,
) -> NextOut:
    """The expert's next review, from the oldest open batch, in the batch's order."""
    expert_id = _expert(key)
    row = reviews.next_open(session, expert_id, batch_id=batch, skipped=skipped)
    return NextOut(review=_review(row) if row is not None else None, num_open=reviews.count_open(session, expert_id))


@router.get("/reviews/{review_id}")
def get_review(review_id: UUID, key: ExpertKey, session: ReadSession) -> ReviewOut:
    """One of the expert's own reviews."""
    return _review(reviews.get(session, _expert(key), review_id))


@router.get("/reviews/{review_id}/image", response_class=Response, responses={200: PICTURE})
def get_picture(review_id: UUID, key: ExpertKey, context: Context) -> Response:
    """The image file of a review."""
    with context.database.read_session() as session:
        image = reviews.image_of(session, _expert(key), review_id)
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(context.blobs.get(image.sha256), media_type=image.media_type, headers=headers)


@router.post("/reviews/{review_id}")
def post_review(review_id: UUID, body: VerdictIn, key: ExpertKey, context: Context) -> ReviewOut:
    """Decide a review: accept, correct, skip or cannot_say.

    After the answer, accepted and corrected scores are in the expert's feedback log. Posting the same `event_id` or the
    same verdict again changes nothing. A different verdict needs `revise`.
    """
    context.allowances.spend(key, RateLimitKind.FEEDBACK, 1)
    with context.database.session() as session:
        decision = reviews.decide(
            session,
            key,
            review_id,
            verdict=body.verdict,
            scores=body.scores,
            event_id=body.event_id,
            revise=body.revise,
            settings=context.settings,
        )
    return _review(decision.row)


def _expert(key: Principal) -> UUID:
    assert key.user_id is not None, "experts' keys have a user"
    return key.user_id


def _batch(row: ReviewBatchRow, progress: list[progress.Progress]) -> BatchOut:
    names = set(BatchOut.model_fields) - {"progress"}
    parts = [ReviewProgressOut.model_validate(one) for one in progress]
    return BatchOut(**{name: getattr(row, name) for name in names}, progress=parts)


def _review(row: ReviewRow) -> ReviewOut:
    answers = row.answers or {}
    return ReviewOut(
        id=row.id,
        batch_id=row.batch_id,
        image_id=row.image_id,
        image_url=f"/v1/reviews/{row.id}/image",
        scores=row.shown["scores"],
        confidences=row.shown["confidences"],
        state=row.state,
        verdict=answers.get("verdict"),
        said=answers.get("scores"),
        decided_at=row.decided_at,
    )
