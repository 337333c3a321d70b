"""How consistent a person's comparisons are: circular triads, sides that were chosen, and swapped pairs."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from paaplus.db.tables import UserRow
from paaplus.scoring.sides import Sides, count_sides
from paaplus.scoring.triads import Triads, count_triads
from paaplus.services.feedback import feedback_log


@dataclass(frozen=True, slots=True)
class Consistency:
    """Of one user and aspect. Triads are over the latest comparison of every pair, sides over all that count."""

    triads: Triads
    sides: Sides


def consistency_of(session: Session, user: UserRow) -> dict[str, Consistency]:
    """By aspect; what was retracted, excluded or not answered is left out."""
    log = feedback_log.read(session, user, None)
    latest, events = log.latest_comparisons(), log.valid_comparisons()
    aspects = sorted({aspect for each in latest for aspect in each.preferences})
    return {
        aspect: Consistency(
            count_triads(
                {
                    (each.first_id, each.second_id): each.preferences[aspect]
                    for each in latest
                    if aspect in each.preferences
                }
            ),
            count_sides(
                (event.first_id, event.second_id, preference)
                for event in events
                if (preference := event.preferences.get(aspect)) is not None
            ),
        )
        for aspect in aspects
    }
