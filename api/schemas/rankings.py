"""Rankings: one user's order of images."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from paaplus.api.schemas.base_models import BaseModelRef
from paaplus.api.schemas.common import Aspect, Flag, In, Many, Out, Sought, UserRef, Whole
from paaplus.api.schemas.predictions import ServedAdapterOut
from paaplus.services.predictions.rankings import TOP_MAX, Ranking
from paaplus.services.predictions.serving import Source, SourceReason
from paaplus.texts import checked_id_characters, cleaned

ImageRef = Annotated[
    str,
    BeforeValidator(cleaned(checked_id_characters)),
    StringConstraints(min_length=1, max_length=128),
    Field(description="The platform's UUID or the application's `external_id` of an image.", examples=["asset-17"]),
]
NamePart = Annotated[Sought, StringConstraints(max_length=512)]


class RankingIn(In):
    """Which images to rank in whose order. Without `images`: all that the user may see."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user": "ada", "top": 20, "only_unrated": True}]})

    user: UserRef
    images: Many[ImageRef] | None = Field(
        None,
        min_length=1,
        description="Each once. An `external_id` is that of the user's own image, else of a shared one.",
    )
    theme: Annotated[Sought, StringConstraints(max_length=64)] | None = Field(
        None, description="Only images with this tag; not together with `images`."
    )
    name_prefix: NamePart | None = Field(
        None,
        description="Only images whose name begins so, for example with a folder; not together with `images`.",
        examples=["2026/"],
    )
    aspect: Aspect | None = Field(None, description="What to rank by; default: the base model's first aspect.")
    top: Annotated[Whole, Field(ge=1, le=TOP_MAX)] = Field(20, description="How many images to answer with.")
    only_unrated: Flag = Field(False, description="Leave out what the user has rated or liked.")
    diverse: Flag = Field(
        False,
        description="Choose images that are also unlike each other (maximal marginal relevance in taste space); they "
        "come in the order in which they were chosen.",
    )


class RankedImageOut(Out):
    """One image of a ranking. Ranks count from 1 among all images that were ranked, not only those in the answer."""

    image_id: UUID
    external_id: str | None = Field(description="The application's own id.", examples=["asset-17"])
    name: str | None = Field(examples=["2026/beach.jpg"])
    theme: str | None
    rank: int = Field(examples=[1])
    generic_rank: int = Field(description="The rank by the generic scores, the same for everybody.", examples=[17])
    score: float = Field(description="0 to 10.", examples=[8.2])
    generic_score: float = Field(examples=[5.9])
    rating: float | None = Field(description="The user's own latest rating, on the scale of scores.", examples=[7.5])
    stars: int | None = Field(description="The same as 1 to 5 stars.", examples=[4])
    liked: bool | None = Field(description="The user's own latest like.")


class RankingOut(Out):
    """A ranking. `source` and `source_reason` are as in predictions. It has no receipts, which corrections need."""

    user_id: UUID
    aspect: str = Field(examples=["beauty"])
    source: Source
    source_reason: SourceReason
    adapter: ServedAdapterOut | None
    base_model: BaseModelRef
    items: list[RankedImageOut]
    num_ranked: int = Field(description="Images that were ranked.", examples=[380])
    num_pending: int = Field(description="Images that have no features yet, and are not ranked.")
    num_failed: int = Field(description="Images that can never be scored.")
    is_complete: bool = Field(
        description="False: the user may see more images than one ranking looks at; the newest were ranked."
    )

    @classmethod
    def of(cls, ranking: Ranking, now: datetime) -> RankingOut:
        return cls(
            user_id=ranking.user_id,
            aspect=ranking.aspect,
            source=ranking.source,
            source_reason=ranking.source_reason,
            adapter=ServedAdapterOut.of(ranking.adapter, now) if ranking.adapter is not None else None,
            base_model=BaseModelRef.model_validate(ranking.base_model),
            items=[RankedImageOut.model_validate(item) for item in ranking.items],
            num_ranked=ranking.num_ranked,
            num_pending=ranking.num_pending,
            num_failed=ranking.num_failed,
            is_complete=ranking.is_complete,
        )
