"""Match a user with the experts: choose the user's starting point, and serve it as version 0.

The evidence is read in one transaction, the choice is computed outside any, and the match is written in a second
one, which checks that the user's epoch is the same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from paaplus.configs import MATCH_STRATEGY
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, ExpertRow, MatchExpertRow, MatchRow, UserRow
from paaplus.db.tables.experts import MatchKind
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.types import utcnow
from paaplus.db.users import existing_user, locked_user
from paaplus.errors import Conflict, InvalidInput, Unavailable
from paaplus.ids import new_id, sha256_hex
from paaplus.services import audit, scheduling
from paaplus.services.adapters import matches, versions
from paaplus.services.experts import match_evidence
from paaplus.services.experts.experts import ExpertModel
from paaplus.services.experts.match_evidence import MatchEvidence
from paaplus.services.experts.match_selection import ChosenMatch, choose
from paaplus.services.predictions.served_users import PREFERENCE_VERSION
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

MAX_TRIES: Final = 5
MAX_LISTED: Final = 20  # experts in the stored evidence, the most probable first


class _ChangedMeanwhile(Exception):
    """The user has changed since the evidence was read."""


def match(
    database: Database,
    blobs: BlobStore,
    store: ServingStore,
    settings: Settings,
    user_id: UUID,
    *,
    actor: str,
    expert_ids: Collection[UUID] | None = None,
    kind: MatchKind | None = None,
) -> MatchRow:
    """Choose the user's match and put it in force. If nothing has changed, the match in force stays.

    A user without a trained version is served by the match from now on, unless pinned. A user with trained versions
    keeps the active one and becomes due: the next training starts from the match.

    Args:
        expert_ids: only these experts; None: all of the application.
        kind: the best match of this kind, even if another is more probable.

    Raises:
        NotFound: no such user.
        InvalidInput: an expert who cannot be matched with, or the kind needs an expert and there is none.
        Conflict: the user is an expert.
        Unavailable: there is no base model, an artifact is damaged, or the user kept changing.
    """
    for _ in range(MAX_TRIES):
        with database.read_session() as session:
            evidence = _read(session, user_id, settings, expert_ids)
        chosen = choose(blobs, store, evidence, kind)
        try:
            with database.session() as session:
                return _write(session, blobs, evidence, chosen, actor)
        except (_ChangedMeanwhile, IntegrityError):  # IntegrityError: an expert was erased
            continue
    raise Unavailable(f"user {user_id} kept changing; nothing was matched, try again")


def _read(session: Session, user_id: UUID, settings: Settings, expert_ids: Collection[UUID] | None) -> MatchEvidence:
    user = existing_user(session, user_id)
    if session.get(ExpertRow, user_id) is not None:
        raise Conflict(f"user {user_id} is an expert: an expert's model is not matched with other experts")
    evidence = match_evidence.read(session, user, settings)
    if expert_ids is None:
        return evidence
    if missing := sorted(map(str, set(expert_ids) - {model.user_id for model in evidence.models})):
        raise InvalidInput(f"no expert of {user.application!r} with a model to match: {missing}")
    return replace(evidence, models=[model for model in evidence.models if model.user_id in expert_ids])


def _write(session: Session, blobs: BlobStore, evidence: MatchEvidence, chosen: ChosenMatch, actor: str) -> MatchRow:
    _lock_experts(session, [UUID(expert_id) for expert_id in chosen.selection.shares])
    user = locked_user(session, evidence.feedback.user_id)
    if user.epoch != evidence.feedback.epoch or session.get(ExpertRow, user.id) is not None:
        raise _ChangedMeanwhile
    former = matches.in_force(session, user.id)
    row = _row(evidence, chosen)
    if former is not None and _is_same(session, former, row, evidence.models):
        return former
    if former is not None:
        former.superseded_at = row.created_at
        session.flush()
    session.add(row)
    session.flush()
    _write_experts(session, row, evidence.models, chosen.selection.shares)
    if chosen.selection.prior is not None:
        matches.store_prior(session, blobs, chosen.selection.prior)
    current, version = versions.active(session, user.id), None
    if not _has_trained(session, user.id, row.base_model_id):
        version = _write_version(session, user, row, chosen, evidence, current)
    else:
        scheduling.due_for_new_match(session, user)
    user.epoch += 1  # a running training has the old starting point: it must not commit
    versions.write_history(
        session,
        user.id,
        PointerMove.MATCHED,
        current,
        version if version is not None and not user.pinned else current,
        actor=actor,
        reason=f"pinned: {row.reason}" if user.pinned else row.reason,
        details={
            "match": str(row.id),
            "kind": row.kind.value,
            "made": version.number if version is not None else None,
        },
    )
    audit.record(
        session, actor=actor, action=PointerMove.MATCHED.value, subject_id=user.id, details={"kind": row.kind.value}
    )
    scheduling.refresh_due(session, user)
    return row


def _lock_experts(session: Session, expert_ids: list[UUID]) -> None:
    """Lock the experts before the user, in the order of an erasure, so that the two cannot deadlock.

    Raises:
        _ChangedMeanwhile: one of them has been erased.
    """
    query = sa.select(UserRow.id).where(UserRow.id.in_(expert_ids)).order_by(UserRow.id)
    if len(session.execute(query.with_for_update(read=True, key_share=True)).all()) < len(expert_ids):
        raise _ChangedMeanwhile


def _row(evidence: MatchEvidence, chosen: ChosenMatch) -> MatchRow:
    selection = chosen.selection
    listed = sorted(evidence.models, key=lambda model: (-selection.probabilities[str(model.user_id)], model.user_id))
    names = ["generic", "combination", *(str(model.user_id) for model in listed[:MAX_LISTED])]
    return MatchRow(
        id=new_id(),
        user_id=evidence.feedback.user_id,
        base_model_id=evidence.base_row.id,
        kind=chosen.kind,
        prior_digest=selection.prior.digest if selection.prior is not None else None,
        shift=matches.pack_shift(evidence.shift_PA),
        evidence={
            "num_ratings": chosen.num_ratings,
            "num_comparisons": chosen.num_comparisons,
            "has_survey": evidence.shift_PA is not None,
            "num_experts": len(evidence.models),
            "forced": chosen.is_forced,
            "probabilities": {
                name: round(selection.probabilities[name], 6) for name in names if name in selection.probabilities
            },
            "agreement": {name: list(selection.agreement[name]) for name in names if name in selection.agreement},
        },
        reason=selection.reason,
        high_water_sequence=evidence.feedback.head,
        created_at=utcnow(),
    )


def _is_same(session: Session, former: MatchRow, row: MatchRow, models: list[ExpertModel]) -> bool:
    """Whether a new match equals the former one: no new feedback, and the same versions of the experts."""
    names = ("base_model_id", "kind", "prior_digest", "shift", "evidence", "reason", "high_water_sequence")
    if former.stale_at is not None or any(getattr(former, name) != getattr(row, name) for name in names):
        return False
    used = session.execute(sa.select(MatchExpertRow.adapter_id).where(MatchExpertRow.match_id == former.id)).scalars()
    return set(used) <= {model.adapter_id for model in models}


def _write_experts(session: Session, row: MatchRow, models: list[ExpertModel], shares: dict[str, float]) -> None:
    session.add_all(
        MatchExpertRow(
            match_id=row.id, expert_id=model.user_id, adapter_id=model.adapter_id, share=shares[str(model.user_id)]
        )
        for model in models
        if str(model.user_id) in shares
    )
    session.flush()


def _has_trained(session: Session, user_id: UUID, base_model_id: UUID) -> bool:
    """Whether a training has made a version for this base model that the gate did not refuse."""
    trained = sa.select(AdapterRow.id).where(
        AdapterRow.user_id == user_id,
        AdapterRow.base_model_id == base_model_id,
        AdapterRow.strategy != MATCH_STRATEGY,
        AdapterRow.state != AdapterState.REJECTED,
    )
    return session.execute(trained.limit(1)).first() is not None


def _write_version(
    session: Session,
    user: UserRow,
    row: MatchRow,
    chosen: ChosenMatch,
    evidence: MatchEvidence,
    current: AdapterRow | None,
) -> AdapterRow:
    """Write version 0, or the next number if the user has versions already."""
    data = chosen.adapter.to_bytes()
    version = AdapterRow(
        id=new_id(),
        user_id=user.id,
        number=_next_number(session, user),
        base_model_id=row.base_model_id,
        taste_prior_id=evidence.prior_row.id if evidence.prior_row is not None and row.prior_digest is None else None,
        match_id=row.id,
        kind=chosen.adapter.kind,
        strategy=MATCH_STRATEGY,
        digest=sha256_hex(data),
        state=AdapterState.CANDIDATE,
        high_water_sequence=row.high_water_sequence,
        epoch=evidence.feedback.epoch,
        num_ratings=chosen.num_ratings,
        size_bytes=len(data),
        gate_report={},
        metrics=_metrics(chosen),
        preference=list(chosen.preference.values) if chosen.preference is not None else None,
        data=data,
        learner_state=b"",
        created_at=row.created_at,
    )
    session.add(version)
    session.flush()
    if not user.pinned:
        versions.point(session, current, version)
    return version


def _metrics(chosen: ChosenMatch) -> dict[str, int]:
    metrics = {"num_ratings": chosen.num_ratings, "num_comparisons": chosen.num_comparisons}
    if chosen.preference is not None and chosen.preference.version is not None:
        metrics[PREFERENCE_VERSION] = chosen.preference.version
    return metrics


def _next_number(session: Session, user: UserRow) -> int:
    has_any = session.execute(sa.select(AdapterRow.id).where(AdapterRow.user_id == user.id).limit(1)).first()
    if has_any is None and user.adapter_sequence == 0:
        return versions.MATCHED_NUMBER
    user.adapter_sequence += 1
    return user.adapter_sequence
