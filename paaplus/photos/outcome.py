"""What the last training led to, in words: the version that is served, or why the gate kept the former order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from paaplus.db.tables import AdapterHistoryRow, AdapterRow
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.photos.platform import LocalPlatform

_DECIDED: Final = (PointerMove.GATE_PROMOTED, PointerMove.GATE_REFUSED, PointerMove.GATE_RETIRED)


@dataclass(frozen=True, slots=True)
class Decision:
    """`version` is the number of the version that is served; None: everybody's order is. `told` says why."""

    version: int | None
    told: str


def last_decision(platform: LocalPlatform) -> Decision:
    """The version in force, with the newest entry of the history that has a reason of the gate."""
    with platform.database.read_session() as session:
        version = session.execute(
            sa.select(AdapterRow.number).where(
                AdapterRow.user_id == platform.user_id, AdapterRow.state == AdapterState.ACTIVE
            )
        ).scalar_one_or_none()
        entry = session.execute(
            sa.select(AdapterHistoryRow)
            .where(AdapterHistoryRow.user_id == platform.user_id, AdapterHistoryRow.move.in_(_DECIDED))
            .order_by(AdapterHistoryRow.id.desc())
            .limit(1)
        ).scalar_one_or_none()
    served = "everybody's order" if version is None else f"version {version}"
    if entry is None:
        return Decision(version, f"{served}: nothing was trained yet")
    return Decision(version, f"{served}: {entry.reason}")
