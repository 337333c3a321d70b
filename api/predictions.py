"""Predictions: scores of many images for many users in one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from paaplus import pauses
from paaplus.api import prediction_json
from paaplus.api.dependencies import ApiContext, Context, UserKey
from paaplus.api.routing import DirectRoute, router_of
from paaplus.api.schemas.predictions import PredictionColumnsOut, PredictionsIn, PredictionsOut
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.services.predictions.answers import Target
from paaplus.services.users.first_use import create_missing
from paaplus.services.users.keys import Principal
from paaplus.services.users.rate_limits import RateLimitKind

LARGE: Final = 256  # items; more of them are answered in parts

router = router_of("/v1/predictions", "predictions", DirectRoute)


@router.post("", response_model=PredictionsOut | PredictionColumnsOut)
async def predict(body: PredictionsIn, key: UserKey, context: Context) -> Response:
    """Scores, each with its adapter version and a receipt that a correction refers to.

    An image without features is `pending`, with the job that extracts them. With `wait_s` the answer waits for them,
    up to the deployment's limit. If a user or an image does not exist, the whole request fails.

    With `compact` the answer has columns instead of items.
    """
    limit = context.settings.max_prediction_items
    if body.num_wanted > limit:
        raise InvalidInput(f"{body.num_wanted} predictions in one call; at most {limit} are accepted")
    if not context.allowances.spend_reserved(key, RateLimitKind.PREDICTIONS, body.num_wanted):
        await run_in_threadpool(context.allowances.spend, key, RateLimitKind.PREDICTIONS, body.num_wanted)
    if key.creates_users:
        await run_in_threadpool(create_missing, context.database, key, [user for user, _ in body.wanted()])
    if body.wait_s > 0:
        targets = await run_in_threadpool(context.predictor.resolve, key, body.wanted())
        await _wait_for_features(context, key, targets, min(body.wait_s, context.settings.max_wait_s))
    return await context.threads.run(_answer, context, key, body)


async def _wait_for_features(context: ApiContext, key: Principal, targets: Sequence[Target], wait_s: float) -> None:
    """Wait until every image has features or the time is over, without holding a transaction, a connection or a thread.

    If too many requests of the key wait already, the answer is given at once, with pending items.
    """
    missing = await run_in_threadpool(context.predictor.still_missing, {target.image_id for target in targets})
    if not missing:
        return
    await run_in_threadpool(context.predictor.request_missing, targets)
    await context.features.wait(key.actor, missing, wait_s)


def _answer(context: ApiContext, key: Principal, body: PredictionsIn) -> Response:
    # Written here, in a thread: in the event loop, ten thousand items would delay all other requests.
    is_large = body.num_wanted > LARGE
    if is_large:
        pauses.pause()
    answer = context.predictor.answer_asked(
        key, body.asked(), with_confidence=body.confidence, with_receipts=body.receipts
    )
    for source, count in answer.num_by_source().items():
        context.metrics.predictions.labels("scored", source).inc(count)
    for status, count in Counter(item.status for item in answer.unscored.values()).items():
        context.metrics.predictions.labels(status, "none").inc(count)
    waits = [item.retry_after_s for item in answer.unscored.values() if item.retry_after_s is not None]
    if is_large:
        pauses.pause()
    write = prediction_json.columns if body.compact else prediction_json.items
    return Response(
        write(answer, utcnow()),
        media_type="application/json",
        headers={"Retry-After": str(max(waits))} if waits else None,
    )
