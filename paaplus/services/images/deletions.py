"""Delete images: what becomes of their files, and of the feedback about them.

Feedback is kept as events without an image, because a log has no gaps, and each gets a retraction. So what is learned
from it ends as with every retraction: users whose version was trained on it are due, and no later training reads it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.event_keys import short_digest
from paaplus.db.tables import FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, Forbidden, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.services import audit, scheduling
from paaplus.services.images import images, uploads
from paaplus.services.users.keys import Principal
from paaplus.storage.blobs import BlobStore

_MAX_TRIES: Final = 5  # of finding everybody who has just rated the image


def delete(
    session: Session,
    blobs: BlobStore,
    principal: Principal,
    image_id: UUID,
    *,
    with_feedback: bool,
    actor: str,
) -> int:
    """Delete an image with its file, unless another image has the same; returns how many events were retracted.

    The file is deleted before the commit, as by an erasure: if a step fails, the image still exists, and deleting it
    again finishes the work. Call `Database.scrub` after the commit.

    Raises:
        NotFound: no such image for this principal.
        Forbidden: a user's key, and the image is shared.
        Conflict: feedback is about the image, and `with_feedback` is False.
        Unavailable: the file cannot be deleted; or so many users rate the image now that they cannot all be locked.
    """
    row = images.get(session, principal, image_id)
    if principal.user_id is not None and row.owner_id != principal.user_id:
        raise Forbidden("a shared image is deleted by its application, not by one of its users")
    sha256 = row.sha256
    events = _locked_events(session, image_id)
    if events and not with_feedback:
        num_users = len({event.user_id for event in events})
        raise Conflict(
            f"{len(events)} events of feedback by {num_users} user(s) are about image {image_id}; "
            "with_feedback=true deletes it all the same, and retracts them"
        )
    session.expunge(row)
    session.execute(sa.delete(ImageRow).where(ImageRow.id == image_id).execution_options(synchronize_session=False))
    num_retracted = _retract(session, events, image_id, actor)
    details = {"num_events": num_retracted}
    audit.record(session, actor=actor, action="image_deleted", subject_id=image_id, details=details)
    session.flush()
    uploads.delete_unnamed(session, blobs, sha256)
    return num_retracted


def _locked_events(session: Session, image_id: UUID) -> list[FeedbackRow]:
    """The events about an image, with their users and the image locked, so that there are no more until the commit.

    Users are locked before the image, as by whoever appends feedback: in the other order both could wait for ever. An
    event that is appended in between makes another try.

    Raises:
        NotFound: the image was deleted meanwhile.
        Unavailable: there was always another event.
    """
    about = sa.or_(FeedbackRow.image_id == image_id, FeedbackRow.other_image_id == image_id)
    users_of = sa.select(FeedbackRow.user_id).where(about).distinct()
    for _ in range(_MAX_TRIES):
        with session.begin_nested() as savepoint:
            lock = sa.select(UserRow.id).where(UserRow.id.in_(users_of)).order_by(UserRow.id)
            locked = set(session.execute(lock.with_for_update(key_share=True)).scalars())
            image = sa.select(ImageRow.id).where(ImageRow.id == image_id).with_for_update()
            if session.execute(image).first() is None:
                raise NotFound(f"image {image_id} does not exist")
            if set(session.execute(users_of).scalars()) <= locked:
                query = sa.select(FeedbackRow).where(about).order_by(FeedbackRow.user_id, FeedbackRow.sequence)
                return list(session.execute(query, execution_options={"populate_existing": True}).scalars())
            savepoint.rollback()  # lets go of the locks
    raise Unavailable(f"image {image_id} is being rated by many users now; try again")


def _retract(session: Session, events: Collection[FeedbackRow], image_id: UUID, actor: str) -> int:
    """Append a retraction of each event that has none to its user's log, and decide when the users are due."""
    if not events:
        return 0
    earlier = sa.select(FeedbackRow.user_id, FeedbackRow.retracts_sequence).where(
        FeedbackRow.user_id.in_({event.user_id for event in events}), FeedbackRow.retracts_sequence.is_not(None)
    )
    retracted = {(user_id, sequence) for user_id, sequence in session.execute(earlier)}
    now = utcnow()
    rows: list[dict[str, Any]] = []
    users: dict[UUID, UserRow] = {}
    for event in events:
        if (event.user_id, event.sequence) in retracted:
            continue
        user = users.get(event.user_id) or session.get_one(UserRow, event.user_id, populate_existing=True)
        users[user.id] = user
        user.feedback_sequence += 1
        rows.append(
            {
                "user_id": user.id,
                "sequence": user.feedback_sequence,
                "event_id": f"image-deleted:{new_id()}",
                "kind": FeedbackKind.RETRACTION,
                "retracts_sequence": event.sequence,
                "payload": {},
                "body_digest": short_digest(f"image-deleted:{image_id}:{event.sequence}"),
                "source": actor,
                "received_at": now,
            }
        )
    if rows:
        session.connection().execute(sa.insert(cast(sa.Table, FeedbackRow.__table__)), rows)
    for user in users.values():
        scheduling.refresh_due(session, user)
    return len(rows)
