"""What people said about the exposure of images: apart from the feedback log, since no adapter learns from it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base


class ExposureRatingRow(Base):
    """How well exposed a person finds an image, on 0-10. Taken back is deleted."""

    __tablename__ = "exposure_ratings"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[UUID] = mapped_column(sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True, index=True)
    score: Mapped[float]
    created_at: Mapped[datetime]
