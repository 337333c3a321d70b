"""Images: decide who may see them, list them, and request their features."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.prepared import Prepared, listed, one_of, plain
from paaplus.db.tables import FeaturesRow, ImageRow, JobRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.errors import NotFound
from paaplus.queue import jobs
from paaplus.services.images.filters import EVERY_IMAGE, ImageFilter
from paaplus.services.registry import base_models
from paaplus.services.registry.base_models import DefaultId
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings


@dataclass(frozen=True, slots=True)
class FeatureState:
    """Whether an image can be scored: `pending` until a worker has extracted its features, `failed` if it cannot."""

    state: Literal["ready", "pending", "failed"]
    job_id: UUID | None = None
    error: str | None = None


def visible_images(principal: Principal) -> sa.ColumnElement[bool]:
    """SQL condition: the images that this principal may see.

    A user sees their own images and the shared ones of the application. An application sees all of its images.
    """
    if principal.user_id is not None:
        return sa.and_(
            ImageRow.application == principal.application,
            sa.or_(ImageRow.owner_id.is_(None), ImageRow.owner_id == principal.user_id),
        )
    if principal.application is not None:
        return ImageRow.application == principal.application
    return sa.true()


def num_of_application(dialect: str, *conditions: sa.ColumnElement[bool]) -> sa.Select[int]:
    """How many images of the parameter `ids` are of `application`, for a part of another statement."""
    # Conditions of the count, not of the rows: SQLite would read all images of the application by their index.
    of_application = ImageRow.application == sa.bindparam("application", type_=sa.String())
    counted = sa.case((sa.and_(of_application, *conditions), 1))
    return sa.select(sa.func.count(counted)).where(ImageRow.id.in_(one_of(dialect, "ids", sa.Uuid())))


_IS_OF_USER: Final = sa.or_(ImageRow.owner_id.is_(None), ImageRow.owner_id == sa.bindparam("user_id", type_=sa.Uuid()))
_NUM_OF_APPLICATION: Final = Prepared(num_of_application)
_NUM_OF_USER: Final = Prepared(lambda dialect: num_of_application(dialect, _IS_OF_USER))


def are_visible(connection: sa.Connection, principal: Principal, image_ids: Collection[UUID]) -> bool:
    """Whether all these different images exist and the principal, who has an application, may see them."""
    values = {"ids": listed(connection, image_ids), "application": principal.application}
    if principal.user_id is None:
        [(found,)] = _NUM_OF_APPLICATION.rows(connection, **values)
    else:
        [(found,)] = _NUM_OF_USER.rows(connection, **values, user_id=plain(connection, principal.user_id))
    return int(found) == len(image_ids)


def get(session: Session, principal: Principal, image_id: UUID) -> ImageRow:
    """One image.

    Raises:
        NotFound: no such image for this principal.
    """
    row = session.execute(
        sa.select(ImageRow).where(ImageRow.id == image_id, visible_images(principal))
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"image {image_id} does not exist")
    return row


def get_many(session: Session, principal: Principal, image_ids: Collection[UUID]) -> dict[UUID, ImageRow]:
    """Images by id; what the principal may not see, or is not there, is left out."""
    query = sa.select(ImageRow).where(ImageRow.id.in_(image_ids), visible_images(principal))
    return {row.id: row for row in session.execute(query).scalars()}


def list_images(
    session: Session,
    principal: Principal,
    wanted: ImageFilter = EVERY_IMAGE,
    *,
    limit: int = 100,
    before: UUID | None = None,
) -> list[ImageRow]:
    """Images that this principal may see, newest first."""
    query = sa.select(ImageRow).where(visible_images(principal), *wanted.conditions())
    if before is not None:
        query = query.where(ImageRow.id < before)
    return list(session.execute(query.order_by(ImageRow.id.desc()).limit(limit)).scalars())


def feature_states(session: Session, image_ids: Collection[UUID], settings: Settings) -> dict[UUID, FeatureState]:
    """Whether the default base model can score each image, and otherwise the job that extracts its features."""
    base = base_models.find_default(session, settings)
    if base is None:
        return dict.fromkeys(image_ids, FeatureState("pending"))
    rows = session.execute(
        sa.select(FeaturesRow.image_id, FeaturesRow.error).where(
            FeaturesRow.extractor_digest == base.extractor_digest, FeaturesRow.image_id.in_(image_ids)
        )
    ).all()
    states = {i: FeatureState("ready") if error is None else FeatureState("failed", error=error) for i, error in rows}
    missing = [image_id for image_id in image_ids if image_id not in states]
    if missing:
        states |= dict.fromkeys(missing, FeatureState("pending", _open_job(session, base.extractor_digest)))
    return states


def request_features(session: Session, image_ids: Collection[UUID] | None, settings: Settings) -> UUID | None:
    """Enqueue the extraction of missing features for the default base model; returns the job.

    There is one job per extractor. It extracts the features of every image that has none.

    Args:
        image_ids: enqueue only if one of these images has no features; None: if any image has none.

    Returns:
        None if no features are missing, or if there is no base model. A failed image counts as done.
    """
    session.flush()
    base = base_models.find_default_id(session.connection(), settings)
    if base is None:
        return None
    return _enqueue(session, base, settings) if _any_is_missing(session, base, image_ids) else None


def request_features_of_new(session: Session, settings: Settings) -> None:
    """As `request_features`, of an image that this transaction inserts: it has no features."""
    if (base := base_models.find_default_id(session.connection(), settings)) is not None:
        _enqueue(session, base, settings)


def ensure_requested(database: Database, image_ids: Collection[UUID], settings: Settings) -> UUID | None:
    """As `request_features`, of committed images, in a transaction of its own; it writes nothing if it need not.

    Many requests ask for an image that is pending. SQLite's write lock would hold up everybody who writes. A job that
    is queued still will see all images that were there when it was looked for.
    """
    with database.read_session() as session:
        base = base_models.find_default_id(session.connection(), settings)
        if base is None or not _any_is_missing(session, base, image_ids):
            return None
        if (job_id := jobs.find_queued(session.connection(), _lock_key(base.extractor_digest))) is not None:
            return job_id
    with database.session() as session:
        return request_features(session, image_ids, settings)


def _any_is_missing(session: Session, base: DefaultId, image_ids: Collection[UUID] | None) -> bool:
    """Whether one of these images, or any image, has no features of the base model."""
    has_features = sa.exists().where(
        FeaturesRow.extractor_digest == base.extractor_digest, FeaturesRow.image_id == ImageRow.id
    )
    missing = sa.select(ImageRow.id).where(~has_features).limit(1)
    if image_ids is not None:
        missing = missing.where(ImageRow.id.in_(image_ids))
    return session.execute(missing).first() is not None


def _enqueue(session: Session, base: DefaultId, settings: Settings) -> UUID:
    return jobs.enqueue(
        session,
        JobKind.EXTRACT_FEATURES,
        _lock_key(base.extractor_digest),
        queue=settings.features_queue,
        reason="new_images",
        payload={"extractor_digest": base.extractor_digest, "base_model_id": str(base.id)},
        max_attempts=settings.max_attempts,
    )


def _lock_key(extractor_digest: str) -> str:
    return f"features:{extractor_digest}"


def _open_job(session: Session, extractor_digest: str) -> UUID | None:
    """The queued or running job. The queued one first: the running one may have started before the upload."""
    query = (
        sa.select(JobRow.id)
        .where(JobRow.lock_key == _lock_key(extractor_digest), JobRow.state.in_((JobState.QUEUED, JobState.RUNNING)))
        .order_by(JobRow.id.desc())
        .limit(1)
    )
    return session.execute(query).scalar_one_or_none()
