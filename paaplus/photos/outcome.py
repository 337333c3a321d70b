"""What the last training led to, in words for a photographer, with the gate's own sentences beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from paaplus.db.tables import AdapterHistoryRow, AdapterRow
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.photos.platform import LocalPlatform

_DECIDED: Final = (PointerMove.GATE_PROMOTED, PointerMove.GATE_REFUSED, PointerMove.GATE_RETIRED)
_LEARNED: Final = "learned from your answers"
_UNCLEAR: Final = "your answers do not point one way clearly enough yet; more answers help"
_WORSE: Final = "what was learned last did worse on answers that it had not seen; more answers help"
_REFUSED: Final = {
    "sound_scores": "what was learned last gives scores that are no numbers from 0 to 10",
    "order": _UNCLEAR,
    "robustness_rasr": "filters would raise the scores of what was learned last too easily",
    "robustness_msi": "filters would raise the scores of what was learned last too far",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What is served, and why.

    Attributes:
        version: its number; None: everybody's order.
        told: a sentence for a person who never heard of a gate.
        gate: the gate's sentences, with what it measured; None: nothing was trained yet.
    """

    version: int | None
    told: str
    gate: str | None


def last_decision(platform: LocalPlatform) -> Decision:
    """The version in force, with the newest entry of the history that has a reason of the gate."""
    with platform.database.read_session() as session:
        version = session.execute(
            sa.select(AdapterRow.number).where(
                AdapterRow.user_id == platform.user_id, AdapterRow.state == AdapterState.ACTIVE
            )
        ).scalar_one_or_none()
        entry = session.execute(
            sa.select(AdapterHistoryRow, AdapterRow)
            .outerjoin(AdapterRow, AdapterRow.id == AdapterHistoryRow.to_adapter_id)
            .where(AdapterHistoryRow.user_id == platform.user_id, AdapterHistoryRow.move.in_(_DECIDED))
            .order_by(AdapterHistoryRow.id.desc())
            .limit(1)
        ).one_or_none()
    served = "everybody's order" if version is None else f"your order, version {version}"
    if entry is None:
        return Decision(version, f"{served}: nothing was trained yet", None)
    moved, candidate = entry
    return Decision(version, f"{served}: {_why(moved.move, candidate, version)}", moved.reason)


def _why(move: PointerMove, candidate: AdapterRow | None, version: int | None) -> str:
    """Why this version is served, from the gate's last move. `candidate` is the version that the move was about."""
    if move == PointerMove.GATE_RETIRED:
        return _UNCLEAR
    if candidate is None or (move == PointerMove.GATE_PROMOTED and candidate.number != version):
        return "a rollback or a person has chosen it since the last training"
    if move == PointerMove.GATE_PROMOTED:
        return _LEARNED
    failed = [check["name"] for check in candidate.gate_report["checks"] if not check["passed"]]
    return _REFUSED.get(failed[0], _WORSE) if failed else "this version is pinned, so what was learned last waits"
