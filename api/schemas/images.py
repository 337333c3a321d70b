"""Images. Uploads are multipart forms."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from paaplus.api.schemas.common import Out
from paaplus.db.tables import ImageRow
from paaplus.services.images.images import FeatureState


class ImageOut(Out):
    """A stored image: upright, in sRGB, without metadata. `sha256` is the digest of the stored bytes."""

    id: UUID
    sha256: str
    width_px: int = Field(examples=[1024])
    height_px: int = Field(examples=[768])
    size_bytes: int
    media_type: Literal["image/jpeg", "image/png"]
    name: str | None = Field(description="The file's name, or its path in a folder.", examples=["2026/beach.jpg"])
    external_id: str | None = Field(description="The application's own id.", examples=["asset-17"])
    theme: str | None = Field(examples=["portrait"])
    owner_id: UUID | None
    created_at: datetime
    features: Literal["ready", "pending", "failed"] = Field(description="ready: it can be scored.")
    job_id: UUID | None = Field(description="The job that extracts its features, if there is one.")
    error: str | None = Field(description="Why the image cannot be scored.")

    @classmethod
    def of(cls, row: ImageRow, features: FeatureState) -> ImageOut:
        names = set(cls.model_fields) - {"features", "job_id", "error"}
        return cls(
            **{name: getattr(row, name) for name in names},
            features=features.state,
            job_id=features.job_id,
            error=features.error,
        )
