"""Receipts of predictions in the database: the key that signs them, and a row for each that a correction names."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, ImageRow, PredictionReceiptRow, SecretRow
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import InvalidInput
from paaplus.receipts import KEY_BYTES, KEY_NAME, Receipt, Signer, row_id


def signer(database: Database) -> Signer:
    """The deployment's signer; its key is made when it is first needed."""
    with database.read_session() as session:
        row = session.get(SecretRow, KEY_NAME)
    if row is None:
        new = {"name": KEY_NAME, "value": secrets.token_bytes(KEY_BYTES), "created_at": utcnow()}
        with database.session() as session:
            insert_ignoring_conflicts(session, SecretRow, [new])
        with database.read_session() as session:
            row = session.get_one(SecretRow, KEY_NAME)
    return Signer(row.value)


def keep(database: Database, made: Signer, named: Iterable[tuple[UUID, str]], keep_days: int) -> None:
    """Write the rows of receipts that events are about to name, each once.

    A receipt that cannot be valid has none: not signed for this user, older than receipts are kept, or its image or
    version does not exist any more. The event that names it is refused then.

    Args:
        database: the database.
        made: the deployment's signer.
        named: users and receipts.
        keep_days: how long receipts are valid; 0: always.
    """
    receipts: dict[UUID, Receipt] = {}
    for user_id, text in named:
        try:
            receipt = made.read(user_id, text)
        except InvalidInput:
            continue
        if keep_days == 0 or receipt.created_at > utcnow() - timedelta(days=keep_days):
            receipts[row_id(text)] = receipt
    if not receipts:
        return
    try:
        with database.session() as session:
            insert_ignoring_conflicts(session, PredictionReceiptRow, _rows(session, receipts))
    except IntegrityError:  # something was erased in this moment: those who name a receipt may try again
        return


def _rows(session: Session, receipts: dict[UUID, Receipt]) -> list[dict[str, Any]]:
    """Rows of the receipts whose image and version exist."""
    images = set(
        session.execute(
            sa.select(ImageRow.id).where(ImageRow.id.in_({receipt.image_id for receipt in receipts.values()}))
        ).scalars()
    )
    adapter_ids = {receipt.adapter_id for receipt in receipts.values() if receipt.adapter_id is not None}
    versions = {
        row.id: row
        for row in session.execute(
            sa.select(AdapterRow.id, AdapterRow.user_id, AdapterRow.base_model_id, AdapterRow.match_id).where(
                AdapterRow.id.in_(adapter_ids)
            )
        )
    }
    aspects = {row.id: row.aspects for row in session.execute(sa.select(BaseModelRow.id, BaseModelRow.aspects))}
    rows = []
    for receipt_id, receipt in receipts.items():
        version = versions.get(receipt.adapter_id) if receipt.adapter_id is not None else None
        if receipt.image_id not in images or (receipt.adapter_id is not None and version is None):
            continue
        base_model_id = version.base_model_id if version is not None else receipt.base_model_id
        if base_model_id not in aspects:
            continue
        details = dict(receipt.details or {})
        if version is not None and version.match_id is not None:
            details["match"] = str(version.match_id)
        rows.append(
            {
                "id": receipt_id,
                "user_id": receipt.user_id,
                "image_id": receipt.image_id,
                "base_model_id": base_model_id,
                "adapter_id": receipt.adapter_id,
                "scores": dict(zip(aspects[base_model_id], receipt.scores, strict=True)),
                "details": details or None,
                "created_at": receipt.created_at,
            }
        )
    return rows
