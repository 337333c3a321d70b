"""Predictions: scores of many images for many users in one call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from paaplus.api.dependencies import ApiContext, Context, UserKey
from paaplus.api.schemas.predictions import PredictionsIn, PredictionsOut
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.services.predictions.predict import Target

router = APIRouter(prefix="/v1/predictions", tags=["predictions"])

POLL_S = 0.2


@router.post("", response_model=PredictionsOut)
async def predict(body: PredictionsIn, key: UserKey, context: Context) -> Response:
    """Scores, each with its adapter version and a receipt that a correction refers to.

    An image without features is `pending`, with the job that extracts them. With `wait_s` the answer waits for them,
    up to the deployment's limit. If a user or an image does not exist, the whole request fails.
    """
    limit = context.settings.max_prediction_items
    if body.num_wanted > limit:
        raise InvalidInput(f"{body.num_wanted} predictions in one call; at most {limit} are accepted")
    targets = await run_in_threadpool(context.predictor.resolve, key, body.wanted())
    await _wait_for_features(context, targets, min(body.wait_s, context.settings.max_wait_s))
    return await run_in_threadpool(_answer, context, targets, body.confidence, body.receipts)


async def _wait_for_features(context: ApiContext, targets: Sequence[Target], wait_s: float) -> None:
    """Wait until every image has features or the time is over, without holding a transaction or a thread."""
    deadline = time.monotonic() + wait_s
    if wait_s <= 0 or not await run_in_threadpool(context.predictor.request_missing, targets):
        return
    while time.monotonic() < deadline:
        await asyncio.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        if not await run_in_threadpool(context.predictor.is_waiting, targets):
            return


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
