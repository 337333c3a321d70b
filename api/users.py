"""Users: create, look up, set a policy, export, erase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Final

from fastapi import Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import (
    ApplicationKey,
    Context,
    Limit,
    ReadSession,
    UserKey,
    UserPath,
    WriteSession,
)
from paaplus.api.routing import router_of
from paaplus.api.schemas.adapters import AdapterSummary
from paaplus.api.schemas.common import Id, NumberText, Page, WholeText
from paaplus.api.schemas.users import Application, PolicyOverridesIn, SharingIn, UserIn, UserOut
from paaplus.db.tables import UserRow
from paaplus.services import scheduling
from paaplus.services.operations import export
from paaplus.services.registry import base_models
from paaplus.services.users import budget
from paaplus.services.users import users as users_service
from paaplus.services.users.keys import application_of

ZIP: Final = "application/zip"
EXPORT_MEMORY_BYTES: Final = 16 * 2**20  # a larger export is buffered in a file
EXPORT_CHUNK_BYTES: Final = 2**18

router = router_of("/v1/users", "users")


@router.post("", status_code=201, responses={200: {"model": UserOut, "description": "The user exists; unchanged."}})
def create_user(
    body: UserIn, key: ApplicationKey, session: WriteSession, context: Context, response: Response
) -> UserOut:
    """Create a user. If the external id exists, the answer is that user, unchanged."""
    if body.policy is not None:
        budget.check(body.policy.to_overrides(), context.settings)
    user, is_new = users_service.create(
        session,
        application=application_of(key, body.application),
        external_id=body.external_id,
        policy=body.policy.to_overrides() if body.policy is not None else None,
    )
    response.status_code = 201 if is_new else 200
    return _answer(session, [user])[0]


@router.get("")
def list_users(
    key: ApplicationKey,
    session: ReadSession,
    cursor: Cursor,
    limit: Limit = 50,
    application: Annotated[Application | None, Query()] = None,
    external_id: Annotated[Id | None, Query()] = None,
) -> Page[UserOut]:
    """Users that the key may see."""
    rows = users_service.list_users(
        session, key, application=application, external_id=external_id, limit=limit, before=cursor.after
    )
    return Page(items=_answer(session, rows), next_cursor=cursor.next(rows, limit))


@router.get("/{user}")
async def get_user(
    user: UserPath,
    key: UserKey,
    context: Context,
    wait_for: Annotated[
        WholeText | None,
        Query(ge=0, le=2**31 - 1, description="Wait until a training has read the user's events up to this sequence."),
    ] = None,
    wait_s: Annotated[
        NumberText | None,
        Query(ge=0, description="Longest time to wait, in seconds. Omitted: the longest allowed."),
    ] = None,
) -> UserOut:
    """One user.

    With `wait_for` or `wait_s`, the answer waits until `trained_sequence` has reached `wait_for` (without it: the last
    event of now), up to the deployment's limit; then it is given as it is.
    """

    def read() -> UserOut:
        with context.database.read_session() as session:
            return _answer(session, [users_service.resolve(session, key, user)])[0]

    found = await run_in_threadpool(read)
    if wait_for is None and wait_s is None:
        return found
    wanted = found.feedback_sequence if wait_for is None else wait_for
    limit_s = context.settings.max_wait_s
    longest_s = limit_s if wait_s is None else min(wait_s, limit_s)
    if found.trained_sequence >= wanted or longest_s <= 0:
        return found
    await context.trainings.wait(key.actor, [(found.id, wanted)], longest_s)
    return await run_in_threadpool(read)


@router.get(
    "/{user}/export",
    response_class=StreamingResponse,
    responses={200: {"content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}, "description": "A zip."}},
)
def export_user(user: UserPath, key: UserKey, context: Context) -> StreamingResponse:
    """All data about the user: a zip file with `export.json` and the user's own images."""
    with context.database.read_session() as session:
        user_id = users_service.resolve(session, key, user).id
    with ExitStack() as stack:
        file = stack.enter_context(SpooledTemporaryFile(max_size=EXPORT_MEMORY_BYTES))
        with context.exports.take(key.actor):
            export.write_zip(context.database, context.blobs, user_id, file)
        stack.pop_all()  # the answer closes it
    return StreamingResponse(
        _chunks(file), media_type=ZIP, headers={"Content-Disposition": f'attachment; filename="{user_id}.zip"'}
    )


@router.put("/{user}/policy")
def set_policy(
    user: UserPath, body: PolicyOverridesIn, key: ApplicationKey, session: WriteSession, context: Context
) -> UserOut:
    """Replace the user's policy overrides. With `{}`, all fields follow the default.

    Trainings that would be longer than this deployment allows are refused.
    """
    budget.check(body.to_overrides(), context.settings)
    row = users_service.resolve(session, key, user)
    row = users_service.set_policy(session, row.id, body.to_overrides(), actor=key.actor)
    return _answer(session, [row])[0]


@router.put("/{user}/sharing")
def set_sharing(user: UserPath, body: SharingIn, key: UserKey, session: WriteSession) -> UserOut:
    """Set the user's consent to learning taste priors and survey encoders from the user's feedback. The default is no.

    Such a prior is learned from many users. After the consent is withdrawn, the next prior is learned without the user;
    priors learned before stay until they are retired.
    """
    row = users_service.resolve(session, key, user)
    row = users_service.set_sharing(session, row.id, body.shares_taste, actor=key.actor)
    return _answer(session, [row])[0]


@router.delete("/{user}", status_code=204)
def erase_user(user: UserPath, key: ApplicationKey, context: Context) -> None:
    """Erase the user with feedback, adapters, receipts, jobs and the user's own images. This cannot be undone."""
    from paaplus.services.operations import erasures  # here, because it loads what uploads and reviews need

    with context.database.session() as session:
        row = users_service.resolve(session, key, user)
        erasures.erase(
            session, context.blobs, row.id, actor=key.actor, erasures_url=context.settings.resolved_erasures_url
        )
    context.database.scrub()
    context.keys.forget()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        yield from iter(lambda: file.read(EXPORT_CHUNK_BYTES), b"")


def _answer(session: Session, rows: Sequence[UserRow]) -> list[UserOut]:
    session.flush()
    adapters = users_service.active_adapters(session, [row.id for row in rows])
    bases = {row.id: row for row in base_models.list_base_models(session)} if adapters else {}
    return [
        UserOut(
            id=row.id,
            external_id=row.external_id,
            application=row.application,
            policy=scheduling.policy_of(row).to_dict(),
            policy_overrides=row.policy,
            pinned=row.pinned,
            shares_taste=row.shares_taste,
            active_adapter=AdapterSummary.of(adapters[row.id], bases) if row.id in adapters else None,
            feedback_sequence=row.feedback_sequence,
            trained_sequence=row.trained_sequence,
            pending_feedback=scheduling.pending_feedback(session, row.id),
            next_due_at=row.next_due_at,
            due_reason=row.due_reason,
            last_trained_at=row.last_trained_at,
            created_at=row.created_at,
        )
        for row in rows
    ]
