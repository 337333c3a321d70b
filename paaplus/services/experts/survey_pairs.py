"""Make a survey form of the image pairs on which an application's experts disagree most."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import FeaturesRow, ImageRow
from paaplus.errors import InvalidInput
from paaplus.scoring.matching import disagreement_pairs
from paaplus.scoring.priors import OwnPrior, Prior
from paaplus.services.experts import experts
from paaplus.services.images.features import COLUMNS, usable_features
from paaplus.services.registry import base_models, taste_priors
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

POOL_SIZE: Final = 300


def form_of_pairs(
    session: Session, blobs: BlobStore, settings: Settings, application: str, count: int, aspect: str | None = None
) -> dict[str, Any]:
    """The form, as JSON. Pairs are of shared images that have features, the largest disagreement first.

    Args:
        aspect: the aspect to ask about; None: the default base model's first.

    Raises:
        InvalidInput: an unknown aspect, fewer than two experts with a model, or too few images.
        Unavailable: there is no base model yet.
    """
    base_row = base_models.default(session, settings)
    base = base_models.load(blobs, base_row)
    aspect = aspect or base.aspects[0]
    if aspect not in base.aspects:
        raise InvalidInput(f"unknown aspect {aspect!r}; known: {list(base.aspects)}")
    prior_row = taste_priors.in_force(session, base_row.id, application)
    prior: Prior = taste_priors.load(blobs, prior_row) if prior_row is not None else OwnPrior(base)
    rows = session.execute(
        sa.select(*COLUMNS)
        .join(ImageRow, ImageRow.id == FeaturesRow.image_id)
        .where(
            ImageRow.application == application,
            ImageRow.owner_id.is_(None),
            FeaturesRow.extractor_digest == base_row.extractor_digest,
            FeaturesRow.data.is_not(None),
        )
        .order_by(ImageRow.sha256, ImageRow.id)
        .limit(POOL_SIZE)
    )
    usable = usable_features(rows, base.feature_dim)
    if len(usable) < 2:
        raise InvalidInput(f"application {application!r} has {len(usable)} images with features; it needs two")
    taste_IR = base.project(np.stack(list(usable.values())))
    people = experts.models_of(session, application, base_row)
    pairs = disagreement_pairs(base, prior, people, taste_IR, base.generic(taste_IR), count)
    image_ids = list(usable)
    return {
        "title": f"Which image is better: {aspect}",
        "items": [
            {
                "id": f"pair-{position}",
                "kind": "image_pair",
                "text": f"Which of the two is better ({aspect})?",
                "first": str(image_ids[first]),
                "second": str(image_ids[second]),
                "aspect": aspect,
            }
            for position, (first, second) in enumerate(pairs, 1)
        ],
    }
