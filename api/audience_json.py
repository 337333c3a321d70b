"""An audience as JSON, written column by column: there may be a hundred thousand users.

The text has the fields of `AudienceOut` in their order; a test compares them.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from pydantic_core import to_json

from paaplus.api.schemas.base_models import BaseModelRef
from paaplus.services.predictions.audiences import Audience
from paaplus.services.predictions.user_pages import HEX, People

_ID: Final = np.frombuffer(b'"00000000-0000-0000-0000-000000000000",', np.uint8)
_DIGITS: Final = np.flatnonzero(_ID == ord("0"))  # where the digits of an id are

_last_versions: tuple[np.ndarray, bytes] | None = None
_written: WeakKeyDictionary[People, tuple[bytes, bytes]] = WeakKeyDictionary()


def columns(audience: Audience, next_cursor: str | None) -> bytes:
    """The answer, `AudienceOut`."""
    aspects = audience.base_model.aspects
    scored = audience.scored
    user_id, external_id = _names(audience.users.people)
    scores = {}
    for number, aspect in enumerate(aspects):
        values: list[float | None] = scored.score_NA[:, number].astype(np.float64).tolist()
        for place in scored.damaged:
            values[place] = None
        scores[aspect] = values
    found = {
        "image_id": to_json(audience.image_id),
        "base_model": BaseModelRef.model_validate(audience.base_model).model_dump_json().encode(),
        "generic": to_json(dict(zip(aspects, audience.image.generic_A.tolist(), strict=True))),
        "user_id": user_id,
        "external_id": external_id,
        "scores": to_json(scores),
        "version": _versions(scored.number_N),
        "failed": to_json({str(place): error for place, error in sorted(scored.damaged.items())}),
        "next_cursor": to_json(next_cursor),
    }
    return b"{" + b",".join(to_json(name) + b":" + text for name, text in found.items()) + b"}"


def _names(people: People) -> tuple[bytes, bytes]:
    """The columns of ids and external ids, written once for the same people."""
    known = _written.get(people)
    if known is None:
        known = _written[people] = _ids(people), to_json(people.names)
    return known


def _versions(number_N: np.ndarray) -> bytes:
    """The column of versions, written once while the matrix gives the same numbers."""
    global _last_versions
    known = _last_versions
    if known is not None and known[0] is number_N:
        return known[1]
    text = to_json([number or None for number in number_N.tolist()])
    if not number_N.flags.writeable:  # others may get the same
        _last_versions = number_N, text
    return text


def _ids(people: People) -> bytes:
    texts = np.tile(_ID, (len(people), 1))
    texts[:, _DIGITS] = people.id_N.view(np.uint8).reshape(len(people), HEX)
    return b"[" + texts.tobytes()[:-1] + b"]"
