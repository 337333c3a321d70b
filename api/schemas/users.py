"""Users and their policies."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from api.schemas.adapters import AdapterSummary
from api.schemas.common import Flag, In, Name, Number, Out, Whole
from paaplus.configs import ADAPTER_STRATEGIES, STRATEGY_NAMES
from paaplus.services.names import APPLICATION_PATTERN

Application = Annotated[str, StringConstraints(pattern=APPLICATION_PATTERN), Field(examples=["photo-app"])]


class TrainingOverridesIn(In):
    num_steps: Whole | None = None
    batch_size: Whole | None = None
    replay_batch_size: Whole | None = None
    buffer_size: Whole | None = None
    learning_rate: Number | None = None
    weight_decay: Number | None = None
    rank: Whole | None = None
    ewc_lambda: Number | None = None
    ewc_decay: Number | None = None
    seed: Whole | None = None


class GateOverridesIn(In):
    min_evidence: Whole | None = None
    margin: Number | None = None
    min_probability: Number | None = None
    forgetting_margin: Number | None = None
    max_negative_flip_rate: Number | None = None
    trust_region: Number | None = None


class PolicyOverridesIn(In):
    """What differs from the deployment's default; what is left out follows the default."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"min_new_feedback": 5, "strategy": "bayes"}]})

    adapter: Literal[tuple(ADAPTER_STRATEGIES)] | None = None  # type: ignore[valid-type]
    strategy: Literal[STRATEGY_NAMES] | None = None  # type: ignore[valid-type]
    min_new_feedback: Whole | None = None
    max_interval_s: Number | None = None
    paused: Flag | None = None
    training: TrainingOverridesIn | None = None
    gate: GateOverridesIn | None = None

    def to_overrides(self) -> dict[str, Any]:
        """The fields that were given, less nulls."""
        return self.model_dump(exclude_none=True)


class UserIn(In):
    external_id: Name = Field(description="The application's own name for the user.", examples=["ada"])
    policy: PolicyOverridesIn | None = None
    application: Application | None = Field(None, description="For admin keys, which belong to no application.")


class UserOut(Out):
    id: UUID
    external_id: str = Field(examples=["ada"])
    application: str = Field(examples=["photo-app"])
    policy: dict[str, Any] = Field(description="In force: the default with this user's overrides.")
    policy_overrides: dict[str, Any]
    pinned: bool
    active_adapter: AdapterSummary | None
    feedback_sequence: int = Field(description="Number of the last event.")
    trained_sequence: int = Field(description="The last event that a training has seen.")
    pending_feedback: int = Field(description="Events that wait for the next training.")
    next_due_at: datetime | None
    due_reason: str | None
    last_trained_at: datetime | None
    created_at: datetime
