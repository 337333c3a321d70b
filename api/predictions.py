"""Predictions: scores of many images for many users in one call."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from paaplus.api.dependencies import ApiContext, Context, UserKey
from paaplus.api.routing import Route
from paaplus.api.schemas.predictions import PredictionsIn, PredictionsOut
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.services.predictions.predict import Target
from paaplus.services.users.first_use import create_missing
from paaplus.services.users.keys import Principal
from paaplus.services.users.rate_limits import RateLimitKind

router = APIRouter(prefix="/v1/predictions", tags=["predictions"], route_class=Route)


@router.post("", response_model=PredictionsOut)
async def predict(body: PredictionsIn, key: UserKey, context: Context) -> Response:
    """Scores, each with its adapter version and a receipt that a correction refers to.

    An image without features is `pending`, with the job that extracts them. With `wait_s` the answer waits for them,
    up to the deployment's limit. If a user or an image does not exist, the whole request fails.
    """
    limit = context.settings.max_prediction_items
    if body.num_wanted > limit:
        raise InvalidInput(f"{body.num_wanted} predictions in one call; at most {limit} are accepted")
    await run_in_threadpool(context.allowances.spend, key, RateLimitKind.PREDICTIONS, body.num_wanted)
    if key.creates_users:
        await run_in_threadpool(create_missing, context.database, key, [user for user, _ in body.wanted()])
    targets = await run_in_threadpool(context.predictor.resolve, key, body.wanted())
    await _wait_for_features(context, key, targets, min(body.wait_s, context.settings.max_wait_s))
    return await run_in_threadpool(_answer, context, targets, body.confidence, body.receipts)


async def _wait_for_features(context: ApiContext, key: Principal, targets: Sequence[Target], wait_s: float) -> None:
    """Wait until every image has features or the time is over, without holding a transaction, a connection or a thread.

    If too many requests of the key wait already, the answer is given at once, with pending items.
    """
    if wait_s <= 0:
        return
    missing = await run_in_threadpool(context.predictor.still_missing, {target.image_id for target in targets})
    if not missing:
        return
    await run_in_threadpool(context.predictor.request_missing, targets)
    await context.features.wait(key.actor, missing, wait_s)


def _answer(context: ApiContext, targets: Sequence[Target], with_confidence: bool, with_receipts: bool) -> Response:
    # Serialized here, in a thread: in the event loop, ten thousand items would delay all other requests.
    answer = context.predictor.answer(targets, with_confidence=with_confidence, with_receipts=with_receipts)
    for item in answer.items:
        context.metrics.predictions.labels(item.status, item.source or "none").inc()
    waits = [item.retry_after_s for item in answer.items if item.retry_after_s is not None]
    return Response(
        PredictionsOut.of(answer, utcnow()).model_dump_json(),
        media_type="application/json",
        headers={"Retry-After": str(max(waits))} if waits else None,
    )
