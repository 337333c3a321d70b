"""Rankings: images in one user's order."""

from __future__ import annotations

from paaplus.api.dependencies import Context, UserKey
from paaplus.api.routing import router_of
from paaplus.api.schemas.rankings import RankingIn, RankingOut
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.services.images.filters import ImageFilter
from paaplus.services.predictions import rankings
from paaplus.services.users import users
from paaplus.services.users.first_use import create_missing
from paaplus.services.users.rate_limits import RateLimitKind

router = router_of("/v1/rankings", "predictions")


@router.post("")
def rank(body: RankingIn, key: UserKey, context: Context) -> RankingOut:
    """The user's images in the user's order, beside everybody's: names and own ids, scores, ranks, and the own rating.

    Images without features are left out and counted. It counts as `top` predictions. Nothing is stored.
    """
    if body.images is not None and (body.theme is not None or body.name_prefix is not None):
        raise InvalidInput("give either images, or theme and name_prefix")
    num_answered = body.top if body.images is None else min(body.top, len(body.images))
    context.allowances.spend(key, RateLimitKind.PREDICTIONS, num_answered)
    create_missing(context.database, key, [body.user])
    with context.database.read_session() as session:
        user_id = users.resolve(session, key, body.user).id
    wanted = rankings.Wanted(
        user_id,
        images=body.images,
        filter=ImageFilter(theme=body.theme, name_prefix=body.name_prefix),
        aspect=body.aspect,
        top=body.top,
        only_unrated=body.only_unrated,
        diverse=body.diverse,
    )
    ranking = rankings.rank(context.database, context.predictor.store, context.settings, wanted)
    return RankingOut.of(ranking, utcnow())
