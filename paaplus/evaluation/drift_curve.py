"""The drift trigger, measured: how soon is a turned taste found, how often is a steady person taken for one?

Test people's ratings come one by one and are learned in increments, as in service; the error of every one is taken
before it is learned from and goes into the sequential test. In the drift stream, an artefact, a rising share of the
ratings from half way on is another real person's (`person_streams`). At an alarm the person is trained at once, and
what the faster forgetting of a drifted user is worth is measured at the end of the stream.

Shape letters: N = ratings, I = images, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from paaplus.configs import DriftConfig, TrainingConfig
from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput
from paaplus.evaluation.kshot import mean_srcc
from paaplus.evaluation.person_streams import DRIFT, STEADY, Given, PersonStream, StreamMaker, joined
from paaplus.evaluation.splits import MakeSplit
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.extractor import FeatureBlock
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base import BaseScorer
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
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) != len(self.seeds):
            raise InvalidInput(f"seeds {list(self.seeds)}: one or more distinct numbers, none below 0")
        if self.increment < 2 or self.num_ratings % self.increment or self.num_ratings < 2 * self.increment:
            raise InvalidInput(f"{self.num_ratings} ratings in increments of {self.increment}: two or more whole ones")


@dataclass(frozen=True)
class Watched:
    """One stream: ratings seen until the first alarm (None: none), and the end without and with faster forgetting."""

    alarm_at: int | None
    srcc: tuple[float, float]
    mae: tuple[float, float]


def run_drift_curve(
    folder: DataFolder,
    features_ID: np.ndarray,
    extractor_digest: str,
    make_split: MakeSplit,
    config: DriftCurveConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    blocks: Sequence[FeatureBlock] = (),
) -> dict[str, Any]:
    """Watch steady and drifting streams of every seed's test people; arguments like those of `run_gate_curve`.

    Raises:
        InvalidInput: a split that does not fit the folder, or fewer than two people with enough ratings.
    """
    found: dict[str, list[Watched]] = {STEADY: [], DRIFT: []}
    for number, seed in enumerate(config.seeds):
        split = make_split(seed)
        maker = StreamMaker(folder, split, config.num_ratings, config.increment)
        able = [user_id for user_id in split.test_people if maker.can_stream(user_id)]
        if len(able) < 2:
            raise InvalidInput(f"seed {seed}: {len(able)} test people with {config.num_ratings} ratings; 2 are needed")
        train_folder = folder.only(split.train_people, split.train_images)
        base, _ = fit_base_scorer(
            "drift",
            extractor_digest,
            features_ID[np.isin(folder.images, train_folder.images)],
            Ratings(folder.aspects, train_folder.person_N, train_folder.image_N, train_folder.score_NA),
            group_I=train_folder.scene_I,
            blocks=blocks,
        )
        watcher = _Watcher(base, features_ID, config)
        asked = able[: config.limit_people]
        for done, user_id in enumerate(asked):
            progress(number * len(asked) + done, len(config.seeds) * len(asked))
            steady = maker.steady(user_id)
            found[STEADY].append(watcher.watch(steady))
            found[DRIFT].append(watcher.watch(maker.drift(steady, able)))
    return {
        "summary": summary(found, config.num_ratings // 2),
        "config": {
            "data": str(folder.path),
            "num_ratings": config.num_ratings,
            "increment": config.increment,
            "seeds": list(config.seeds),
            "drift": asdict(config.drift),
            "extractor_digest": extractor_digest,
        },
    }


def summary(found: dict[str, list[Watched]], drift_begins: int) -> dict[str, Any]:
    """False alarms of steady people; for drift, who is found and how soon; the end with and without the answer."""
    steady, drifting = found[STEADY], found[DRIFT]
    alarms = [w.alarm_at for w in drifting if w.alarm_at is not None and w.alarm_at > drift_begins]
    in_time = [w for w in drifting if w.alarm_at is not None and w.alarm_at > drift_begins]
    return {
        "num_streams": len(steady),
        "false_alarms": float(np.mean([w.alarm_at is not None for w in steady])),
        "false_alarms_before_drift": float(
            np.mean([w.alarm_at is not None and w.alarm_at <= drift_begins for w in drifting])
        ),
        "found": len(in_time) / len(drifting),
        "median_ratings_until_found": float(np.median(alarms)) - drift_begins if alarms else None,
        "after_false_alarm": _ends([w for w in steady if w.alarm_at is not None]),
        "after_found": _ends(in_time),
    }


def _ends(watched: Sequence[Watched]) -> dict[str, Any]:
    if not watched:
        return {"num": 0}
    return {
        "num": len(watched),
        **{
            f"{measure}_{way}": float(np.nanmean([getattr(w, measure)[i] for w in watched]))
            for measure in ("srcc", "mae")
            for i, way in enumerate(("as_before", "forgetting_faster"))
        },
    }


def table(document: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary as rows of text."""
    found = document["summary"]
    delay = found["median_ratings_until_found"]
    rows = [
        ("streams of each kind", str(found["num_streams"])),
        (f"steady: false alarm within {document['config']['num_ratings']} ratings", f"{found['false_alarms']:.1%}"),
        ("drift: alarm before it begins", f"{found['false_alarms_before_drift']:.1%}"),
        ("drift: found after it begins", f"{found['found']:.1%}"),
        ("drift: ratings until found, median", "-" if delay is None else f"{delay:.0f}"),
    ]
    for name, told in (("found", "after_found"), ("false alarm", "after_false_alarm")):
        end = found[told]
        if end["num"]:
            rows += [
                (
                    f"{name}: {measure.upper()} at the end, as before and forgetting faster ({end['num']})",
                    f"{end[f'{measure}_as_before']:.3f} {end[f'{measure}_forgetting_faster']:.3f}",
                )
                for measure in ("srcc", "mae")
            ]
    return rows


class _Watcher:
    """Plays streams on one base model."""

    def __init__(self, base: BaseScorer, features_ID: np.ndarray, config: DriftCurveConfig) -> None:
        self._base, self._config = base, config
        self._taste_IR = base.project(features_ID)
        self._generic_IA = base.generic(self._taste_IR)

    def watch(self, stream: PersonStream) -> Watched:
        rated = self._rated(joined(*stream.increments))
        state, alarm_at = DriftState(), None
        adapter: Adapter | None = None
        for n in range(len(rated)):
            error = float(np.nanmean(np.abs(self._scores(adapter, rated.select(np.array([n]))) - rated.target_NA[n])))
            state, alarm = state.after(error, n + 1, self._config.drift)
            if alarm and alarm_at is None:
                alarm_at = n + 1
            if (n + 1) % self._config.increment == 0 or alarm:
                half_life = self._config.drift.recency_half_life if alarm_at else 0.0
                adapter = self._trained(rated.select(np.arange(n + 1)), half_life)
        unseen = self._rated(stream.unseen[-1])
        as_before = self._scores(self._trained(rated, 0.0), unseen)
        scores = (as_before, self._scores(adapter, unseen) if alarm_at else as_before)
        srcc, srcc_faster = (mean_srcc(score_NA, unseen.target_NA) for score_NA in scores)
        mae, mae_faster = (float(np.nanmean(np.abs(score_NA - unseen.target_NA))) for score_NA in scores)
        return Watched(alarm_at, (srcc, srcc_faster), (mae, mae_faster))

    def _trained(self, rated: RatedSet, half_life: float) -> Adapter:
        nothing = rated.select(np.zeros(len(rated), bool))
        config = replace(self._config.training, recency_half_life=half_life)
        return train(TrainingRequest("bayes", "taste_vector", config, self._base, rated, nothing, None, None)).adapter

    def _rated(self, given: Given) -> RatedSet:
        sequence_N = np.arange(1, len(given.image_N) + 1)
        return RatedSet.of(sequence_N, self._taste_IR[given.image_N], self._generic_IA[given.image_N], given.target_NA)

    def _scores(self, adapter: Adapter | None, rated: RatedSet) -> np.ndarray:
        return rated.generic_NA if adapter is None else adapter.score(rated.taste_NR, rated.generic_NA)
