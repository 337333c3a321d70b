"""Experts and their models: register, look up, retire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Response
from sqlalchemy.orm import Session

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import (
    ApiContext,
    ApplicationKey,
    Context,
    ExpertOrApplicationKey,
    Limit,
    ReadSession,
    UserPath,
    WriteSession,
)
from paaplus.api.routing import router_of
from paaplus.api.schemas.common import Page
from paaplus.api.schemas.experts import AgreementsOut, Domain, ExpertAgreementOut, ExpertDetailOut, ExpertIn, ExpertOut
from paaplus.api.schemas.users import Application
from paaplus.db.tables import ExpertRow
from paaplus.errors import InvalidInput
from paaplus.services.experts import experts as experts_service
from paaplus.services.experts import quality
from paaplus.services.registry import base_models
from paaplus.services.users import users
from paaplus.services.users.keys import Principal

router = router_of("/v1", "experts")


@router.put("/experts/{user}", responses={201: {"model": ExpertOut, "description": "The user became an expert."}})
def register(
    user: UserPath, body: ExpertIn, key: ApplicationKey, context: Context, session: WriteSession, response: Response
) -> ExpertOut:
    """Make a user an expert, or change the name, domain or form of an expert.

    After the expert's first training, new users of the application can be matched with the expert. Experts are not
    matched themselves: a match that the user had ends.
    """
    user_id = users.resolve(session, key, user).id
    row, is_new = experts_service.register(
        session, user_id, name=body.name, domain=body.domain, form=body.form, actor=key.actor
    )
    response.status_code = 201 if is_new else 200
    return _answer(session, context, [row])[0]


@router.get("/experts")
def list_experts(
    key: ApplicationKey,
    context: Context,
    session: ReadSession,
    cursor: Cursor,
    limit: Limit = 50,
    application: Annotated[Application | None, Query()] = None,
    domain: Annotated[Domain | None, Query()] = None,
) -> Page[ExpertOut]:
    """The model base: all experts with their models. `not_matched_because` says why an expert is not matched."""
    rows = experts_service.list_experts(
        session, key, application=application, domain=domain, limit=limit, before=cursor.after
    )
    last = rows[-1].user_id if len(rows) == limit else None
    return Page(items=_answer(session, context, rows), next_cursor=cursor.at(last))


@router.get("/experts/{user}")
def get_expert(user: UserPath, key: ExpertOrApplicationKey, context: Context) -> ExpertDetailOut:
    """One expert, and the quality of the expert's model on held-out images (SRCC)."""
    with context.database.read_session() as session:
        row = experts_service.get(session, users.resolve(session, key, user).id)
        expert = _answer(session, context, [row])[0]
    held_out = quality.held_out(context.database, context.predictor.store, context.settings, row.user_id)
    return ExpertDetailOut.of(expert, held_out)


@router.post("/experts/{user}/retire")
def retire(user: UserPath, key: ApplicationKey, context: Context, session: WriteSession) -> ExpertOut:
    """Match no new user with the expert. Existing matches stay. A second call changes nothing."""
    return _set_retired(session, context, key, user, True)


@router.post("/experts/{user}/restore")
def restore(user: UserPath, key: ApplicationKey, context: Context, session: WriteSession) -> ExpertOut:
    """Match new users with the expert again."""
    return _set_retired(session, context, key, user, False)


@router.get("/expert-agreement")
def get_agreement(
    key: ApplicationKey, session: ReadSession, application: Annotated[Application | None, Query()] = None
) -> AgreementsOut:
    """Agreement of every two experts on the images that both labelled."""
    wanted = key.application or application
    if wanted is None:
        raise InvalidInput("an admin key belongs to no application: give one in 'application'")
    if application not in (None, wanted):
        return AgreementsOut(items=[])
    return AgreementsOut(items=[ExpertAgreementOut.of(each) for each in quality.agreement(session, wanted)])


def _set_retired(session: Session, context: ApiContext, key: Principal, user: str, retired: bool) -> ExpertOut:
    user_id = users.resolve(session, key, user).id
    row = experts_service.set_retired(session, user_id, retired, actor=key.actor)
    return _answer(session, context, [row])[0]


def _answer(session: Session, context: ApiContext, rows: Sequence[ExpertRow]) -> list[ExpertOut]:
    bases = {row.id: row for row in base_models.list_base_models(session)}
    default = base_models.find_default(session, context.settings)
    return [ExpertOut.of(each, bases) for each in experts_service.describe(session, rows, default)]
