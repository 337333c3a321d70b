"""Base models."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from paaplus.api.schemas.common import Out


class BaseModelRef(Out):
    """A base model. Its digest covers everything that its scores depend on."""

    name: str = Field(examples=["lite"])
    version: int = Field(examples=[1])
    digest: str


class BaseModelOut(BaseModelRef):
    id: UUID
    extractor_digest: str
    aspects: list[str] = Field(examples=[["beauty"]])
    feature_dim: int
    metrics: dict[str, Any]
    retired_at: datetime | None
    created_at: datetime


class BaseModelsOut(Out):
    """Newest first."""

    items: list[BaseModelOut]
