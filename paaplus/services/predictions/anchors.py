"""A user's score of an image with its anchors: the nearest images that the same user has rated below and above it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paaplus.db.engine import Database
from paaplus.db.users import existing_user
from paaplus.errors import InvalidInput, Unavailable
from paaplus.scoring.anchors import Anchors, RatedImage, find_anchors
from paaplus.services.feedback import feedback_log
from paaplus.services.predictions.answers import Prediction, Target
from paaplus.services.predictions.predict import Predictor


@dataclass(frozen=True, slots=True)
class AnchoredScore:
    """A prediction, and its anchors by aspect."""

    prediction: Prediction
    anchors: Mapping[str, Anchors]


def score_with_anchors(database: Database, predictor: Predictor, target: Target) -> AnchoredScore:
    """Score one image for one user. The anchors are of this user's log only, and never the image itself.

    Raises:
        NotFound: the user or the image was erased meanwhile.
        InvalidInput: the image can never be scored.
        Unavailable: its features are not there yet, or there is no base model.
    """
    [prediction] = predictor.answer([target]).items
    if prediction.status == "failed":
        raise InvalidInput(f"image {target.image_id} cannot be scored: {prediction.error}")
    if prediction.scores is None:
        raise Unavailable(f"image {target.image_id} has no features yet; a worker extracts them")
    with database.read_session() as session:
        user = existing_user(session, target.user_id)
        ratings = feedback_log.read(session, user, None).latest_ratings()
    anchors = {}
    for aspect, score in prediction.scores.items():
        rated = [
            RatedImage(word.image_id, word.scores[aspect], word.sequence)
            for word in ratings
            if aspect in word.scores and word.image_id != target.image_id
        ]
        anchors[aspect] = find_anchors(score, rated)
    return AnchoredScore(prediction, anchors)
