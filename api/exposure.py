"""A user's own exposure rule, and the ratings that it is computed from."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query

from paaplus.api.dependencies import Context, ReadSession, UserKey, UserPath, WriteSession
from paaplus.api.routing import router_of
from paaplus.api.schemas.exposure import ExposureRatingIn, ExposureRatingOut, ExposureRuleOut
from paaplus.records import Scale
from paaplus.services.reviews import exposure_ratings
from paaplus.services.users import users

router = router_of("/v1/users/{user}", "exposure")


@router.put("/exposure-ratings/{image_id}")
def rate(
    user: UserPath, image_id: UUID, body: ExposureRatingIn, key: UserKey, context: Context, session: WriteSession
) -> ExposureRatingOut:
    """Rate the exposure of an image. No adapter is trained on it; it counts for the user's exposure rule only.

    `waiting`: the tool has not scored the image yet; a worker was asked to.
    """
    row = users.resolve(session, key, user)
    scale = Scale(body.scale.min, body.scale.max)
    return ExposureRatingOut(
        waiting=exposure_ratings.rate(session, row, image_id, body.rating, scale, context.settings)
    )


@router.delete("/exposure-ratings/{image_id}", status_code=204)
def take_back(user: UserPath, image_id: UUID, key: UserKey, session: WriteSession) -> None:
    """Delete a rating. The rule is then exactly the one without it."""
    exposure_ratings.take_back(session, users.resolve(session, key, user), image_id)


@router.get("/exposure-rule")
def get_rule(
    user: UserPath,
    key: UserKey,
    context: Context,
    session: ReadSession,
    image: Annotated[list[UUID], Query(max_length=100, description="Score these by the rule.")] = [],  # noqa: B006
) -> ExposureRuleOut:
    """The user's rule: the preset that fits the ratings best, calibrated. It needs five ratings."""
    own = exposure_ratings.rule_of(session, users.resolve(session, key, user), image, context.settings)
    return ExposureRuleOut.of(own)
