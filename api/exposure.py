"""A person's own rule of good exposure: their ratings, the rule that these make, and taking one back."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from paaplus.api.dependencies import Context, ReadSession, UserKey, UserPath, WriteSession
from paaplus.api.schemas.exposure import ExposureRatingIn, ExposureRatingOut, ExposureRuleOut
from paaplus.records import Scale
from paaplus.services.reviews import exposure_ratings
from paaplus.services.users import users

router = APIRouter(prefix="/v1/users/{user}", tags=["exposure"])


@router.put("/exposure-ratings/{image_id}")
def rate(
    user: UserPath, image_id: UUID, body: ExposureRatingIn, key: UserKey, context: Context, session: WriteSession
) -> ExposureRatingOut:
    """Say how well exposed the user finds an image. No adapter learns from it: it only makes their exposure rule.

    `waiting`: the tool has not looked at the image yet, a worker was asked to.
    """
    row = users.resolve(session, key, user)
    scale = Scale(body.scale.min, body.scale.max)
    return ExposureRatingOut(
        waiting=exposure_ratings.rate(session, row, image_id, body.rating, scale, context.settings)
    )


@router.delete("/exposure-ratings/{image_id}", status_code=204)
def take_back(user: UserPath, image_id: UUID, key: UserKey, session: WriteSession) -> None:
    """Take a rating back; the rule is then exactly the one without it."""
    exposure_ratings.take_back(session, users.resolve(session, key, user), image_id)


@router.get("/exposure-rule")
def get_rule(
    user: UserPath,
    key: UserKey,
    context: Context,
    session: ReadSession,
    image: Annotated[list[UUID], Query(max_length=100, description="Score these by the rule.")] = [],  # noqa: B006
) -> ExposureRuleOut:
    """The user's rule: the preset that fits their ratings best, calibrated to them. Five ratings make one."""
    own = exposure_ratings.rule_of(session, users.resolve(session, key, user), image, context.settings)
    return ExposureRuleOut.of(own)
