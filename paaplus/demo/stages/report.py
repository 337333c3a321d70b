"""What came of the three stages: experts and their models, users and how well each training knew them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from paaplus.client import Prediction
from paaplus.data.folder import DataFolder
from paaplus.demo.stages.acts import Reviewed
from paaplus.demo.stages.plan import Player, StagesPlan
from paaplus.demo.statistics import agreement, mean_interval

Predictions = Sequence[Prediction]  # of one person, in order of the images


@dataclass
class Played:
    """What was seen of the platform, as it comes in."""

    plan: StagesPlan
    folder: DataFolder
    rounds: list[dict[str, Reviewed]] = field(default_factory=list)
    agreement: list[dict[str, Any]] = field(default_factory=list)
    experts: list[dict[str, Any]] = field(default_factory=list)
    served_experts: dict[str, list[Prediction]] = field(default_factory=dict)
    quizzes: dict[str, dict[str, Any]] = field(default_factory=dict)
    matches: dict[str, dict[str, Any]] = field(default_factory=dict)
    served: list[dict[str, list[Prediction]]] = field(default_factory=list)  # matched, then after each increment


def build_stages_report(played: Played, unseen: Sequence[str], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Everything that the command shows, ready for JSON.

    Args:
        played: what was seen.
        unseen: the images that the predictions are about, in their order.
        seconds: of every step.
    """
    users = [_user(user, played, unseen) for user in played.plan.users]
    generic = np.array([user["srcc_generic"] for user in users])
    gains = {
        name: np.array([user["srcc"][place] for user in users]) - generic
        for name, place in (("matched", 0), ("final", -1))
    }
    return {
        "people": "simulated" if played.plan.is_simulated else "real",
        "seed": played.plan.seed,
        "num_images": len(played.plan.images),
        "num_unseen_images": len(unseen),
        "experts": [_expert(expert, played, unseen) for expert in played.plan.experts],
        "agreement": played.agreement,
        "users": users,
        "gain": {
            name: {"mean": float(gain_U.mean()), "interval": mean_interval(gain_U.tolist())}
            for name, gain_U in gains.items()
        },
        "users_better": int((gains["final"] > 0).sum()),
        "seconds": dict(seconds),
    }


def _expert(expert: Player, played: Played, unseen: Sequence[str]) -> dict[str, Any]:
    rounds = [done[expert.user_id] for done in played.rounds]
    seen = next(each["expert"] for each in played.experts if each["expert"]["external_id"] == expert.user_id)
    generic, personal = _srcc(expert, played.served_experts[expert.user_id], unseen)
    return {
        "id": expert.user_id,
        "num_reviewed": sum(r.num_accepted + r.num_corrected for r in rounds),
        "num_accepted": sum(r.num_accepted for r in rounds),
        "label_error": [float(np.mean(r.errors)) for r in rounds],
        "model_version": seen["model"]["number"] if seen["model"] else None,
        "srcc_generic": generic,
        "srcc": personal,
    }


def _user(user: Player, played: Played, unseen: Sequence[str]) -> dict[str, Any]:
    quiz, match = played.quizzes[user.user_id], played.matches[user.user_id]
    measured = [_srcc(user, served[user.user_id], unseen) for served in played.served]
    first = played.served[0][user.user_id][0]
    return {
        "id": user.user_id,
        "num_pairs": quiz["num_answered"],
        "quiz_finished": quiz["finish_reason"],
        "match": match["kind"],
        "reason": match["reason"],
        "matched_version": match["version"],
        "first_source": first.source,
        "srcc_generic": measured[0][0],
        "srcc": [personal for _, personal in measured],
        "versions": [_version(served[user.user_id][0]) for served in played.served],
    }


def _version(prediction: Prediction) -> int:
    """The number of the version that is served; 0: the base model is."""
    return prediction.adapter.number if prediction.adapter is not None else 0


def _srcc(player: Player, predictions: Predictions, unseen: Sequence[str]) -> tuple[float, float]:
    """Of the generic and of the person's own scores, with their real ratings."""
    by_image = dict(zip(unseen, predictions, strict=True))
    generic = {image: item.generic or {} for image, item in by_image.items()}
    personal = {image: item.scores or {} for image, item in by_image.items()}
    return agreement(generic, player.ratings, unseen), agreement(personal, player.ratings, unseen)


def expert_lines(report: Mapping[str, Any]) -> list[str]:
    """A line about each expert, one about both, and why the first user starts where they start."""
    lines = []
    for expert in report["experts"]:
        before, after = expert["label_error"]
        lines.append(
            f"expert {expert['id']}: accepted {expert['num_accepted']} of {expert['num_reviewed']} labels, off by "
            f"{before:.2f} points in the first round and {after:.2f} in the second, after the tools had learned; own "
            f"model {expert['srcc']:.3f} SRCC on unseen images, generic {expert['srcc_generic']:.3f}"
        )
    first = report["users"][0]
    lines.append(f"user {first['id']}: {first['num_pairs']} pairs, then {first['match']}: {first['reason']}")
    for each in report["agreement"]:
        if each["icc"] is not None:
            told = f"ICC {each['icc']:.2f}, SRCC {each['srcc']:.2f} on {each['num_images']} images"
            lines.append(f"the experts agree on {each['aspect']}: {told}")
    return lines


def users_table(report: Mapping[str, Any]) -> Table:
    """The new users as rows, the means below."""
    table = Table(
        title=f"{report['people']} people, unseen images: SRCC",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    num_trainings = len(report["users"][0]["srcc"]) - 1
    for name in ("user", "start"):
        table.add_column(name)
    for name in ("pairs", "generic", "matched", *(f"+{i + 1}" for i in range(num_trainings)), "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for user in report["users"]:
        gain = user["srcc"][-1] - user["srcc_generic"]
        colour = "green" if gain > 0 else "red"
        table.add_row(
            escape(user["id"]),
            escape(user["match"]),
            str(user["num_pairs"]),
            f"{user['srcc_generic']:.3f}",
            *(f"{value:.3f}" for value in user["srcc"]),
            f"[{colour}]{gain:+.3f}[/{colour}]",
        )
    table.add_section()
    means = np.mean([[user["srcc_generic"], *user["srcc"]] for user in report["users"]], axis=0)
    gain = report["gain"]["final"]["mean"]
    table.add_row("[bold]mean[/bold]", "", "", *(f"{value:.3f}" for value in means), f"[bold]{gain:+.3f}[/bold]")
    return table
