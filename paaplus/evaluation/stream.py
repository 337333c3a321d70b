"""Stream evaluation: people's ratings come in increments; what does each strategy know, keep and cost over time?

A base model is fitted on train people and train images. Every test person's ratings come in increments, each trained
on top of the last with the learner state of the last, as in service; nothing is held out inside, and no gate judges.

Shape letters: E = increments, U = people, L = learners, N = rated images, A = aspects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from paaplus import metrics
from paaplus.configs import ADAPTER_STRATEGIES, TrainingConfig
from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput, UndefinedMetric
from paaplus.evaluation.kshot import Learner
from paaplus.evaluation.person_streams import DRIFT, SCENARIOS, Given, PersonStream, StreamMaker, joined
from paaplus.evaluation.splits import MakeSplit, Split
from paaplus.evaluation.stream_summary import Measured, summary
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.extractor import FeatureBlock
from paaplus.priors import fit_taste_prior
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
        if not self.learners or len(set(self.learners)) != len(self.learners):
            raise InvalidInput(f"learners {[learner.name for learner in self.learners]}: one or more, none twice")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) != len(self.seeds):
            raise InvalidInput(f"seeds {list(self.seeds)}: one or more distinct numbers, none below 0")
        if asked := [learner.name for learner in self.learners if learner.asked]:
            raise InvalidInput(f"learners {asked}: in a stream, people choose what they rate")
        if self.increment < 2 or self.num_ratings % self.increment or self.num_ratings < 2 * self.increment:
            raise InvalidInput(f"{self.num_ratings} ratings in increments of {self.increment}: two or more whole ones")
        if self.limit_people is not None and self.limit_people < 2:
            raise InvalidInput(f"limit of {self.limit_people} people: 2 or more")
        if unknown := sorted(set(self.scenarios) - set(SCENARIOS)):
            raise InvalidInput(f"unknown scenario(s) {unknown}; known: {list(SCENARIOS)}")


def run_stream(
    folder: DataFolder,
    features_ID: np.ndarray,
    extractor_digest: str,
    make_split: MakeSplit,
    config: StreamConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    blocks: Sequence[FeatureBlock] = (),
) -> dict[str, Any]:
    """Evaluate on every seed's split.

    Args:
        folder: the data.
        features_ID: of `folder.images`.
        extractor_digest: of what made them.
        make_split: gives the split of a seed.
        config: what is compared.
        progress: told how many people are done, of how many.
        blocks: what the features are made of, as their extractor says.

    Returns:
        `summary` (per scenario, one entry a learner) and `config`, ready for JSON.

    Raises:
        InvalidInput: a split that does not fit the folder, or nobody with enough ratings.
    """
    measured: dict[str, list[Measured]] = {scenario: [] for scenario in config.scenarios}
    num_dropped = dict.fromkeys(config.scenarios, 0)
    stages = [_people(folder, make_split(seed), seed, config) for seed in config.seeds]
    total, done, base_models = sum(len(people) for *_, people in stages), 0, []
    progress(done, total)
    for seed, (split, maker, able, people) in zip(config.seeds, stages, strict=True):
        stage = _Stage(folder, features_ID, extractor_digest, split, config, blocks)
        base_models.append(stage.base_metrics)
        for user_id in people:
            steady = maker.steady(user_id)
            for scenario in config.scenarios:
                stream = maker.drift(steady, able) if scenario == DRIFT else steady
                result = stage.measure(stream, seed)
                if result is None:
                    num_dropped[scenario] += 1
                else:
                    measured[scenario].append(result)
            done += 1
            progress(done, total)
    if empty := [scenario for scenario, results in measured.items() if not results]:
        raise InvalidInput(f"none of {total} people can be judged by SRCC in {', '.join(empty)}")
    names = [learner.name for learner in config.learners]
    return {
        "summary": {scenario: summary(results, names) for scenario, results in measured.items()},
        "config": {
            "data": str(folder.path),
            "aspects": list(folder.aspects),
            "scale": [folder.scale.minimum, folder.scale.maximum],
            "extractor_digest": extractor_digest,
            "learners": names,
            "num_ratings": config.num_ratings,
            "increment": config.increment,
            "seeds": list(config.seeds),
            "num_people": [len(people) for *_, people in stages],
            "num_dropped": num_dropped,
            "training": asdict(config.training),
            "base_models": base_models,
        },
    }


def _people(
    folder: DataFolder, split: Split, seed: int, config: StreamConfig
) -> tuple[Split, StreamMaker, list[str], list[str]]:
    """A split with its streams, everybody who rated enough for one, and those that are asked."""
    maker = StreamMaker(folder, split, config.num_ratings, config.increment)
    able = [user_id for user_id in split.test_people if maker.can_stream(user_id)]
    if len(able) < 2:
        raise InvalidInput(f"seed {seed}: {len(able)} test people with {config.num_ratings} ratings; 2 are needed")
    return split, maker, able, able[: config.limit_people]


class _Stage:
    """The base model of one split's train side, and what it takes to play a stream on it."""

    def __init__(
        self,
        folder: DataFolder,
        features_ID: np.ndarray,
        extractor_digest: str,
        split: Split,
        config: StreamConfig,
        blocks: Sequence[FeatureBlock],
    ) -> None:
        train_folder = folder.only(split.train_people, split.train_images)
        self.base, self.base_metrics = fit_base_scorer(
            "stream",
            extractor_digest,
            features_ID[np.isin(folder.images, train_folder.images)],
            Ratings(folder.aspects, train_folder.person_N, train_folder.image_N, train_folder.score_NA),
            group_I=train_folder.scene_I,
            blocks=blocks,
        )
        self._config = config
        self._taste_IR = self.base.project(features_ID)
        self._generic_IA = self.base.generic(self._taste_IR)
        self._prior: TastePrior | None = None
        if any(learner.prior for learner in config.learners):
            in_train_I = np.flatnonzero(np.isin(folder.images, train_folder.images))
            given = [
                Given(in_train_I[train_folder.image_N[rows_N]], train_folder.score_NA[rows_N])
                for rows_N in (np.flatnonzero(train_folder.person_N == u) for u in range(len(train_folder.people)))
            ]
            self._prior, _ = fit_taste_prior(self.base, [self._rated(each, 1) for each in given])
        self._known: dict[
            str, list[tuple[Given, Trained, float]]
        ] = {}  # learner -> what it was trained on last, so far

    def measure(self, stream: PersonStream, seed: int) -> Measured | None:
        """Every learner on one stream; None where a metric is not defined (constant ratings or scores)."""
        try:
            generic = self._agreement(None, stream.unseen[-1])
            played = [self._play(learner, stream, seed) for learner in self._config.learners]
        except UndefinedMetric:
            return None
        return Measured(stream.user_id, seed, generic["srcc"], played)

    def _play(self, learner: Learner, stream: PersonStream, seed: int) -> dict[str, Any]:
        """What one learner knows after the last increment, what became of the earlier ones, and what it cost."""
        num_increments = len(stream.increments)
        keeps_EE = np.full((num_increments, num_increments), np.nan)
        curve, flips, seconds = [], [], []
        before: Adapter | None = None
        trained = None
        for step, (trained, seconds_of_step) in enumerate(self._trainings(learner, stream, seed)):
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

    def _trainings(self, learner: Learner, stream: PersonStream, seed: int) -> Iterator[tuple[Trained, float]]:
        """One increment after the other, as a worker would: from the last adapter and learner state."""
        nothing = self._rated(Given(np.empty(0, np.int64), np.empty((0, len(self.base.aspects)))), 1)
        request = TrainingRequest(
            strategy=learner.strategy,
            adapter_kind=learner.adapter,
            config=replace(self._config.training, seed=seed),
            base=self.base,
            new=nothing,
            past=nothing,
            parent=None,
            state=None,
            prior=self._prior if learner.prior else None,
        )
        known, self._known[learner.name] = self._known.get(learner.name, []), []
        for step, increment in enumerate(stream.increments):
            past = RatedSet.concatenate(request.past, request.new)
            request = replace(request, new=self._rated(increment, len(past) + 1), past=past)
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

    def _rated(self, given: Given, first_sequence: int) -> RatedSet:
        sequence_N = np.arange(first_sequence, first_sequence + len(given.image_N))
        return RatedSet.of(sequence_N, self._taste_IR[given.image_N], self._generic_IA[given.image_N], given.target_NA)

    def _scores(self, adapter: Adapter | None, given: Given) -> np.ndarray:
        generic_NA = self._generic_IA[given.image_N]
        return generic_NA if adapter is None else adapter.score(self._taste_IR[given.image_N], generic_NA)

    def _agreement(self, adapter: Adapter | None, given: Given) -> dict[str, float]:
        """SRCC, PLCC, MAE and ACC, mean over aspects."""
        score_NA = self._scores(adapter, given)
        return {
            metric.__name__: float(np.mean([metric(*column) for column in _rated_columns(score_NA, given.target_NA)]))
            for metric in (metrics.srcc, metrics.plcc, metrics.mae, metrics.acc)
        }

    def _error(self, adapter: Adapter, given: Given) -> float:
        return float(np.nanmean(np.abs(self._scores(adapter, given) - given.target_NA)))

    def _flips(self, before: Adapter | None, after: Adapter, given: Given) -> float:
        """Negative flip rate of one update, mean over aspects."""
        columns = zip(
            _rated_columns(self._scores(before, given), given.target_NA),
            _rated_columns(self._scores(after, given), given.target_NA),
            strict=True,
        )
        return float(
            np.mean([metrics.negative_flip_rate(old_N, new_N, target_N) for (old_N, target_N), (new_N, _) in columns])
        )


def _rated_columns(score_NA: np.ndarray, target_NA: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and ratings of each aspect, where it was rated."""
    for score_N, target_N in zip(score_NA.T, target_NA.T, strict=True):
        rated_N = ~np.isnan(target_N)
        yield score_N[rated_N], target_N[rated_N]
