"""Experts and the models that new users are matched with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from paaplus.api.schemas.adapters import AdapterSummary
from paaplus.api.schemas.common import In, Name, Out
from paaplus.db.tables import BaseModelRow
from paaplus.db.tables.experts import ExpertForm
from paaplus.services.experts.experts import DOMAIN_MAX, ExpertView
from paaplus.services.experts.quality import Agreement, HeldOut

Domain = Annotated[Name, StringConstraints(max_length=DOMAIN_MAX)]


class ExpertIn(In):
    """`form`: pooled corrects the generic score; head learns a score of its own on the shared features."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Dr. Ada", "domain": "posture", "form": "pooled"}]}
    )

    name: Name = Field(description="The name that matched users are shown.")
    domain: Domain = Field(description="The kind of objects that the expert judges.")
    form: ExpertForm = ExpertForm.POOLED


class ExpertOut(Out):
    """An expert. The active adapter is the expert's model. `not_matched_because`: why no user is matched with it."""

    user_id: UUID
    external_id: str = Field(examples=["dr-ada"])
    name: str = Field(examples=["Dr. Ada"])
    domain: str = Field(examples=["posture"])
    form: ExpertForm
    model: AdapterSummary | None
    metrics: dict[str, Any] | None = Field(description="Quality of the model, measured by its training and the gate.")
    num_revised_labels: int = Field(description="Pseudo labels that the expert has reviewed.")
    not_matched_because: str | None = Field(examples=["no model yet: it needs reviewed labels and a training"])
    created_at: datetime
    retired_at: datetime | None

    @classmethod
    def of(cls, described: ExpertView, base_models: dict[UUID, BaseModelRow]) -> ExpertOut:
        row, version = described.row, described.version
        return cls(
            user_id=row.user_id,
            external_id=described.user.external_id,
            name=row.name,
            domain=row.domain,
            form=row.form,
            model=AdapterSummary.of(version, base_models) if version is not None else None,
            metrics=version.metrics if version is not None else None,
            num_revised_labels=described.num_revised_labels,
            not_matched_because=described.not_matched_because,
            created_at=row.created_at,
            retired_at=row.retired_at,
        )


class HeldOutOut(Out):
    """Error of the model on the expert's held-out labels, one aspect."""

    num_images: int
    srcc: dict[str, float | None] = Field(examples=[{"beauty": 0.71}], description="Null if it is undefined.")
    generic_srcc: dict[str, float | None] = Field(examples=[{"beauty": 0.55}])


class ExpertDetailOut(Out):
    """An expert, and the quality of the expert's model on held-out labels."""

    expert: ExpertOut
    held_out: HeldOutOut

    @classmethod
    def of(cls, expert: ExpertOut, held_out: HeldOut) -> ExpertDetailOut:
        return cls(expert=expert, held_out=HeldOutOut.model_validate(held_out))


class ExpertAgreementOut(Out):
    """Agreement of two experts on the images that both labelled, for one aspect."""

    first: UUID
    second: UUID
    aspect: str = Field(examples=["beauty"])
    num_images: int
    srcc: float | None = Field(
        description="Null for fewer than three images, and if an expert gave all images the same score."
    )
    mean_difference: float = Field(description="Mean absolute difference, in points of the 0-10 scale.")

    @classmethod
    def of(cls, agreement: Agreement) -> ExpertAgreementOut:
        return cls.model_validate(agreement)


class AgreementsOut(Out):
    """All pairs of the application's experts who labelled a common image."""

    items: list[ExpertAgreementOut]
