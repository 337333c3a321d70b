"""Matches: a new user's starting point, and the evidence for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, Field

from paaplus.api.schemas.common import In, Many, Out, UserRef
from paaplus.db.tables.experts import MatchKind
from paaplus.services.adapters.matches import MatchView


class MatchIn(In):
    """`experts`: choose among these; omitted: all of the application. `kind`: choose the best of this kind only."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"experts": ["dr-ada"], "kind": "expert"}]})

    experts: Many[UserRef] | None = Field(None, min_length=1, max_length=500)
    kind: MatchKind | None = None


class MatchedExpertOut(Out):
    user_id: UUID
    name: str = Field(examples=["Dr. Ada"])
    domain: str = Field(examples=["posture"])
    share: float = Field(description="The expert's weight in the starting point.", examples=[0.4])
    adapter_number: int | None = Field(description="The version of the expert's model; null if it was erased.")


class MatchOut(Out):
    """A user's match.

    `evidence` has the number of answers, the probability of every candidate, and each expert's agreement with the user
    on pairs. `stale`: an expert of the match was erased; trainings then start from the general prior.
    """

    id: UUID
    user_id: UUID
    kind: MatchKind
    reason: str = Field(examples=["agrees with you on 9 of 11 pairs; 84% sure"])
    experts: list[MatchedExpertOut]
    evidence: dict[str, Any] = Field(
        examples=[{"num_ratings": 0, "num_comparisons": 11, "probabilities": {"generic": 0.1, "combination": 0.9}}]
    )
    version: int | None = Field(description="The adapter version that the match made: usually 0. Null if it made none.")
    is_live: bool = Field(description="True if that version is the active version.")
    stale: bool
    for_default_base_model: bool = Field(description="False if another base model has become the default.")
    created_at: datetime

    @classmethod
    def of(cls, view: MatchView) -> MatchOut:
        row, version = view.row, view.version
        return cls(
            id=row.id,
            user_id=row.user_id,
            kind=row.kind,
            reason=row.reason,
            experts=[MatchedExpertOut.model_validate(expert) for expert in view.experts],
            evidence=row.evidence,
            version=version.number if version is not None else None,
            is_live=version is not None and version.state == "active",
            stale=row.stale_at is not None,
            for_default_base_model=view.is_of_default_base,
            created_at=row.created_at,
        )
