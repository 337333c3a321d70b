"""Adapter versions, their history, and changes of the active version."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from paaplus.api.schemas.base_models import BaseModelRef
from paaplus.api.schemas.common import In, Many, Out, Reason, Whole
from paaplus.db.tables import AdapterRow, BaseModelRow
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.services.adapters.versions import Comparison


class AdapterSummary(Out):
    """One immutable version of one user's adapter."""

    id: UUID
    number: int = Field(examples=[3])
    digest: str
    kind: str = Field(examples=["taste_vector"])
    strategy: str = Field(examples=["bayes"])
    state: AdapterState
    num_ratings: int
    high_water_sequence: int = Field(description="The last event of the user's log that its training read.")
    size_bytes: int
    base_model: BaseModelRef
    created_at: datetime

    @classmethod
    def of(cls, row: AdapterRow, base_models: dict[UUID, BaseModelRow]) -> AdapterSummary:
        return cls(**_summary(row, base_models))


class AdapterOut(AdapterSummary):
    """A version with its metrics and the gate's report."""

    parent_id: UUID | None
    metrics: dict[str, Any]
    gate_report: dict[str, Any]

    @classmethod
    def of(cls, row: AdapterRow, base_models: dict[UUID, BaseModelRow]) -> AdapterOut:
        return cls(
            **_summary(row, base_models), parent_id=row.parent_id, metrics=row.metrics, gate_report=row.gate_report
        )


def _summary(row: AdapterRow, base_models: dict[UUID, BaseModelRow]) -> dict[str, Any]:
    names = set(AdapterSummary.model_fields) - {"base_model"}
    base_model = BaseModelRef.model_validate(base_models[row.base_model_id])
    return {name: getattr(row, name) for name in names} | {"base_model": base_model}


class MetricPair(Out):
    """One metric of two versions; null if a version does not have it."""

    a: Any
    b: Any


class ComparisonOut(Out):
    a: AdapterSummary
    b: AdapterSummary
    metrics: dict[str, MetricPair]

    @classmethod
    def of(cls, comparison: Comparison, base_models: dict[UUID, BaseModelRow]) -> ComparisonOut:
        return cls(
            a=AdapterSummary.of(comparison.a, base_models),
            b=AdapterSummary.of(comparison.b, base_models),
            metrics={name: MetricPair(a=a, b=b) for name, (a, b) in comparison.metrics.items()},
        )


class HistoryEntryOut(Out):
    """One change of the active version. `details` has the version numbers `from` and `to`; null is the base model."""

    id: UUID
    move: PointerMove
    actor: str
    reason: str
    details: dict[str, Any]
    created_at: datetime


class RunOut(Out):
    """One finished training."""

    id: UUID
    job_id: UUID | None
    strategy: str
    outcome: RunOutcome
    from_sequence: int
    to_sequence: int
    num_new: int
    num_held_out: int
    device: str
    metrics: dict[str, Any]
    timings: dict[str, Any]
    started_at: datetime
    finished_at: datetime


class VersionMetricsOut(Out):
    number: int
    state: AdapterState
    strategy: str
    num_ratings: int
    metrics: dict[str, Any]
    created_at: datetime


class MetricsOut(Out):
    """Quality of the latest versions of a user, and the latest trainings, newest first."""

    user_id: UUID
    versions: list[VersionMetricsOut]
    runs: list[RunOut]


class ExclusionOut(Out):
    """An excluded event: no training uses it until it is released.

    `kind`: a person rolled back past it, or the gate set it aside because it follows no order with the other feedback.
    The gate may end a quarantine by itself. An event that a person has released is not quarantined again.
    """

    sequence: int
    kind: Literal["rollback", "quarantine"]
    reason: str
    actor: str
    created_at: datetime


class RollbackIn(In):
    """`to`: a version's number or "base"; omitted: the version that the active one was trained from.

    0 is the version that a match made; for a user without a match it is the base model too.
    """

    to: Annotated[Whole, Field(ge=0)] | Literal["base"] | None = Field(None, examples=[1, "base"])
    active: Annotated[Whole, Field(ge=0)] | None = Field(
        None, description="Number that the active version must have, else the call is a conflict.", examples=[2]
    )
    feedback: Literal["exclude", "keep"] = Field(
        "exclude", description="exclude: later feedback does not train, and makes nobody due, until it is released."
    )
    reason: Reason = Field(examples=["the last update made portraits worse"])


class ReleaseIn(In):
    """`sequences`: numbers of events; omitted: all excluded events."""

    sequences: Many[Whole] | None = Field(None, min_length=1, max_length=5_000, examples=[[11, 12]])
    reason: Reason = Field(examples=["checked with the user"])


class PointerChangeOut(Out):
    """The active version's number before and after; null is the base model."""

    user_id: UUID
    from_number: int | None
    to_number: int | None
    num_excluded: int
    num_released: int


class ReleasedOut(Out):
    num_released: int


class JobRef(Out):
    job_id: UUID
