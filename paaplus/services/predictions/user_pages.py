"""Users of an application with their active versions, thousands at once.

A page is read as texts from one moment. They are compared with those that were read before: if
nothing has changed, what was worked out of them is used again. SQLite also tells whether anything was written to the
database since; if not, the page is not read at all. So no notice of a change is needed, and none can be lost.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from paaplus.db.index_hints import index_hint
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of, plain
from paaplus.db.tables import AdapterRow, UserRow

HEX: Final = 32  # characters of an id
ID: Final = np.dtype(f"S{HEX}")  # an id as hexadecimal digits
MAX_PAGES: Final = 4  # that are kept; a page of 100,000 users takes some 30 MB
NO_VERSION: Final = b"0" * HEX
FIRST: Final = UUID(int=0)
SPARSE: Final = 4  # one user in so many who have a version, or fewer: versions are looked up user by user
SPARSE_FROM: Final = 1_000  # other users

Key = tuple[str, UUID, int]  # application, after, number of users
Stamp = tuple[int, int]

_COLUMNS: Final[tuple[Any, ...]] = (UserRow.id.label("id"), AdapterRow.id.label("version"))
_NAME: Final[tuple[Any, ...]] = (UserRow.id, UserRow.external_id)
_IS_ACTIVE: Final = sa.text("adapters.state = 'active'")  # as a text: it names a partial index


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class People:
    """Some users of one application in the order of their ids, or as a caller named them. Shape letters: N = users.

    Args:
        id_N: their ids, dtype `ID`.
        names: their external ids, in the same order.
    """

    id_N: np.ndarray
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False, slots=True)
class UserPage:
    """Some users with their active versions.

    Args:
        people: the users.
        version_N: the id of each user's active version, dtype `ID`; `NO_VERSION`: there is none.
    """

    people: People
    version_N: np.ndarray

    def __len__(self) -> int:
        return len(self.people)

    @property
    def names(self) -> Sequence[str]:
        return self.people.names

    @property
    def user_ids(self) -> list[UUID]:
        return _uuids(self.people.id_N)

    @property
    def last_id(self) -> UUID:
        """Of the last user; there must be one."""
        return UUID(self.people.id_N[-1].decode())

    def of(self, places: Sequence[int]) -> UserPage:
        """The users at these places, in their order."""
        people = People(self.people.id_N[places], [self.names[place] for place in places])
        return UserPage(people, self.version_N[places])

    def __add__(self, other: UserPage) -> UserPage:
        people = People(np.concatenate([self.people.id_N, other.people.id_N]), [*self.names, *other.names])
        return UserPage(people, np.concatenate([self.version_N, other.version_N]))


@dataclass(frozen=True, slots=True)
class _Read:
    """What a statement gave. Two texts of hexadecimal digits, in the order in which rows came.

    Args:
        users: ids of the users of the page; empty: they are in `pairs`.
        pairs: of each user who has a version, or of each of the page, the ids of the user and of the version.
    """

    users: str
    pairs: str


@dataclass(frozen=True, slots=True)
class _Kept:
    read: _Read
    page: UserPage
    looks_up: bool  # user by user


def _both(user: Any, version: Any, dialect: str) -> Any:
    """One text of the ids of users and versions of all rows, hexadecimal."""
    if dialect == "sqlite":  # ids are stored so
        user, version = sa.type_coerce(user, sa.String()), sa.type_coerce(version, sa.String())
        return sa.func.group_concat(user.concat(sa.func.coalesce(version, NO_VERSION.decode())), "")
    none = sa.func.decode(NO_VERSION.decode(), "hex")
    both = sa.func.uuid_send(user).op("||")(sa.func.coalesce(sa.func.uuid_send(version), none))
    return sa.func.encode(sa.func.string_agg(both, sa.func.decode("", "hex")), "hex")


def _with_versions(chosen: sa.Select[Any], dialect: str) -> sa.Select[Any]:
    each = chosen.subquery()
    return sa.select(_both(each.c.id, each.c.version, dialect))


def _users_after() -> tuple[sa.ColumnElement[bool], ...]:
    return (
        UserRow.application == sa.bindparam("application", type_=sa.String()),
        UserRow.id > sa.bindparam("after", type_=sa.Uuid()),
    )


def _users_with_versions() -> sa.Select[Any]:
    joined = sa.outerjoin(UserRow, AdapterRow, sa.and_(AdapterRow.user_id == UserRow.id, _IS_ACTIVE))
    query: sa.Select[Any] = sa.select(*_COLUMNS).select_from(joined)
    return query.with_hint(AdapterRow, index_hint("ix_adapters_active"), "sqlite")


def _page(dialect: str) -> sa.Select[Any]:
    """Users with their versions. SQLite looks each user's version up; PostgreSQL merges two indexes."""
    query = _users_with_versions().where(*_users_after())
    return _with_versions(query.order_by(UserRow.id).limit(sa.bindparam("num", type_=sa.Integer())), dialect)


def _range_of_users(dialect: str) -> sa.Select[Any]:
    """The users of a page; for SQLite."""
    users = sa.select(UserRow.id.label("id")).where(*_users_after()).order_by(UserRow.id)
    each = users.limit(sa.bindparam("num", type_=sa.Integer())).subquery()
    return sa.select(sa.func.group_concat(sa.type_coerce(each.c.id, sa.String()), ""))


def _range_of_versions(dialect: str) -> sa.Select[Any]:
    """The active versions of all users of a range of ids, of other applications too, but at most `num`; for SQLite."""
    after, last = sa.bindparam("after", type_=sa.Uuid()), sa.bindparam("last", type_=sa.Uuid())
    each = (
        sa.select(AdapterRow.user_id.label("id"), AdapterRow.id.label("version"))
        .where(_IS_ACTIVE, AdapterRow.user_id > after, AdapterRow.user_id <= last)
        .order_by(AdapterRow.user_id)
        .limit(sa.bindparam("num", type_=sa.Integer()))
        .subquery()
    )
    return sa.select(_both(each.c.id, each.c.version, dialect))


def _named(dialect: str) -> sa.Select[Any]:
    query = _users_with_versions()
    return _with_versions(query.where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid()))), dialect)


_PAGE: Final = Prepared(_page)
_RANGE_OF_USERS: Final = Prepared(_range_of_users)
_RANGE_OF_VERSIONS: Final = Prepared(_range_of_versions)
_NAMED: Final = Prepared(_named)
_NAMES: Final = Prepared(lambda dialect: sa.select(*_NAME).where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid()))))


class UserPages:
    """Reads pages, and keeps the newest few."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, connection: sa.Connection, application: str, after: UUID, num: int) -> UserPage:
        """The first `num` users of an application whose ids are greater than `after`, in the order of their ids."""
        key = application, after, num
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
        seen: dict[Key, tuple[Stamp | None, _Kept]] = connection.info.setdefault("user_pages", {})
        stamp = _stamp(connection)
        if known is not None and stamp is not None and seen.get(key) == (stamp, known):
            return known.page
        looks_up = connection.dialect.name != "sqlite" or (known is not None and known.looks_up)
        values = {"application": application, "after": plain(connection, after), "num": num}
        read = None if looks_up else _read_ranges(connection, values)
        if read is None:
            looks_up = True
            [(pairs,)] = _PAGE.rows(connection, **values)
            read = _Read("", pairs or "")
        if known is None or known.read != read:
            known = _Kept(read, _made(connection, read, known.page if known is not None else None), looks_up)
        with self._lock:
            self._kept[key] = known
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_PAGES:
                self._kept.popitem(last=False)
            kept = set(self._kept)
        for old in seen.keys() - kept:
            del seen[old]
        seen[key] = stamp, known
        return known.page


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


def _read_ranges(connection: sa.Connection, values: dict[str, Any]) -> _Read | None:
    """The users, and active versions of all users between them, from two indexes; None: these are too many more.

    To look up each user's version takes three times as long.
    """
    [(users,)] = _RANGE_OF_USERS.rows(connection, **values)
    if not users:
        return _Read("", "")
    last = _sorted_ids(users)[-1].decode()
    most = SPARSE * (len(users) // HEX) + SPARSE_FROM
    [(pairs,)] = _RANGE_OF_VERSIONS.rows(connection, after=values["after"], last=last, num=most + 1)
    read = _Read(users, pairs or "")
    return read if len(read.pairs) <= 2 * HEX * most else None


def _made(connection: sa.Connection, read: _Read, known: UserPage | None) -> UserPage:
    """A page of what was read; `known`: the one before, whose users' names are used again."""
    pair_M2 = _ids(read.pairs).reshape(-1, 2)
    id_N = _sorted_ids(read.users) if read.users else np.sort(pair_M2[:, 0])
    people = known.people if known is not None else People(id_N[:0], [])
    if not np.array_equal(people.id_N, id_N):
        people = People(id_N, _names_of(connection, id_N, people))
    if np.array_equal(pair_M2[:, 0], id_N):
        version_N = pair_M2[:, 1].copy()
    else:
        version_N = np.full(len(id_N), NO_VERSION, ID)
        place_M, is_here_M = _places(pair_M2[:, 0], id_N)
        version_N[place_M[is_here_M]] = pair_M2[is_here_M, 1]
    return UserPage(people, version_N)


def named(connection: sa.Connection, user_ids: Sequence[UUID]) -> UserPage:
    """These users, in this order. One who does not exist any more is left out."""
    [(text,)] = _NAMED.rows(connection, ids=listed(connection, user_ids))
    found = _made(connection, _Read("", text or ""), None)
    wanted_N = np.array([user.hex.encode() for user in user_ids], ID)
    place_N, is_here_N = _places(wanted_N, found.people.id_N)
    return found.of(place_N[is_here_N].tolist())


def _ids(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), ID)


def _sorted_ids(text: str) -> np.ndarray:
    return np.sort(_ids(text), kind="stable")  # which is fast where they are in order already


def _uuids(id_N: np.ndarray) -> list[UUID]:
    return [UUID(user.decode()) for user in id_N.tolist()]


def _places(wanted_N: np.ndarray, sorted_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each id is among sorted ones, shape (N,), and whether it is there, shape (N,)."""
    if not len(sorted_M):
        return np.zeros(len(wanted_N), np.int64), np.zeros(len(wanted_N), bool)
    place_N = np.minimum(np.searchsorted(sorted_M, wanted_N), len(sorted_M) - 1)
    return place_N, sorted_M[place_N] == wanted_N


def _names_of(connection: sa.Connection, id_N: np.ndarray, known: People) -> list[str]:
    """External ids of these users. They never change, so those that are known are not read."""
    place_N, is_known_N = _places(id_N, known.id_N)
    names = [
        known.names[place] if is_known else "" for place, is_known in zip(place_N.tolist(), is_known_N, strict=True)
    ]
    unknown = np.flatnonzero(~is_known_N)
    rows = _NAMES.rows(connection, ids=listed(connection, _uuids(id_N[unknown]))) if len(unknown) else []
    read = {as_uuid(user).hex.encode(): name for user, name in rows}
    for place in unknown.tolist():
        names[place] = read[id_N[place]]
    return names
