"""Quizzes of image pairs, and suggestions of images to rate."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from paaplus.api.schemas.common import Aspect, Id, In, Out, Whole
from paaplus.services.experts.quizzes import MAX_PAIRS, MIN_PAIRS, MOST_PAIRS, QuizState

Preference = Literal["first", "second", "tie", "cannot_say"]


class QuizIn(In):
    """Maximum number of pairs. The quiz ends earlier if the next answer would give little information."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"max_pairs": 12}]})

    max_pairs: Annotated[int, Field(strict=True, ge=MIN_PAIRS, le=MOST_PAIRS)] = MAX_PAIRS


class QuizAnswerIn(In):
    """`preference` holds for every aspect, or is an object with one value per aspect."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"position": 1, "preference": "first", "event_id": "ada-quiz-1"}]}
    )

    position: Whole = Field(ge=1, description="Number of the answered pair.")
    preference: Preference | dict[Aspect, Preference] = Field(
        description="Which image is better: first, second, tie, or cannot_say.", examples=["first"]
    )
    event_id: Id = Field(
        description="Chosen by the caller, one per event. Posting the same answer again changes nothing."
    )


class QuizPairOut(Out):
    """Two images to show side by side."""

    position: int
    first: UUID
    second: UUID
    expected_information: float = Field(
        description="Expected information of the answer, in nats; 0 for a pair that was asked before, with its sides "
        "swapped.",
        examples=[0.31],
    )


class QuizOut(Out):
    """A quiz. `pair` is the next one to answer; null if the quiz is finished."""

    id: UUID
    user_id: UUID
    num_answered: int
    max_pairs: int
    pair: QuizPairOut | None
    finished: bool
    finish_reason: str | None = Field(examples=["the next answer would tell little: 0.012 nats"])
    created_at: datetime

    @classmethod
    def of(cls, state: QuizState) -> QuizOut:
        row, pair = state.row, state.pair
        return cls(
            id=row.id,
            user_id=row.user_id,
            num_answered=state.num_answered,
            max_pairs=row.max_pairs,
            pair=QuizPairOut(
                position=pair.position,
                first=pair.first_image_id,
                second=pair.second_image_id,
                expected_information=pair.expected_information,
            )
            if pair is not None
            else None,
            finished=row.finished_at is not None,
            finish_reason=row.finish_reason,
            created_at=row.created_at,
        )


class SuggestionsOut(Out):
    """Images that the user should rate, the most informative first."""

    kind: Literal["rating"]
    images: list[UUID]
