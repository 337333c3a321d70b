"""What the API answers, as dataclasses. A field that this version does not know is left out.

Times are aware datetimes. Scores are by aspect, 0 to 10. `docs` of the server describes every field.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from paaplus.errors import InvalidInput

T = TypeVar("T")
Preference = Literal["first", "second", "tie", "cannot_say"]


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a user's adapter."""

    id: str
    number: int
    digest: str
    kind: str
    strategy: str
    state: str
    num_ratings: int
    high_water_sequence: int
    size_bytes: int
    created_at: datetime
    metrics: dict[str, Any] | None = None  # of one version that was asked for by its number, as the two below
    parent_id: str | None = None
    gate_report: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class User:
    """A user: what is served, what was learned, what waits."""

    id: str
    external_id: str
    application: str
    policy: dict[str, Any]
    policy_overrides: dict[str, Any]
    pinned: bool
    shares_taste: bool
    active_adapter: Version | None
    feedback_sequence: int
    trained_sequence: int
    pending_feedback: int
    next_due_at: datetime | None
    due_reason: str | None
    last_trained_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Image:
    """A stored image. `features`: ready, pending or failed."""

    id: str
    sha256: str
    width_px: int
    height_px: int
    size_bytes: int
    media_type: str
    name: str | None
    theme: str | None
    owner_id: str | None
    created_at: datetime
    features: str
    job_id: str | None
    error: str | None
    external_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServedAdapter:
    """The version that gave a score."""

    id: str
    number: int
    digest: str
    trained_at: datetime
    age_s: float


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Standard deviations by aspect, in score points: of the score, and of a rating by the user."""

    score_sd: dict[str, float]
    rating_sd: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """The base model that gave a score."""

    name: str
    version: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The scores of one image for one user. `status`: scored, pending or failed."""

    user_id: str
    image_id: str
    status: str
    scores: dict[str, float] | None
    generic: dict[str, float] | None
    source: str | None
    source_reason: str | None
    adapter: ServedAdapter | None
    confidence: Confidence | None
    receipt_id: str | None
    job_id: str | None
    retry_after_s: int | None
    error: str | None
    base_model: BaseModel | None = None


@dataclass(frozen=True, kw_only=True)
class ScoredUser:
    """What all scores of one user have in common."""

    user_id: str
    source: str
    source_reason: str
    adapter: ServedAdapter | None


@dataclass(frozen=True, kw_only=True)
class ScoreColumns:
    """Scores of several users and images as columns: first all images of the first user, then those of the second.

    `user` is each item's place in `users`, None where it has no score; `unscored` tells why, by the item's place.
    """

    users: list[ScoredUser]
    user: list[int | None]
    scores: dict[str, list[float | None]]
    generic: dict[str, list[float | None]]
    receipt_id: list[str | None] | None
    unscored: dict[str, Prediction]
    pending: int


@dataclass(frozen=True, kw_only=True)
class Audience:
    """Scores of one image by many users as columns: the same place in each is the same user. There are no receipts.

    `version` is None where the base model gave the scores; `failed` says by place why a user has none.
    """

    image_id: str
    generic: dict[str, float]
    user_id: list[str]
    external_id: list[str]
    scores: dict[str, list[float | None]]
    version: list[int | None]
    failed: dict[str, str]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class RankedImage:
    """One image of a ranking, with its places in the user's order and in everybody's, and the user's own answer."""

    image_id: str
    external_id: str | None
    name: str | None
    theme: str | None
    rank: int
    generic_rank: int
    score: float
    generic_score: float
    rating: float | None
    stars: int | None
    liked: bool | None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The first images of a user's order. Images without features are counted, not ranked."""

    user_id: str
    aspect: str
    source: str
    source_reason: str
    items: list[RankedImage]
    num_ranked: int
    num_pending: int
    num_failed: int
    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """One accepted event. `sequence` is its number in the user's log."""

    event_id: str
    status: str
    sequence: int
    trains: bool


@dataclass(frozen=True, kw_only=True)
class FeedbackItem:
    """The result of one event of many. `error` has `code` and `message`."""

    index: int
    event_id: str | None
    status: str
    sequence: int | None = None
    trains: bool | None = None
    error: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class FeedbackBatch:
    """The results of many events, in their order."""

    accepted: int
    duplicates: int
    rejected: int
    items: list[FeedbackItem]


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One change of the active version: who made it, when and why."""

    id: str
    move: str
    actor: str
    reason: str
    details: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class PointerChange:
    """The active version's number before and after; None is the base model."""

    user_id: str
    from_number: int | None
    to_number: int | None
    num_excluded: int
    num_released: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of the workers."""

    id: str
    kind: str
    state: str
    reason: str
    user_id: str | None
    last_error: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A new API key. `key` is shown this once."""

    id: str
    name: str
    scope: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """An address that is told of events. `disabled_at`: it failed too often."""

    id: str
    url: str
    kinds: list[str]
    application: str | None
    failures: int
    last_error: str | None
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class NewWebhook(Webhook):
    """A new webhook. `secret` checks its signatures, and is shown this once."""

    secret: str


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event for one webhook. `state`: waiting, sent or failed (given up). `last_error`: of the last try."""

    id: str
    event_id: str
    kind: str
    state: str
    attempts: int
    created_at: datetime
    next_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class UserEvent:
    """Something that happened to a user, for example `adapter.promoted`."""

    id: str
    type: str
    created_at: datetime
    data: dict[str, Any]


def read(kind: type[T], answer: Mapping[str, Any]) -> T:
    """An answer's JSON object as a dataclass.

    Raises:
        InvalidInput: a field is missing: the server is of another version.
    """
    hints = _hints(kind)  # type: ignore[arg-type]
    given = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in answer:
            given[field.name] = _value(hints[field.name], answer[field.name])
        elif field.default is MISSING:
            raise InvalidInput(f"the server's answer has no {field.name!r}, which this client expects")
    return kind(**given)


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if get_origin(hint) in (Union, types.UnionType):
        [hint] = [part for part in get_args(hint) if part is not types.NoneType]
    if hint is datetime:
        return datetime.fromisoformat(value)
    if is_dataclass(hint):
        return read(hint, value)  # type: ignore[arg-type]
    if get_origin(hint) is list:
        [item] = get_args(hint)
        return [_value(item, each) for each in value]
    return value
