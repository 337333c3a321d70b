"""Receipts: what a prediction gave, signed, so that a correction can name it though nothing was stored.

A receipt is a text that the caller keeps. It holds image, version, time and scores, and a code over these and the user
that only this deployment can make (BLAKE2b with a random key, which all processes share through the database). The
first correction that names a receipt has it written as a row, which the event refers to.

    byte 0       1, and 0x80 if no version scored: then the id after the image's is the base model's
    byte 1       number of aspects A, in the base model's order
    16, 16       ids of the image, and of the version
    6            milliseconds since 1970
    4 A          scores, float32
    12           code

Details that the version and the image do not tell are behind the scores, as JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, ImageRow, PredictionReceiptRow, SecretRow
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import InvalidInput
from paaplus.ids import id_of

PREFIX: Final = "r1."
MAX_LENGTH: Final = 2_048
KEY_NAME: Final = "receipts"
KEY_BYTES: Final = 32
CODE_BYTES: Final = 12
_OF_BASE_MODEL: Final = 0x80
_HEAD: Final = struct.Struct(">BB16s16s6s")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says. `adapter_id`: None if the base model's own scores were given."""

    user_id: UUID
    image_id: UUID
    adapter_id: UUID | None
    base_model_id: UUID | None  # None: the version's
    created_at: datetime
    scores: tuple[float, ...]  # by aspect of the base model
    details: dict[str, Any] | None = None


class Signer:
    """Makes and checks receipts.

    Args:
        key: of the deployment, `KEY_BYTES` bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._hash = hashlib.blake2b(key=key, digest_size=CODE_BYTES)

    def sign(
        self,
        user_id: UUID,
        model: tuple[UUID | None, UUID],
        moment: datetime,
        items: Iterable[tuple[UUID, Sequence[float], dict[str, Any] | None]],
    ) -> Iterator[str]:
        """Receipts of one user's predictions.

        Args:
            user_id: the user.
            model: ids of the version, None without one, and of the base model.
            moment: when they were made.
            items: image, scores by aspect, and details of each.
        """
        adapter_id, base_model_id = model
        kind = 1 if adapter_id is not None else 1 | _OF_BASE_MODEL
        model_bytes = (adapter_id or base_model_id).bytes
        time = int(moment.timestamp() * 1000).to_bytes(6)
        of_user = self._hash.copy()
        of_user.update(user_id.bytes)
        for image_id, scores, details in items:
            body = _HEAD.pack(kind, len(scores), image_id.bytes, model_bytes, time)
            body += struct.pack(f">{len(scores)}f", *scores)
            if details is not None:
                body += json.dumps(details, separators=(",", ":")).encode()
            code = of_user.copy()
            code.update(body)
            yield PREFIX + base64.urlsafe_b64encode(body + code.digest()).rstrip(b"=").decode()

    def read(self, user_id: UUID, text: str) -> Receipt:
        """What a receipt says.

        Raises:
            InvalidInput: it is no receipt of this deployment and this user.
        """
        body, code = _split(text)
        expected = self._hash.copy()
        expected.update(user_id.bytes)
        expected.update(body)
        if not secrets.compare_digest(expected.digest(), code):
            raise InvalidInput("the receipt is not one of this user")
        kind, num_aspects, image, model, time = _HEAD.unpack_from(body)
        end = _HEAD.size + 4 * num_aspects
        is_generic = bool(kind & _OF_BASE_MODEL)
        return Receipt(
            user_id,
            UUID(bytes=image),
            None if is_generic else UUID(bytes=model),
            UUID(bytes=model) if is_generic else None,
            datetime.fromtimestamp(int.from_bytes(time) / 1000, UTC),
            struct.unpack(f">{num_aspects}f", body[_HEAD.size : end]),
            json.loads(body[end:]) if len(body) > end else None,
        )


def _split(text: str) -> tuple[bytes, bytes]:
    """Body and code of a receipt."""
    try:
        if not text.startswith(PREFIX) or len(text) > MAX_LENGTH:
            raise ValueError
        encoded = text.removeprefix(PREFIX)
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        if len(data) < _HEAD.size + CODE_BYTES or len(data) < _HEAD.size + 4 * data[1] + CODE_BYTES:
            raise ValueError
    except ValueError:
        raise InvalidInput("not a receipt: it is neither a UUID nor a text that a prediction gave") from None
    return data[:-CODE_BYTES], data[-CODE_BYTES:]


def row_id(text: str) -> UUID:
    """The id of a receipt's row. One receipt always has the same; ids are in order of the receipts' times.

    Raises:
        InvalidInput: not a receipt.
    """
    body, code = _split(text)
    time_ms = int.from_bytes(_HEAD.unpack_from(body)[4])
    return id_of(time_ms, hashlib.blake2b(body + code, digest_size=10).digest())


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
