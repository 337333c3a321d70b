"""A deployment with labelled images and registered experts, for tests of reviews."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import ExpertRow, FeedbackRow, ReviewBatchRow, ReviewRow
from paaplus.db.tables.experts import ExpertForm
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.reviews import ReviewOrder
from paaplus.db.types import utcnow
from paaplus.services.feedback import feedback_log
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.reviews import batches, pseudo_labels, reviews, tool_learning
from paaplus.services.reviews.batches import NewBatch
from paaplus.services.reviews.reviews import Decision, Verdict
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from paaplus.tools.tool import Judgement
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION

TOOL = "precomputed:them"
APP = Principal("app", KeyScope.APPLICATION, application=APPLICATION)


class Reviewing(Deployment):
    """Experts ada and bob, and labels of `TOOL`: the generic score, off by a little, by image."""

    def __init__(self, database: Database, settings: Settings, *, num_images: int = 40) -> None:
        super().__init__(database, settings, num_images=num_images)
        self.ada, self.bob = self.expert("ada"), self.expert("bob")
        rng = np.random.default_rng(1)
        self.raw_I = np.clip(self.generic_IA[:, 0] + rng.normal(scale=0.5, size=num_images), 0, 10)
        self.label(range(num_images))

    @property
    def store(self) -> ServingStore:
        return ServingStore(self.database, self.blobs, self.settings)

    def expert(self, name: str) -> UUID:
        user_id = self.add_user(name)
        with self.database.session() as session:
            session.add(
                ExpertRow(user_id=user_id, name=name, domain="beauty", form=ExpertForm.POOLED, created_at=utcnow())
            )
        return user_id

    def label(
        self, images: range, *, tool: str = TOOL, version: str = "1", confidence: float = 0.5, **scores: float
    ) -> None:
        with self.database.session() as session:
            pseudo_labels.add_precomputed(
                session,
                application=APPLICATION,
                tool=tool,
                version=version,
                labels={
                    self.images[i]: Judgement(
                        {"beauty": float(self.raw_I[i])} | scores, dict.fromkeys({"beauty": 0} | scores, confidence)
                    )
                    for i in images
                },
            )

    def batch(self, **options: Any) -> ReviewBatchRow:
        defaults: dict[str, Any] = {
            "application": APPLICATION,
            "name": "batch",
            "experts": ("ada",),
            "order": ReviewOrder.RANDOM,
        }
        return batches.create(self.database, self.store, APP, NewBatch(**(defaults | options)))

    def reviews_of(self, expert_id: UUID, batch_id: UUID | None = None) -> list[ReviewRow]:
        """In the order of the queue."""
        with self.database.read_session() as session:
            query = sa.select(ReviewRow).where(ReviewRow.expert_id == expert_id)
            if batch_id is not None:
                query = query.where(ReviewRow.batch_id == batch_id)
            return list(session.execute(query.order_by(ReviewRow.batch_id, ReviewRow.position)).scalars())

    def next(self, expert_id: UUID, **options: Any) -> ReviewRow | None:
        with self.database.read_session() as session:
            return reviews.next_open(session, expert_id, **options)

    def decide(
        self,
        row: ReviewRow,
        verdict: Verdict = Verdict.ACCEPT,
        *,
        event_id: str = "",
        revise: bool = False,
        **scores: float,
    ) -> Decision:
        principal = Principal("expert", KeyScope.EXPERT, application=APPLICATION, user_id=row.expert_id)
        with self.database.session() as session:
            return reviews.decide(
                session,
                principal,
                row.id,
                verdict=verdict,
                scores=scores,
                event_id=event_id or f"event-{row.id}",
                revise=revise,
                settings=self.settings,
            )

    def review_all(self, expert_id: UUID, *, seed: int, batch_id: UUID | None = None) -> int:
        """The expert, a simulated person with a linear taste, corrects everything that is off by half a point."""
        num = 0
        for row in self.reviews_of(expert_id, batch_id):
            opinion = self.opinion(self.images.index(row.image_id), seed=seed, strength=2.0)
            if abs(opinion - row.shown["scores"]["beauty"]) < 0.5:
                self.decide(row)
            else:
                self.decide(row, Verdict.CORRECT, beauty=opinion)
            num += 1
        return num

    def learn(self, tool: str = TOOL) -> Any:
        return tool_learning.learn(self.database, self.store, application=APPLICATION, tool=tool, actor="test")

    def log(self, user_id: UUID) -> list[FeedbackRow]:
        with self.database.read_session() as session:
            query = sa.select(FeedbackRow).where(FeedbackRow.user_id == user_id).order_by(FeedbackRow.sequence)
            return list(session.execute(query).scalars())

    def latest_ratings(self, user_id: UUID) -> dict[UUID, dict[str, float]]:
        """Scores by image of the user's latest ratings."""
        with self.database.read_session() as session:
            return {r.image_id: r.scores for r in feedback_log.read(session, self.user(user_id), None).latest_ratings()}
