"""Users and their policies."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, create_model

from paaplus.api.schemas.adapters import AdapterSummary
from paaplus.api.schemas.common import Flag, Id, In, Number, Out, Whole
from paaplus.configs import ADAPTER_STRATEGIES, STRATEGY_NAMES, DriftConfig, GateConfig, Policy, TrainingConfig
from paaplus.services.names import APPLICATION_PATTERN

Application = Annotated[str, StringConstraints(pattern=APPLICATION_PATTERN), Field(examples=["photo-app"])]


def _overrides(name: str, config: type[TrainingConfig | GateConfig | DriftConfig | Policy], **special: Any) -> type[In]:
    """A schema with all fields of a configuration, each optional. Built from it, so that both always agree."""
    strict = {"int": Whole, "float": Number, "bool": Flag}  # by annotation, which `configs` keeps as text
    types = {field.name: special.get(field.name) or strict[str(field.type)] for field in fields(config)}
    return create_model(name, __base__=In, **{field: (kind | None, None) for field, kind in types.items()})  # type: ignore[call-overload, no-any-return]


TrainingOverridesIn = _overrides("TrainingOverridesIn", TrainingConfig)
GateOverridesIn = _overrides("GateOverridesIn", GateConfig)
DriftOverridesIn = _overrides("DriftOverridesIn", DriftConfig)


class PolicyOverridesIn(
    _overrides(  # type: ignore[misc]
        "PolicyOverrides",
        Policy,
        adapter=Literal[tuple(ADAPTER_STRATEGIES)],
        strategy=Literal[STRATEGY_NAMES],
        training=TrainingOverridesIn,
        gate=GateOverridesIn,
        drift=DriftOverridesIn,
    )
):
    """Fields that differ from the deployment's default. An omitted field follows the default."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"min_new_feedback": 5, "strategy": "bayes"}]})

    def to_overrides(self) -> dict[str, Any]:
        """The given fields, without nulls."""
        overrides: dict[str, Any] = self.model_dump(exclude_none=True)
        return overrides


class UserIn(In):
    external_id: Id = Field(description="The application's name for the user.", examples=["ada"])
    policy: PolicyOverridesIn | None = None
    application: Application | None = Field(
        None, description="Needed with an admin key, which belongs to no application."
    )


class SharingIn(In):
    shares_taste: Flag


class UserOut(Out):
    id: UUID
    external_id: str = Field(examples=["ada"])
    application: str = Field(examples=["photo-app"])
    policy: dict[str, Any] = Field(description="The default with this user's overrides.")
    policy_overrides: dict[str, Any]
    pinned: bool
    shares_taste: bool = Field(description="Taste priors and survey encoders may be learned from this user's feedback.")
    active_adapter: AdapterSummary | None
    feedback_sequence: int = Field(description="Number of the user's last event.")
    trained_sequence: int = Field(description="The last event that a training has read.")
    pending_feedback: int = Field(description="Number of events that wait for the next training.")
    next_due_at: datetime | None
    due_reason: str | None
    last_trained_at: datetime | None
    created_at: datetime
