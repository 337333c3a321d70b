"""The snapshot of a training: everything it reads, from one moment of the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.configs import Policy
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, UserRow
from paaplus.errors import NotFound, PaaplusError
from paaplus.records import RatedSet
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services.adaptation import drift, starting_point
from paaplus.services.adaptation.known_logs import KnownLogs
from paaplus.services.adaptation.known_ratings import KnownRatings
from paaplus.services.adaptation.projections import Pool, Projections, ReadImages, inputs_of, with_own_images
from paaplus.services.adaptation.starting_point import StartingPoint, StartingPointRows
from paaplus.services.adapters import versions
from paaplus.services.feedback import arrays, feedback_log
from paaplus.services.feedback.counted_events import trained_up_to
from paaplus.services.feedback.feedback_log import FeedbackLog, LatestRating
from paaplus.services.images import images
from paaplus.services.images.features import delete_damaged
from paaplus.services.predictions.cache import SizedCache
from paaplus.services.predictions.serving import ProjectedImage
from paaplus.services.registry import base_models
from paaplus.services.surveys import preferences
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

POOL_SIZE = 256


@dataclass(frozen=True)
class Snapshot:
    """Everything one training reads, from one moment.

    `reference` is the version that the training continues from: going back from the active version, the first that
    is untainted. None: there is none for this base model and preference; the training starts from the base model.
    """

    user: UserRow
    policy: Policy  # with the shorter half-life of a user who drifts
    base_model_id: UUID
    base: BaseScorer
    starting_point: StartingPoint
    active: AdapterRow | None
    reference: AdapterRow | None
    drifted_since: int | None  # sequence of the last event before the drift; None: no drift was found
    watched_up_to: int  # sequence of the last event that was compared with the score served before
    log: FeedbackLog
    images: dict[UUID, ProjectedImage]  # rated and compared ones, projected with the user's preference
    num_missing_features: int
    pool_PR: np.ndarray  # some images that the user may see, in taste space
    pool_PA: np.ndarray  # their generic scores
    preference: list[float] | None = None  # generic scores are computed with it; None: without one
    preference_version: int | None = None
    known: KnownRatings | None = None  # the ratings of a log that the process has read before

    @property
    def user_id(self) -> UUID:
        return self.user.id

    @property
    def epoch(self) -> int:
        return self.user.epoch

    @cached_property
    def ratings(self) -> list[LatestRating]:
        """The latest ratings that count, of images that can be scored, in order of sequence."""
        if self._known is not None:
            return self._known.ratings
        return [rating for rating in self.log.latest_ratings() if rating.image_id in self.images]

    @cached_property
    def rated(self) -> RatedSet:
        """`ratings` as arrays."""
        if self._known is not None:
            return self._known.all.rated
        return arrays.rated_set(self.ratings, self.base.aspects, self.inputs)

    def training_and_held_out(self) -> tuple[RatedSet, RatedSet]:
        """`rated` in two: what trains, and what is held out."""
        if self._known is not None:
            training, held_out = self._known.parts
            return training.rated, held_out.rated
        held_out_N = np.array([rating.held_out for rating in self.ratings], np.bool_)
        return self.rated.select(~held_out_N), self.rated.select(held_out_N)

    @cached_property
    def first_N(self) -> np.ndarray:
        """The number of the first event that counts on the image of each of `ratings`."""
        if self._known is not None:
            return self._known.first_N
        first_of = self.log.first_ratings()
        return np.array([first_of[rating.image_id] for rating in self.ratings], np.int64)

    @property
    def taste_sum_N2(self) -> np.ndarray | None:
        """The sums of the numbers of each of `rated`, see `fingerprints`; None: not at hand."""
        return self._known.taste_sum_N2 if self._known is not None else None

    @property
    def _known(self) -> KnownRatings | None:
        return self.known if self.known is not None and self.known.log is self.log else None

    def inputs(self, image_ids: list[UUID]) -> tuple[np.ndarray, np.ndarray]:
        """Taste vectors (I, R) and generic scores (I, A) of images of `images`, in this order."""
        return inputs_of(self.base, self.images, image_ids)

    def with_quarantine(self, database: Database, sequences: Collection[int]) -> Snapshot:
        """The snapshot as it will be when these events, and no others, are in quarantine."""
        log = self.log.with_quarantine(sequences, self.epoch + 1)
        with database.read_session() as session:
            active = versions.active(session, self.user_id)
            reference = _reference(session, active, self.base_model_id, self.preference, log)
        return replace(
            self,
            policy=drift.training_policy(self.user, log.invalid()),
            reference=reference,
            drifted_since=drift.drifted_since(self.user, log.invalid()),
            log=log,
        )


def read_snapshot(
    database: Database,
    blobs: BlobStore,
    user_id: UUID,
    settings: Settings,
    projections: Projections | None = None,
    logs: KnownLogs | None = None,
) -> Snapshot:
    """The snapshot of one user, see `read_snapshots`.

    Raises:
        NotFound: the user was erased.
        Unavailable: there is no base model, or an artifact is damaged.
    """
    [found] = read_snapshots(database, blobs, [user_id], settings, projections, logs)
    if isinstance(found, PaaplusError):
        raise found
    return found


def read_snapshots(
    database: Database,
    blobs: BlobStore,
    user_ids: Sequence[UUID],
    settings: Settings,
    projections: Projections | None = None,
    logs: KnownLogs | None = None,
) -> list[Snapshot | PaaplusError]:
    """Read what trainings of these users need, in one read transaction whose statements are for all of them.

    If images of a log have no features yet, or damaged ones, enqueues a features job; `num_missing_features` counts
    these images. A user's error is in the place of the snapshot.

    Args:
        projections: projected images of this process; None: nothing is kept after this call.
        logs: logs that this process has read; None: likewise.

    Raises:
        Unavailable: there is no base model.
    """
    known = projections if projections is not None else Projections(SizedCache(0))
    outcomes: dict[UUID, _Read | PaaplusError] = {}
    with database.read_session() as session:
        rows = _rows(session, user_ids, settings, logs)
        base = base_models.load(blobs, rows.base_row)
        for user_id in user_ids:
            try:
                outcomes[user_id] = _read(session, known, rows, base, user_id, logs)
                if logs is not None and _misses_images(outcomes[user_id]):  # one may have been deleted since
                    user, key = rows.users[user_id], settings.holdout_key.get_secret_value()
                    rows.logs[user_id] = logs.read_anew(session, user, key)
                    outcomes[user_id] = _read(session, known, rows, base, user_id, logs)
            except PaaplusError as error:
                outcomes[user_id] = error
    return [_snapshot(database, blobs, settings, rows, base, outcomes[user_id]) for user_id in user_ids]


@dataclass(frozen=True)
class _Rows:
    """Rows of several users, from one moment."""

    base_row: BaseModelRow
    users: dict[UUID, UserRow]
    logs: dict[UUID, FeedbackLog]
    starting_points: dict[UUID, StartingPointRows]
    preferences: dict[UUID, tuple[list[float], int]]
    active: dict[UUID, AdapterRow]
    with_own_images: set[UUID]


@dataclass(frozen=True)
class _Read:
    """What is read of one user beside the rows."""

    user: UserRow
    images: ReadImages
    known: KnownRatings | None
    pool: Pool
    preference: list[float] | None
    reference: AdapterRow | None


def _rows(session: Session, user_ids: Sequence[UUID], settings: Settings, logs: KnownLogs | None) -> _Rows:
    read_logs = feedback_log.read_many if logs is None else logs.read_many
    users = {user.id: user for user in session.execute(sa.select(UserRow).where(UserRow.id.in_(user_ids))).scalars()}
    base_row = base_models.default(session, settings)
    return _Rows(
        base_row=base_row,
        users=users,
        logs=read_logs(session, users.values(), settings.holdout_key.get_secret_value()),
        starting_points=starting_point.read_many(session, users.values(), base_row),
        preferences=preferences.preferences_of(session, user_ids),
        active=versions.active_of(session, user_ids),
        with_own_images=with_own_images(session, user_ids),
    )


def _read(
    session: Session, projections: Projections, rows: _Rows, base: BaseScorer, user_id: UUID, logs: KnownLogs | None
) -> _Read:
    if user_id not in rows.users:
        raise NotFound(f"user {user_id} does not exist")
    user, log, own = rows.users[user_id], rows.logs[user_id], rows.preferences.get(user_id)
    preference = base.effective(own[0]) if own is not None else None
    if logs is None:
        images, known = projections.read(session, base, preference, log.image_ids()), None
    else:
        images, known = logs.ratings.read(session, projections, base, preference, user_id, log)
    return _Read(
        user=user,
        images=images,
        known=known,
        pool=projections.pool(session, user, base, preference, POOL_SIZE, has_own=user_id in rows.with_own_images),
        preference=preference,
        reference=_reference(session, rows.active.get(user_id), rows.base_row.id, preference, log),
    )


def _misses_images(read: _Read | PaaplusError) -> bool:
    return isinstance(read, _Read) and read.images.num_missing > 0


def _snapshot(
    database: Database, blobs: BlobStore, settings: Settings, rows: _Rows, base: BaseScorer, read: _Read | PaaplusError
) -> Snapshot | PaaplusError:
    if isinstance(read, PaaplusError):
        return read
    user, log = read.user, rows.logs[read.user.id]
    if read.images.num_missing:
        with database.session() as session:
            if read.images.damaged:
                delete_damaged(session, rows.base_row.extractor_digest, read.images.damaged)
            images.request_features(session, log.image_ids(), settings)
    policy, own = drift.training_policy(user, log.invalid()), rows.preferences.get(user.id)
    try:
        starts = starting_point.load(blobs, base, rows.starting_points[user.id], policy)
    except PaaplusError as error:
        return error
    return Snapshot(
        user=user,
        policy=policy,
        base_model_id=rows.base_row.id,
        base=base,
        starting_point=starts,
        active=rows.active.get(user.id),
        reference=read.reference,
        drifted_since=drift.drifted_since(user, log.invalid()),
        watched_up_to=user.watched_sequence,
        log=log,
        images=read.images.images,
        num_missing_features=read.images.num_missing,
        pool_PR=read.pool.taste_PR,
        pool_PA=read.pool.generic_PA,
        preference=read.preference,
        preference_version=own[1] if own is not None and read.preference is not None else None,
        known=read.known,
    )


def _reference(
    session: Session, active: AdapterRow | None, base_model_id: UUID, preference: list[float] | None, log: FeedbackLog
) -> AdapterRow | None:
    """See `Snapshot`. The lineage may be long, so only the bytes of the version that is found are read."""
    row = active
    while row is not None and (row.base_model_id, row.preference) == (base_model_id, preference):
        if not log.is_tainted(trained_up_to(row)):
            if missing := {"data", "learner_state"} & sa.inspect(row).unloaded:
                session.refresh(row, sorted(missing))
            return row
        row = session.get(AdapterRow, row.parent_id) if row.parent_id is not None else None
    return None  # an adapter for another base model, or for other generic scores, cannot be continued
