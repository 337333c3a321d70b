"""Receipts as rows: what a correction that names them would write."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import PredictionReceiptRow
from paaplus.receipts import row_id
from paaplus.services.predictions import receipts
from paaplus.services.predictions.answers import Prediction


def keep(database: Database, items: Iterable[Prediction]) -> list[PredictionReceiptRow | None]:
    """The row of each item's receipt, None for an item without one; the rows are written."""
    items = list(items)
    named = [(item.user_id, item.receipt) for item in items if item.receipt is not None]
    receipts.keep(database, receipts.signer(database), named, 0)
    with database.read_session() as session:
        rows = {row.id: row for row in session.execute(sa.select(PredictionReceiptRow)).scalars()}
    return [rows.get(row_id(item.receipt)) if item.receipt is not None else None for item in items]


def keep_one(database: Database, item: Prediction) -> UUID:
    """The id of the row of one item's receipt, which is written."""
    [row] = keep(database, [item])
    assert row is not None
    return row.id
