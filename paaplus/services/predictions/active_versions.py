"""Which version is active for whom, read anew for every call; and the versions themselves, which never change.

The statements are the ones that every call for predictions makes. They are prepared, because SQLAlchemy's own work on
them would cost more than the answer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from paaplus.db.prepared import Prepared, as_uuid, listed, one_of
from paaplus.db.tables import AdapterRow, UserRow
from paaplus.services.users.keys import Principal


class ActiveVersion(NamedTuple):
    """A user's active version. `match_id`: the match that made it, as long as that exists.

    The ids are as the driver gives them: a key of a cache need not be more. `as_uuid` makes them ids.
    """

    adapter_id: Any
    match_id: Any


class FoundUser(NamedTuple):
    """A user that a caller may see, with the active version; None: there is none."""

    id: UUID
    version: ActiveVersion | None


# As a text: a bound value would hide the partial index, which finds the one active row of a user, from the database.
_IS_ACTIVE: Final = sa.text("adapters.state = 'active'")
_VERSION: Final[tuple[Any, ...]] = (AdapterRow.id, AdapterRow.match_id)


def _users_by(column: Any, parameter: str, kind: Any) -> Prepared:
    """Users of one application."""

    def build(dialect: str) -> sa.Select[Any]:
        joined = sa.outerjoin(UserRow, AdapterRow, sa.and_(AdapterRow.user_id == UserRow.id, _IS_ACTIVE))
        return (
            sa.select(UserRow.id, UserRow.external_id, *_VERSION)
            .select_from(joined)
            .where(
                column.in_(one_of(dialect, parameter, kind)),
                UserRow.application == sa.bindparam("application", type_=sa.String()),
            )
        )

    return Prepared(build)


_BY_NAME: Final = _users_by(UserRow.external_id, "names", sa.String())
_BY_ID: Final = _users_by(UserRow.id, "ids", sa.Uuid())
_OF_USERS: Final = Prepared(
    lambda dialect: sa.select(AdapterRow.user_id, *_VERSION).where(
        AdapterRow.user_id.in_(one_of(dialect, "ids", sa.Uuid())), _IS_ACTIVE
    )
)


def of_users(connection: sa.Connection, user_ids: Collection[UUID]) -> dict[UUID, ActiveVersion]:
    """The active versions, by user; read in one statement, so from one moment."""
    rows = _OF_USERS.rows(connection, ids=listed(connection, user_ids))
    return {as_uuid(user_id): ActiveVersion(adapter_id, match_id) for user_id, adapter_id, match_id in rows}


def of_references(connection: sa.Connection, principal: Principal, refs: Collection[str]) -> dict[str, FoundUser]:
    """The users of these references, see `users.resolve_many`, with their active versions.

    References without a user that the principal may see are left out. The principal has an application.
    """
    assert principal.application is not None, "names are unique in one application only"
    application, only = principal.application, principal.user_id
    as_ids = {ref: as_id for ref in refs if len(ref) >= _SHORTEST and (as_id := _as_uuid(ref)) is not None}
    rows = _BY_NAME.rows(connection, names=listed(connection, refs), application=application)
    if as_ids:
        rows += _BY_ID.rows(connection, ids=listed(connection, list(as_ids.values())), application=application)
    by_name = {
        external_id: FoundUser(
            as_uuid(user_id), ActiveVersion(adapter_id, match_id) if adapter_id is not None else None
        )
        for user_id, external_id, adapter_id, match_id in rows
    }
    if only is not None:
        by_name = {name: user for name, user in by_name.items() if user.id == only}
    if not as_ids:
        return by_name
    by_id = {user.id: user for user in by_name.values()}
    found = {}
    for ref in refs:
        user = (by_id.get(as_ids[ref]) if ref in as_ids else None) or by_name.get(ref)
        if user is not None:
            found[ref] = user
    return found


_SHORTEST: Final = 32  # text that is read as an id; most names are shorter


def _as_uuid(ref: str) -> UUID | None:
    try:
        return UUID(ref)
    except ValueError:
        return None
