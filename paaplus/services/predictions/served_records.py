"""What serves users as records of fixed size: the numbers of an adapter, and all that an answer says of the version.

A call takes a copy of the records of its users, and makes objects of them only if somebody asks for them.
Shape letters: U = users of a call, M = users that were read, K = numbers of a row (`RowForm`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
QUOTED_ID: Final = 38  # characters
_GROUPS: Final = ((1, 0, 8), (10, 8, 12), (15, 12, 16), (20, 16, 20), (25, 20, 32))  # of an id's digits: place, digits
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
_SOURCES: Final[tuple[Source, ...]] = ("base", "base", "adapter", "match", "match", "match")  # of each reason
_MATCHED: Final = {kind: REASONS.index(source_of_match(kind)[1]) for kind in MatchKind}


class Forms(NamedTuple):
    """The form of records, as fields and as bytes, which are copied several times as fast.

    `number_K`: of the adapter. `user`, `version`: ids. `trained_us`: when the version was trained, in microseconds
    since 1970. `reason`: place in `REASONS`. `text`: the user's id, the adapter and the match as parts of JSON
    (`ServedTexts`), with the places where the last two end. A version whose adapter does not give the scores is not
    told, so the record has none.
    """

    record: np.dtype[Any]
    raw: np.dtype[Any]


@lru_cache(8)
def forms_of(form: RowForm) -> Forms:
    """The forms of records for one form of rows."""
    record = np.dtype(
        [
            ("number_K", np.float32, (form.size + form.size % 2,)),
            ("user", f"V{ID_BYTES}"),
            ("version", f"V{ID_BYTES}"),
            ("trained_us", np.int64),
            ("reason", np.int64),
            ("adapter_end", np.int32),
            ("match_end", np.int32),
            ("text", f"S{TEXT_BYTES}"),
        ]
    )
    return Forms(record, np.dtype(f"V{record.itemsize}"))


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
        record_U: see `Forms`.
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
        as_bytes = np.dtype(f"V{record_M.itemsize}")  # copied faster than fields
        self.record_U.view(as_bytes)[places] = record_M.view(as_bytes)
        self.extras = {**self.extras, **{places[place]: extra for place, extra in extras.items()}}

    def only(self, places: Sequence[int]) -> ServedUsers:
        """Some of the users."""
        extras = {new: self.extras[old] for new, old in enumerate(places) if old in self.extras}
        return ServedUsers(self._base_digest, self.record_U[places], extras)

    def number_UK(self, form: RowForm) -> np.ndarray:
        """Numbers of the adapters."""
        number_UK: np.ndarray = self.record_U["number_K"][:, : form.size]
        return number_UK

    def _generic(self) -> list[int]:
        """Places of users for whom the base model scores."""
        reasons: list[int] = self.record_U["reason"].tolist()
        if min(reasons, default=_ACTIVE) >= _ACTIVE:
            return []
        return [place for place, reason in enumerate(reasons) if reason < _ACTIVE]

    def special(self) -> list[int]:
        """Places of users whose scores are not those of their numbers."""
        found = self._generic()
        return (
            found + [place for place, extra in self.extras.items() if extra.adapter is not None]
            if self.extras
            else found
        )

    def user_bytes(self) -> list[bytes]:
        """Ids of users."""
        return _split(self.record_U["user"].tobytes())

    def version_bytes(self) -> list[bytes | None]:
        """Ids of the versions that give scores; None: the base model does."""
        found: list[bytes | None] = [*_split(self.record_U["version"].tobytes())]
        for place in self._generic():
            found[place] = None
        return found

    def models(self, base_id: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the versions that give scores, or of the base model; and where it is the base model."""
        model_U, is_of_base_U = self.record_U["version"], self.record_U["reason"] < _ACTIVE
        if is_of_base_U.any():
            model_U = model_U.copy()
            model_U[is_of_base_U] = np.void(base_id)
        return model_U, is_of_base_U

    def sources(self) -> list[Source]:
        """Where scores come from."""
        return list(map(_SOURCES.__getitem__, self.record_U["reason"].tolist()))

    def texts(self) -> ServedTexts:
        record_U = self.record_U
        whole = record_U["text"].tobytes().decode()  # one text: to cut it is much cheaper than to decode each
        starts = range(0, len(whole), TEXT_BYTES)
        users = [whole[start : start + QUOTED_ID] for start in starts]
        ends, match_ends = record_U["adapter_end"].tolist(), record_U["match_end"].tolist()
        adapters = [whole[start + QUOTED_ID : start + end] for start, end in zip(starts, ends, strict=True)]
        matches = ["null"] * len(users)
        if match_ends != ends:
            pairs = zip(starts, ends, match_ends, strict=True)
            matches = [whole[start + first : start + end] or "null" for start, first, end in pairs]
        trained_us: list[int | None] = record_U["trained_us"].tolist()
        for place in self._generic():
            trained_us[place] = None
        return ServedTexts(users, adapters, matches, trained_us)

    def user_id(self, place: int) -> UUID:
        return UUID(bytes=self.record_U["user"][place].tobytes())

    def source(self, place: int) -> tuple[Source, SourceReason]:
        """Where the scores of one user come from, and why."""
        reason = int(self.record_U["reason"][place])
        return _SOURCES[reason], REASONS[reason]

    def facts(self, place: int) -> ServedAdapter | None:
        """The version that gives the scores of one user; None: the base model does."""
        record = self.record_U[place]
        if record["reason"] < _ACTIVE:
            return None
        text = record["text"].decode()
        adapter, match = text[QUOTED_ID : record["adapter_end"]], text[record["adapter_end"] :]
        told = from_json(f"{{{adapter}0}}}}")["adapter"]  # the text ends before the age
        trained_at = moment_of(int(record["trained_us"]))
        assert trained_at is not None, "every version has a time"
        reason, extra = int(record["reason"]), self.extras.get(place)
        return ServedAdapter(
            self.user_id(place),
            UUID(told["id"]),
            told["number"],
            told["digest"],
            self._base_digest,
            trained_at,
            UUID(match[1:-1]) if match else None,
            extra.preference if extra is not None else None,
            next((kind for kind, of_kind in _MATCHED.items() if of_kind == reason), None),
        )


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
    is_personal = np.array(is_personal_M, bool)
    user_hex, personal = list(map(_hex_of, users)), list(compress(versions, is_personal_M))
    version_hex = [_hex_of(version[0]) for version in personal if version is not None]
    quoted = dict(zip(user_hex, _quoted(user_hex), strict=True))
    told = iter(_told([version for version in personal if version is not None], _quoted(version_hex)))
    texts: list[str] = []
    adapter_ends: list[int] = []
    reasons: list[int] = []
    trained_us: list[int] = []
    for user, version, is_told in zip(user_hex, versions, is_personal_M, strict=True):
        if is_told:
            reason, adapter, match, moment_us = next(told)
            trained_us.append(moment_us)
        else:
            reason, match = _NO_VERSION if version is None else _OTHER_BASE, ""
            adapter = NO_VERSION_TEXT % REASONS[reason]
        texts.append(f"{quoted[user]}{adapter}{match}")
        adapter_ends.append(QUOTED_ID + len(adapter))
        reasons.append(reason)
    text_ends = list(map(len, texts))
    assert max(text_ends, default=0) <= TEXT_BYTES, "every part has a bound"
    record_M["user"] = np.frombuffer(bytes.fromhex("".join(user_hex)), f"V{ID_BYTES}")
    record_M["text"] = list(map(str.encode, texts))
    record_M["reason"], record_M["adapter_end"], record_M["match_end"] = reasons, adapter_ends, text_ends
    record_M["version"][is_personal] = np.frombuffer(bytes.fromhex("".join(version_hex)), f"V{ID_BYTES}")
    record_M["trained_us"][is_personal] = trained_us


def _told(versions: Sequence[VersionRow], ids: Sequence[str]) -> Iterator[tuple[int, str, str, int]]:
    """Of each version: place in `REASONS`, what answers say of it up to its age, its match (empty: none), and when it
    was trained, in microseconds since 1970.

    Args:
        ids: as JSON.
    """
    moments = [version[4] for version in versions]
    if moments and isinstance(moments[0], str):  # UTC, without a time zone
        trained_us = np.array(moments, "datetime64[us]").view(np.int64)
    else:
        trained_us = np.array([microseconds(moment) for moment in moments], np.int64)
    times = np.datetime_as_string(trained_us.view("datetime64[us]")).tolist()
    for version, version_id, time, moment_us in zip(versions, ids, times, trained_us.tolist(), strict=True):
        _, number, digest, _, _, match_id, _, _, matched = version
        reason = _ACTIVE if matched is None else _MATCHED[MatchKind(matched)]
        # Ids, digests, numbers, times and the words of a source have no character that JSON would read.
        adapter = (
            f'"source":"{_SOURCES[reason]}","source_reason":"{REASONS[reason]}","adapter":{{"id":{version_id},'
            f'"number":{number},"digest":"{digest}","trained_at":"{time.removesuffix(".000000")}Z","age_s":'
        )
        yield reason, adapter, "" if match_id is None else _quoted([_hex_of(match_id)])[0], moment_us


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


def _quoted(ids: Sequence[str]) -> list[str]:
    """Ids of 32 digits as JSON: of many at once, a third of what each alone takes."""
    digit_MC = np.frombuffer("".join(ids).encode(), np.uint8).reshape(-1, 32)
    text_MC = np.full((len(ids), QUOTED_ID), ord("-"), np.uint8)
    text_MC[:, [0, -1]] = ord('"')
    for first, start, end in _GROUPS:
        text_MC[:, first : first + end - start] = digit_MC[:, start:end]
    whole = text_MC.tobytes().decode()
    return [whole[start : start + QUOTED_ID] for start in range(0, len(whole), QUOTED_ID)]
