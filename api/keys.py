"""API keys: an admin creates, lists, rotates and revokes them."""

from __future__ import annotations

from uuid import UUID

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import (
    AdminKey,
    Context,
    IdempotencyKey,
    Limit,
    ReadSession,
    WriteSession,
    begin_once,
)
from paaplus.api.routing import router_of
from paaplus.api.schemas.common import Page
from paaplus.api.schemas.keys import KeyIn, KeyOut, NewKeyOut
from paaplus.services import idempotency
from paaplus.services.users import keys as keys_service
from paaplus.services.users import users

router = router_of("/v1/keys", "keys")


@router.post("", status_code=201)
def create_key(body: KeyIn, key: AdminKey, session: WriteSession) -> NewKeyOut:
    """Create a key. This answer is the only one that shows it; the database stores its hash."""
    created = keys_service.create(
        session,
        name=body.name,
        scope=body.scope,
        application=body.application,
        user_id=users.resolve(session, key, body.user).id if body.user is not None else None,
        creates_users=body.creates_users,
        actor=key.actor,
    )
    return NewKeyOut(**KeyOut.model_validate(created.row).model_dump(), key=created.token)


@router.get("")
def list_keys(_key: AdminKey, session: ReadSession, cursor: Cursor, limit: Limit = 50) -> Page[KeyOut]:
    """All keys without their secrets, revoked keys included."""
    rows = keys_service.list_keys(session, limit=limit, before=cursor.after)
    return Page(items=[KeyOut.model_validate(row) for row in rows], next_cursor=cursor.next(rows, limit))


@router.delete("/{key_id}")
def revoke_key(key_id: UUID, key: AdminKey, context: Context) -> KeyOut:
    """Revoke a key permanently. After the answer, no process accepts it."""
    with context.database.session() as session:
        row = keys_service.revoke(session, key_id, actor=key.actor)
    context.keys.forget_everywhere()
    return KeyOut.model_validate(row)


@router.post("/{key_id}/rotate")
def rotate_key(key_id: UUID, key: AdminKey, context: Context, once: IdempotencyKey) -> NewKeyOut:
    """Give a key a new secret, which only this answer shows. After the answer, no process accepts the old one."""
    with context.database.session() as session:
        if once is not None:
            begin_once(session, once)
        rotated = keys_service.rotate(session, key_id, actor=key.actor)
        if once is not None:
            idempotency.finish(session, once, 200, None)
    context.keys.forget_everywhere()
    return NewKeyOut(**KeyOut.model_validate(rotated.row).model_dump(), key=rotated.token)
