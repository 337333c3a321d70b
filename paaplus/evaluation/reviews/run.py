"""What reviews do for pseudo labels: the error of a tool's labels against an expert, after n of their reviews.

Real people stand in for experts: their ratings are what they would say in a review. The tool is the generic model of a
base model that was fitted on *other* people. Each test person reviews train-side images, at random or by value, the
latter put in order anew after every round, as the platform does. What is within `tolerance` of the label is accepted,
and the label itself is then all that is known; everything else is corrected to the person's rating. Errors are those
on test-side images: not reviewed, and unknown to the base model.

    raw                the tool's labels
    mean               the mean of the reviews so far; before there are any, of all train people's ratings
    calibrated         the map of scores that reviews teach (`scoring.calibration`)
    calibrated+reward  the same, moved by the reward head where left-out reviews say that it helps
    own                the expert's own model: the closed form on their own reviews among these, the ceiling

Several experts may teach one tool together (`experts_per_tool`), as they do on the platform: reviews are dealt to them
in turn, and the labels are judged against each of them.

Shape letters: N = reviews, I = images, T = test images of one person, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.agreement import mean_over_aspects
from paaplus.evaluation.checks import check_limit, check_numbers
from paaplus.evaluation.reviews.summary import Measured, summary
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.metrics import mae, rmse, srcc
from paaplus.records import NO_COMPARISONS, SCORE_MAX, SCORE_MIN
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.calibration import IDENTITY, Calibration, fit_calibration
from paaplus.scoring.closed_form import fit as fit_closed_form
from paaplus.scoring.priors import OwnPrior, design
from paaplus.scoring.reward import Reviewed, RewardHead, fit_reward_head, label_error_sd, probability_corrected
from paaplus.tools.generic import GenericTool
from paaplus.tools.tool import ToolImage

RAW, MEAN, CALIBRATED, REWARD, OWN = LABELS = ("raw", "mean", "calibrated", "calibrated+reward", "own")
RANDOM, VALUE = ORDERS = ("random", "value")


@dataclass(frozen=True)
class ReviewLoopConfig:
    """What is measured."""

    counts: tuple[int, ...] = (0, 25, 50, 100, 200)
    seeds: tuple[int, ...] = (0, 1, 2)
    limit_people: int | None = None  # test people a seed, the first of the split
    tolerance: float = 1.0  # score points: what an expert lets pass
    round_size: int = 25  # reviews after which the order by value is made anew
    experts_per_tool: int = 1

    def __post_init__(self) -> None:
        check_numbers("counts", self.counts)
        check_numbers("seeds", self.seeds)
        check_limit(self.limit_people)
        if not self.tolerance >= 0.0 or self.round_size < 1 or self.experts_per_tool < 1:
            raise InvalidInput(
                f"tolerance {self.tolerance}, rounds of {self.round_size}, {self.experts_per_tool} experts a tool: "
                "0 or more, 1 or more, 1 or more"
            )


def run_review_loop(
    data: EvaluationData, make_split: MakeSplit, config: ReviewLoopConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure on every seed's split. Arguments and errors are those of `kshot.run_kshot`."""
    plan = rounds(make_split, config.seeds, config.limit_people)
    count = PeopleCounter(plan, progress)
    measured: list[Measured] = []
    for each in plan:
        studio = _Studio(data, each, config)
        size = config.experts_per_tool
        for start in range(0, len(each.people) // size * size, size):  # who is left over has no team
            measured += studio.measure(each.people[start : start + size])
            count.add(size)
    if not measured:
        raise InvalidInput(f"none of {count.total} test people rated {min(config.counts)} images and differently")
    return {
        "summary": summary(measured, config.counts),
        "config": {
            **data.about(),
            **asdict(config),
            "counts": list(config.counts),
            "seeds": list(config.seeds),
            "not_measured": [reviews for reviews in config.counts if not any(one.count == reviews for one in measured)],
        },
    }


class _Studio:
    """The base model of one split's train side, and what it takes to play a person's reviews with it."""

    def __init__(self, data: EvaluationData, this: Round, config: ReviewLoopConfig) -> None:
        self._side = TrainSide("reviews", data, this.split)
        self._split, self._config, self._aspects = this.split, config, data.folder.aspects
        self._base, self._taste_IR, self._generic_IA = self._side.base, self._side.taste_IR, self._side.generic_IA
        said = GenericTool(self._base).score([ToolImage(features_D=features_D) for features_D in data.features_ID])
        self._error_sd_IA = np.array([[label_error_sd(one.confidences[a]) for a in self._aspects] for one in said])
        self._mean_A = np.nanmean(self._side.folder.score_NA, axis=0)

    def measure(self, team: Sequence[str]) -> list[Measured]:
        """Every order and count that the team's ratings are enough for, judged against each of them."""
        members = [self._member(user_id) for user_id in team]
        if not all(len(member.test_T) for member in members):
            return []
        most = max(len(member.pool) for member in members)
        in_turn = [(m, one.pool[j]) for j in range(most) for m, one in enumerate(members) if j < len(one.pool)]
        marks = sorted({count for count in self._config.counts if count <= len(in_turn)})
        measured = []
        for order in ORDERS:
            learned = _Learned.nothing(len(members), len(self._aspects))
            reviewed: list[tuple[int, int]] = []  # member, image
            for goal in sorted(set(marks) | set(range(0, (marks or [0])[-1], self._config.round_size))):
                left = in_turn[len(reviewed) :]
                if order == VALUE:
                    done = set(reviewed)
                    value = {image: self._value(image, learned) for image in {image for _, image in in_turn}}
                    left = sorted((one for one in in_turn if one not in done), key=lambda one: -value[one[1]])
                reviewed += left[: goal - len(reviewed)]
                if order == RANDOM and goal not in marks:
                    continue
                said_NA = self._said(reviewed, members)
                learned = self._learn(reviewed, said_NA, len(members))
                if goal in marks:
                    measured += self._measured(order, reviewed, said_NA, learned, members)
        return measured

    def _member(self, user_id: str) -> _Member:
        score_of = self._side.score_of[user_id]
        truth_IA = np.full(self._generic_IA.shape, np.nan)
        truth_IA[list(score_of)] = self._side.targets(user_id, list(score_of))
        pool = [self._side.image_at[image] for image in self._split.support(user_id, len(score_of))]
        return _Member(user_id, truth_IA, np.sort(self._side.test_images(user_id)), pool)

    def _value(self, image: int, learned: _Learned) -> float:
        """What a review of the image's raw label is worth after what was learned: see `services.shown_labels`."""
        moved_A = self._labels(np.array([image]), learned)[REWARD][0]
        distance_A = moved_A - self._generic_IA[image]
        return max(
            probability_corrected(float(distance), float(sd))
            for distance, sd in zip(distance_A, self._error_sd_IA[image], strict=True)
        )

    def _said(self, reviewed: list[tuple[int, int]], members: list[_Member]) -> np.ndarray:
        """What the reviews say: the label where it passes, the rating where it does not."""
        images = [image for _, image in reviewed]
        truth_NA = np.array([members[m].truth_IA[image] for m, image in reviewed]).reshape(
            -1, self._generic_IA.shape[1]
        )
        shown_NA = self._generic_IA[images].astype(np.float64)
        return np.where(np.abs(truth_NA - shown_NA) <= self._config.tolerance, shown_NA, truth_NA)

    def _learn(self, reviewed: list[tuple[int, int]], said_NA: np.ndarray, num_members: int) -> _Learned:
        member_N, image_N = np.array(reviewed, np.int64).reshape(-1, 2).T
        calibrations: list[Calibration] = []
        reviewed_A: list[Reviewed | None] = []
        groups: list[np.ndarray | None] = []
        for a in range(said_NA.shape[1]):
            known_N = ~np.isnan(said_NA[:, a])
            images, said_N = image_N[known_N], said_NA[known_N, a]
            raw_N = self._generic_IA[images, a].astype(np.float64)
            calibrations.append(fit_calibration(raw_N, said_N)[0] if len(images) else IDENTITY)
            label_N = calibrations[-1].apply(raw_N)
            reviewed_A.append(Reviewed(self._taste_IR[images], raw_N, label_N, raw_N, said_N) if len(images) else None)
            groups.append(np.unique(images, return_inverse=True)[1] if len(images) else None)
        head, _ = fit_reward_head(self._base, reviewed_A, groups)
        own = [self._own(image_N[member_N == m], said_NA[member_N == m]) for m in range(num_members)]
        with np.errstate(invalid="ignore"):
            mean_A = np.nanmean(said_NA, axis=0) if len(image_N) else self._mean_A
        return _Learned(calibrations, head, own, mean_A)

    def _own(self, image_N: np.ndarray, said_NA: np.ndarray) -> Adapter | None:
        """What one expert's own reviews make of them; None before there are any."""
        if not len(image_N):
            return None
        rated = self._side.rated_as(image_N, said_NA)
        return fit_closed_form(self._base, OwnPrior(self._base), rated, NO_COMPARISONS).adapter

    def _labels(self, image_B: np.ndarray, learned: _Learned, member: int = 0) -> dict[str, np.ndarray]:
        """Every kind of label of these images, shape (B, A); `own` is that of one member."""
        own = learned.own[member]
        taste_BR, generic_BA = self._taste_IR[image_B], self._generic_IA[image_B]
        calibrated_BA = np.stack([one.apply(generic_BA[:, a]) for a, one in enumerate(learned.calibrations)], axis=1)
        moved_BA = calibrated_BA.copy()
        if learned.head is not None:
            for a in range(moved_BA.shape[1]):
                moved_BA[:, a] += design(taste_BR, generic_BA[:, a]) @ learned.head.weight_PA[:, a]
        return {
            RAW: generic_BA.astype(np.float64),
            MEAN: np.broadcast_to(learned.mean_A, generic_BA.shape),
            CALIBRATED: calibrated_BA,
            REWARD: np.clip(moved_BA, SCORE_MIN, SCORE_MAX),
            OWN: (generic_BA if own is None else own.score(taste_BR, generic_BA)).astype(np.float64),
        }

    def _measured(
        self,
        order: str,
        reviewed: list[tuple[int, int]],
        said_NA: np.ndarray,
        learned: _Learned,
        members: list[_Member],
    ) -> list[Measured]:
        shown_NA = self._generic_IA[[image for _, image in reviewed]].astype(np.float64)
        return [
            Measured(
                user_id=member.user_id,
                order=order,
                count=len(reviewed),
                errors={
                    kind: _errors(label_TA, member.truth_IA[member.test_T])
                    for kind, label_TA in self._labels(member.test_T, learned, m).items()
                },
                share_corrected=float(np.mean(said_NA != shown_NA)) if reviewed else float("nan"),
                uses_reward=learned.head is not None,
                calibration=learned.calibrations[0].kind,
            )
            for m, member in enumerate(members)
        ]


@dataclass(frozen=True)
class _Member:
    """One expert of a team: all that they rated, the images they are judged on, those they may review, in order."""

    user_id: str
    truth_IA: np.ndarray
    test_T: np.ndarray
    pool: list[int]


@dataclass(frozen=True)
class _Learned:
    """What all reviews so far have taught; `own` by member."""

    calibrations: list[Calibration]
    head: RewardHead | None
    own: list[Adapter | None]
    mean_A: np.ndarray

    @classmethod
    def nothing(cls, num_members: int, num_aspects: int) -> _Learned:
        return cls([IDENTITY] * num_aspects, None, [None] * num_members, np.full(num_aspects, np.nan))


def _errors(label_TA: np.ndarray, truth_TA: np.ndarray) -> dict[str, float]:
    """Mean over aspects of every metric; NaN where one is not defined."""
    return {metric.__name__: mean_over_aspects(metric, label_TA, truth_TA) for metric in (mae, rmse, srcc)}
