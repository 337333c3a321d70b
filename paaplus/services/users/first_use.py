"""Users who are created when an application names them first, if its key says so."""

from __future__ import annotations

from collections.abc import Iterable

from paaplus.db.engine import Database
from paaplus.errors import Conflict
from paaplus.services.names import is_external_id
from paaplus.services.users import users
from paaplus.services.users.keys import Principal


def create_missing(database: Database, principal: Principal, refs: Iterable[str]) -> None:
    """Create the users that these references name and who do not exist; other keys than `creates_users` create nobody.

    A reference that cannot be an external id, or is the platform's id of a user that the key may not see, creates
    nobody: whoever resolves it finds nobody, as before.
    """
    if not principal.creates_users or principal.application is None:
        return
    wanted = [ref for ref in dict.fromkeys(refs) if is_external_id(ref)]
    with database.read_session() as session:
        found = users.resolve_ids(session, principal, wanted)
    missing = [ref for ref in wanted if ref not in found]
    if not missing:
        return
    with database.session() as session:
        for ref in missing:
            try:
                users.create(session, application=principal.application, external_id=ref)
            except Conflict:
                continue
