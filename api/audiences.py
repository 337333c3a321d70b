"""Audiences: the scores of one image by every user of an application."""

from __future__ import annotations

from functools import partial

import numpy as np
from fastapi import Response

from paaplus.api import audience_json
from paaplus.api.cursors import ListCursor
from paaplus.api.dependencies import ApiContext, ApplicationKey, Context
from paaplus.api.routing import DirectRoute, router_of
from paaplus.api.schemas.audiences import AudienceIn, AudienceOut
from paaplus.services.predictions import user_pages
from paaplus.services.predictions.audiences import PAGE_USERS, Wanted
from paaplus.services.users.keys import Principal
from paaplus.services.users.rate_limits import RateLimitKind

router = router_of("/v1/audiences", "predictions", DirectRoute)


@router.post("", response_model=AudienceOut)
async def score_audience(body: AudienceIn, key: ApplicationKey, context: Context) -> Response:
    """One image's scores by all users of its application, as columns: page by page, or the `top` users, the highest
    first. The scores are those of `POST /v1/predictions`.

    It counts as one prediction for each user of the answer (with `top`: as `top` predictions). Nothing is stored, and
    there are no receipts: a user whose correction should name a score needs a prediction. While the image has no
    features yet, the answer is 503.
    """
    return await context.audience_turns.do(partial(_answer, context, key, body))


def _answer(context: ApiContext, key: Principal, body: AudienceIn) -> Response:
    conditions = body.model_dump(mode="json", exclude={"cursor", "limit"})
    cursor = ListCursor.of(router.prefix, conditions, key, body.cursor, place=("body", "cursor"))
    wanted = Wanted(
        body.image,
        users=body.users,
        top=body.top,
        aspect=body.aspect,
        after=cursor.after or user_pages.FIRST,
        limit=body.limit or PAGE_USERS,
    )
    spend = partial(context.allowances.spend, key, RateLimitKind.PREDICTIONS)
    audience = context.audiences.score(key, wanted, spend)
    scored = audience.scored
    num_personal = int(np.count_nonzero(scored.number_N))
    num_generic = len(audience.users) - num_personal - len(scored.damaged)
    for status, source, count in (
        ("scored", "adapter", num_personal),
        ("scored", "base", num_generic),
        ("failed", "none", len(scored.damaged)),
    ):
        context.metrics.predictions.labels(status, source).inc(count)
    return Response(audience_json.columns(audience, cursor.at(audience.next_after)), media_type="application/json")
