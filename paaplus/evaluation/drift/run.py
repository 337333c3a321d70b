"""Run the drift study: how soon the drift test finds a changed taste, and how often it raises a false alarm.

Each test person's ratings come one by one and are trained on in increments, as in service. The error of each rating is
taken before the rating is trained on; the drift test reads these errors. In the drift scenario, a simulation, a rising
share of the ratings is another person's from the middle of the stream on (`person_streams`). At an alarm, the adapter
is trained at once and with faster forgetting. The benefit of the faster forgetting is measured at the stream's end.

Shape letters: N = ratings, A = aspects.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from paaplus.evaluation.agreement import mean_srcc, scores
from paaplus.evaluation.bands import Bands
from paaplus.evaluation.drift.config import DriftStudyConfig
from paaplus.evaluation.drift.summary import DriftMeasurement, summary
from paaplus.evaluation.person_streams import DRIFT, STEADY, PersonStream, RatedImages, concatenated, stream_rounds
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.drift import DriftState
from paaplus.training import TrainingRequest, train


def run_drift(
    data: EvaluationData, make_split: MakeSplit, config: DriftStudyConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Run the drift test on steady and drifting streams; the arguments are those of `kshot.run.run_kshot`.

    Returns:
        A document, ready for JSON: `summary`, `bands` and `config`.

    Raises:
        InvalidInput: a split does not fit the folder, or fewer than two people rated enough.
    """
    measured: dict[str, list[DriftMeasurement]] = {STEADY: [], DRIFT: []}
    plan = stream_rounds(
        data.folder, make_split, config.seeds, config.limit_people, config.num_ratings, config.increment
    )
    counter = PeopleCounter(plan, progress)
    bands = Bands(data.folder)
    for round_ in plan:
        measurement = _SplitMeasurement(data, round_, config, bands)
        for user_id in round_.people:
            steady = round_.maker.steady(user_id)
            measured[STEADY].append(measurement.measure(steady, STEADY))
            measured[DRIFT].append(measurement.measure(round_.maker.drift(steady, round_.eligible_people), DRIFT))
            counter.add()
    return {
        "summary": summary(measured, config.num_ratings // 2),
        "bands": bands.summary(),
        "config": {
            "data": str(data.folder.path),
            "num_ratings": config.num_ratings,
            "increment": config.increment,
            "seeds": list(config.seeds),
            "drift": asdict(config.drift),
            "extractor_digest": data.extractor_digest,
        },
    }


class _SplitMeasurement:
    """Fits a base model on one split's train side and runs the drift test on test people's streams."""

    def __init__(self, data: EvaluationData, round_: Round, config: DriftStudyConfig, bands: Bands) -> None:
        self._side, self._config, self._bands = TrainSide("drift", data, round_.split), config, bands

    def measure(self, stream: PersonStream, scenario: str) -> DriftMeasurement:
        """Train on the stream rating by rating, and measure the final adapter with and without faster forgetting."""
        rated = self._rated_set(concatenated(*stream.increments))
        state, alarm_at = DriftState(), None
        adapter: Adapter | None = None
        for n in range(len(rated)):
            error = float(np.nanmean(np.abs(scores(adapter, rated.select(np.array([n]))) - rated.target_NA[n])))
            state, alarm = state.after(error, n + 1, self._config.drift)
            if alarm and alarm_at is None:
                alarm_at = n + 1
            if (n + 1) % self._config.increment == 0 or alarm:
                half_life = self._config.drift.recency_half_life if alarm_at else 0.0
                adapter = self._train(rated.select(np.arange(n + 1)), half_life)
        unseen = self._rated_set(stream.unseen[-1])
        without_NA = scores(self._train(rated, 0.0), unseen)
        score_NAs = (without_NA, scores(adapter, unseen) if alarm_at else without_NA)
        for method, score_NA in zip(("", ", faster after an alarm"), score_NAs, strict=True):
            images = stream.unseen[-1].image_N
            self._bands.add(f"{scenario}{method}", stream.user_id, score_NA, unseen.target_NA, images)
        srcc, srcc_faster = (mean_srcc(score_NA, unseen.target_NA) for score_NA in score_NAs)
        mae, mae_faster = (float(np.nanmean(np.abs(score_NA - unseen.target_NA))) for score_NA in score_NAs)
        return DriftMeasurement(alarm_at, (srcc, srcc_faster), (mae, mae_faster))

    def _train(self, rated: RatedSet, half_life: float) -> Adapter:
        no_ratings = rated.select(np.zeros(len(rated), bool))
        config = replace(self._config.training, recency_half_life=half_life)
        return train(
            TrainingRequest("bayes", "taste_vector", config, self._side.base, rated, no_ratings, None, None)
        ).adapter

    def _rated_set(self, rated: RatedImages) -> RatedSet:
        return self._side.rated_as(rated.image_N, rated.target_NA)
