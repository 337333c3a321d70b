"""Run the stream study: quality, forgetting and cost of each strategy on people's ratings in increments.

A base model is fitted on the train people's ratings of train images. Each test person's ratings come in increments. As
in service, each training continues from the adapter and learner state of the last one. Unlike in service, no rating is
held out and there is no gate.

Shape letters: E = increments, U = people, L = learners, N = rated images, A = aspects.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from paaplus import metrics
from paaplus.errors import InvalidInput, UndefinedMetric
from paaplus.evaluation.agreement import rated_columns, scores
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.person_streams import DRIFT, PersonStream, RatedImages, concatenated, stream_rounds
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.stream.config import StreamConfig
from paaplus.evaluation.stream.summary import StreamMeasurement, summary
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.fitting.taste_prior import fit_taste_prior
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.priors import TastePrior
from paaplus.training import Trained, TrainingRequest, train


def run_stream(
    data: EvaluationData, make_split: MakeSplit, config: StreamConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure every learner on every seed's split; the arguments are those of `kshot.run.run_kshot`.

    Returns:
        A document, ready for JSON: `summary` (per scenario one entry per learner) and `config`.

    Raises:
        InvalidInput: a split does not fit the folder, too few people rated enough, or SRCC is undefined for everybody.
    """
    measured: dict[str, list[StreamMeasurement]] = {scenario: [] for scenario in config.scenarios}
    num_dropped = dict.fromkeys(config.scenarios, 0)
    plan = stream_rounds(
        data.folder, make_split, config.seeds, config.limit_people, config.num_ratings, config.increment
    )
    counter, base_models = PeopleCounter(plan, progress), []
    for round_ in plan:
        measurement = _SplitMeasurement(data, round_, config)
        base_models.append(measurement.base_metrics)
        for user_id in round_.people:
            steady = round_.maker.steady(user_id)
            for scenario in config.scenarios:
                stream = round_.maker.drift(steady, round_.eligible_people) if scenario == DRIFT else steady
                result = measurement.measure(stream)
                if result is None:
                    num_dropped[scenario] += 1
                else:
                    measured[scenario].append(result)
            counter.add()
    if empty := [scenario for scenario, results in measured.items() if not results]:
        raise InvalidInput(f"{', '.join(empty)}: SRCC is undefined for all {counter.total} test people")
    names = [learner.name for learner in config.learners]
    return {
        "summary": {scenario: summary(results, names) for scenario, results in measured.items()},
        "config": {
            **data.config_entries(),
            "learners": names,
            "num_ratings": config.num_ratings,
            "increment": config.increment,
            "seeds": list(config.seeds),
            "num_people": [len(round_.people) for round_ in plan],
            "num_dropped": num_dropped,
            "training": asdict(config.training),
            "base_models": base_models,
        },
    }


class _SplitMeasurement:
    """Fits a base model on one split's train side and measures test people's streams with it."""

    def __init__(self, data: EvaluationData, round_: Round, config: StreamConfig) -> None:
        self._side = TrainSide("stream", data, round_.split)
        self._seed, self._config = round_.seed, config
        self.base_metrics = self._side.base_metrics
        self._prior: TastePrior | None = None
        if any(learner.prior for learner in config.learners):
            self._prior, _ = fit_taste_prior(self._side.base, self._side.train_ratings())
        # learner -> the trainings of its last stream: increment, result, seconds
        self._last_trainings: dict[str, list[tuple[RatedImages, Trained, float]]] = {}

    def measure(self, stream: PersonStream) -> StreamMeasurement | None:
        """Every learner on one stream; None if a metric is undefined (constant ratings or scores)."""
        try:
            generic = self._agreement(None, stream.unseen[-1])
            by_learner = [self._measure_learner(learner, stream) for learner in self._config.learners]
        except UndefinedMetric:
            return None
        return StreamMeasurement(stream.user_id, self._seed, generic["srcc"], by_learner)

    def _measure_learner(self, learner: Learner, stream: PersonStream) -> dict[str, Any]:
        """One learner's quality after the last increment, its quality on earlier increments, and its cost."""
        num_increments = len(stream.increments)
        quality_EE = np.full((num_increments, num_increments), np.nan)  # minus the MAE [after increment, on increment]
        curve, flips, seconds = [], [], []
        before: Adapter | None = None
        trained = None
        for step, (trained, seconds_of_step) in enumerate(self._trainings(learner, stream)):
            seconds.append(seconds_of_step)
            unseen = stream.unseen[step]
            curve.append(self._agreement(trained.adapter, unseen)["srcc"])
            flips.append(self._flips(before, trained.adapter, unseen))
            for earlier in range(step + 1):
                quality_EE[step, earlier] = -self._error(trained.adapter, stream.increments[earlier])
            before = trained.adapter
        assert trained is not None, "a stream without increments"
        past = concatenated(*stream.increments[:-1])
        return {
            **self._agreement(trained.adapter, stream.unseen[-1]),
            "earlier_srcc": self._agreement(trained.adapter, past)["srcc"],
            "earlier_mae": self._error(trained.adapter, past),
            "forgetting": metrics.forgetting(quality_EE),
            "bwt": metrics.bwt(quality_EE),
            "negative_flip_rate": float(np.mean(flips)),
            "seconds": float(np.mean(seconds)),
            "adapter_bytes": len(trained.adapter.to_bytes()),
            "state_bytes": len(trained.state),
            "curve": curve,
        }

    def _trainings(self, learner: Learner, stream: PersonStream) -> Iterator[tuple[Trained, float]]:
        """Train on one increment after the other, each from the last adapter and learner state; with CPU seconds.

        The drift scenario begins with the same increments as the steady one: their trainings are not repeated.
        """
        no_ratings = self._side.rated(stream.user_id, ())
        request = TrainingRequest(
            strategy=learner.strategy,
            adapter_kind=learner.adapter,
            config=replace(self._config.training, seed=self._seed),
            base=self._side.base,
            new=no_ratings,
            past=no_ratings,
            parent=None,
            state=None,
            prior=self._prior if learner.prior else None,
        )
        reusable, self._last_trainings[learner.name] = self._last_trainings.get(learner.name, []), []
        for step, increment in enumerate(stream.increments):
            past = RatedSet.concatenate(request.past, request.new)
            request = replace(
                request, new=self._side.rated_as(increment.image_N, increment.target_NA, len(past) + 1), past=past
            )
            if step < len(reusable) and reusable[step][0] is increment:
                _, trained, seconds = reusable[step]
            else:
                reusable = reusable[:step]
                started = time.thread_time()  # CPU time does not depend on other load of the machine
                trained = train(request)
                seconds = time.thread_time() - started
            self._last_trainings[learner.name].append((increment, trained, seconds))
            yield trained, seconds
            request = replace(request, parent=trained.adapter, state=trained.state)

    def _scores(self, adapter: Adapter | None, rated: RatedImages) -> np.ndarray:
        return scores(adapter, self._side.rated_as(rated.image_N, rated.target_NA))

    def _agreement(self, adapter: Adapter | None, rated: RatedImages) -> dict[str, float]:
        """SRCC, PLCC, MAE and ACC, mean over aspects."""
        score_NA = self._scores(adapter, rated)
        return {
            metric.__name__: float(np.mean([metric(*column) for column in rated_columns(score_NA, rated.target_NA)]))
            for metric in (metrics.srcc, metrics.plcc, metrics.mae, metrics.acc)
        }

    def _error(self, adapter: Adapter, rated: RatedImages) -> float:
        """MAE over all ratings of all aspects."""
        return float(np.nanmean(np.abs(self._scores(adapter, rated) - rated.target_NA)))

    def _flips(self, before: Adapter | None, after: Adapter, rated: RatedImages) -> float:
        """Negative flip rate of one update, mean over aspects."""
        columns = zip(
            rated_columns(self._scores(before, rated), rated.target_NA),
            rated_columns(self._scores(after, rated), rated.target_NA),
            strict=True,
        )
        return float(
            np.mean([metrics.negative_flip_rate(old_N, new_N, target_N) for (old_N, target_N), (new_N, _) in columns])
        )
