"""Uploads: store a picture once per application or owner, and request its features.

Everything that takes long is done before the transaction: decoding, hashing, writing the bytes. The transaction writes
the row and gives the bytes their name. On SQLite everybody who writes waits for it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from paaplus import pauses
from paaplus.db.engine import Database
from paaplus.db.locks import lock_name
from paaplus.db.tables import ImageRow
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_unless_there
from paaplus.errors import Conflict, NotFound, Unavailable
from paaplus.ids import new_id, sha256_hex
from paaplus.services.images import names, sanitize
from paaplus.services.images.features import delete_failed
from paaplus.services.images.images import FeatureState, feature_states, request_features, request_features_of_new
from paaplus.services.names import check_application
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore, Staged

STAGED_FOR: Final = timedelta(hours=1)  # longer than any upload takes
_MAX_TRIES: Final = 5  # of storing a picture whose image is deleted at the same moment


@dataclass(frozen=True, slots=True)
class AddedImage:
    """An image after its upload. `created` is False if the same file was uploaded before."""

    row: ImageRow
    created: bool
    features: FeatureState


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
class _Upload:
    """A picture that is staged, and what its row will say."""

    staged: Staged
    row: dict[str, Any]
    given: _Given
    is_repair: bool  # images have it, and there is no intact blob of it


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

    The file is decoded, and its picture written, outside any transaction. Row, the picture's name and job are written
    in one.

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
        known = session.execute(_same_upload(application, owner_id, upload_sha256)).scalar_one_or_none()
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


def sweep(database: Database, blobs: BlobStore) -> int:
    """Delete what uploads of killed processes have left; returns how many. Several processes may do it at once.

    Raises:
        Unavailable: the storage does not answer.
    """
    left = blobs.list_staged(before=utcnow() - STAGED_FOR)
    for staged in left:
        with database.session() as session:
            delete_unnamed(session, blobs, staged.sha256)
        blobs.unstage(staged)
    return len(left)


def delete_unnamed(session: Session, blobs: BlobStore, sha256: str) -> None:
    """Delete a picture's blob, unless an image has it. An upload of the same picture waits, then writes it again.

    Rows are locked before, because an upload locks its row first too.

    Raises:
        Unavailable: the storage does not answer.
    """
    lock_name(session, f"blob:{sha256}")
    if session.execute(sa.select(ImageRow.id).where(ImageRow.sha256 == sha256).limit(1)).first() is None:
        blobs.delete(sha256)


def _add_picture(
    database: Database,
    blobs: BlobStore,
    settings: Settings,
    application: str,
    owner_id: UUID | None,
    picture: sanitize.Picture,
    given: _Given,
) -> AddedImage:
    staged = blobs.stage(picture.data, owner_id)
    try:
        row = {
            "id": new_id(),
            "application": application,
            "owner_id": owner_id,
            "sha256": staged.sha256,
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
        upload = _Upload(staged, row, given, is_repair=_is_lost(database, blobs, staged.sha256))
        with database.session() as session:
            image_id = _store(session, blobs, settings, upload)
    except IntegrityError as error:
        if owner_id is None:
            raise
        raise NotFound(f"user {owner_id} does not exist") from error
    finally:
        with suppress(Unavailable):  # what is left is swept
            blobs.unstage(staged)
    with database.read_session() as session:
        image = session.get(ImageRow, image_id)
        if image is None:
            raise NotFound(f"image {image_id} was deleted meanwhile")
        return AddedImage(image, image_id == row["id"], feature_states(session, [image_id], settings)[image_id])


def _is_lost(database: Database, blobs: BlobStore, sha256: str) -> bool:
    """Whether images have this picture, and the storage has no intact copy of it."""
    with database.read_session() as session:
        is_named = session.execute(sa.select(ImageRow.id).where(ImageRow.sha256 == sha256).limit(1)).first() is not None
    return is_named and not blobs.is_intact(sha256)


def _store(session: Session, blobs: BlobStore, settings: Settings, upload: _Upload) -> UUID:
    """Write the row and name the blob, under the lock; returns the image's id.

    The row is locked before the blob, as by whoever deletes an image: in the other order both could wait for ever.
    """
    row, external_id = upload.row, upload.given.external_id
    if external_id is not None:  # taken one after another, so that the second is told of the first
        lock_name(session, f"external_id:{row['application']}:{row['owner_id']}:{external_id}")
        _require_free(session, row["application"], row["owner_id"], external_id, except_upload=row["upload_sha256"])
    image_id, sha256 = _write_row(session, blobs, upload)
    if sha256 == row["sha256"]:
        lock_name(session, f"blob:{sha256}")  # an erasure must not delete the same blob meanwhile
        blobs.adopt(upload.staged)
    if upload.is_repair:  # extractions failed because of the blob, not of the image
        delete_failed(session, sa.select(ImageRow.id).where(ImageRow.sha256 == row["sha256"]))
    if image_id == row["id"]:
        request_features_of_new(session, settings)
    else:
        request_features(session, [image_id], settings)
    return image_id


def _write_row(session: Session, blobs: BlobStore, upload: _Upload) -> tuple[UUID, str]:
    """Insert the image's row, or add to the one that is there; returns its id and the name of its blob."""
    row = upload.row
    query = _same_upload(row["application"], row["owner_id"], row["upload_sha256"])
    for _ in range(_MAX_TRIES):
        if insert_unless_there(session, ImageRow, row):
            return row["id"], row["sha256"]
        image = session.execute(query.with_for_update()).scalar_one_or_none()
        if image is None:  # deleted since the insert met it
            continue
        upload.given.add_to(image)
        if image.sha256 != row["sha256"] and not blobs.is_intact(image.sha256):
            # another version of the library has encoded the same file in other bytes: they replace the lost ones
            image.sha256, image.size_bytes = row["sha256"], row["size_bytes"]
        session.flush()
        return image.id, image.sha256
    raise Unavailable("the same picture is uploaded and deleted again and again; try again")


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


def _same_upload(application: str, owner_id: UUID | None, upload_sha256: str) -> sa.Select[ImageRow]:
    return sa.select(ImageRow).where(
        ImageRow.application == application, _of_owner(owner_id), ImageRow.upload_sha256 == upload_sha256
    )
