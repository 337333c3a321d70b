"""What serves a user now, read from the database: all that an answer says of the version, and its adapter's bytes.

One statement for all users that a process does not know. Rows stay as the driver gives them, because most of an answer
needs no object for a user.
"""

from __future__ import annotations

from collections.abc import Collection
from sys import intern
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from paaplus.configs import MATCH_STRATEGY
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of, values_of
from paaplus.db.raw_values import document_of, microseconds, moment_of
from paaplus.db.tables import AdapterRow, BaseModelRow, MatchRow, UserRow
from paaplus.db.tables.experts import MatchKind
from paaplus.services.predictions.active_versions import as_id
from paaplus.services.predictions.serving import (
    NO_VERSION_TEXT,
    AnswerParts,
    ServedAdapter,
    Source,
    UsedPreference,
    source_of_match,
)

PREFERENCE_VERSION: Final = "preference_version"  # key in a version's metrics: the version of the preference

# A row of a version: see `VERSION`. All but the last is kept.
VersionRow = tuple[Any, ...]

_HAS_PREFERENCE: Final = sa.cast(AdapterRow.preference, sa.Text).is_not(None)
VERSION: Final[tuple[Any, ...]] = (
    AdapterRow.id,
    AdapterRow.number,
    AdapterRow.digest,
    BaseModelRow.digest.label("base_digest"),
    AdapterRow.created_at,
    AdapterRow.match_id,
    AdapterRow.preference,
    # Not of all: SQLite would read the whole document.
    sa.case((_HAS_PREFERENCE, AdapterRow.metrics[PREFERENCE_VERSION].as_integer())).label("preference_version"),
    sa.case((AdapterRow.strategy == MATCH_STRATEGY, MatchRow.kind)).label("matched"),
    AdapterRow.data,
)
_IS_ACTIVE: Final = sa.text("adapters.state = 'active'")  # as a text: it names a partial index


class ServedUser:
    """What serves one user, as it was read.

    Args:
        user: the user's id, as the driver gives it.
        version: `VERSION` without the bytes; None: the user has no version.
        is_personal: the version's adapter gives the scores; otherwise the base model does.
        adapter: if it is no taste vector, so that its numbers are in no row.
    """

    __slots__ = ("_parts", "adapter", "is_personal", "refs", "size_bytes", "slot", "user", "version")

    def __init__(self, user: Any, version: VersionRow | None) -> None:
        self.user = user
        self.version = version
        self.is_personal = False
        self.adapter: Any = None
        self.slot = -1  # of `Residents`
        self.size_bytes = 0
        self.refs: tuple[tuple[str, str], ...] = ()
        self._parts: AnswerParts | None = None

    @property
    def user_id(self) -> UUID:
        return as_uuid(self.user)

    @property
    def is_special(self) -> bool:
        """Whether the scores are not those of a row of numbers."""
        return not self.is_personal or self.adapter is not None

    @property
    def facts(self) -> ServedAdapter | None:
        """The version, for answers; None: there is none."""
        return facts_of(self.user, self.version) if self.version is not None else None

    @property
    def source(self) -> Source:
        """Where the scores come from."""
        if not self.is_personal or self.version is None:
            return "base"
        return "adapter" if self.version[-1] is None else "match"

    @property
    def parts(self) -> AnswerParts:
        """What every answer says of the user."""
        if self._parts is None:
            self._parts = _parts_of(self)
        return self._parts


def facts_of(user: Any, version: VersionRow) -> ServedAdapter:
    """A version for answers.

    Args:
        user: its user's id, as the driver gives it.
        version: `VERSION`, with or without the bytes.
    """
    version_id, number, digest, base_digest, created_at, match_id, preference, preference_version, matched = version[:9]
    values = document_of(preference)
    trained_at = moment_of(created_at)
    assert trained_at is not None, "every version has a time"
    return ServedAdapter(
        as_uuid(user),
        as_uuid(version_id),
        number,
        digest,
        intern(base_digest),  # all versions share it
        trained_at,
        as_uuid(match_id) if match_id is not None else None,
        UsedPreference(tuple(values), preference_version) if values is not None else None,
        MatchKind(matched) if matched is not None else None,
    )


def _parts_of(served: ServedUser) -> AnswerParts:
    user_text, user_bytes = _text_and_bytes(served.user)
    if not served.is_personal:
        reason = "no_adapter" if served.version is None else "adapter_of_another_base_model"
        return AnswerParts(user_text, NO_VERSION_TEXT % reason, "null", None, user_bytes, None)
    assert served.version is not None, "its adapter gives the scores"
    version_id, number, digest, _, created_at, match_id, _, _, matched = served.version
    version_text, version_bytes = _text_and_bytes(version_id)
    moment = moment_of(created_at)
    assert moment is not None, "every version has a time"
    source, reason = source_of_match(MatchKind(matched) if matched is not None else None)
    return AnswerParts(
        user_text,
        f'"source":"{source}","source_reason":"{reason}","adapter":{{"id":{version_text},"number":{number},'
        f'"digest":"{digest}","trained_at":"{moment.isoformat().replace("+00:00", "Z")}","age_s":',
        "null" if match_id is None else _text_and_bytes(match_id)[0],
        microseconds(moment),
        user_bytes,
        version_bytes,
    )


def _text_and_bytes(raw_id: Any) -> tuple[str, bytes]:
    """An id as JSON, and its bytes."""
    if isinstance(raw_id, UUID):
        return f'"{raw_id}"', raw_id.bytes
    return f'"{raw_id[:8]}-{raw_id[8:12]}-{raw_id[12:16]}-{raw_id[16:20]}-{raw_id[20:]}"', bytes.fromhex(raw_id)


def _users_by(column: Any, parameter: str, kind: Any) -> Prepared:
    """Users of one application with their names and active versions; on SQLite a row of nothing for each that does not
    exist."""

    def build(dialect: str) -> sa.Select[Any]:
        is_of_application = UserRow.application == sa.bindparam("application", type_=sa.String())
        query = sa.select(UserRow.id.label("user"), *VERSION, UserRow.external_id)
        is_active = sa.and_(AdapterRow.user_id == UserRow.id, _IS_ACTIVE)
        if dialect == "sqlite":
            each = values_of(parameter)
            wanted = sa.and_(column == sa.type_coerce(each.c.value, kind), is_of_application)
            joined = sa.outerjoin(sa.outerjoin(each, UserRow, wanted), AdapterRow, is_active)
        else:
            joined = sa.outerjoin(UserRow, AdapterRow, is_active)
            query = query.where(column.in_(one_of(dialect, parameter, kind)), is_of_application)
        joined = sa.outerjoin(joined, BaseModelRow, BaseModelRow.id == AdapterRow.base_model_id)
        return query.select_from(sa.outerjoin(joined, MatchRow, MatchRow.id == AdapterRow.match_id))

    return Prepared(build)


_BY_NAME: Final = _users_by(UserRow.external_id, "names", sa.String())
_BY_ID: Final = _users_by(UserRow.id, "ids", sa.Uuid())


def read(
    connection: sa.Connection, application: str, refs: Collection[str]
) -> tuple[dict[str, tuple[Any, ...]], set[str]]:
    """Rows of the users of these references, see `users.resolve_many`: id, `VERSION`, name. Those without a user are
    left out.

    Returns:
        The rows, and the references among them that might name somebody else when one more user exists.
    """
    ids = {ref: found for ref in refs if (found := as_id(ref)) is not None}
    rows = _BY_NAME.rows(connection, names=listed(connection, refs), application=application)
    by_name = {row[-1]: row for row in rows}
    by_name.pop(None, None)  # of references that do not exist
    if not ids:
        return by_name, set()
    rows = _BY_ID.rows(connection, ids=listed(connection, list(ids.values())), application=application)
    by_id = {as_uuid(row[0]): row for row in rows if row[0] is not None}
    return by_name | {ref: by_id[user] for ref, user in ids.items() if user in by_id}, by_name.keys() & ids.keys()
