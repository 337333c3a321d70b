"""How consistent a person's comparisons are: circular triads among those that count now."""

from __future__ import annotations

from sqlalchemy.orm import Session

from paaplus.db.tables import UserRow
from paaplus.scoring.triads import Triads, count_triads
from paaplus.services.feedback import feedback_log


def triads_of(session: Session, user: UserRow) -> dict[str, Triads]:
    """By aspect, over the latest comparison of every pair; what was retracted, excluded or not answered is left out."""
    words = feedback_log.read(session, user, None).latest_comparisons()
    aspects = sorted({aspect for word in words for aspect in word.preferences})
    return {
        aspect: count_triads(
            {(word.first_id, word.second_id): word.preferences[aspect] for word in words if aspect in word.preferences}
        )
        for aspect in aspects
    }
