"""What stands beside a score, and how consistent a user is."""

from __future__ import annotations

from uuid import UUID

from paaplus.api.dependencies import Context, ReadSession, UserKey, UserPath
from paaplus.api.routing import router_of
from paaplus.api.schemas.anchors import AnchoredScoreOut, ConsistencyOut
from paaplus.services.feedback import consistency
from paaplus.services.predictions import anchors
from paaplus.services.users import users

router = router_of("/v1/users/{user}", "predictions")


@router.get("/anchors/{image_id}")
def get_anchors(user: UserPath, image_id: UUID, key: UserKey, context: Context) -> AnchoredScoreOut:
    """The user's score of an image, with the nearest images below and above it that the same user has rated."""
    [target] = context.predictor.resolve(key, [(user, image_id)])
    return AnchoredScoreOut.of(anchors.score_with_anchors(context.database, context.predictor, target))


@router.get("/consistency")
def get_consistency(user: UserPath, key: UserKey, session: ReadSession) -> ConsistencyOut:
    """How many circles the user's comparisons make, and whether the user chooses a side instead of an image.

    A circle: A before B, B before C, C before A. By chance a quarter of triples are circles. Who always chooses
    one side chooses it again when a pair's sides are swapped.
    """
    return ConsistencyOut.of(consistency.consistency_of(session, users.resolve(session, key, user)))
