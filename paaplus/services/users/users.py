"""Users: create, look up, and set their policies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.configs import Policy
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of
from paaplus.db.tables import AdapterRow, ApiKeyRow, ImageRow, SurveyRow, UserRow
from paaplus.db.tables.models import AdapterState
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.db.users import locked_user
from paaplus.errors import Conflict, NotFound
from paaplus.ids import new_id
from paaplus.services import audit, scheduling
from paaplus.services.names import check_application, check_external_id, is_application, is_external_id
from paaplus.services.users.keys import Principal, Sees

T = TypeVar("T")


def create(
    session: Session, *, application: str, external_id: str, policy: dict[str, Any] | None = None
) -> tuple[UserRow, bool]:
    """Create the user that the application calls `external_id`; returns the user and whether it is new.

    An existing user is returned unchanged.

    Raises:
        InvalidInput: an invalid name or policy.
        Conflict: `external_id` is the platform's own id of another user.
    """
    check_application(application)
    check_external_id(external_id)
    Policy().overridden(policy or {})
    as_id = _as_uuid(external_id)
    if as_id is not None and session.get(UserRow, as_id) is not None:
        raise Conflict(f"external_id {external_id!r} is the platform's id of another user")
    row_id = new_id()
    row = {
        "id": row_id,
        "application": application,
        "external_id": external_id,
        "policy": policy or {},
        "created_at": utcnow(),
    }
    insert_ignoring_conflicts(session, UserRow, [row])
    user = session.execute(
        sa.select(UserRow).where(UserRow.application == application, UserRow.external_id == external_id)
    ).scalar_one()
    return user, user.id == row_id


def resolve(session: Session, principal: Principal, ref: str) -> UserRow:
    """The user of a reference, see `resolve_many`.

    Raises:
        NotFound: no such user for this principal.
    """
    found = resolve_many(session, principal, [ref])
    if ref not in found:
        raise NotFound(f"user {ref!r} does not exist")
    return found[ref]


def resolve_many(session: Session, principal: Principal, refs: Iterable[str]) -> dict[str, UserRow]:
    """Users by reference, in one query. References without a user that this principal may see are left out.

    A reference is the platform's id, or the application's external id; for an admin the latter is
    `application/external_id`. If it could be both, it is the platform's id.
    """
    parameters = _parameters(principal, refs)
    rows = session.execute(_matching("rows", principal.sees), parameters) if parameters else ()
    return _by_reference(principal, refs, {(row.id, row.application, row.external_id): row for (row,) in rows})


def resolve_ids(session: Session, principal: Principal, refs: Iterable[str]) -> dict[str, UUID]:
    """Ids of users by reference, see `resolve_many`."""
    return {ref: user_id for ref, (user_id, _) in resolve_ids_and_applications(session, principal, refs).items()}


def resolve_ids_and_applications(
    session: Session, principal: Principal, refs: Iterable[str]
) -> dict[str, tuple[UUID, str]]:
    """Ids and applications of users by reference, see `resolve_many`. It reads no more than these."""
    session.flush()
    return ids_and_applications(session.connection(), principal, refs)


def ids_and_applications(
    connection: sa.Connection, principal: Principal, refs: Iterable[str]
) -> dict[str, tuple[UUID, str]]:
    """As `resolve_ids_and_applications`, in the connection's transaction."""
    if principal.application is not None:
        return _of_application(connection, principal, principal.application, list(refs))
    parameters = _parameters(principal, refs)
    rows = connection.execute(_matching("names", principal.sees), parameters) if parameters else ()
    return _by_reference(principal, refs, {tuple(row): (row.id, row.application) for row in rows})


def _of_application(
    connection: sa.Connection, principal: Principal, application: str, refs: Sequence[str]
) -> dict[str, tuple[UUID, str]]:
    """As `resolve_ids_and_applications`, for a principal that sees users of one application: most calls are of one."""
    names = [ref for ref in refs if is_external_id(ref)]
    rows = _IDS_BY_NAME.rows(connection, names=listed(connection, names), application=application) if names else []
    found = {name: as_uuid(user_id) for user_id, name in rows}
    as_ids = {ref: as_id for ref in refs if (as_id := _as_uuid(ref)) is not None}
    if as_ids:
        ids = listed(connection, list(as_ids.values()))
        known = {as_uuid(user_id) for (user_id,) in _IDS_BY_ID.rows(connection, ids=ids, application=application)}
        if principal.user_id is not None:
            known &= {principal.user_id}
        found |= {ref: as_id for ref, as_id in as_ids.items() if as_id in known}
    return {ref: (found[ref], application) for ref in refs if ref in found and principal.user_id in (None, found[ref])}


def _of_one_application(column: Any, parameter: str, kind: Any, *columns: Any) -> Prepared:
    application = UserRow.application == sa.bindparam("application", type_=sa.String())
    return Prepared(
        lambda dialect: sa.select(UserRow.id, *columns).where(application, column.in_(one_of(dialect, parameter, kind)))
    )


_IDS_BY_NAME: Final = _of_one_application(UserRow.external_id, "names", sa.String(), UserRow.external_id)
_IDS_BY_ID: Final = _of_one_application(UserRow.id, "ids", sa.Uuid())


def _parameters(principal: Principal, refs: Iterable[str]) -> dict[str, Any]:
    """Of `_matching`; empty: the references cannot be those of users."""
    ids = [as_id for ref in refs if (as_id := _as_uuid(ref)) is not None]
    names = [name for ref in refs if (name := _as_name(principal, ref)) is not None]
    if not ids and not names:
        return {}
    parameters = {
        "ids": ids,
        "applications": list({application for application, _ in names}),
        "names": list({name for _, name in names}),
    }
    seen = {"user": principal.user_id, "application": principal.application}
    return parameters | ({f"seen_{principal.sees}": seen[principal.sees]} if principal.sees in seen else {})


@cache
def _matching(what: Literal["rows", "names"], sees: Sees) -> sa.Select[*tuple[Any, ...]]:
    """Users by id or name whom a principal may see. Built once: to build it costs more than to run it."""
    columns = (UserRow,) if what == "rows" else (UserRow.id, UserRow.application, UserRow.external_id)
    # Not `IN` over pairs: for PostgreSQL, thousands of them are an expression too deep for its stack. This may also
    # read users of the same name in another application, which are dropped in `_by_reference`.
    matching = sa.or_(
        UserRow.id.in_(sa.bindparam("ids", expanding=True)),
        sa.and_(
            UserRow.application.in_(sa.bindparam("applications", expanding=True)),
            UserRow.external_id.in_(sa.bindparam("names", expanding=True)),
        ),
    )
    seen = {
        "user": UserRow.id == sa.bindparam("seen_user"),
        "application": UserRow.application == sa.bindparam("seen_application"),
        "all": sa.true(),
    }
    return sa.select(*columns).where(matching, seen[sees])


def _by_reference(principal: Principal, refs: Iterable[str], users: dict[Any, T]) -> dict[str, T]:
    """Users by reference, of users by (id, application, external id)."""
    by_id = {user_id: user for (user_id, _, _), user in users.items()}
    by_name = {(application, name): user for (_, application, name), user in users.items()}
    found: dict[str, T] = {}
    for ref in refs:
        as_id, name = _as_uuid(ref), _as_name(principal, ref)
        if as_id is not None and as_id in by_id:
            found[ref] = by_id[as_id]
        elif name is not None and name in by_name:
            found[ref] = by_name[name]
    return found


def visible_users(principal: Principal) -> sa.ColumnElement[bool]:
    """SQL condition: the users that this principal may see."""
    if principal.user_id is not None:
        return UserRow.id == principal.user_id
    if principal.application is not None:
        return UserRow.application == principal.application
    return sa.true()


def require_application(session: Session, application: str | None) -> None:
    """Check the name of an application by which a list is restricted: a wrong one must not look like an empty list.

    Raises:
        NotFound: no user, image, key or survey is of this application; the message has those that exist.
    """
    if application is None:
        return
    columns: list[Any] = [table.application for table in (UserRow, ImageRow, ApiKeyRow, SurveyRow)]
    if any(session.execute(sa.select(each).where(each == application).limit(1)).first() for each in columns):
        return
    named = sa.union(*(sa.select(each).where(each.is_not(None)) for each in columns))
    names = session.execute(named.order_by("application").limit(20)).scalars()
    raise NotFound(f"there is no application {application!r}; there are: {', '.join(names) or 'none'}")


def list_users(
    session: Session,
    principal: Principal,
    *,
    application: str | None = None,
    external_id: str | None = None,
    search: str | None = None,
    limit: int = 100,
    before: UUID | None = None,
) -> list[UserRow]:
    """Users that this principal may see, newest first. `search`: a part of the external id, in any case."""
    query = sa.select(UserRow).where(visible_users(principal)).order_by(UserRow.id.desc()).limit(limit)
    if application is not None:
        query = query.where(UserRow.application == application)
    if external_id is not None:
        query = query.where(UserRow.external_id == external_id)
    if search is not None:
        query = query.where(UserRow.external_id.icontains(search, autoescape=True))
    if before is not None:
        query = query.where(UserRow.id < before)
    return list(session.execute(query).scalars())


def active_adapters(session: Session, user_ids: Iterable[UUID]) -> dict[UUID, AdapterRow]:
    """The active versions of these users, by user."""
    rows = session.execute(
        sa.select(AdapterRow).where(AdapterRow.user_id.in_(list(user_ids)), AdapterRow.state == AdapterState.ACTIVE)
    )
    return {row.user_id: row for row in rows.scalars()}


def untrained(session: Session, wanted: Collection[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
    """Of these (user, sequence) those whose user exists and was not trained up to the sequence."""
    trained = dict(
        session.execute(
            sa.select(UserRow.id, UserRow.trained_sequence).where(UserRow.id.in_({user_id for user_id, _ in wanted}))
        ).all()
    )
    return {(user_id, sequence) for user_id, sequence in wanted if user_id in trained and trained[user_id] < sequence}


def set_policy(session: Session, user_id: UUID, overrides: dict[str, Any], *, actor: str) -> UserRow:
    """Replace the user's overrides of the default policy, and update when the user is due.

    Raises:
        InvalidInput: an unknown field, or a value out of range.
        NotFound: no such user.
    """
    Policy().overridden(overrides)
    # Read again under the lock: this session may have read the row before another session changed it.
    user = locked_user(session, user_id)
    user.policy = overrides
    audit.record(session, actor=actor, action="policy_set", subject_id=user_id, details={"fields": sorted(overrides)})
    scheduling.refresh_due(session, user)
    return user


def set_sharing(session: Session, user_id: UUID, shares_taste: bool, *, actor: str) -> UserRow:
    """Set whether future taste priors and preference encoders may be learned from this user's feedback.

    Raises:
        NotFound: no such user.
    """
    user = locked_user(session, user_id)
    user.shares_taste = shares_taste
    audit.record(session, actor=actor, action="sharing_set", subject_id=user_id, details={"shares_taste": shares_taste})
    return user


def _as_uuid(ref: str) -> UUID | None:
    if len(ref) < 32:  # the shortest that is read as one; most names are shorter
        return None
    try:
        return UUID(ref)
    except ValueError:
        return None


def _as_name(principal: Principal, ref: str) -> tuple[str, str] | None:
    """(application, external id), None where `ref` cannot be one."""
    application, name = principal.application, ref
    if application is None:
        application, separator, name = ref.partition("/")
        if not separator:
            return None
    return (application, name) if is_application(application) and is_external_id(name) else None
