"""Experts: users whose reviewed labels train one model each. New users are matched with these models.

An expert's model is the expert's active adapter version. It is trained, gated, rolled back and erased like any other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from paaplus.configs import MATCH_STRATEGY
from paaplus.db.locks import lock_user
from paaplus.db.tables import AdapterRow, BaseModelRow, ExpertRow, FeedbackRow, MatchRow, UserRow
from paaplus.db.tables.experts import ExpertForm
from paaplus.db.tables.models import AdapterState
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import NotFound
from paaplus.scoring.adapters import TasteVector, adapter_from_bytes
from paaplus.services import audit, scheduling
from paaplus.services.users import users
from paaplus.services.users.keys import Principal
from paaplus.texts import clean_name

if TYPE_CHECKING:
    from paaplus.scoring import matching

NAME_MAX: Final = 128
DOMAIN_MAX: Final = 64
REVIEW_SOURCE: Final = "review"  # `FeedbackRow.source` of what a review writes


@dataclass(frozen=True, slots=True)
class ExpertModel:
    """An expert's active taste vector for one base model, which users can be matched with."""

    user_id: UUID
    name: str
    adapter_id: UUID
    adapter: TasteVector
    num_ratings: int

    def for_matching(self) -> matching.Expert:
        """The model as `scoring.matching` takes it."""
        from paaplus.scoring import matching  # imports scipy, which no other request needs

        return matching.Expert(str(self.user_id), self.adapter, self.num_ratings)


@dataclass(frozen=True, slots=True)
class ExpertView:
    """An expert with the active version, as the API shows them. `not_matched_because`: None if users are matched."""

    row: ExpertRow
    user: UserRow
    version: AdapterRow | None
    num_revised_labels: int
    not_matched_because: str | None


def register(
    session: Session, user_id: UUID, *, name: str, domain: str, form: ExpertForm, actor: str
) -> tuple[ExpertRow, bool]:
    """Make the user an expert, or change the expert's name, domain and form; and whether the expert is new.

    A match of the user ends: an expert's model must learn from the expert's own labels only.

    Raises:
        InvalidInput: no proper name or domain.
        NotFound: no such user.
    """
    name = clean_name(name, NAME_MAX, "an expert's name")
    domain = clean_name(domain, DOMAIN_MAX, "an expert's domain")
    user = locked_user(session, user_id)
    row = session.get(ExpertRow, user_id)
    is_new, changes_form = row is None, row is not None and row.form != form
    if row is None:
        row = ExpertRow(user_id=user_id, name=name, domain=domain, form=form, created_at=utcnow())
        session.add(row)
    elif (row.name, row.domain, row.form) == (name, domain, form):
        return row, False
    row.name, row.domain, row.form = name, domain, form
    session.flush()
    ended = session.execute(
        sa.update(MatchRow)
        .where(MatchRow.user_id == user_id, MatchRow.superseded_at.is_(None))
        .values(superseded_at=utcnow())
    )
    if ended.rowcount or changes_form or (is_new and form == ExpertForm.HEAD):  # type: ignore[attr-defined]
        user.epoch += 1  # a running training has the old starting point: it must not commit
        scheduling.due_for_new_match(session, user)
    audit.record(session, actor=actor, action="expert_registered", subject_id=user_id, details={"form": form.value})
    return row, is_new


def get(session: Session, user_id: UUID) -> ExpertRow:
    """The expert with this user id.

    Raises:
        NotFound: the user is no expert.
    """
    row = session.get(ExpertRow, user_id)
    if row is None:
        raise NotFound(f"user {user_id} is no expert")
    return row


def forms_of(session: Session, user_ids: Collection[UUID]) -> dict[UUID, ExpertForm]:
    """The forms of the models of those of the users who are experts."""
    rows = session.execute(sa.select(ExpertRow.user_id, ExpertRow.form).where(ExpertRow.user_id.in_(user_ids)))
    return {row.user_id: row.form for row in rows}


def set_retired(session: Session, user_id: UUID, retired: bool, *, actor: str) -> ExpertRow:
    """Retire an expert, so that no new user is matched with them, or restore one. Repeating it changes nothing.

    Raises:
        NotFound: the user is no expert.
    """
    lock_user(session, user_id)
    row = get(session, user_id)
    if retired != (row.retired_at is not None):
        row.retired_at = utcnow() if retired else None
        session.flush()
        action = "expert_retired" if retired else "expert_restored"
        audit.record(session, actor=actor, action=action, subject_id=user_id)
    return row


def list_experts(
    session: Session,
    principal: Principal,
    *,
    application: str | None = None,
    domain: str | None = None,
    limit: int = 100,
    before: UUID | None = None,
) -> list[ExpertRow]:
    """Experts that this principal may see, newest user first."""
    query = (
        sa.select(ExpertRow)
        .join(UserRow, UserRow.id == ExpertRow.user_id)
        .where(users.visible_users(principal))
        .order_by(ExpertRow.user_id.desc())
        .limit(limit)
    )
    if application is not None:
        query = query.where(UserRow.application == application)
    if domain is not None:
        query = query.where(ExpertRow.domain == domain)
    if before is not None:
        query = query.where(ExpertRow.user_id < before)
    return list(session.execute(query).scalars())


def describe(session: Session, rows: Collection[ExpertRow], base_row: BaseModelRow | None) -> list[ExpertView]:
    """Experts with their active versions and numbers of revised labels, in the order given.

    Args:
        base_row: the default base model; None: there is none yet.
    """
    ids = [row.user_id for row in rows]
    people = {user.id: user for user in session.execute(sa.select(UserRow).where(UserRow.id.in_(ids))).scalars()}
    active = users.active_adapters(session, ids)
    counted = session.execute(
        sa.select(FeedbackRow.user_id, sa.func.count())
        .where(FeedbackRow.user_id.in_(ids), FeedbackRow.source == REVIEW_SOURCE)
        .group_by(FeedbackRow.user_id)
    )
    num_revised = {user_id: int(count) for user_id, count in counted}
    return [
        ExpertView(
            row,
            people[row.user_id],
            version := active.get(row.user_id),
            num_revised.get(row.user_id, 0),
            _why_not_matched(row, version, base_row),
        )
        for row in rows
    ]


def _why_not_matched(row: ExpertRow, version: AdapterRow | None, base_row: BaseModelRow | None) -> str | None:
    if row.retired_at is not None:
        return "retired"
    if base_row is None:
        return "there is no base model yet"
    if version is None:
        return "no model yet: it needs reviewed labels and a training"
    if version.base_model_id != base_row.id:
        return f"their model is for another base model than {base_row.name}@{base_row.version}"
    if version.kind != TasteVector.kind:
        return f"their model is of kind {version.kind!r}, only {TasteVector.kind!r} can be matched"
    if version.strategy == MATCH_STRATEGY:
        return "their model is a match with others"
    return None


def models(
    session: Session, application: str, base_row: BaseModelRow, *, without: UUID | None = None
) -> list[ExpertModel]:
    """Models of all experts that a user of the application can be matched with, in order of user id.

    Args:
        without: the user to match, who may be an expert.
    """
    rows = session.execute(
        sa.select(ExpertRow, AdapterRow)
        .join(UserRow, UserRow.id == ExpertRow.user_id)
        .join(AdapterRow, AdapterRow.user_id == ExpertRow.user_id)
        .where(
            UserRow.application == application,
            AdapterRow.state == AdapterState.ACTIVE,
            ExpertRow.retired_at.is_(None),
        )
        .order_by(ExpertRow.user_id)
        .options(undefer(AdapterRow.data))
    )
    found = []
    for row, version in rows:
        if row.user_id == without or _why_not_matched(row, version, base_row) is not None:
            continue
        adapter = adapter_from_bytes(version.data)
        assert isinstance(adapter, TasteVector), "a taste vector by its row"
        found.append(ExpertModel(row.user_id, row.name, version.id, adapter, version.num_ratings))
    return found


def models_of(session: Session, application: str, base_row: BaseModelRow) -> list[matching.Expert]:
    """The same models as `scoring.matching` takes them."""
    return [model.for_matching() for model in models(session, application, base_row)]
