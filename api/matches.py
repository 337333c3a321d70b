"""A user's match with experts: make one, show the one in force."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body

from paaplus.api.dependencies import ApiContext, Context, UserKey, UserPath
from paaplus.api.routing import router_of
from paaplus.api.schemas.matches import MatchIn, MatchOut
from paaplus.db.tables import MatchRow
from paaplus.errors import InvalidInput, NotFound
from paaplus.services.adapters import matches
from paaplus.services.experts import matching
from paaplus.services.registry import base_models
from paaplus.services.users import users
from paaplus.services.users.keys import Principal

router = router_of("/v1/users/{user}/match", "matches")


@router.post("")
def match(
    user: UserPath, key: UserKey, context: Context, wanted: Annotated[MatchIn, Body(default_factory=MatchIn)]
) -> MatchOut:
    """Choose the user's starting point: the generic model, one expert's model, or a combination of experts' models.

    The choice uses the user's quiz answers, ratings and survey. Without any of these it uses prior probabilities. A
    user without a trained version is served the match as version 0. A user with trained versions keeps them, and the
    next training starts from the match. A second call with the same result changes nothing.
    """
    with context.database.read_session() as session:
        user_id = users.resolve(session, key, user).id
        of_application = users.resolve_many(session, _of_same_application(key), wanted.experts or [])
    if missing := [ref for ref in wanted.experts or [] if ref not in of_application]:
        raise InvalidInput(f"no expert {missing[0]!r} with a model to match")
    row = matching.match(
        context.database,
        context.blobs,
        context.predictor.store,
        context.settings,
        user_id,
        actor=key.actor,
        expert_ids={expert.id for expert in of_application.values()} if wanted.experts is not None else None,
        kind=wanted.kind,
    )
    return _answer(context, user_id, row)


@router.get("")
def get_match(user: UserPath, key: UserKey, context: Context) -> MatchOut:
    """The user's match in force."""
    with context.database.read_session() as session:
        user_id = users.resolve(session, key, user).id
        row = matches.in_force(session, user_id)
    if row is None:
        raise NotFound(f"user {user!r} was not matched yet")
    return _answer(context, user_id, row)


def _of_same_application(key: Principal) -> Principal:
    """Find an expert by name. A user may name experts of the application, but may not see them."""
    return Principal(key.name, key.scope, key.key_id, key.application, None)


def _answer(context: ApiContext, user_id: UUID, row: MatchRow) -> MatchOut:
    with context.database.read_session() as session:
        default = base_models.find_default(session, context.settings)
        return MatchOut.of(matches.view(session, row, default.id if default is not None else None))
