"""The drift trigger, measured: how soon is a turned taste found, how often is a steady person taken for one?

Test people's ratings come one by one and are learned in increments, as in service; the error of every one is taken
before it is learned from and goes into the sequential test. In the drift stream, an artefact, a rising share of the
ratings from half way on is another real person's (`person_streams`). At an alarm the person is trained at once, and
what the faster forgetting of a drifted user is worth is measured at the end of the stream.

Shape letters: N = ratings, I = images, A = aspects.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from paaplus.configs import DriftConfig, TrainingConfig
from paaplus.evaluation.agreement import mean_srcc, scores
from paaplus.evaluation.checks import check_increments, check_limit, check_numbers
from paaplus.evaluation.drift.summary import Watched, summary
from paaplus.evaluation.rounds import PeopleCounter, Progress, no_progress
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.stream.person_streams import DRIFT, STEADY, Given, PersonStream, joined, stream_rounds
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.drift import DriftState
from paaplus.training import TrainingRequest, train


@dataclass(frozen=True)
class DriftCurveConfig:
    """Streams of `num_ratings`, learned `increment` by `increment`."""

    num_ratings: int = 100
    increment: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)
    limit_people: int | None = None
    drift: DriftConfig = field(default_factory=DriftConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check_numbers("seeds", self.seeds)
        check_increments(self.num_ratings, self.increment)
        check_limit(self.limit_people)


def run_drift_curve(
    data: EvaluationData, make_split: MakeSplit, config: DriftCurveConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Watch steady and drifting streams of every seed's test people; arguments like those of `kshot.run_kshot`.

    Raises:
        InvalidInput: a split that does not fit the folder, or fewer than two people with enough ratings.
    """
    found: dict[str, list[Watched]] = {STEADY: [], DRIFT: []}
    plan = stream_rounds(
        data.folder, make_split, config.seeds, config.limit_people, config.num_ratings, config.increment
    )
    count = PeopleCounter(plan, progress)
    for each in plan:
        watcher = _Watcher(TrainSide("drift", data, each.split), config)
        for user_id in each.people:
            steady = each.maker.steady(user_id)
            found[STEADY].append(watcher.watch(steady))
            found[DRIFT].append(watcher.watch(each.maker.drift(steady, each.able)))
            count.add()
    return {
        "summary": summary(found, config.num_ratings // 2),
        "config": {
            "data": str(data.folder.path),
            "num_ratings": config.num_ratings,
            "increment": config.increment,
            "seeds": list(config.seeds),
            "drift": asdict(config.drift),
            "extractor_digest": data.extractor_digest,
        },
    }


class _Watcher:
    """Plays streams on one base model."""

    def __init__(self, side: TrainSide, config: DriftCurveConfig) -> None:
        self._side, self._config = side, config

    def watch(self, stream: PersonStream) -> Watched:
        rated = self._rated(joined(*stream.increments))
        state, alarm_at = DriftState(), None
        adapter: Adapter | None = None
        for n in range(len(rated)):
            error = float(np.nanmean(np.abs(scores(adapter, rated.select(np.array([n]))) - rated.target_NA[n])))
            state, alarm = state.after(error, n + 1, self._config.drift)
            if alarm and alarm_at is None:
                alarm_at = n + 1
            if (n + 1) % self._config.increment == 0 or alarm:
                half_life = self._config.drift.recency_half_life if alarm_at else 0.0
                adapter = self._trained(rated.select(np.arange(n + 1)), half_life)
        unseen = self._rated(stream.unseen[-1])
        as_before = scores(self._trained(rated, 0.0), unseen)
        ends = (as_before, scores(adapter, unseen) if alarm_at else as_before)
        srcc, srcc_faster = (mean_srcc(score_NA, unseen.target_NA) for score_NA in ends)
        mae, mae_faster = (float(np.nanmean(np.abs(score_NA - unseen.target_NA))) for score_NA in ends)
        return Watched(alarm_at, (srcc, srcc_faster), (mae, mae_faster))

    def _trained(self, rated: RatedSet, half_life: float) -> Adapter:
        nothing = rated.select(np.zeros(len(rated), bool))
        config = replace(self._config.training, recency_half_life=half_life)
        return train(
            TrainingRequest("bayes", "taste_vector", config, self._side.base, rated, nothing, None, None)
        ).adapter

    def _rated(self, given: Given) -> RatedSet:
        return self._side.rated_as(given.image_N, given.target_NA)
