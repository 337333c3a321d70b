"""Images, their cached features, and maps that tools drew of them."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base, partial_unique


class ImageRow(Base):
    """One image of an application, or of one of its users when `owner_id` is set.

    `sha256` is the digest of the stored bytes, after sanitizing. `upload_sha256` is that of the uploaded file, so that
    a repeated upload finds the same row. `theme` is a tag that the application or the owner sets. `external_id` is the
    application's own id, `name` a file name or a relative path.
    """

    __tablename__ = "images"
    __table_args__ = (
        partial_unique("uq_images_application_upload", "application", "upload_sha256", where="owner_id IS NULL"),
        partial_unique("uq_images_owner_upload", "owner_id", "upload_sha256", where="owner_id IS NOT NULL"),
        partial_unique(
            "uq_images_application_external_id",
            "application",
            "external_id",
            where="owner_id IS NULL AND external_id IS NOT NULL",
        ),
        partial_unique(
            "uq_images_owner_external_id",
            "owner_id",
            "external_id",
            where="owner_id IS NOT NULL AND external_id IS NOT NULL",
        ),
        sa.Index("ix_images_sha256", "sha256"),
        sa.Index("ix_images_application_name", "application", "name"),
        sa.Index(
            "ix_images_shared_in_order",
            "application",
            "sha256",
            "id",
            sqlite_where=sa.text("owner_id IS NULL"),
            postgresql_where=sa.text("owner_id IS NULL"),
        ),
        sa.Index("ix_images_application_theme", "application", "theme"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application: Mapped[str] = mapped_column(sa.String(64))
    owner_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str] = mapped_column(sa.String(64))
    upload_sha256: Mapped[str] = mapped_column(sa.String(64))
    width_px: Mapped[int]
    height_px: Mapped[int]
    size_bytes: Mapped[int]
    media_type: Mapped[str] = mapped_column(sa.String(32))
    name: Mapped[str | None] = mapped_column(sa.String(512))
    external_id: Mapped[str | None] = mapped_column(sa.String(128))
    theme: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[datetime]


class FeaturesRow(Base):
    """An image's features by one extractor: float16 bytes with their digest, or the error why it has none.

    `sha256` is over extractor, image and bytes (`services/images/features.py`), so a changed or exchanged row shows.
    """

    __tablename__ = "features"

    extractor_digest: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    image_id: Mapped[UUID] = mapped_column(sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True, index=True)
    data: Mapped[bytes | None]
    sha256: Mapped[str | None] = mapped_column(sa.String(64))
    error: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime]


class ImageMapRow(Base):
    """A tool's map of an image: NumPy's file of float16, or the error that stopped it for good.

    In the database and not among the blobs, so that it goes with its image.
    """

    __tablename__ = "image_maps"

    image_id: Mapped[UUID] = mapped_column(sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    tool: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    tool_version: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    data: Mapped[bytes | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    meaning: Mapped[str | None] = mapped_column(sa.String(256))
    error: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime]
