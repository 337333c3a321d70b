"""Scores with anchors, and consistency, as answered."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from pydantic import Field

from paaplus.api.schemas.common import Out
from paaplus.scoring.anchors import RatedImage
from paaplus.scoring.triads import CHANCE, Triads
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


class TriadsOut(Out):
    aspect: str = Field(examples=["beauty"])
    num_triples: int = Field(description="Three images of which every pair was compared.")
    num_circular: int
    circular_share: float | None = Field(description="Null where there is no triple.")


class ConsistencyOut(Out):
    aspects: list[TriadsOut]
    chance: float = Field(description="The share that answering by chance makes.")

    @classmethod
    def of(cls, triads: Mapping[str, Triads]) -> ConsistencyOut:
        return cls(
            aspects=[
                TriadsOut(
                    aspect=aspect,
                    num_triples=found.num_triples,
                    num_circular=found.num_circular,
                    circular_share=found.share,
                )
                for aspect, found in triads.items()
            ],
            chance=CHANCE,
        )
