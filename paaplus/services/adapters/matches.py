"""Matches: which one is in force, its taste prior, and what is deleted when an expert is erased.

A match with an expert or a combination has a taste prior of its own: a blob that all users with the same match
share. It was learned from experts, so erasing any of them deletes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.configs import MATCH_STRATEGY
from paaplus.db.locks import lock_name, lock_user
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, ExpertRow, MatchExpertRow, MatchRow, UserRow
from paaplus.db.tables.experts import MatchKind
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.types import utcnow
from paaplus.errors import Damaged, InvalidInput, NotFound, Unavailable
from paaplus.scoring.priors import TastePrior
from paaplus.scoring.tensors import pack, unpack
from paaplus.services import scheduling
from paaplus.services.adapters import versions
from paaplus.services.registry.artifacts import LoadedOnce
from paaplus.storage.blobs import BlobStore

NUM_KEPT: Final = 8
ERASURE: Final = "erasure"  # the actor in the history

_loaded: LoadedOnce[TastePrior] = LoadedOnce(NUM_KEPT)


@dataclass(frozen=True, slots=True)
class MatchedExpert:
    """One expert of a match. `adapter_number` is the expert's version that was used; None: it was deleted."""

    user_id: UUID
    name: str
    domain: str
    share: float
    adapter_number: int | None


@dataclass(frozen=True, slots=True)
class MatchView:
    """A match as the API shows it. `version`: the user's version that the match made, if it still exists."""

    row: MatchRow
    experts: list[MatchedExpert]
    version: AdapterRow | None
    is_of_default_base: bool


def in_force(session: Session, user_id: UUID, base_model_id: UUID | None = None) -> MatchRow | None:
    """The user's match. With a base model: only if the match was made for it, because its prior fits no other."""
    query = sa.select(MatchRow).where(MatchRow.user_id == user_id, MatchRow.superseded_at.is_(None))
    if base_model_id is not None:
        query = query.where(MatchRow.base_model_id == base_model_id)
    return session.execute(query).scalar_one_or_none()


def in_force_among(rows: Iterable[MatchRow], base_model_id: UUID) -> MatchRow | None:
    """Of all matches that a user ever had, the one that `in_force` finds for a base model."""
    found = [row for row in rows if row.superseded_at is None and row.base_model_id == base_model_id]
    return found[0] if found else None


def view(session: Session, row: MatchRow, default_base_id: UUID | None) -> MatchView:
    """The match with its experts, the largest share first."""
    adapter = sa.orm.aliased(AdapterRow)
    rows = session.execute(
        sa.select(MatchExpertRow.expert_id, ExpertRow.name, ExpertRow.domain, MatchExpertRow.share, adapter.number)
        .join(ExpertRow, ExpertRow.user_id == MatchExpertRow.expert_id)
        .join(adapter, adapter.id == MatchExpertRow.adapter_id, isouter=True)
        .where(MatchExpertRow.match_id == row.id)
        .order_by(MatchExpertRow.share.desc(), MatchExpertRow.expert_id)
    )
    version = session.execute(
        sa.select(AdapterRow).where(AdapterRow.match_id == row.id, AdapterRow.strategy == MATCH_STRATEGY)
    ).scalar_one_or_none()
    return MatchView(row, [MatchedExpert(*each) for each in rows], version, row.base_model_id == default_base_id)


def pack_shift(shift_PA: np.ndarray | None) -> bytes | None:
    """A survey's shift of the prior mean, as stored bytes."""
    return None if shift_PA is None else pack({"shift_PA": np.asarray(shift_PA, np.float32)})


def shift_of(row: MatchRow) -> np.ndarray | None:
    """The stored shift of a match, shape (P, A), float32; see `pack_shift`."""
    return None if row.shift is None else unpack(row.shift)[0]["shift_PA"]


def load_prior(blobs: BlobStore, digest: str) -> TastePrior | None:
    """The prior of a match, cached in this process; None: it was deleted.

    Raises:
        Unavailable: the storage does not answer, or the blob is damaged.
    """

    def read() -> TastePrior:
        try:
            prior = TastePrior.from_bytes(blobs.get(digest))
        except InvalidInput as error:  # the platform's data, not the caller's input
            raise Unavailable(f"the taste prior {digest} of a match cannot be read: {error}") from error
        if prior.digest != digest:
            raise Damaged(f"the taste prior {digest} of a match has digest {prior.digest}")
        return prior

    try:
        return _loaded.get(digest, read)
    except NotFound:
        return None


def store_prior(session: Session, blobs: BlobStore, prior: TastePrior) -> None:
    """Store the prior's blob. Call it after writing the rows that name it, so that an erasure waits for them."""
    lock_name(session, f"blob:{prior.digest}")
    blobs.put(prior.to_bytes())


def prepare_erasure(session: Session, user_id: UUID) -> set[str]:
    """End the matches of a user who is about to be erased, where the user is an expert.

    If the match was with this expert alone, the version that it made is almost the expert's model, so it is deleted;
    the matched user gets generic scores until the next training. Versions that trainings made stay. The matched users
    become due, and their next training starts from the prior in force.

    Returns:
        Digests of priors that may be unused now, see `unused`.
    """
    own = sa.select(MatchRow.prior_digest).where(MatchRow.user_id == user_id, MatchRow.prior_digest.is_not(None))
    digests = {digest for digest in session.execute(own).scalars() if digest is not None}
    used_in = sa.select(MatchExpertRow.match_id).where(MatchExpertRow.expert_id == user_id)
    rows = session.execute(sa.select(MatchRow).where(MatchRow.id.in_(used_in)).order_by(MatchRow.user_id)).scalars()
    for row in list(rows):
        if row.prior_digest is not None:
            digests.add(row.prior_digest)
        _end(session, row)
    return digests


def _end(session: Session, row: MatchRow) -> None:
    user = lock_user(session, row.user_id)
    assert user is not None, "a match without a user"
    row.prior_digest = None
    row.stale_at = row.stale_at or utcnow()
    session.flush()
    if row.kind == MatchKind.EXPERT:
        _drop_versions(session, user, row)
    if row.superseded_at is None:
        user.epoch += 1  # a running training has read the deleted prior: it must not commit
        scheduling.due_for_new_match(session, user)


def _drop_versions(session: Session, user: UserRow, row: MatchRow) -> None:
    made = session.execute(
        sa.select(AdapterRow).where(AdapterRow.match_id == row.id, AdapterRow.strategy == MATCH_STRATEGY)
    ).scalars()
    for version in list(made):
        was_active, number = version.state == AdapterState.ACTIVE, version.number
        for side in (AdapterHistoryRow.from_adapter_id, AdapterHistoryRow.to_adapter_id):
            # The entries stay, with the version's number in their details: they name other versions too.
            session.execute(sa.update(AdapterHistoryRow).where(side == version.id).values({side: None}))
        session.delete(version)
        session.flush()
        if was_active:
            versions.write_history(
                session,
                user.id,
                PointerMove.ROLLED_BACK,
                None,
                None,
                actor=ERASURE,
                reason="the expert of this model was erased",
                details={"from": number},
            )


def unused(session: Session, digests: Collection[str]) -> list[str]:
    """Priors that no match names. They are locked until the transaction ends, so their blobs may be deleted."""
    found = []
    for digest in sorted(digests):
        lock_name(session, f"blob:{digest}")
        if session.execute(sa.select(MatchRow.id).where(MatchRow.prior_digest == digest).limit(1)).first() is None:
            found.append(digest)
    return found


def forget(digests: Collection[str]) -> None:
    """Remove priors from this process's cache."""
    _loaded.forget(digests)
