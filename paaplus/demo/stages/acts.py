"""Reviews, quizzes and ratings of experts and new users over HTTP. All answers come from real ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from paaplus.client import Prediction
from paaplus.demo.application import Application
from paaplus.demo.stages.plan import Player
from paaplus.records import Scale


@dataclass
class Reviewed:
    """The result of one expert's queue."""

    num_accepted: int = 0
    num_corrected: int = 0
    errors: list[float] = field(default_factory=list)  # of what was shown, in points of the 0-10 scale


def review_all(
    client: Application, expert: Player, batch_id: str, name_of: dict[str, str], scale: Scale, tolerance: float
) -> Reviewed:
    """Review an expert's queue: accept labels within `tolerance` of the expert's rating, correct all others.

    Args:
        client: with the expert's key.
        expert: whose ratings are the verdicts.
        batch_id: of the batch.
        name_of: image id -> image.
        scale: of the ratings.
        tolerance: in points of the 0-10 scale.
    """
    reviewed = Reviewed()
    while (review := client.call("GET", f"/v1/reviews/next?batch={batch_id}")["review"]) is not None:
        own = {a: scale.to_score(rating) for a, rating in expert.ratings[name_of[review["image_id"]]].items()}
        errors = {aspect: abs(review["scores"][aspect] - score) for aspect, score in own.items()}
        reviewed.errors += errors.values()
        wrong = {aspect: score for aspect, score in own.items() if errors[aspect] > tolerance}
        verdict: dict[str, Any] = {"event_id": f"{expert.user_id}:{review['id']}", "verdict": "accept"}
        if wrong:
            verdict |= {"verdict": "correct", "scores": wrong}
        client.call("POST", f"/v1/reviews/{review['id']}", verdict)
        reviewed.num_corrected += bool(wrong)
        reviewed.num_accepted += not wrong
    return reviewed


def take_quiz(client: Application, user: Player, name_of: dict[str, str]) -> dict[str, Any]:
    """Answer the pairs of a quiz until it is finished; returns the finished quiz."""
    quiz: dict[str, Any] = client.call("POST", f"/v1/users/{user.user_id}/quiz")
    while (pair := quiz["pair"]) is not None:
        body = {
            "position": pair["position"],
            "preference": _preference(user, name_of[pair["first"]], name_of[pair["second"]]),
            "event_id": f"{user.user_id}:quiz:{pair['position']}",
        }
        quiz = client.call("POST", f"/v1/users/{user.user_id}/quiz/answers", body)
    return quiz


def _preference(user: Player, first: str, second: str) -> dict[str, str]:
    """By aspect, which of two images is better by its rating."""
    preferences = {}
    for aspect, rating in user.ratings[first].items():
        other = user.ratings[second].get(aspect)
        if other is not None:
            preferences[aspect] = "tie" if rating == other else "first" if rating > other else "second"
    return preferences


def scores_of(client: Application, users: Sequence[Player], image_ids: dict[str, str]) -> dict[str, list[Prediction]]:
    """Predictions of these images for every user, by user_id, in the order of the images."""
    return {user.user_id: client.scores(user.user_id, list(image_ids.values())) for user in users}


def rating_event(user: Player, image: str, image_id: str, scale: Scale) -> dict[str, Any]:
    """A rating event of an image."""
    return {
        "event_id": f"{user.user_id}:{image}",
        "user": user.user_id,
        "kind": "rating",
        "image": image_id,
        "ratings": user.ratings[image],
        "scale": {"min": scale.minimum, "max": scale.maximum},
    }
