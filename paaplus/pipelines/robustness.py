"""How far ordinary filters raise the scores of a candidate and of the version before it, for the gate's optional rule.

The features of an edited image are the same for every user, so a worker process computes them once. Each training then
projects and scores them, which costs milliseconds.

Shape letters: E = an image and its edits, D = feature dim, N = images, A = aspects.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import structlog

from paaplus.db.tables import BaseModelRow, UserRow
from paaplus.errors import Damaged, InvalidInput, NotFound, TrainingStopped, Unavailable
from paaplus.evaluation.robustness.measures import msi, rasr
from paaplus.evaluation.robustness.search import prepare, strongest_edits
from paaplus.gate import RobustnessEvidence
from paaplus.image_files import decode_image
from paaplus.pipelines.context import Running
from paaplus.pipelines.extract_features import cached_extractor
from paaplus.scoring.adapters import Adapter
from paaplus.services.adaptation.snapshot import Snapshot
from paaplus.storage.blobs import BlobStore

NUM_IMAGES = 16
_CACHED_IMAGES = 256  # of all applications of a worker process; about 100 kB each with lite2

log = structlog.get_logger(__name__)


def robustness_evidence(
    running: Running, snapshot: Snapshot, candidate: Adapter, reference: Adapter | None
) -> RobustnessEvidence | None:
    """Edit images that the user may see, and measure both versions on them; None if the policy does not ask for it.

    Each filter is tried alone, in both directions, as strongly as the budget allows.

    Args:
        running: the job.
        snapshot: what the training has read.
        candidate: the new adapter.
        reference: the adapter that it would replace; None: the generic scores.

    Raises:
        TrainingStopped: the worker stops, or lost the job.
    """
    budget = snapshot.policy.gate.robustness_budget
    if not budget:
        return None
    edited = _edited_images(running, snapshot, budget)
    if not edited:
        return RobustnessEvidence(0)
    return RobustnessEvidence(
        len(edited), _measured(snapshot, edited, reference), _measured(snapshot, edited, candidate)
    )


def _edited_images(running: Running, snapshot: Snapshot, budget: float) -> list[np.ndarray]:
    """Features of images of the user's pool and of their edits, each of shape (E, D); the first row is the image's own.

    Images that cannot be read or scored are left out.
    """
    context = running.context
    with context.database.read_session() as session:
        user, base_row = session.get(UserRow, snapshot.user_id), session.get(BaseModelRow, snapshot.base_model_id)
        if user is None or base_row is None:
            return []  # erased meanwhile: the commit finds that out
        pool = context.projections.pool_images(session, user, snapshot.base, NUM_IMAGES)
    name, weights = str(base_row.config["extractor"]), base_row.config.get("weights")
    try:
        extractor = cached_extractor(name, weights, context.device)
    except (InvalidInput, NotFound, Unavailable) as error:
        log.warning("robustness not checked: no extractor", error=str(error))
        return []
    if extractor.digest != snapshot.base.extractor_digest:
        log.warning("robustness not checked: another extractor", extractor=extractor.name)
        return []
    edited = []
    for sha256, _ in pool:
        if running.should_stop():
            raise TrainingStopped("stopped while filters were tried")
        try:
            features_ED = _edits_of(
                name, weights, context.device, context.blobs, sha256, budget, context.settings.max_image_pixels
            )
        except (Damaged, InvalidInput, NotFound):
            continue
        if len(features_ED) > 1 and np.isfinite(features_ED).all():
            edited.append(features_ED)
    return edited


@lru_cache(maxsize=_CACHED_IMAGES)
def _edits_of(
    name: str, weights: str | None, device: str, blobs: BlobStore, sha256: str, budget: float, max_pixels: int
) -> np.ndarray:
    extractor = cached_extractor(name, weights, device)
    image = prepare(decode_image(blobs.get(sha256), max_pixels))
    return np.concatenate([extractor.extract([one]) for one in (image, *strongest_edits(image, budget))])


def _measured(snapshot: Snapshot, edited: list[np.ndarray], adapter: Adapter | None) -> tuple[float, float]:
    """RASR and MSI, mean over aspects; None: of the generic scores."""
    preference = tuple(snapshot.preference) if snapshot.preference else None
    clean_NA, attacked_NA = [], []
    for features_ED in edited:
        taste_ER = snapshot.base.project(features_ED, preference)
        generic_EA = snapshot.base.generic(taste_ER)
        score_EA = generic_EA if adapter is None else adapter.score(taste_ER, generic_EA)
        clean_NA.append(score_EA[0])
        attacked_NA.append(score_EA.max(axis=0))
    pairs = list(zip(np.array(clean_NA).T.tolist(), np.array(attacked_NA).T.tolist(), strict=True))
    return float(np.mean([rasr(*pair) for pair in pairs])), float(np.mean([msi(*pair) for pair in pairs]))
