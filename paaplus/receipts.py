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
from functools import lru_cache
from itertools import repeat
from typing import Any, Final
from uuid import UUID

import numpy as np

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
        images, score_NA, details_N = zip(*items, strict=True)
        num, version = len(images), model[0].bytes if model[0] is not None else None
        return self.sign_each(
            model[1], moment, [user_id.bytes] * num, [version] * num, [i.bytes for i in images], score_NA, details_N
        )

    def sign_each(
        self,
        base_model_id: UUID,
        moment: datetime,
        users_N: Sequence[bytes],
        versions_N: Sequence[bytes | None],
        images_N: Sequence[bytes],
        score_NA: Sequence[Sequence[float]],
        details_N: Iterable[dict[str, Any] | None] = repeat(None),
    ) -> list[str]:
        """Receipts of predictions of many users, in order.

        Args:
            base_model_id: of the base model.
            moment: when they were made.
            users_N, versions_N, images_N: ids, as `UUID.bytes`; no version if the base model's own scores were given.
            score_NA: by aspect.
            details_N: details of each.
        """
        if not score_NA:
            return []
        num_aspects, time = len(score_NA[0]), int(moment.timestamp() * 1000).to_bytes(6)
        copy, pack = self._hash.copy, struct.Struct(f">{num_aspects}f").pack
        base, of_version, of_base = (
            base_model_id.bytes,
            bytes((1, num_aspects)),
            bytes((1 | _OF_BASE_MODEL, num_aspects)),
        )
        found = []
        for user, version, image, scores, details in zip(
            users_N, versions_N, images_N, score_NA, details_N, strict=False
        ):
            kind, model = (of_version, version) if version is not None else (of_base, base)
            signed = b"".join((user, kind, image, model, time, pack(*scores)))
            if details is not None:
                signed += json.dumps(details, separators=(",", ":")).encode()
            code = copy()
            code.update(signed)
            found.append(b2a_base64(signed[_USER_BYTES:] + code.digest(), newline=False))
        return _texts(found)

    def sign_columns(
        self,
        moment: datetime,
        users_N: np.ndarray,
        models_N: np.ndarray,
        is_of_base_N: np.ndarray,
        images_N: np.ndarray,
        score_NA: np.ndarray,
    ) -> list[str]:
        """As `sign_each`, without details: what is signed is written for all at once.

        Args:
            moment: when they were made.
            users_N, images_N: ids, 16 raw bytes each.
            models_N: ids of versions, or of the base model if its own scores were given.
            is_of_base_N: where that is so.
            score_NA: by aspect, float32.
        """
        signed_N = np.empty(len(score_NA), _signed_form(score_NA.shape[1]))
        signed_N["user"], signed_N["image"], signed_N["model"] = users_N, images_N, models_N
        signed_N["kind"], signed_N["num_aspects"] = 1 + _OF_BASE_MODEL * is_of_base_N, score_NA.shape[1]
        signed_N["time"] = np.void(int(moment.timestamp() * 1000).to_bytes(6))
        signed_N["scores"] = score_NA
        whole, size, copy = signed_N.tobytes(), signed_N.itemsize, self._hash.copy
        found = []
        for start in range(0, len(whole), size):
            code = copy()
            code.update(whole[start : start + size])
            body = whole[start + _USER_BYTES : start + size]
            found.append(b2a_base64(body + code.digest(), newline=False))
        return _texts(found)

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


@lru_cache(32)
def _signed_form(num_aspects: int) -> np.dtype[Any]:
    """What is signed: the user, and a receipt up to its code."""
    return np.dtype(
        [
            ("user", f"V{_USER_BYTES}"),
            ("kind", np.uint8),
            ("num_aspects", np.uint8),
            ("image", "V16"),
            ("model", "V16"),
            ("time", "V6"),
            ("scores", ">f4", (num_aspects,)),
        ]
    )


def _texts(found: list[bytes]) -> list[str]:
    """All are translated at once: none has a space."""
    if not found:
        return []
    return (_PREFIX + (b" " + _PREFIX).join(found)).translate(_URL_SAFE, b"=").decode().split(" ")


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
