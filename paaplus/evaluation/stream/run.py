"""Stream evaluation: people's ratings come in increments; what does each strategy know, keep and cost over time?

A base model is fitted on train people and train images. Every test person's ratings come in increments, each trained
on top of the last with the learner state of the last, as in service; nothing is held out inside, and no gate judges.

Shape letters: E = increments, U = people, L = learners, N = rated images, A = aspects.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from paaplus import metrics
from paaplus.configs import ADAPTER_STRATEGIES, TrainingConfig
from paaplus.errors import InvalidInput, UndefinedMetric
from paaplus.evaluation.agreement import rated_columns, scores
from paaplus.evaluation.checks import check_increments, check_learners, check_limit, check_numbers
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.stream.person_streams import DRIFT, SCENARIOS, Given, PersonStream, joined, stream_rounds
from paaplus.evaluation.stream.summary import Measured, summary
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.fitting.taste_prior import fit_taste_prior
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.priors import TastePrior
from paaplus.training import Trained, TrainingRequest, train

ALL_LEARNERS = tuple(Learner(kind, name) for kind, names in ADAPTER_STRATEGIES.items() for name in names)


@dataclass(frozen=True)
class StreamConfig:
    """What is compared, on whom and how. Differences are counted from the first learner."""

    learners: tuple[Learner, ...] = ALL_LEARNERS
    num_ratings: int = 100
    increment: int = 10
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    limit_people: int | None = 8  # test people a seed, the first of the split
    scenarios: tuple[str, ...] = SCENARIOS
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check_learners(self.learners)
        check_numbers("seeds", self.seeds)
        if asked := [learner.name for learner in self.learners if learner.asked]:
            raise InvalidInput(f"learners {asked}: in a stream, people choose what they rate")
        check_increments(self.num_ratings, self.increment)
        check_limit(self.limit_people, least=2)
        if unknown := sorted(set(self.scenarios) - set(SCENARIOS)):
            raise InvalidInput(f"unknown scenario(s) {unknown}; known: {list(SCENARIOS)}")


def run_stream(
    data: EvaluationData, make_split: MakeSplit, config: StreamConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Evaluate on every seed's split; arguments like those of `kshot.run_kshot`.

    Returns:
        `summary` (per scenario, one entry a learner) and `config`, ready for JSON.

    Raises:
        InvalidInput: a split that does not fit the folder, or nobody with enough ratings.
    """
    measured: dict[str, list[Measured]] = {scenario: [] for scenario in config.scenarios}
    num_dropped = dict.fromkeys(config.scenarios, 0)
    plan = stream_rounds(
        data.folder, make_split, config.seeds, config.limit_people, config.num_ratings, config.increment
    )
    count, base_models = PeopleCounter(plan, progress), []
    for each in plan:
        stage = _Stage(data, each, config)
        base_models.append(stage.base_metrics)
        for user_id in each.people:
            steady = each.maker.steady(user_id)
            for scenario in config.scenarios:
                stream = each.maker.drift(steady, each.able) if scenario == DRIFT else steady
                result = stage.measure(stream)
                if result is None:
                    num_dropped[scenario] += 1
                else:
                    measured[scenario].append(result)
            count.add()
    if empty := [scenario for scenario, results in measured.items() if not results]:
        raise InvalidInput(f"none of {count.total} people can be judged by SRCC in {', '.join(empty)}")
    names = [learner.name for learner in config.learners]
    return {
        "summary": {scenario: summary(results, names) for scenario, results in measured.items()},
        "config": {
            **data.about(),
            "learners": names,
            "num_ratings": config.num_ratings,
            "increment": config.increment,
            "seeds": list(config.seeds),
            "num_people": [len(each.people) for each in plan],
            "num_dropped": num_dropped,
            "training": asdict(config.training),
            "base_models": base_models,
        },
    }


class _Stage:
    """The base model of one split's train side, and what it takes to play a stream on it."""

    def __init__(self, data: EvaluationData, this: Round, config: StreamConfig) -> None:
        self._side = TrainSide("stream", data, this.split)
        self._seed, self._config = this.seed, config
        self.base_metrics = self._side.base_metrics
        self._prior: TastePrior | None = None
        if any(learner.prior for learner in config.learners):
            self._prior, _ = fit_taste_prior(self._side.base, self._side.train_ratings())
        # learner -> what it was trained on last, so far
        self._known: dict[str, list[tuple[Given, Trained, float]]] = {}

    def measure(self, stream: PersonStream) -> Measured | None:
        """Every learner on one stream; None where a metric is not defined (constant ratings or scores)."""
        try:
            generic = self._agreement(None, stream.unseen[-1])
            played = [self._play(learner, stream) for learner in self._config.learners]
        except UndefinedMetric:
            return None
        return Measured(stream.user_id, self._seed, generic["srcc"], played)

    def _play(self, learner: Learner, stream: PersonStream) -> dict[str, Any]:
        """What one learner knows after the last increment, what became of the earlier ones, and what it cost."""
        num_increments = len(stream.increments)
        keeps_EE = np.full((num_increments, num_increments), np.nan)
        curve, flips, seconds = [], [], []
        before: Adapter | None = None
        trained = None
        for step, (trained, seconds_of_step) in enumerate(self._trainings(learner, stream)):
            seconds.append(seconds_of_step)
            unseen = stream.unseen[step]
            curve.append(self._agreement(trained.adapter, unseen)["srcc"])
            flips.append(self._flips(before, trained.adapter, unseen))
            for earlier in range(step + 1):
                keeps_EE[step, earlier] = -self._error(trained.adapter, stream.increments[earlier])
            before = trained.adapter
        assert trained is not None, "a stream without increments"
        past = joined(*stream.increments[:-1])
        return {
            **self._agreement(trained.adapter, stream.unseen[-1]),
            "earlier_srcc": self._agreement(trained.adapter, past)["srcc"],
            "earlier_mae": self._error(trained.adapter, past),
            "forgetting": metrics.forgetting(keeps_EE),
            "bwt": metrics.bwt(keeps_EE),
            "negative_flip_rate": float(np.mean(flips)),
            "seconds": float(np.mean(seconds)),
            "adapter_bytes": len(trained.adapter.to_bytes()),
            "state_bytes": len(trained.state),
            "curve": curve,
        }

    def _trainings(self, learner: Learner, stream: PersonStream) -> Iterator[tuple[Trained, float]]:
        """One increment after the other, as a worker would: from the last adapter and learner state."""
        nothing = self._side.rated(stream.user_id, ())
        request = TrainingRequest(
            strategy=learner.strategy,
            adapter_kind=learner.adapter,
            config=replace(self._config.training, seed=self._seed),
            base=self._side.base,
            new=nothing,
            past=nothing,
            parent=None,
            state=None,
            prior=self._prior if learner.prior else None,
        )
        known, self._known[learner.name] = self._known.get(learner.name, []), []
        for step, increment in enumerate(stream.increments):
            past = RatedSet.concatenate(request.past, request.new)
            request = replace(
                request, new=self._side.rated_as(increment.image_N, increment.target_NA, len(past) + 1), past=past
            )
            if step < len(known) and known[step][0] is increment:  # a drift begins like the steady stream
                _, trained, seconds = known[step]
            else:
                known = known[:step]
                started = time.thread_time()  # what it costs on a busy machine too
                trained = train(request)
                seconds = time.thread_time() - started
            self._known[learner.name].append((increment, trained, seconds))
            yield trained, seconds
            request = replace(request, parent=trained.adapter, state=trained.state)

    def _scores(self, adapter: Adapter | None, given: Given) -> np.ndarray:
        return scores(adapter, self._side.rated_as(given.image_N, given.target_NA))

    def _agreement(self, adapter: Adapter | None, given: Given) -> dict[str, float]:
        """SRCC, PLCC, MAE and ACC, mean over aspects."""
        score_NA = self._scores(adapter, given)
        return {
            metric.__name__: float(np.mean([metric(*column) for column in rated_columns(score_NA, given.target_NA)]))
            for metric in (metrics.srcc, metrics.plcc, metrics.mae, metrics.acc)
        }

    def _error(self, adapter: Adapter, given: Given) -> float:
        return float(np.nanmean(np.abs(self._scores(adapter, given) - given.target_NA)))

    def _flips(self, before: Adapter | None, after: Adapter, given: Given) -> float:
        """Negative flip rate of one update, mean over aspects."""
        columns = zip(
            rated_columns(self._scores(before, given), given.target_NA),
            rated_columns(self._scores(after, given), given.target_NA),
            strict=True,
        )
        return float(
            np.mean([metrics.negative_flip_rate(old_N, new_N, target_N) for (old_N, target_N), (new_N, _) in columns])
        )
