"""Maps as answered while they are drawn, and themes as asked for."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from paaplus.api.schemas.common import In, Out


class MapJobOut(Out):
    """The job that draws the map."""

    job_id: UUID


class ThemeIn(In):
    """One tag of an image; null takes it away."""

    theme: str | None = Field(max_length=64, examples=["portrait"])
