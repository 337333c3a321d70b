"""Tool revisions: corrections of a tool's labels, learned from an application's reviews.

Revisions are numbered. The newest that is not retired is in force. A revision becomes stale when an expert whose
reviews it was learned from is erased.
Shape letters: N = reviews, A = aspects of the base model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from paaplus.db.engine import Database
from paaplus.db.locks import lock_name
from paaplus.db.tables import (
    ExclusionRow,
    FeedbackRow,
    ReviewBatchRow,
    ReviewRow,
    ToolRevisionPersonRow,
    ToolRevisionRow,
    UserRow,
)
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.reviews import ReviewState
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id, sha256_hex
from paaplus.scoring.calibration import fit_calibration
from paaplus.scoring.revision import Revision
from paaplus.scoring.reward import MIN_REVIEWS as MIN_HEAD_REVIEWS
from paaplus.scoring.reward import Reviewed, RewardHead, fit_reward_head
from paaplus.services import audit
from paaplus.services.names import check_application
from paaplus.services.predictions.serving import Serving
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.registry.artifacts import LoadedOnce

MIN_REVIEWS: Final = 5
MAX_HEAD_REVIEWS: Final = 2_000  # the latest ones: a request waits while the reward head is fitted six times
NUM_KEPT: Final = 64

_loaded: LoadedOnce[Revision] = LoadedOnce(NUM_KEPT)


@dataclass(frozen=True, slots=True)
class _Review:
    """One review of one tool's label: scores by aspect. `revised`: the expert's."""

    expert_id: UUID
    image_id: UUID
    version: str
    raw: dict[str, float]
    shown: dict[str, float]
    revised: dict[str, float]


def learn(database: Database, store: ServingStore, *, application: str, tool: str, actor: str) -> ToolRevisionRow:
    """Learn the tool's next revision from the application's reviews, and put it in force.

    Only reviews of the newest tool version among them are used, and only if their feedback is neither retracted nor
    excluded. If nothing has changed, the revision in force is returned.

    Raises:
        InvalidInput: there are fewer than `MIN_REVIEWS` such reviews.
        Conflict: an expert was erased meanwhile.
        Unavailable: the base model's artifact cannot be read.
    """
    check_application(application)
    with database.read_session() as session:
        reviews = _reviews(session, application, tool)
    if len(reviews) < MIN_REVIEWS:
        raise InvalidInput(
            f"{len(reviews)} reviews of labels by {tool!r:.80} in application {application!r}; "
            f"a revision needs {MIN_REVIEWS}"
        )
    version = reviews[-1].version
    reviews = [review for review in reviews if review.version == version]
    revision, metrics, base_model_id = _fit(store, reviews)
    user_ids = {review.expert_id for review in reviews}
    with database.session() as session:
        return _register(session, revision, application, tool, version, metrics, base_model_id, user_ids, actor)


def in_force(session: Session, application: str, tool: str, tool_version: str) -> ToolRevisionRow | None:
    """The revision that calibrates this tool's labels in new batches; None: there is none."""
    return session.execute(
        sa.select(ToolRevisionRow)
        .where(
            ToolRevisionRow.application == application,
            ToolRevisionRow.tool == tool,
            ToolRevisionRow.tool_version == tool_version,
            ToolRevisionRow.retired_at.is_(None),
        )
        .order_by(ToolRevisionRow.version.desc())
        .limit(1)
    ).scalar_one_or_none()


def retire(session: Session, *, application: str, tool: str, version: int, actor: str) -> ToolRevisionRow:
    """Retire a revision; the one before it is in force again. Existing batches keep their labels.

    Raises:
        NotFound: there is no such revision.
    """
    row = session.execute(
        sa.select(ToolRevisionRow)
        .where(
            ToolRevisionRow.application == application, ToolRevisionRow.tool == tool, ToolRevisionRow.version == version
        )
        .with_for_update()
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"tool {tool!r:.80} has no revision {version} in application {application!r}")
    if row.retired_at is None:
        row.retired_at = utcnow()
        audit.record(session, actor=actor, action="tool_revision_retired", subject_id=row.id)
    return row


def list_revisions(
    session: Session, *, application: str | None, tool: str | None = None, limit: int = 100, before: UUID | None = None
) -> list[ToolRevisionRow]:
    """Revisions, newest first.

    Args:
        application: of this application; None: of every application.
        tool: of this tool; None: of every tool.
        limit: at most so many.
        before: only revisions older than this id.
    """
    query = sa.select(ToolRevisionRow).order_by(ToolRevisionRow.id.desc()).limit(limit)
    if application is not None:
        query = query.where(ToolRevisionRow.application == application)
    if tool is not None:
        query = query.where(ToolRevisionRow.tool == tool)
    if before is not None:
        query = query.where(ToolRevisionRow.id < before)
    return list(session.execute(query).scalars())


def mark_stale(session: Session, user_id: UUID) -> None:
    """Mark revisions that were learned from reviews of a user who is about to be erased."""
    learned = sa.select(ToolRevisionPersonRow.tool_revision_id).where(ToolRevisionPersonRow.user_id == user_id)
    session.execute(
        sa.update(ToolRevisionRow)
        .where(ToolRevisionRow.id.in_(learned), ToolRevisionRow.stale_at.is_(None))
        .values(stale_at=utcnow())
    )


def load(row: ToolRevisionRow) -> Revision:
    """Load a revision, cached in this process.

    Raises:
        Unavailable: its stored bytes are damaged.
    """
    what = f"revision {row.version} of tool {row.tool}"

    def read() -> Revision:
        if sha256_hex(row.data) != row.digest:
            raise Unavailable(f"{what} is damaged")
        try:
            return Revision.from_bytes(row.data)
        except InvalidInput as error:  # the platform's data, not the caller's input
            raise Unavailable(f"{what} cannot be read: {error}") from error

    return _loaded.get(row.digest, read)


def _reviews(session: Session, application: str, tool: str) -> list[_Review]:
    """Valid reviews of labels by the tool, in order of decision."""
    retraction = aliased(FeedbackRow)
    retracted = sa.exists().where(
        retraction.user_id == FeedbackRow.user_id,
        retraction.kind == FeedbackKind.RETRACTION,
        retraction.retracts_sequence == FeedbackRow.sequence,
    )
    excluded = sa.exists().where(ExclusionRow.feedback_id == FeedbackRow.id, ExclusionRow.released_at.is_(None))
    rows = session.execute(
        sa.select(ReviewRow)
        .join(ReviewBatchRow, ReviewBatchRow.id == ReviewRow.batch_id)
        .join(FeedbackRow, FeedbackRow.id == ReviewRow.feedback_id)
        .where(ReviewBatchRow.application == application, ReviewRow.state == ReviewState.DONE, ~retracted, ~excluded)
        .order_by(ReviewRow.decided_at, ReviewRow.id)
    ).scalars()
    reviews = []
    for row in rows:
        label = row.shown["tools"].get(tool)
        if label is not None and row.answers is not None:
            reviews.append(
                _Review(
                    expert_id=row.expert_id,
                    image_id=row.image_id,
                    version=label["version"],
                    raw=label["raw"],
                    shown=row.shown["scores"],
                    revised=row.answers["scores"],
                )
            )
    return reviews


def _fit(store: ServingStore, reviews: list[_Review]) -> tuple[Revision, dict[str, Any], UUID | None]:
    calibrations, metrics = {}, dict[str, Any]()
    for aspect in sorted({aspect for review in reviews for aspect in review.raw.keys() & review.revised.keys()}):
        pairs = [(r.raw[aspect], r.revised[aspect]) for r in reviews if aspect in r.raw and aspect in r.revised]
        raw_N, revised_N = np.array(pairs).T
        calibrations[aspect], metrics[aspect] = fit_calibration(raw_N, revised_N)
    head, aspects, base_model_id = None, tuple[str, ...](), None
    if len(reviews) >= MIN_HEAD_REVIEWS:
        try:
            latest = reviews[-MAX_HEAD_REVIEWS:]
            serving = store.load([], {review.image_id for review in latest})
        except Unavailable:  # no base model: calibration needs none
            return Revision(calibrations), metrics, None
        head, reports = _fit_head(serving, latest, Revision(calibrations))
        for aspect, report in reports.items():
            metrics[aspect]["reward_head"] = report
        if head is not None:
            aspects, base_model_id = serving.scorer.aspects, serving.base_model.id
    return Revision(calibrations, head, aspects), metrics, base_model_id


def _fit_head(
    serving: Serving, reviews: list[_Review], revision: Revision
) -> tuple[RewardHead | None, dict[str, dict[str, Any]]]:
    """Fit the reward head on calibrated labels, and report its effect by aspect, cross-validated."""
    scorer = serving.scorer
    reviewed_A: list[Reviewed | None] = []
    group_AN: list[np.ndarray | None] = []
    place = {image_id: i for i, image_id in enumerate(sorted(serving.images))}
    for a, aspect in enumerate(scorer.aspects):
        some = [r for r in reviews if r.image_id in place and aspect in r.raw and aspect in r.revised]
        if not some:
            reviewed_A.append(None)
            group_AN.append(None)
            continue
        images = [serving.images[r.image_id] for r in some]
        reviewed_A.append(
            Reviewed(
                taste_NR=np.stack([image.taste_R for image in images]),
                generic_N=np.array([image.generic_A[a] for image in images]),
                label_N=np.array([revision.calibrated(aspect, r.raw[aspect]) for r in some]),
                shown_N=np.array([r.shown[aspect] for r in some]),
                expert_N=np.array([r.revised[aspect] for r in some]),
            )
        )
        group_AN.append(np.array([place[r.image_id] for r in some]))
    head, reports = fit_reward_head(scorer, reviewed_A, group_AN)
    return head, {name: report for name, report in zip(scorer.aspects, reports, strict=True) if report is not None}


def _register(
    session: Session,
    revision: Revision,
    application: str,
    tool: str,
    tool_version: str,
    metrics: Mapping[str, Any],
    base_model_id: UUID | None,
    user_ids: Collection[UUID],
    actor: str,
) -> ToolRevisionRow:
    lock_name(session, f"tool_revision:{application}:{tool}")
    current = in_force(session, application, tool, tool_version)
    if current is not None and current.digest == revision.digest:
        return current
    existing = session.execute(
        sa.select(UserRow.id)
        .where(UserRow.id.in_(user_ids))
        .order_by(UserRow.id)
        .with_for_update(read=True, key_share=True)
    ).scalars()
    if len(set(existing)) != len(user_ids):
        raise Conflict("an expert was erased while a revision was learned from their reviews: try again")
    newest = session.execute(
        sa.select(sa.func.max(ToolRevisionRow.version)).where(
            ToolRevisionRow.application == application, ToolRevisionRow.tool == tool
        )
    )
    data = revision.to_bytes()
    row = ToolRevisionRow(
        id=new_id(),
        application=application,
        tool=tool,
        tool_version=tool_version,
        version=(newest.scalar_one() or 0) + 1,
        base_model_id=base_model_id,
        digest=sha256_hex(data),
        data=data,
        num_reviews=max((report["num_reviews"] for report in metrics.values()), default=0),
        metrics=dict(metrics),
        created_at=utcnow(),
    )
    session.add(row)
    session.flush()
    session.add_all(ToolRevisionPersonRow(tool_revision_id=row.id, user_id=user_id) for user_id in sorted(user_ids))
    audit.record(session, actor=actor, action="tool_revision_learned", subject_id=row.id)
    return row
