"""What serves a user now, read from the database: all that an answer says of the version, and its adapter's bytes.

One statement for all users that a process does not know. Rows stay as the driver gives them, because most of an answer
needs no object for a user.
"""

from __future__ import annotations

from collections.abc import Collection
from sys import intern
from typing import Any, Final

import sqlalchemy as sa

from paaplus.configs import MATCH_STRATEGY
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of, values_of
from paaplus.db.raw_values import document_of, moment_of
from paaplus.db.tables import AdapterRow, BaseModelRow, MatchRow, UserRow
from paaplus.db.tables.experts import MatchKind
from paaplus.services.predictions.active_versions import as_id
from paaplus.services.predictions.serving import (
    ServedAdapter,
    UsedPreference,
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
