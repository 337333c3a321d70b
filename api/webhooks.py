"""Webhooks of applications. The API only writes rows; the scheduler delivers."""

from __future__ import annotations

from uuid import UUID

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import ApplicationKey, Context, Limit, ReadSession, WriteSession
from paaplus.api.routing import router_of
from paaplus.api.schemas.common import Page
from paaplus.api.schemas.webhooks import DeliveryOut, NewWebhookOut, WebhookIn, WebhookOut
from paaplus.errors import Forbidden
from paaplus.services.webhooks import webhooks as webhooks_service

router = router_of("/v1/webhooks", "webhooks")


@router.post("", status_code=201)
def create_webhook(body: WebhookIn, key: ApplicationKey, context: Context, session: WriteSession) -> NewWebhookOut:
    """Have events posted to a URL, signed with the secret that only this answer shows.

    An event is posted until it is answered with 2xx, with growing pauses. It may come more than once; its `id` tells.
    After too many failures in a row the webhook is disabled. Redirects are not followed.
    """
    if key.application is not None and body.application not in (None, key.application):
        raise Forbidden(f"this key is for application {key.application!r}, not {body.application!r}")
    row = webhooks_service.create(
        session,
        application=key.application or body.application,
        url=body.url,
        kinds=body.kinds,
        actor=key.actor,
        settings=context.settings,
    )
    return NewWebhookOut.model_validate(row)


@router.get("")
def list_webhooks(key: ApplicationKey, session: ReadSession, cursor: Cursor, limit: Limit = 50) -> Page[WebhookOut]:
    """The application's webhooks, without their secrets. An admin key sees all."""
    rows = webhooks_service.list_webhooks(session, key, limit=limit, before=cursor.after)
    return Page(items=[WebhookOut.model_validate(row) for row in rows], next_cursor=cursor.next(rows, limit))


@router.post("/{webhook_id}/enable")
def enable_webhook(webhook_id: UUID, key: ApplicationKey, session: WriteSession) -> WebhookOut:
    """Enable a disabled webhook. What waited is delivered now; what happened while it was disabled is not."""
    return WebhookOut.model_validate(webhooks_service.enable(session, key, webhook_id, actor=key.actor))


@router.post("/{webhook_id}/disable")
def disable_webhook(webhook_id: UUID, key: ApplicationKey, session: WriteSession) -> WebhookOut:
    """Stop telling a webhook. What waits for it goes on waiting; what happens while it is disabled is not told."""
    return WebhookOut.model_validate(webhooks_service.disable(session, key, webhook_id, actor=key.actor))


@router.get("/{webhook_id}/deliveries")
def list_deliveries(
    webhook_id: UUID, key: ApplicationKey, session: ReadSession, cursor: Cursor, limit: Limit = 50
) -> Page[DeliveryOut]:
    """What was posted to a webhook, and what is to be, with the errors. Newest first, as long as events are kept."""
    rows = webhooks_service.list_deliveries(session, key, webhook_id, limit=limit, before=cursor.after)
    return Page(items=[DeliveryOut.model_validate(row) for row in rows], next_cursor=cursor.next(rows, limit))


@router.delete("/{webhook_id}", status_code=204)
def delete_webhook(webhook_id: UUID, key: ApplicationKey, session: WriteSession) -> None:
    """Delete a webhook. What was not delivered is dropped."""
    webhooks_service.delete(session, key, webhook_id, actor=key.actor)
