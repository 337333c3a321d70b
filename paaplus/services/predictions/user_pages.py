"""Users of an application with their active versions, thousands at once.

A page is read as one text from one moment. It is compared with the text that was read before: if nothing has changed,
what was worked out of it is used again. SQLite also tells whether anything was written to the database since; if not,
the page is not read at all. So no notice of a change is needed, and none can be lost.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from paaplus.db.prepared import Prepared, listed, one_of, plain
from paaplus.db.tables import AdapterRow, UserRow

HEX: Final = 32  # characters of an id
MAX_PAGES: Final = 4  # that are kept; a page of 100,000 users takes some 30 MB
NO_VERSION: Final = "0" * HEX
FIRST: Final = UUID(int=0)

Key = tuple[str, UUID, int]  # application, after, number of users
Stamp = tuple[int, int]

_COLUMNS: Final[tuple[Any, ...]] = (UserRow.id.label("id"), AdapterRow.id.label("version"))
_NAME: Final[tuple[Any, ...]] = (UserRow.id, UserRow.external_id)
_ACTIVE: Final = sa.and_(AdapterRow.user_id == UserRow.id, sa.text("adapters.state = 'active'"))


class UserPage:
    """Some users of one application in the order of their ids, or as a caller named them.

    Args:
        text: for each user the id and that of the active version, `NO_VERSION` without one, as hexadecimal digits.
        names: their external ids, in the same order.
        text_as_read: the text before it was sorted; None: it is the same.
    """

    def __init__(self, text: str, names: Sequence[str], text_as_read: str | None = None) -> None:
        assert len(text) == 2 * HEX * len(names), "two ids for each user"
        self.text = text
        self.text_as_read = text if text_as_read in (None, text) else text_as_read
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def versions(self) -> list[str | None]:
        """Each user's active version; None: there is none."""
        found = [self.text[start : start + HEX] for start in range(HEX, len(self.text), 2 * HEX)]
        return [None if version == NO_VERSION else version for version in found]

    @property
    def user_ids(self) -> list[UUID]:
        return [UUID(user) for user in _users(self.text)]

    @property
    def last_id(self) -> UUID:
        """Of the last user; there must be one."""
        return UUID(self.text[-2 * HEX : -HEX])

    def of(self, places: Sequence[int]) -> UserPage:
        """The users at these places, in their order."""
        size = 2 * HEX
        return UserPage(
            "".join(self.text[size * place : size * place + size] for place in places),
            [self.names[place] for place in places],
        )

    def __add__(self, other: UserPage) -> UserPage:
        return UserPage(self.text + other.text, [*self.names, *other.names])


def _text_of(chosen: sa.Select[Any], dialect: str) -> sa.Select[Any]:
    """One text of all rows of `chosen`: ids of users and versions, hexadecimal."""
    each = chosen.subquery()
    if dialect == "sqlite":  # ids are stored so
        user, version = sa.type_coerce(each.c.id, sa.String()), sa.type_coerce(each.c.version, sa.String())
        both = user.concat(sa.func.coalesce(version, NO_VERSION))
        return sa.select(sa.func.group_concat(both, ""))
    none = sa.func.decode(NO_VERSION, "hex")
    both = sa.func.uuid_send(each.c.id).op("||")(sa.func.coalesce(sa.func.uuid_send(each.c.version), none))
    return sa.select(sa.func.encode(sa.func.string_agg(both, sa.func.decode("", "hex")), "hex"))


def _page(dialect: str) -> sa.Select[Any]:
    # SQLite joins by the versions' index in the order of the users' index; the limit keeps that order in the text.
    return _text_of(
        sa.select(*_COLUMNS)
        .select_from(sa.outerjoin(UserRow, AdapterRow, _ACTIVE))
        .where(
            UserRow.application == sa.bindparam("application", type_=sa.String()),
            UserRow.id > sa.bindparam("after", type_=sa.Uuid()),
        )
        .order_by(UserRow.id)
        .limit(sa.bindparam("num", type_=sa.Integer())),
        dialect,
    )


def _named(dialect: str) -> sa.Select[Any]:
    return _text_of(
        sa.select(*_COLUMNS)
        .select_from(sa.outerjoin(UserRow, AdapterRow, _ACTIVE))
        .where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid()))),
        dialect,
    )


_PAGE: Final = Prepared(_page)
_NAMED: Final = Prepared(_named)
_NAMES: Final = Prepared(lambda dialect: sa.select(*_NAME).where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid()))))


class UserPages:
    """Reads pages, and keeps the newest few."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, UserPage] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, connection: sa.Connection, application: str, after: UUID, num: int) -> UserPage:
        """The first `num` users of an application whose ids are greater than `after`, in the order of their ids."""
        key = application, after, num
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
        seen: dict[Key, tuple[Stamp | None, UserPage]] = connection.info.setdefault("user_pages", {})
        stamp = _stamp(connection)
        if known is not None and stamp is not None and seen.get(key) == (stamp, known):
            return known
        [(text,)] = _PAGE.rows(connection, application=application, after=plain(connection, after), num=num)
        page = known
        if known is None or known.text_as_read != text:
            page = _made(connection, text or "", known)
        assert page is not None, "made above, if there was none"
        with self._lock:
            self._kept[key] = page
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_PAGES:
                self._kept.popitem(last=False)
            kept = set(self._kept)
        for old in seen.keys() - kept:
            del seen[old]
        seen[key] = stamp, page
        return page


def _stamp(connection: sa.Connection) -> Stamp | None:
    """Is another one after every change of the database; None: PostgreSQL has no such number.

    SQLite's `data_version` changes when another connection has committed, and `total_changes` counts the rows that
    this one has changed.
    """
    if connection.dialect.name != "sqlite":
        return None
    driver = connection.connection.driver_connection
    assert driver is not None, "an open connection"
    [(version,)] = connection.connection.cursor().execute("pragma data_version").fetchall()
    return version, driver.total_changes


def _made(connection: sa.Connection, text: str, known: UserPage | None) -> UserPage:
    """A page of a text that was read; `known`: the one before, whose names are used again if it has the same users."""
    ordered = "".join(sorted(text[start : start + 2 * HEX] for start in range(0, len(text), 2 * HEX)))
    users = _users(ordered)
    if known is not None and _users(known.text) == users:
        return UserPage(ordered, known.names, text)
    names = _names(connection, users)
    return UserPage(ordered, [names[user] for user in users], text)


def named(connection: sa.Connection, user_ids: Sequence[UUID]) -> UserPage:
    """These users, in this order. One who does not exist any more is left out."""
    [(text,)] = _NAMED.rows(connection, ids=listed(connection, user_ids))
    text = text or ""
    names = _names(connection, _users(text))
    of_user = {text[start : start + HEX]: text[start : start + 2 * HEX] for start in range(0, len(text), 2 * HEX)}
    users = [user.hex for user in user_ids if user.hex in of_user]
    return UserPage("".join(of_user[user] for user in users), [names[user] for user in users])


def _users(text: str) -> list[str]:
    return [text[start : start + HEX] for start in range(0, len(text), 2 * HEX)]


def _names(connection: sa.Connection, users: Sequence[str]) -> dict[str, str]:
    """External ids, by id. They never change."""
    rows = _NAMES.rows(connection, ids=listed(connection, [UUID(user) for user in users]))
    return {user.hex if isinstance(user, UUID) else user: name for user, name in rows}
