"""The evidence for a match, from one moment: the user's feedback, the experts' models and the survey's shift."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from paaplus.db.tables import BaseModelRow, TastePriorRow, UserRow
from paaplus.errors import Unavailable
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import OwnPrior, Prior, ShiftedPrior
from paaplus.services.experts import experts
from paaplus.services.experts.experts import ExpertModel
from paaplus.services.predictions import latest_feedback
from paaplus.services.predictions.latest_feedback import LatestFeedback
from paaplus.services.predictions.serving import Serving
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.registry import base_models, taste_priors
from paaplus.services.surveys import preferences
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore


@dataclass(frozen=True)
class MatchEvidence:
    """Everything that a match is chosen by. `shift_PA`: the survey's shift of a prior's mean; None: there is none."""

    base_row: BaseModelRow
    prior_row: TastePriorRow | None
    feedback: LatestFeedback
    models: list[ExpertModel]
    shift_PA: np.ndarray | None

    def load_serving(self, store: ServingStore, more_images: Collection[UUID] = ()) -> Serving:
        """Load the base model with the images of the user's feedback, and more images.

        Raises:
            Unavailable: another base model has become the default.
        """
        serving = store.load((self.feedback.user_id,), self.feedback.image_ids() | set(more_images))
        if serving.base_model.id != self.base_row.id:
            raise Unavailable("another base model has just become the default; try again")
        return serving

    def prior_in_force(self, blobs: BlobStore, base: BaseScorer) -> Prior:
        """The taste prior of the deployment, else the base model's own."""
        return OwnPrior(base) if self.prior_row is None else taste_priors.load(blobs, self.prior_row)

    def shifted(self, prior: Prior) -> Prior:
        """The prior with its mean shifted by the survey."""
        return prior if self.shift_PA is None else ShiftedPrior(prior, self.shift_PA)


def read(session: Session, user: UserRow, settings: Settings) -> MatchEvidence:
    """Read the evidence, with the models of all experts of the application except the user."""
    base_row = base_models.default(session, settings)
    shift = preferences.shift_of(session, user, base_row)
    return MatchEvidence(
        base_row=base_row,
        prior_row=taste_priors.in_force(session, base_row.id, user.application),
        feedback=latest_feedback.read(session, user, settings),
        models=experts.models(session, user.application, base_row, without=user.id),
        shift_PA=shift.shift_PA if shift is not None else None,
    )
