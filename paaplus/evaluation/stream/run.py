"""Run the stream study: quality, forgetting and cost of each strategy on people's ratings in increments.

A base model is fitted on the train people's ratings of train images. Each test person's ratings come in increments. As
in service, each training continues from the adapter and learner state of the last one. Unlike in service, no rating is
held out and there is no gate.

Shape letters: E = increments, U = people, L = learners, N = rated images, A = aspects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from paaplus import metrics
from paaplus.errors import InvalidInput, PaaplusError, UndefinedMetric
from paaplus.evaluation.agreement import rated_columns, scores
from paaplus.evaluation.bands import Bands
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.person_streams import DRIFT, PersonStream, RatedImages, StreamRound, concatenated, stream_rounds
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.stream.config import StreamConfig
from paaplus.evaluation.stream.summary import StreamMeasurement, summary
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.fitting.taste_prior import fit_taste_prior
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.priors import TastePrior
from paaplus.training import TrainingRequest, train_many

_PEOPLE_TOGETHER = 64  # as many as a stack holds


SideOf = Callable[[EvaluationData, Round], TrainSide]


def fitted(data: EvaluationData, round_: Round) -> TrainSide:
    """The train side of a seed's split, its base model fitted."""
    return TrainSide("stream", data, round_.split)


def run_stream(
    data: EvaluationData,
    make_split: MakeSplit,
    config: StreamConfig,
    progress: Progress = no_progress,
    side_of: SideOf = fitted,
) -> dict[str, Any]:
    """Measure every learner on every seed's split; the arguments are those of `kshot.run.run_kshot`.

    Args:
        side_of: gives each seed's train side. Who measures several configurations on the same splits keeps what
            `fitted` gave, since a fit takes longer than the streams of a few people.

    Returns:
        A document, ready for JSON: `summary` (per scenario one entry per learner), `bands` and `config`.

    Raises:
        InvalidInput: a split does not fit the folder, too few people rated enough, or SRCC is undefined for everybody.
    """
    measured: dict[str, list[StreamMeasurement]] = {scenario: [] for scenario in config.scenarios}
    num_dropped = dict.fromkeys(config.scenarios, 0)
    plan = stream_rounds(
        data.folder, make_split, config.seeds, config.limit_people, config.num_ratings, config.increment
    )
    counter, base_models = PeopleCounter(plan, progress), []
    bands = Bands(data.folder)
    for round_ in plan:
        measurement = _SplitMeasurement(side_of(data, round_), round_, config, bands)
        base_models.append(measurement.base_metrics)
        for first in range(0, len(round_.people), _PEOPLE_TOGETHER):
            people = round_.people[first : first + _PEOPLE_TOGETHER]
            streams = [_streams_of(round_, user_id, config.scenarios) for user_id in people]
            results = iter(measurement.measure([stream for own in streams for stream in own]))
            for scenario in config.scenarios * len(people):
                result = next(results)
                if result is None:
                    num_dropped[scenario] += 1
                else:
                    measured[scenario].append(result)
            for _ in people:
                counter.add()
    if empty := [scenario for scenario, results in measured.items() if not results]:
        raise InvalidInput(f"{', '.join(empty)}: SRCC is undefined for all {counter.total} test people")
    names = [learner.name for learner in config.learners]
    return {
        "summary": {scenario: summary(results, names) for scenario, results in measured.items()},
        "bands": bands.summary(),
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


@dataclass(frozen=True)
class _Step:
    """What one increment gave; seconds are the stream's share of what was trained together."""

    adapter: Adapter
    state_bytes: int
    seconds: float


def _streams_of(round_: StreamRound, user_id: str, scenarios: Sequence[str]) -> list[PersonStream]:
    steady = round_.maker.steady(user_id)
    drifts = round_.maker.drift(steady, round_.eligible_people) if DRIFT in scenarios else steady
    return [drifts if scenario == DRIFT else steady for scenario in scenarios]


class _SplitMeasurement:
    """Measures test people's streams with the base model of one split's train side."""

    def __init__(self, side: TrainSide, round_: Round, config: StreamConfig, bands: Bands) -> None:
        self._side = side
        self._seed, self._config, self._bands = round_.seed, config, bands
        self.base_metrics = self._side.base_metrics
        self._prior: TastePrior | None = None
        if any(learner.prior for learner in config.learners):
            self._prior, _ = fit_taste_prior(self._side.base, self._side.train_ratings())

    def measure(self, streams: Sequence[PersonStream]) -> list[StreamMeasurement | None]:
        """Every learner on each stream; None if a metric is undefined (constant ratings or scores)."""
        trainings = [self._trainings(learner, streams) for learner in self._config.learners]
        return [self._measure_one(stream, own) for stream, *own in zip(streams, *trainings, strict=True)]

    def _measure_one(self, stream: PersonStream, trainings: Sequence[list[_Step]]) -> StreamMeasurement | None:
        try:
            generic = self._agreement(None, stream.unseen[-1])
            by_learner = [self._measure_learner(stream, steps) for steps in trainings]
        except UndefinedMetric:
            return None
        last = stream.unseen[-1]
        adapters = [None, *(steps[-1].adapter for steps in trainings)]
        names = ["generic", *(learner.name for learner in self._config.learners)]
        for name, adapter in zip(names, adapters, strict=True):
            self._bands.add(name, stream.user_id, self._scores(adapter, last), last.target_NA, last.image_N)
        return StreamMeasurement(stream.user_id, self._seed, generic["srcc"], by_learner)

    def _measure_learner(self, stream: PersonStream, steps: Sequence[_Step]) -> dict[str, Any]:
        """One learner's quality after the last increment, its quality on earlier increments, and its cost."""
        num_increments = len(stream.increments)
        quality_EE = np.full((num_increments, num_increments), np.nan)  # minus the MAE [after increment, on increment]
        curve, flips = [], []
        before: Adapter | None = None
        for step, each in enumerate(steps):
            unseen = stream.unseen[step]
            curve.append(self._agreement(each.adapter, unseen)["srcc"])
            flips.append(self._flips(before, each.adapter, unseen))
            for earlier in range(step + 1):
                quality_EE[step, earlier] = -self._error(each.adapter, stream.increments[earlier])
            before = each.adapter
        last, past = steps[-1], concatenated(*stream.increments[:-1])
        return {
            **self._agreement(last.adapter, stream.unseen[-1]),
            "earlier_srcc": self._agreement(last.adapter, past)["srcc"],
            "earlier_mae": self._error(last.adapter, past),
            "forgetting": metrics.forgetting(quality_EE),
            "bwt": metrics.bwt(quality_EE),
            "negative_flip_rate": float(np.mean(flips)),
            "seconds": float(np.mean([each.seconds for each in steps])),
            "adapter_bytes": len(last.adapter.to_bytes()),
            "state_bytes": last.state_bytes,
            "curve": curve,
        }

    def _trainings(self, learner: Learner, streams: Sequence[PersonStream]) -> list[list[_Step]]:
        """Train all streams on one increment after the other, each from its last adapter and learner state.

        As a worker does, many people together, which changes nobody's result. The drift scenario begins with the same
        increments as the steady one: their trainings are not repeated.
        """
        no_ratings = self._side.rated(streams[0].user_id, ())
        first = TrainingRequest(
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
        requests, steps = [first] * len(streams), [list[_Step]() for _ in streams]
        for step in range(len(streams[0].increments)):
            increments = [stream.increments[step] for stream in streams]
            requests = [self._next(request, rated) for request, rated in zip(requests, increments, strict=True)]
            same = [tuple(map(id, stream.increments[: step + 1])) for stream in streams]
            distinct = dict(zip(same, requests, strict=True))
            started = time.thread_time()  # CPU time does not depend on other load of the machine
            outcomes = dict(zip(distinct, train_many(list(distinct.values())), strict=True))
            seconds = (time.thread_time() - started) / len(distinct)
            for i, key in enumerate(same):
                outcome = outcomes[key]
                if isinstance(outcome, PaaplusError):
                    raise outcome
                steps[i].append(_Step(outcome.adapter, len(outcome.state), seconds))
                requests[i] = replace(requests[i], parent=outcome.adapter, state=outcome.state)
        return steps

    def _next(self, request: TrainingRequest, increment: RatedImages) -> TrainingRequest:
        past = RatedSet.concatenate(request.past, request.new)
        new = self._side.rated_as(increment.image_N, increment.target_NA, len(past) + 1)
        return replace(request, new=new, past=past)

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
