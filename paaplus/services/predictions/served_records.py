"""What serves users as records of fixed size: the numbers of an adapter, and all that an answer says of the version.

A call takes a copy of the records of its users, and makes objects of them only if somebody asks for them.
Shape letters: U = users of a call, M = users that were read, K = numbers of a row (`RowForm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import compress
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
from pydantic_core import from_json

from paaplus.db.raw_values import document_of, microseconds, moment_of
from paaplus.db.tables.experts import MatchKind
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.taste_rows import RowForm
from paaplus.services.predictions.served_users import VersionRow
from paaplus.services.predictions.serving import (
    NO_VERSION_TEXT,
    ServedAdapter,
    Source,
    SourceReason,
    UsedPreference,
    source_of_match,
)

ID_BYTES: Final = 16
TEXT_BYTES: Final = 352  # of the longest text
REASONS: Final[tuple[SourceReason, ...]] = (
    "no_adapter",
    "adapter_of_another_base_model",
    "active_adapter",
    "matched_generic",
    "matched_expert",
    "matched_combination",
)
_NO_VERSION, _OTHER_BASE, _ACTIVE = range(3)  # places in `REASONS`; from the last on, the scores are personal
_MATCHED: Final = {kind: REASONS.index(source_of_match(kind)[1]) for kind in MatchKind}


@lru_cache(8)
def record_of(form: RowForm) -> np.dtype[Any]:
    """The form of records.

    `number_K`: of the adapter. `user`, `version`: ids. `trained_us`: when the version was trained, in microseconds
    since 1970. `reason`: place in `REASONS`. `text`: the user's id, the adapter and the match as parts of JSON, each
    on a line (`ServedTexts`). A version whose adapter does not give the scores is not told, so the record has none.
    """
    return np.dtype(
        [
            ("number_K", np.float32, (form.size + form.size % 2,)),
            ("user", f"V{ID_BYTES}"),
            ("version", f"V{ID_BYTES}"),
            ("trained_us", np.int64),
            ("reason", np.int64),
            ("text", f"S{TEXT_BYTES}"),
        ]
    )


class Extra(NamedTuple):
    """What few users have, and no record holds.

    Args:
        adapter: if it is no taste vector; its numbers are in no record.
        preference: of the version.
    """

    adapter: Adapter | None
    preference: UsedPreference | None

    @property
    def size_bytes(self) -> int:
        numbers = sum(array.nbytes for array in self.adapter.arrays().values()) if self.adapter is not None else 0
        return EXTRA_BYTES + numbers


EXTRA_BYTES: Final = 400  # of the objects of an `Extra`, without numbers


class ServedTexts(NamedTuple):
    """What every answer says of users, as parts of JSON, with a place for each user.

    Args:
        users: ids.
        adapters: where the scores come from and why, and a `ServedAdapterOut` up to its age, if there is one.
        matches: ids of matches.
        trained_us: when versions were trained, in microseconds since 1970; None: the base model scores.
    """

    users: list[str]
    adapters: list[str]
    matches: list[str]
    trained_us: list[int | None]


class ServedUsers:
    """What serves the users of a call, in its order.

    Args:
        base_digest: of the base model.
        record_U: see `record_of`.
        extras: by place.
    """

    def __init__(self, base_digest: str, record_U: np.ndarray, extras: Mapping[int, Extra]) -> None:
        self._base_digest = base_digest
        self.record_U = record_U
        self.extras = extras

    def __len__(self) -> int:
        return len(self.record_U)

    def put(self, places: Sequence[int], record_M: np.ndarray, extras: Mapping[int, Extra]) -> None:
        """Add users that were read; `extras` by their places in `record_M`."""
        self.record_U[places] = record_M
        self.extras = {**self.extras, **{places[place]: extra for place, extra in extras.items()}}

    def only(self, places: Sequence[int]) -> ServedUsers:
        """Some of the users."""
        extras = {new: self.extras[old] for new, old in enumerate(places) if old in self.extras}
        return ServedUsers(self._base_digest, self.record_U[places], extras)

    def number_UK(self, form: RowForm) -> np.ndarray:
        """Numbers of the adapters."""
        number_UK: np.ndarray = self.record_U["number_K"][:, : form.size]
        return number_UK

    def special(self) -> list[int]:
        """Places of users whose scores are not those of their numbers."""
        found = np.flatnonzero(self.record_U["reason"] < _ACTIVE).tolist()
        return found + [place for place, extra in self.extras.items() if extra.adapter is not None]

    def user_bytes(self) -> list[bytes]:
        """Ids of users."""
        return _split(self.record_U["user"].tobytes())

    def version_bytes(self) -> list[bytes | None]:
        """Ids of versions; None: the base model scores."""
        found: list[bytes | None] = [*_split(self.record_U["version"].tobytes())]
        for place in np.flatnonzero(self.record_U["reason"] < _ACTIVE).tolist():
            found[place] = None
        return found

    def sources(self) -> list[Source]:
        """Where scores come from."""
        return [_source_of(reason) for reason in self.record_U["reason"].tolist()]

    def texts(self) -> ServedTexts:
        if not len(self.record_U):
            return ServedTexts([], [], [], [])
        lines = b"\n".join(self.record_U["text"].tolist()).decode().split("\n")
        trained_us: list[int | None] = self.record_U["trained_us"].tolist()
        for place in np.flatnonzero(self.record_U["reason"] < _ACTIVE).tolist():
            trained_us[place] = None
        return ServedTexts(lines[0::3], lines[1::3], lines[2::3], trained_us)

    def user_id(self, place: int) -> UUID:
        return UUID(bytes=self.record_U["user"][place].tobytes())

    def source(self, place: int) -> tuple[Source, SourceReason]:
        """Where the scores of one user come from, and why."""
        reason = int(self.record_U["reason"][place])
        return _source_of(reason), REASONS[reason]

    def facts(self, place: int) -> ServedAdapter | None:
        """The version that gives the scores of one user; None: the base model does."""
        record = self.record_U[place]
        if record["reason"] < _ACTIVE:
            return None
        user, adapter, match = record["text"].decode().split("\n")
        told = from_json(f"{{{adapter}0}}}}")["adapter"]  # the text ends before the age
        trained_at = moment_of(int(record["trained_us"]))
        assert trained_at is not None, "every version has a time"
        reason, extra = int(record["reason"]), self.extras.get(place)
        return ServedAdapter(
            UUID(user[1:-1]),
            UUID(told["id"]),
            told["number"],
            told["digest"],
            self._base_digest,
            trained_at,
            UUID(match[1:-1]) if match != "null" else None,
            extra.preference if extra is not None else None,
            next((kind for kind, of_kind in _MATCHED.items() if of_kind == reason), None),
        )


def _source_of(reason: int) -> Source:
    return "base" if reason < _ACTIVE else "adapter" if reason == _ACTIVE else "match"


def _split(ids: bytes) -> list[bytes]:
    return [ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES)]


def write_facts(
    record_M: np.ndarray, users: Sequence[Any], versions: Sequence[VersionRow | None], is_personal_M: Sequence[bool]
) -> None:
    """Write all but the numbers into the records of users that were read.

    Args:
        record_M: is written; the version and its time only where the version gives the scores.
        users: ids as the driver gives them.
        versions: None: the user has none.
        is_personal_M: whether the version's adapter gives the scores.
    """
    user_hex = list(map(_hex_of, users))
    record_M["user"] = np.frombuffer(bytes.fromhex("".join(user_hex)), f"V{ID_BYTES}")
    texts: list[bytes] = []
    reasons: list[int] = []
    version_hex: list[str] = []
    trained_us: list[int] = []
    for user, version, is_personal in zip(user_hex, versions, is_personal_M, strict=True):
        if not is_personal or version is None:
            reason = _NO_VERSION if version is None else _OTHER_BASE
            reasons.append(reason)
            texts.append(f"{_quoted(user)}\n{NO_VERSION_TEXT % REASONS[reason]}\nnull".encode())
            continue
        version_id, number, digest, _, created_at, match_id, _, _, matched = version[:9]
        moment = moment_of(created_at)
        assert moment is not None, "every version has a time"
        source, named = source_of_match(None) if matched is None else source_of_match(MatchKind(matched))
        reasons.append(_ACTIVE if matched is None else _MATCHED[MatchKind(matched)])
        version_hex.append(_hex_of(version_id))
        trained_us.append(microseconds(moment))
        # Ids, digests, numbers, times and the words of a source have no character that JSON would read.
        trained_at = moment.isoformat().replace("+00:00", "Z")
        text = (
            f'{_quoted(user)}\n"source":"{source}","source_reason":"{named}","adapter":{{'
            f'"id":{_quoted(version_hex[-1])},"number":{number},"digest":"{digest}","trained_at":"{trained_at}","age_s":\n'
            f"{'null' if match_id is None else _quoted(_hex_of(match_id))}"
        )
        texts.append(text.encode())
    assert max(map(len, texts), default=0) <= TEXT_BYTES, "every part has a bound"
    record_M["text"], record_M["reason"] = texts, reasons
    personal = list(compress(range(len(reasons)), is_personal_M))
    record_M["version"][personal] = np.frombuffer(bytes.fromhex("".join(version_hex)), f"V{ID_BYTES}")
    record_M["trained_us"][personal] = trained_us


def extra_of(version: VersionRow | None, adapter: Adapter | None) -> Extra | None:
    """What no record holds; None: nothing.

    Args:
        adapter: that gives the scores, if it is no taste vector.
    """
    values = document_of(version[6]) if version is not None else None
    if adapter is None and values is None:
        return None
    preference = UsedPreference(tuple(values), version[7]) if version is not None and values is not None else None
    return Extra(adapter, preference)


def _hex_of(raw_id: Any) -> str:
    """An id as the driver gives it, as 32 digits."""
    return raw_id.hex if isinstance(raw_id, UUID) else raw_id


def _quoted(digits: str) -> str:
    """An id as JSON."""
    return f'"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"'
