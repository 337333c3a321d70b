"""How far a user's ratings of each theme lie from the served scores: the user's theme calibration.

It is computed from the ratings that are valid now, so a retracted or erased rating leaves no trace in it. Scores are
served without it; whoever shows them may add the offset of the image's theme.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import ImageRow
from paaplus.db.users import existing_user
from paaplus.scoring.theme_calibration import ThemeCalibrator, fit_theme_calibrator
from paaplus.services.feedback import feedback_log
from paaplus.services.predictions.answers import Target
from paaplus.services.predictions.predict import Predictor


@dataclass(frozen=True, slots=True)
class ThemeOffset:
    """What to add to a user's score of an aspect, for images of one theme."""

    aspect: str
    theme: str
    num_ratings: int
    offset: float


def theme_calibrators(
    database: Database, predictor: Predictor, user_id: UUID, k: float | None = None
) -> dict[str, ThemeCalibrator]:
    """By aspect, the calibrator of a user's latest ratings of images that have a theme and a score.

    Args:
        database: the database.
        predictor: gives the served scores.
        user_id: the user.
        k: ratings that no offset counts as; None: what predicts the user's left-out ratings best.

    Raises:
        NotFound: the user was erased.
        Unavailable: there is no base model yet.
    """
    with database.read_session() as session:
        ratings = feedback_log.read(session, existing_user(session, user_id), None).latest_ratings()
        query = sa.select(ImageRow.id, ImageRow.theme).where(
            ImageRow.id.in_({word.image_id for word in ratings}), ImageRow.theme.is_not(None)
        )
        theme_of = {row.id: row.theme for row in session.execute(query)}
    rated = [word for word in ratings if word.image_id in theme_of]
    if not rated:
        return {}
    answer = predictor.answer([Target(user_id, word.image_id) for word in rated])
    triples: dict[str, list[tuple[str | None, float, float]]] = {}
    for word, prediction in zip(rated, answer.items, strict=True):
        for aspect, score in (prediction.scores or {}).items():
            if aspect in word.scores:
                triples.setdefault(aspect, []).append((theme_of[word.image_id], score, word.scores[aspect]))
    calibrators = {}
    for aspect, of_aspect in triples.items():
        themes, scores, given = zip(*of_aspect, strict=True)
        calibrators[aspect] = fit_theme_calibrator(list(themes), list(scores), list(given), k)
    return calibrators


def offsets(calibrators: dict[str, ThemeCalibrator]) -> list[ThemeOffset]:
    """Every theme's offset, by aspect and theme."""
    return [
        ThemeOffset(aspect, theme, one.counts[theme], one.offset(theme))
        for aspect, one in sorted(calibrators.items())
        for theme in sorted(one.counts)
    ]
