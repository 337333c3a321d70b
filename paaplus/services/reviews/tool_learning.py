"""Learn a tool revision from an application's reviews: a calibration per aspect, and a reward head.

Shape letters: N = reviews, A = aspects of the base model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from paaplus.db.engine import Database
from paaplus.db.exclusions import is_excluded
from paaplus.db.tables import FeedbackRow, ReviewBatchRow, ReviewRow, ToolRevisionRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.reviews import ReviewState
from paaplus.errors import InvalidInput, Unavailable
from paaplus.scoring.calibration import fit_calibration
from paaplus.scoring.revision import Revision
from paaplus.scoring.reward import MIN_REVIEWS as MIN_HEAD_REVIEWS
from paaplus.scoring.reward import Reviewed, RewardHead, fit_reward_head
from paaplus.services.names import check_application
from paaplus.services.predictions.serving import Serving
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.reviews import tool_revisions

MIN_REVIEWS: Final = 5
MAX_HEAD_REVIEWS: Final = 2_000  # the latest ones: a request waits while the reward head is fitted six times


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
        return tool_revisions.register(
            session, revision, application, tool, version, metrics, base_model_id, user_ids, actor
        )


def _reviews(session: Session, application: str, tool: str) -> list[_Review]:
    """Valid reviews of labels by the tool, in order of decision."""
    retraction = aliased(FeedbackRow)
    retracted = sa.exists().where(
        retraction.user_id == FeedbackRow.user_id,
        retraction.kind == FeedbackKind.RETRACTION,
        retraction.retracts_sequence == FeedbackRow.sequence,
    )
    rows = session.execute(
        sa.select(ReviewRow)
        .join(ReviewBatchRow, ReviewBatchRow.id == ReviewRow.batch_id)
        .join(FeedbackRow, FeedbackRow.id == ReviewRow.feedback_id)
        .where(
            ReviewBatchRow.application == application, ReviewRow.state == ReviewState.DONE, ~retracted, ~is_excluded()
        )
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
