"""Ratings of the exposure of images. They are not in the feedback log, because no adapter is trained on them."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base


class ExposureRatingRow(Base):
    """A person's rating of an image's exposure, 0-10."""

    __tablename__ = "exposure_ratings"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[UUID] = mapped_column(sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True, index=True)
    score: Mapped[float]
    created_at: Mapped[datetime]
