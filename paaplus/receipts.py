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
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from paaplus.errors import InvalidInput
from paaplus.ids import id_of

PREFIX: Final = "r1."
MAX_LENGTH: Final = 2_048
KEY_NAME: Final = "receipts"  # of the secret in the database
KEY_BYTES: Final = 32
CODE_BYTES: Final = 12
_OF_BASE_MODEL: Final = 0x80
_USER_BYTES: Final = 16
_HEAD: Final = struct.Struct(">BB16s16s6s")
_PREFIX: Final = PREFIX.encode()
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


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


class Signed(NamedTuple):
    """What is signed for one user. `adapter_id`: None if the base model's own scores were given.

    `details_N`: of each item; None: there are none.
    """

    user_id: UUID
    adapter_id: UUID | None
    image_ids: Sequence[UUID]
    score_NA: Sequence[Sequence[float]]
    details_N: Sequence[dict[str, Any] | None] | None


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
    ) -> list[str]:
        """Receipts of one user's predictions.

        Args:
            user_id: the user.
            model: ids of the version, None without one, and of the base model.
            moment: when they were made.
            items: image, scores by aspect, and details of each.
        """
        images, scores, details = zip(*items, strict=True)
        return self.sign_all(model[1], moment, [Signed(user_id, model[0], images, scores, details)])

    def sign_all(self, base_model_id: UUID, moment: datetime, users: Iterable[Signed]) -> list[str]:
        """Receipts of predictions of many users, in order. They have the same number of aspects."""
        time = int(moment.timestamp() * 1000).to_bytes(6)
        found: list[bytes] = []
        of_lists: dict[int, list[bytes]] = {}  # ids of images; users may share a list
        copy, pack, heads = self._hash.copy, None, (b"", b"")
        for user_id, adapter_id, image_ids, score_NA, details_N in users:
            image_bytes = of_lists.get(id(image_ids))
            if image_bytes is None:
                image_bytes = of_lists[id(image_ids)] = [image_id.bytes for image_id in image_ids]
            if pack is None:
                num_aspects = len(score_NA[0])
                pack = struct.Struct(f">{num_aspects}f").pack
                heads = bytes((1, num_aspects)), bytes((1 | _OF_BASE_MODEL, num_aspects))
            of_user = user_id.bytes
            if adapter_id is not None:
                start, end = of_user + heads[0], adapter_id.bytes + time
            else:
                start, end = of_user + heads[1], base_model_id.bytes + time
            for n, (image, scores) in enumerate(zip(image_bytes, score_NA, strict=True)):
                signed = start + image + end + pack(*scores)
                if details_N is not None and (details := details_N[n]) is not None:
                    signed += json.dumps(details, separators=(",", ":")).encode()
                code = copy()
                code.update(signed)
                found.append(b2a_base64(signed[_USER_BYTES:] + code.digest(), newline=False))
        # All are translated at once: none has a space.
        return (_PREFIX + (b" " + _PREFIX).join(found)).translate(_URL_SAFE, b"=").decode().split(" ") if found else []

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
