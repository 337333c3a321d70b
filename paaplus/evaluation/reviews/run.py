"""Run the review study: the error of a tool's pseudo labels, measured against an expert, after n reviews.

Test people act as experts: their ratings are their reviews. The tool is the generic score of a base model that was
fitted on the train people. Each expert reviews train images in random order, or in order of value, which is computed
anew after every round, as the platform does. An expert accepts a label within `tolerance` of the expert's rating; then
the revised label is the tool's label. Otherwise the expert corrects it to the rating. Errors are measured on the
expert's test images: they are not reviewed, and the base model was not fitted on them.

    raw                the tool's labels
    mean               the mean of the reviews so far; before the first review, of all train people's ratings
    calibrated         after the calibration that the reviews teach (`scoring.calibration`)
    calibrated+reward  the same plus the reward head, if it lowers the error on left-out reviews
    own                the expert's own model: the closed form on the expert's reviews; an upper bound

Several experts may teach one tool together (`experts_per_tool`), as on the platform: they take turns to review, and
the labels are measured against each of them.

Shape letters: N = reviews, I = images, T = test images of one person, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.agreement import mean_over_aspects
from paaplus.evaluation.bands import Bands
from paaplus.evaluation.reviews.config import ReviewStudyConfig
from paaplus.evaluation.reviews.labels import REWARD, LabelModel, fit_label_model, labels
from paaplus.evaluation.reviews.summary import ReviewMeasurement, summary
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.metrics import mae, rmse, srcc
from paaplus.scoring.reward import label_error_sd, probability_corrected
from paaplus.tools.generic import GenericTool
from paaplus.tools.tool import ToolImage

RANDOM, VALUE = ORDERS = ("random", "value")


def run_reviews(
    data: EvaluationData, make_split: MakeSplit, config: ReviewStudyConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure the labels on every seed's split; the arguments are those of `kshot.run.run_kshot`.

    Returns:
        A document, ready for JSON: `summary` (per order and number of reviews), `bands` and `config`.

    Raises:
        InvalidInput: a split does not fit the folder, or no test person rated enough.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    counter = PeopleCounter(plan, progress)
    measured: list[ReviewMeasurement] = []
    bands = Bands(data.folder)
    for round_ in plan:
        measurement = _SplitMeasurement(data, round_, config, bands)
        size = config.experts_per_tool
        for start in range(0, len(round_.people) // size * size, size):  # an incomplete last team is left out
            measured += measurement.measure(round_.people[start : start + size])
            counter.add(size)
    if not measured:
        raise InvalidInput(
            f"none of {counter.total} test people rated {min(config.counts)} images, with ratings that differ"
        )
    return {
        "summary": summary(measured, config.counts),
        "bands": bands.summary(),
        "config": {
            **data.config_entries(),
            **asdict(config),
            "counts": list(config.counts),
            "seeds": list(config.seeds),
            "not_measured": [reviews for reviews in config.counts if not any(one.count == reviews for one in measured)],
        },
    }


@dataclass(frozen=True)
class _Expert:
    """One expert of a team.

    Attributes:
        user_id: the person.
        truth_IA: the person's ratings (0-10) of all images; NaN where not rated.
        test_T: test images, by position.
        pool: images that the expert may review, by position, in random order.
    """

    user_id: str
    truth_IA: np.ndarray
    test_T: np.ndarray
    pool: list[int]


@dataclass(frozen=True)
class _Reviews:
    """Reviews in order: the index of the expert, the position of the image, and the revised labels (0-10)."""

    expert_N: np.ndarray
    image_N: np.ndarray
    revised_NA: np.ndarray


class _SplitMeasurement:
    """Fits a base model on one split's train side and measures teams of test people as experts."""

    def __init__(self, data: EvaluationData, round_: Round, config: ReviewStudyConfig, bands: Bands) -> None:
        self._bands = bands
        self._side = TrainSide("reviews", data, round_.split)
        self._split, self._config, self._aspects = round_.split, config, data.folder.aspects
        self._generic_IA = self._side.generic_IA
        tool = GenericTool(self._side.base)
        tool_labels = tool.score([ToolImage(features_D=features_D) for features_D in data.features_ID])
        self._error_sd_IA = np.array(
            [[label_error_sd(one.confidences[a]) for a in self._aspects] for one in tool_labels]
        )

    def measure(self, team: Sequence[str]) -> list[ReviewMeasurement]:
        """Every order, and every number of reviews that the team rated enough for, against each expert of the team."""
        experts = [self._expert(user_id) for user_id in team]
        if not all(len(expert.test_T) for expert in experts):
            return []
        longest = max(len(expert.pool) for expert in experts)
        in_turn = [(m, one.pool[j]) for j in range(longest) for m, one in enumerate(experts) if j < len(one.pool)]
        counts = sorted({count for count in self._config.counts if count <= len(in_turn)})
        measured = []
        for order in ORDERS:
            model = LabelModel.untrained(len(experts), len(self._aspects))
            reviewed: list[tuple[int, int]] = []  # expert, image
            for goal in sorted(set(counts) | set(range(0, (counts or [0])[-1], self._config.round_size))):
                remaining = in_turn[len(reviewed) :]
                if order == VALUE:
                    done = set(reviewed)
                    value = {image: self._value(image, model) for image in {image for _, image in in_turn}}
                    remaining = sorted((one for one in in_turn if one not in done), key=lambda one: -value[one[1]])
                reviewed += remaining[: goal - len(reviewed)]
                if order == RANDOM and goal not in counts:
                    continue
                reviews = self._reviews(reviewed, experts)
                model = fit_label_model(self._side, reviews.expert_N, reviews.image_N, reviews.revised_NA, len(experts))
                if goal in counts:
                    measured += self._measure(order, reviews, model, experts)
        return measured

    def _expert(self, user_id: str) -> _Expert:
        score_of = self._side.score_of[user_id]
        truth_IA = np.full(self._generic_IA.shape, np.nan)
        truth_IA[list(score_of)] = self._side.targets(user_id, list(score_of))
        pool = [self._side.image_at[image] for image in self._split.support(user_id, len(score_of))]
        return _Expert(user_id, truth_IA, np.sort(self._side.test_images(user_id)), pool)

    def _value(self, image: int, model: LabelModel) -> float:
        """Value of a review of the image's raw label, as in `services.reviews.combined_labels`."""
        corrected_A = labels(self._side, np.array([image]), model)[REWARD][0]
        distance_A = corrected_A - self._generic_IA[image]
        return max(
            probability_corrected(float(distance), float(sd))
            for distance, sd in zip(distance_A, self._error_sd_IA[image], strict=True)
        )

    def _reviews(self, reviewed: list[tuple[int, int]], experts: list[_Expert]) -> _Reviews:
        """The revised labels: the tool's label where the expert accepts it, otherwise the expert's rating."""
        expert_N, image_N = np.array(reviewed, np.int64).reshape(-1, 2).T
        truth_NA = np.array([experts[m].truth_IA[image] for m, image in reviewed]).reshape(
            -1, self._generic_IA.shape[1]
        )
        shown_NA = self._generic_IA[image_N].astype(np.float64)
        accepted_NA = np.abs(truth_NA - shown_NA) <= self._config.tolerance
        return _Reviews(expert_N, image_N, np.where(accepted_NA, shown_NA, truth_NA))

    def _measure(
        self, order: str, reviews: _Reviews, model: LabelModel, experts: list[_Expert]
    ) -> list[ReviewMeasurement]:
        shown_NA = self._generic_IA[reviews.image_N].astype(np.float64)
        if order == RANDOM:
            for m, expert in enumerate(experts):
                for kind, label_TA in labels(self._side, expert.test_T, model, m).items():
                    method = f"{kind}, {len(reviews.image_N)} reviews"
                    self._bands.add(method, expert.user_id, label_TA, expert.truth_IA[expert.test_T], expert.test_T)
        return [
            ReviewMeasurement(
                user_id=expert.user_id,
                order=order,
                count=len(reviews.image_N),
                errors={
                    kind: _errors(label_TA, expert.truth_IA[expert.test_T])
                    for kind, label_TA in labels(self._side, expert.test_T, model, m).items()
                },
                share_corrected=float(np.mean(reviews.revised_NA != shown_NA)) if len(shown_NA) else float("nan"),
                uses_reward=model.head is not None,
                calibration=model.calibrations[0].kind,
            )
            for m, expert in enumerate(experts)
        ]


def _errors(label_TA: np.ndarray, truth_TA: np.ndarray) -> dict[str, float]:
    """MAE, RMSE and SRCC, mean over aspects; NaN where one is undefined."""
    return {metric.__name__: mean_over_aspects(metric, label_TA, truth_TA) for metric in (mae, rmse, srcc)}
