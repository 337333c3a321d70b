"""Run the survey study: SRCC after k ratings, with and without a person's answers to a survey.

On every split, a base model, a taste prior and the preference encoders are fitted on the train people's ratings of
train images. An encoder turns a test person's answers into a shift of the prior. The closed form is trained on the
person's first k ratings, and SRCC is measured on the test images that the person rated.

* `columns`: the columns of users.csv, see `user_columns`.
* `pairs`: a survey of pairs of images on which the train people's models disagree most. Nobody was asked it: the
  answers are worked out from real ratings, so a person answers only pairs of images that the person rated. Where people
  rated different groups of images (`image_group`, a column of images.csv), each group has pairs of its own; all pairs
  are in one survey.
* `pairs_shuffled`: the same, but each person gets the answers of another person who answered the same pairs. It shows
  what a survey without information gains.
* `pairs_compared`: the same answers as comparisons in the closed form, without an encoder.

Images of the pairs are in no support and in no encoder's target; otherwise answers and ratings would share their noise.

Shape letters: U = people, Q = answers, C = conditions, K = values of k.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from paaplus.evaluation.agreement import mean_srcc
from paaplus.evaluation.bands import Bands
from paaplus.evaluation.closed_form import learned
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.survey.config import SurveyConfig
from paaplus.evaluation.survey.summary import SurveyMeasurement, summary
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.evaluation.user_columns import column_answers
from paaplus.fitting.preference_encoder import fit_preference_encoder
from paaplus.fitting.taste_prior import fit_taste_prior
from paaplus.records import NO_COMPARISONS, PREFERS_FIRST, PREFERS_SECOND, TIE, ComparedSet, RatedSet
from paaplus.scoring.matching import Expert, disagreement_pairs
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.scoring.priors import OwnPrior, Prior, ShiftedPrior

COLUMNS, PAIRS, SHUFFLED, COMPARED = "columns", "pairs", "pairs_shuffled", "pairs_compared"
CONDITIONS = (COLUMNS, PAIRS, SHUFFLED, COMPARED)


def run_survey(
    data: EvaluationData, make_split: MakeSplit, config: SurveyConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure every condition on every seed's split; pairs are about the first aspect alone.

    The arguments are those of `kshot.run.run_kshot`.

    Returns:
        A document, ready for JSON: `summary` (per condition and k), `bands`, `encoders` (per seed) and `config`.

    Raises:
        InvalidInput: the folder is too small or its users.csv has no answers, or a split does not fit the folder or has
            no test person whose SRCC is defined.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    counter = PeopleCounter(plan, progress)
    measured: list[SurveyMeasurement] = []
    encoders = []
    bands = Bands(data.folder)
    for round_ in plan:
        measurement = _SplitMeasurement(data, round_, config, bands)
        encoders.append({"seed": round_.seed, "num_groups": len(measurement.groups), **measurement.encoder_metrics})
        for user_id in round_.people:
            measured.append(measurement.measure(user_id))
            counter.add()
    return {
        "summary": summary(measured, CONDITIONS, config.ks),
        "bands": bands.summary(),
        "encoders": encoders,
        "config": {
            **data.config_entries(),
            "ks": list(config.ks),
            "seeds": list(config.seeds),
            "num_pairs": config.num_pairs,
            "image_group": config.image_group,
            "limit_people": config.limit_people,
            "learned_prior": config.learned_prior,
        },
    }


class _SplitMeasurement:
    """Fits base model, prior and encoders on one split's train side and measures test people with them."""

    def __init__(self, data: EvaluationData, round_: Round, config: SurveyConfig, bands: Bands) -> None:
        self._side = TrainSide("survey", data, round_.split)
        self._folder, self._split, self._config, self._seed = data.folder, round_.split, config, round_.seed
        self._bands = bands
        self.base = self._side.base
        split = round_.split
        train = {name: self._rated(name) for name in split.train_people}
        self._prior: Prior = OwnPrior(self.base)
        if config.learned_prior:
            self._prior, _ = fit_taste_prior(self.base, list(train.values()))
        self.groups = self._choose_pairs(train)
        self._paired = {image for pairs in self.groups.values() for pair in pairs for image in pair}
        self._answers = self._all_answers()
        self._encoders: dict[str, PreferenceEncoder] = {}
        self.encoder_metrics: dict[str, Any] = {}
        targets = [self._rated(name, without=self._paired) for name in split.train_people]
        for name, answers in self._answers.items():
            answers_UQ = np.stack([answers[user_id] for user_id in split.train_people])
            self._encoders[name], self.encoder_metrics[name] = fit_preference_encoder(
                self.base, targets, answers_UQ, prior=self._prior, seed=self._seed
            )

    def measure(self, user_id: str) -> SurveyMeasurement:
        """SRCC of one test person, under every condition at every k."""
        side = self._side
        test = side.test_images(user_id)
        target_NA = side.targets(user_id, test)
        support = [side.image_at[image] for image in self._split.support(user_id, len(side.image_at))]
        support = [image for image in support if image not in self._paired]
        priors = {name: self._shifted(name, user_id) for name in self._encoders}
        compared = self._compared(user_id)
        plain_K = np.full(len(self._config.ks), np.nan)
        survey_CK = np.full((len(CONDITIONS), len(self._config.ks)), np.nan)

        def srcc(method: str, prior: Prior, rated: RatedSet, compared: ComparedSet) -> float:
            score_NA = learned(self.base, rated, compared, prior).score(side.taste_IR[test], side.generic_IA[test])
            self._bands.add(f"{method}, k = {k}", user_id, score_NA, target_NA, test)
            return mean_srcc(score_NA, target_NA)

        for j, k in enumerate(self._config.ks):
            rated = side.rated(user_id, support[:k])
            plain_K[j] = srcc("no survey", self._prior, rated, NO_COMPARISONS)
            for c, condition in enumerate(CONDITIONS):
                if condition == COMPARED:
                    survey_CK[c, j] = srcc(condition, self._prior, rated, compared)
                elif condition in priors:
                    survey_CK[c, j] = srcc(condition, priors[condition], rated, NO_COMPARISONS)
        return SurveyMeasurement(user_id, self._seed, plain_K, survey_CK)

    def _shifted(self, name: str, user_id: str) -> Prior:
        """The prior with its mean shifted by the person's answers under one condition."""
        encoder = self._encoders[name]
        return ShiftedPrior(self._prior, encoder.shift(encoder.encode(self._answers[name][user_id])))

    def _rated(self, user_id: str, without: Collection[int] = ()) -> RatedSet:
        """A person's ratings of train images, without some of the images."""
        return self._side.rated(user_id, [i for i in self._side.train_images(user_id) if i not in without])

    def _choose_pairs(self, train: Mapping[str, RatedSet]) -> dict[str, list[tuple[int, int]]]:
        """Per group of images, the pairs of train images on which the train people's models disagree most."""
        experts = [Expert(user_id, learned(self.base, rated), len(rated)) for user_id, rated in train.items()]
        groups: dict[str, list[int]] = {}
        for image in sorted(self._split.train_images):
            group = self._folder.image_columns.get(image, {}).get(self._config.image_group, "")
            groups.setdefault(group, []).append(self._side.image_at[image])
        pairs = {}
        for group, images in sorted(groups.items()):
            found = disagreement_pairs(
                self.base,
                self._prior,
                experts,
                self._side.taste_IR[images],
                self._side.generic_IA[images],
                self._config.num_pairs,
                self._seed,
            )
            pairs[group] = [(images[first], images[second]) for first, second in found]
        return pairs

    def _all_answers(self) -> dict[str, dict[str, np.ndarray]]:
        """Per condition and person, the answers, shape (Q,)."""
        everybody = [*self._split.train_people, *self._split.test_people]
        answers: dict[str, dict[str, np.ndarray]] = {}
        if self._folder.user_columns:
            answers[COLUMNS] = column_answers(self._folder.user_columns, everybody)
        pairs = [pair for group in self.groups.values() for pair in group]
        answers[PAIRS] = {user_id: 2.0 * self._preferences(user_id, pairs) - 1.0 for user_id in everybody}
        answers[SHUFFLED] = {}
        groups: dict[bytes, list[str]] = {}
        for user_id in everybody:
            groups.setdefault(np.isnan(answers[PAIRS][user_id]).tobytes(), []).append(user_id)
        rng = np.random.default_rng(self._seed)
        for names in groups.values():
            for user_id, other in zip(names, rng.permutation(len(names)), strict=True):
                answers[SHUFFLED][user_id] = answers[PAIRS][names[other]]
        return answers

    def _preferences(self, user_id: str, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """A person's preferences by the ratings of the first aspect: 1, 0, 0.5, or NaN if one image is not rated."""
        scores = self._side.score_of[user_id]
        preferences = []
        for first, second in pairs:
            if first not in scores or second not in scores:
                preferences.append(np.nan)
                continue
            difference = scores[first][0] - scores[second][0]
            preferences.append(PREFERS_FIRST if difference > 0 else PREFERS_SECOND if difference < 0 else TIE)
            if np.isnan(difference):
                preferences[-1] = np.nan
        return np.array(preferences)

    def _compared(self, user_id: str) -> ComparedSet:
        """A person's answers to all pairs as comparisons."""
        pairs = np.array([pair for group in self.groups.values() for pair in group]).reshape(-1, 2)
        preference_C = self._preferences(user_id, [tuple(pair) for pair in pairs])
        answered_C = ~np.isnan(preference_C)
        first, second = pairs[answered_C].T
        preference_CA = np.full((int(answered_C.sum()), len(self._folder.aspects)), np.nan)
        preference_CA[:, 0] = preference_C[answered_C]
        return ComparedSet.of(
            np.arange(1, len(first) + 1) + len(self._side.image_at),
            self._side.taste_IR[first],
            self._side.generic_IA[first],
            self._side.taste_IR[second],
            self._side.generic_IA[second],
            preference_CA,
        )
