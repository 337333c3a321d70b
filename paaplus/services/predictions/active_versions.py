"""Which version is active for whom, read anew where a process does not know it (`residents`).

The statements are prepared, because SQLAlchemy's own work on them would cost more than the answer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from paaplus.db.index_hints import index_hint
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of, values_of
from paaplus.db.tables import AdapterRow, UserRow
from paaplus.services.users.keys import Principal

# A user's id, the ids of the active version, None without one, and of the match that made it, as long as that exists.
# They are as the driver gives them: a key of a cache need not be more, and a `UUID` costs. `as_uuid` makes one.
ActiveVersion = tuple[Any, Any, Any]


# As a text: a bound value would hide the partial indexes, which find the one active row of a user, from the database.
_IS_ACTIVE: Final = sa.text("adapters.state = 'active'")
_VERSION: Final[tuple[Any, ...]] = (AdapterRow.id, AdapterRow.match_id)
_FROM_INDEX: Final = (AdapterRow, index_hint("ix_adapters_active"), "sqlite")  # it has all of `_VERSION`


def _users_by(column: Any, parameter: str, kind: Any) -> Prepared:
    """Users of one application, with their names; on SQLite a row of nothing for each that does not exist."""

    def build(dialect: str) -> sa.Select[Any]:
        is_of_application = UserRow.application == sa.bindparam("application", type_=sa.String())
        is_active = sa.and_(AdapterRow.user_id == UserRow.id, _IS_ACTIVE)
        query = sa.select(UserRow.id, *_VERSION, UserRow.external_id)
        if dialect == "sqlite":  # an outer join has it look up value by value, for a third less than `IN`
            each = values_of(parameter)
            users = sa.outerjoin(
                each, UserRow, sa.and_(column == sa.type_coerce(each.c.value, kind), is_of_application)
            )
            return query.select_from(users.outerjoin(AdapterRow, is_active)).with_hint(*_FROM_INDEX)
        users = sa.outerjoin(UserRow, AdapterRow, is_active)
        return query.select_from(users).where(column.in_(one_of(dialect, parameter, kind)), is_of_application)

    return Prepared(build)


_BY_NAME: Final = _users_by(UserRow.external_id, "names", sa.String())
_BY_ID: Final = _users_by(UserRow.id, "ids", sa.Uuid())
_OF_USERS: Final = Prepared(
    lambda dialect: (
        sa.select(AdapterRow.user_id, *_VERSION)
        .where(AdapterRow.user_id.in_(one_of(dialect, "ids", sa.Uuid())), _IS_ACTIVE)
        .with_hint(*_FROM_INDEX)
    )
)


def of_users(connection: sa.Connection, user_ids: Collection[UUID]) -> list[ActiveVersion]:
    """The active versions; users without one are left out. Read in one statement, so from one moment."""
    return _OF_USERS.rows(connection, ids=listed(connection, user_ids))


def of_references(connection: sa.Connection, principal: Principal, refs: Collection[str]) -> dict[str, ActiveVersion]:
    """The users of these references, see `users.resolve_many`, with their active versions.

    References without a user that the principal may see are left out. The principal has an application.
    """
    assert principal.application is not None, "names are unique in one application only"
    application, only = principal.application, principal.user_id
    as_ids = {ref: found_id for ref in refs if (found_id := as_id(ref)) is not None}
    rows = _BY_NAME.rows(connection, names=listed(connection, refs), application=application)
    if as_ids:
        rows += _BY_ID.rows(connection, ids=listed(connection, list(as_ids.values())), application=application)
    by_name = {name: (user_id, adapter_id, match_id) for user_id, adapter_id, match_id, name in rows}
    by_name.pop(None, None)  # of references that do not exist
    if only is not None:
        by_name = {name: row for name, row in by_name.items() if as_uuid(row[0]) == only}
    if not as_ids:
        return by_name
    by_id = {as_uuid(row[0]): row for row in by_name.values()}
    found = {}
    for ref in refs:
        user = (by_id.get(as_ids[ref]) if ref in as_ids else None) or by_name.get(ref)
        if user is not None:
            found[ref] = user
    return found


_SHORTEST: Final = 32  # text that is read as an id; most names are shorter


def as_id(ref: str) -> UUID | None:
    """The id that a reference may be; None: it is a name for sure."""
    if len(ref) < _SHORTEST:
        return None
    try:
        return UUID(ref)
    except ValueError:
        return None
