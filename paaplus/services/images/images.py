"""Images: store uploads once per application or owner, decide who may see them, and request their features."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from paaplus import pauses
from paaplus.db.engine import Database
from paaplus.db.locks import lock_name
from paaplus.db.prepared import Prepared, listed, one_of, plain
from paaplus.db.tables import FeaturesRow, ImageRow, JobRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import Conflict, NotFound
from paaplus.ids import new_id, sha256_hex
from paaplus.queue import jobs
from paaplus.services.images import names, sanitize
from paaplus.services.images.features import delete_failed
from paaplus.services.images.filters import EVERY_IMAGE, ImageFilter
from paaplus.services.names import check_application
from paaplus.services.registry import base_models
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class FeatureState:
    """Whether an image can be scored: `pending` until a worker has extracted its features, `failed` if it cannot."""

    state: Literal["ready", "pending", "failed"]
    job_id: UUID | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Given:
    """What the caller says of an uploaded file."""

    name: str | None
    external_id: str | None
    theme: str | None

    def is_new_to(self, row: ImageRow) -> bool:
        """Whether the image lacks some of it.

        Raises:
            Conflict: the image has another own id.
        """
        if None not in (self.external_id, row.external_id) and self.external_id != row.external_id:
            raise Conflict(f"this file is image {row.id} already, whose external_id is {row.external_id!r}")
        adds_name = self.name is not None and row.name is None
        return adds_name or (self.external_id is not None and row.external_id is None)

    def add_to(self, row: ImageRow) -> None:
        """Add what the image lacks."""
        if self.is_new_to(row):
            row.name = row.name or self.name
            row.external_id = row.external_id or self.external_id


@dataclass(frozen=True, slots=True)
class AddedImage:
    """An image after its upload. `created` is False if the same file was uploaded before."""

    row: ImageRow
    created: bool
    features: FeatureState


def add(
    database: Database,
    blobs: BlobStore,
    settings: Settings,
    *,
    application: str,
    data: bytes,
    owner_id: UUID | None = None,
    name: str | None = None,
    external_id: str | None = None,
    theme: str | None = None,
) -> AddedImage:
    """Store an uploaded file and request its features. The same file again returns the existing image.

    A repeated upload adds a name and an own id that the image lacks. It changes neither, and no theme. If the stored
    copy of the same pixels is damaged, it repairs the copy, for every image that refers to it.

    The file is decoded outside any transaction. Row, blob and job are written in one.

    Args:
        owner_id: the user that the image belongs to; None: the image is shared.
        name: a file name or a relative path; see `names.path_name`.
        external_id: the application's own id, as returned by `names.check_external_id`.
        theme: a tag, as returned by `themes.check`.

    Raises:
        InvalidInput: see `sanitize.clean`.
        Conflict: another image of this application and owner has this own id, or the image has another one.
        NotFound: the owner does not exist.
        Unavailable: the storage does not answer.
    """
    check_application(application)
    upload_sha256 = sha256_hex(data)
    given = _Given(names.path_name(name or ""), external_id, theme)
    with database.read_session() as session:
        known = _find_upload(session, application, owner_id, upload_sha256)
        if known is None and external_id is not None:
            _require_free(session, application, owner_id, external_id)  # before the file is decoded
        if known is not None and not given.is_new_to(known) and blobs.is_intact(known.sha256):
            return AddedImage(known, False, feature_states(session, [known.id], settings)[known.id])
    picture = sanitize.clean(
        data,
        max_bytes=settings.max_upload_bytes,
        max_pixels=settings.max_image_pixels,
        min_side_px=settings.min_image_side_px,
    )
    pauses.pause()
    return _add_picture(database, blobs, settings, application, owner_id, picture, given)


def add_picture(
    database: Database,
    blobs: BlobStore,
    settings: Settings,
    *,
    application: str,
    picture: sanitize.Picture,
    owner_id: UUID | None = None,
    name: str | None = None,
) -> AddedImage:
    """Store a picture that was sanitized already, as `add` does.

    Raises:
        NotFound: the owner does not exist.
        Unavailable: the storage does not answer.
    """
    check_application(application)
    given = _Given(names.path_name(name or ""), None, None)
    return _add_picture(database, blobs, settings, application, owner_id, picture, given)


def _add_picture(
    database: Database,
    blobs: BlobStore,
    settings: Settings,
    application: str,
    owner_id: UUID | None,
    picture: sanitize.Picture,
    given: _Given,
) -> AddedImage:
    try:
        with database.session() as session:
            return _store(session, blobs, settings, application, owner_id, picture, given)
    except IntegrityError as error:
        if owner_id is None:
            raise
        raise NotFound(f"user {owner_id} does not exist") from error


def _store(
    session: Session,
    blobs: BlobStore,
    settings: Settings,
    application: str,
    owner_id: UUID | None,
    picture: sanitize.Picture,
    given: _Given,
) -> AddedImage:
    sha256 = sha256_hex(picture.data)
    if given.external_id is not None:  # taken one after another, so that the second is told of the first
        lock_name(session, f"external_id:{application}:{owner_id}:{given.external_id}")
        _require_free(session, application, owner_id, given.external_id, except_upload=picture.upload_sha256)
    lock_name(session, f"blob:{sha256}")  # an erasure must not delete the same blob meanwhile
    row_id = new_id()
    row = {
        "id": row_id,
        "application": application,
        "owner_id": owner_id,
        "sha256": sha256,
        "upload_sha256": picture.upload_sha256,
        "width_px": picture.width_px,
        "height_px": picture.height_px,
        "size_bytes": len(picture.data),
        "media_type": picture.media_type,
        "name": given.name,
        "external_id": given.external_id,
        "theme": given.theme,
        "created_at": utcnow(),
    }
    insert_ignoring_conflicts(session, ImageRow, [row])
    image = _find_upload(session, application, owner_id, picture.upload_sha256)
    assert image is not None
    given.add_to(image)
    if image.sha256 != sha256 and not blobs.is_intact(image.sha256):
        # another version of the library has encoded the same file in other bytes: they replace the lost ones
        image.sha256, image.size_bytes = sha256, len(picture.data)
        session.flush()
    needs_repair = not blobs.is_intact(sha256)
    blobs.put(picture.data)
    if needs_repair:  # extractions failed because of the blob, not of the image
        delete_failed(session, sa.select(ImageRow.id).where(ImageRow.sha256 == sha256))
    request_features(session, [image.id], settings)
    return AddedImage(image, image.id == row_id, feature_states(session, [image.id], settings)[image.id])


def _require_free(
    session: Session, application: str, owner_id: UUID | None, external_id: str, except_upload: str = ""
) -> None:
    """Raise Conflict if another image than that of an uploaded file has this own id."""
    query = sa.select(ImageRow.id).where(
        ImageRow.application == application,
        _of_owner(owner_id),
        ImageRow.external_id == external_id,
        ImageRow.upload_sha256 != except_upload,
    )
    if (other := session.execute(query).scalar_one_or_none()) is not None:
        raise Conflict(f"external_id {external_id!r} is that of image {other}, whose file is another one")


def _of_owner(owner_id: UUID | None) -> sa.ColumnElement[bool]:
    return ImageRow.owner_id == owner_id if owner_id is not None else ImageRow.owner_id.is_(None)


def _find_upload(session: Session, application: str, owner_id: UUID | None, upload_sha256: str) -> ImageRow | None:
    query = sa.select(ImageRow).where(
        ImageRow.application == application, _of_owner(owner_id), ImageRow.upload_sha256 == upload_sha256
    )
    return session.execute(query).scalar_one_or_none()


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


def _count_of(*conditions: sa.ColumnElement[bool]) -> Prepared:
    def build(dialect: str) -> sa.Select[Any]:
        # Conditions of the count, not of the rows: SQLite would read all images of the application by their index.
        of_application = ImageRow.application == sa.bindparam("application", type_=sa.String())
        counted = sa.case((sa.and_(of_application, *conditions), 1))
        return sa.select(sa.func.count(counted)).where(ImageRow.id.in_(one_of(dialect, "ids", sa.Uuid())))

    return Prepared(build)


_NUM_OF_APPLICATION: Final = _count_of()
_NUM_OF_USER: Final = _count_of(
    sa.or_(ImageRow.owner_id.is_(None), ImageRow.owner_id == sa.bindparam("user_id", type_=sa.Uuid()))
)


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
    base = base_models.find_default(session, settings)
    if base is None:
        return None
    has_features = sa.exists().where(
        FeaturesRow.extractor_digest == base.extractor_digest, FeaturesRow.image_id == ImageRow.id
    )
    missing = sa.select(ImageRow.id).where(~has_features).limit(1)
    if image_ids is not None:
        missing = missing.where(ImageRow.id.in_(image_ids))
    if session.execute(missing).first() is None:
        return None
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
