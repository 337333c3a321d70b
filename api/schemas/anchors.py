"""Scores with anchors, and consistency, as answered."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from pydantic import Field

from paaplus.api.schemas.common import Out
from paaplus.scoring.anchors import RatedImage
from paaplus.scoring.triads import CHANCE
from paaplus.services.feedback.consistency import Consistency
from paaplus.services.predictions.anchors import AnchoredScore


class AnchorOut(Out):
    """An image that the user has rated; `rating` is on the score scale, 0-10."""

    image: UUID
    rating: float

    @classmethod
    def of(cls, rated: RatedImage | None) -> AnchorOut | None:
        return None if rated is None else cls(image=rated.image_id, rating=rated.score)


class AnchoredAspectOut(Out):
    aspect: str = Field(examples=["beauty"])
    score: float
    below: AnchorOut | None = Field(description="The highest rating that is not above the score.")
    above: AnchorOut | None = Field(description="The lowest rating above the score.")


class AnchoredScoreOut(Out):
    image: UUID
    receipt_id: str | None = Field(description="Names this prediction in a correction.")
    aspects: list[AnchoredAspectOut]

    @classmethod
    def of(cls, anchored: AnchoredScore) -> AnchoredScoreOut:
        scores = anchored.prediction.scores or {}
        return cls(
            image=anchored.prediction.image_id,
            receipt_id=anchored.prediction.receipt,
            aspects=[
                AnchoredAspectOut(
                    aspect=aspect,
                    score=scores[aspect],
                    below=AnchorOut.of(found.below),
                    above=AnchorOut.of(found.above),
                )
                for aspect, found in anchored.anchors.items()
            ],
        )


class AspectConsistencyOut(Out):
    aspect: str = Field(examples=["beauty"])
    num_triples: int = Field(description="Three images of which every pair was compared.")
    num_circular: int
    circular_share: float | None = Field(description="Null where there is no triple.")
    num_first: int = Field(description="How often the first image was preferred.")
    num_second: int = Field(description="How often the second image was preferred.")
    num_swapped: int = Field(description="Pairs that were answered in both orders. A quiz asks for some.")
    num_same_side: int = Field(
        description="Swapped pairs in which the same side was chosen both times. If it always is, the person chooses "
        "sides and not images."
    )


class ConsistencyOut(Out):
    aspects: list[AspectConsistencyOut]
    chance: float = Field(description="The share of circular triples that answering by chance makes.")

    @classmethod
    def of(cls, found: Mapping[str, Consistency]) -> ConsistencyOut:
        return cls(
            aspects=[
                AspectConsistencyOut(
                    aspect=aspect,
                    num_triples=each.triads.num_triples,
                    num_circular=each.triads.num_circular,
                    circular_share=each.triads.share,
                    num_first=each.sides.num_first,
                    num_second=each.sides.num_second,
                    num_swapped=each.sides.num_swapped,
                    num_same_side=each.sides.num_same_side,
                )
                for aspect, each in found.items()
            ],
            chance=CHANCE,
        )
