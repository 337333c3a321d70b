"""Which prior a training starts from: the match's, else the deployment's, else the base model's; shifted by the survey.

`bayes` uses the prior itself. The other strategies start at its mean (`center`).
Shape letters: P = prior coordinates, A = aspects.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus.configs import PRIOR_STRATEGIES, Policy
from paaplus.db.tables import AdapterRow, BaseModelRow, MatchRow, TastePriorRow, UserRow
from paaplus.db.tables.experts import ExpertForm
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import SCORE_CENTER, HeadPrior, OwnPrior, Prior, ShiftedPrior
from paaplus.services.adapters import matches
from paaplus.services.experts import experts
from paaplus.services.registry import taste_priors
from paaplus.storage.blobs import BlobStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StartingPointRows:
    """The rows that decide a starting point, from one moment. `matches`: all that the user ever had, by id."""

    prior_row: TastePriorRow | None
    match: MatchRow | None
    matches: Mapping[UUID, MatchRow]
    form: ExpertForm | None  # of an expert's model


@dataclass(frozen=True)
class StartingPoint:
    """What a new training starts from. All None: the base model's own prior, with mean zero."""

    prior: Prior | None = None
    taste_prior_id: UUID | None = None  # the row of the prior, where it has one
    center: TasteVector | None = None
    match: MatchRow | None = None
    matches: Mapping[UUID, MatchRow] | None = None

    @property
    def match_id(self) -> UUID | None:
        return self.match.id if self.match is not None else None

    def differs_from(self, row: AdapterRow, adapter: Adapter) -> bool:
        """Whether a version started from another prior than this one.

        Args:
            row: a version that a training made.
            adapter: the adapter in it.
        """
        former = (self.matches or {}).get(row.match_id) if row.match_id is not None else None
        if former is not None and former.stale_at is not None and row.created_at <= former.stale_at:
            return True
        if _shift(former) != _shift(self.match):
            return True
        if row.strategy in PRIOR_STRATEGIES:
            uncertainty = adapter.uncertainty if isinstance(adapter, TasteVector) else None
            used_digest = uncertainty.prior_digest if uncertainty is not None else None
            return used_digest != (self.prior.digest if self.prior is not None else None)
        return _own_prior(former) != _own_prior(self.match)


def read(session: Session, user: UserRow, base_row: BaseModelRow) -> StartingPointRows:
    """Read the rows in the caller's transaction."""
    return read_many(session, [user], base_row)[user.id]


def read_many(session: Session, users: Collection[UserRow], base_row: BaseModelRow) -> dict[UUID, StartingPointRows]:
    """Read the rows of several users in the caller's transaction: two statements, and one for each application."""
    user_ids = [user.id for user in users]
    matches_of: dict[UUID, list[MatchRow]] = {user_id: [] for user_id in user_ids}
    for row in session.execute(sa.select(MatchRow).where(MatchRow.user_id.in_(user_ids))).scalars():
        matches_of[row.user_id].append(row)
    forms = experts.forms_of(session, user_ids)
    applications = {user.application for user in users}
    priors = {each: taste_priors.in_force(session, base_row.id, each) for each in applications}
    return {
        user.id: StartingPointRows(
            prior_row=priors[user.application],
            match=matches.in_force_among(matches_of[user.id], base_row.id),
            matches={row.id: row for row in matches_of[user.id]},
            form=forms.get(user.id),
        )
        for user in users
    }


def load(blobs: BlobStore, base: BaseScorer, rows: StartingPointRows, policy: Policy) -> StartingPoint:
    """Load the starting point that the rows decide.

    Raises:
        Unavailable: an artifact is damaged, or the storage does not answer.
    """
    if rows.form == ExpertForm.HEAD and policy.strategy in PRIOR_STRATEGIES:
        return StartingPoint(prior=HeadPrior(base), matches=rows.matches)
    in_force = taste_priors.load(blobs, rows.prior_row) if rows.prior_row is not None else None
    row_id = rows.prior_row.id if rows.prior_row is not None else None
    if rows.match is None:
        return StartingPoint(in_force, row_id, matches=rows.matches)
    matched = matches.load_prior(blobs, rows.match.prior_digest) if rows.match.prior_digest is not None else None
    if rows.match.prior_digest is not None and matched is None:
        log.warning("the prior of a match was deleted: the prior in force is used", match=str(rows.match.id))
    shift_PA = matches.shift_of(rows.match)
    prior = matched or in_force
    if shift_PA is not None:
        prior = ShiftedPrior(prior or OwnPrior(base), shift_PA)  # type: ignore[assignment]
    return StartingPoint(
        prior=prior,
        taste_prior_id=None if matched is not None else row_id,
        center=_center(base, matched, shift_PA),
        match=rows.match,
        matches=rows.matches,
    )


def _center(base: BaseScorer, matched: Prior | None, shift_PA: np.ndarray | None) -> TasteVector | None:
    """The mean of the match's prior plus the survey's shift, as a taste vector; None: zero."""
    if matched is None and shift_PA is None:
        return None
    weight_PA = np.zeros((base.taste_dim + 2, len(base.aspects)))
    if matched is not None:
        weight_PA += np.stack([matched.mean(a) for a in range(len(base.aspects))], axis=1)
    if shift_PA is not None:
        weight_PA += shift_PA
    return TasteVector(
        base.digest,
        alpha_A=(1.0 + weight_PA[1]).astype(np.float32),
        beta_A=(weight_PA[0] - weight_PA[1] * SCORE_CENTER).astype(np.float32),
        weight_RA=weight_PA[2:].astype(np.float32),
    )


def _shift(match: MatchRow | None) -> bytes | None:
    return match.shift if match is not None else None


def _own_prior(match: MatchRow | None) -> str | None:
    return match.prior_digest if match is not None else None
