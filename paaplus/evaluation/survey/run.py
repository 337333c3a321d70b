"""What a survey tells of a person's taste: SRCC after k ratings with and without what the survey adds to the prior.

On every split, a base model, a taste prior and the encoders are learned from train people on train images. Every test
person is then known by their answers and their first k ratings, and judged by SRCC on the test images that they rated.

* `columns`: what `users.csv` says of everybody, numbers as they are and words as one column each.
* `pairs`: a survey of pairs of images, chosen by the disagreement of train people's models. It was never asked: answers
  are worked out from people's real ratings, so a pair must have been rated by whom it is put to. Where people saw
  different images (`image_group`, a column of images.csv) every group has pairs of its own, all in one form.
* `pairs_shuffled`: the same, each person having another's answers of their group.
* `pairs_compared`: the same answers as comparisons in the closed form; no encoder.

Images of pairs are nobody's support and no encoder's target: answers and ratings would share their noise.
Shape letters: U = people, Q = columns of answers, I = images, C = conditions, K = values of k, A = aspects.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.agreement import mean_srcc
from paaplus.evaluation.checks import check_limit, check_numbers
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.survey.summary import Told, summary
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.fitting.preference_encoder import fit_preference_encoder
from paaplus.fitting.taste_prior import fit_taste_prior
from paaplus.records import NO_COMPARISONS, PREFERS_FIRST, PREFERS_SECOND, TIE, ComparedSet, RatedSet
from paaplus.scoring.closed_form import fit
from paaplus.scoring.matching import Expert, disagreement_pairs
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.scoring.priors import OwnPrior, Prior, ShiftedPrior

COLUMNS, PAIRS, SHUFFLED, COMPARED = "columns", "pairs", "pairs_shuffled", "pairs_compared"
CONDITIONS = (COLUMNS, PAIRS, SHUFFLED, COMPARED)
_MAX_WORDS = 12  # different values of a column of words


@dataclass(frozen=True)
class SurveyConfig:
    """What is compared."""

    ks: tuple[int, ...] = (0, 10, 25)
    seeds: tuple[int, ...] = (0, 1, 2)
    num_pairs: int = 10
    image_group: str = "subset"
    limit_people: int | None = None  # test people a seed, the first of the split
    learned_prior: bool = True  # False: the base model's own prior; a learned one needs 50 train people

    def __post_init__(self) -> None:
        check_numbers("k", self.ks)
        check_numbers("seeds", self.seeds)
        if self.num_pairs < 1:
            raise InvalidInput(f"a survey of {self.num_pairs} pairs: 1 at least")
        check_limit(self.limit_people)


def run_survey(
    data: EvaluationData, make_split: MakeSplit, config: SurveyConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure on every seed's split, of one aspect, the first; arguments like those of `kshot.run_kshot`.

    Returns:
        `summary` (per condition and k), `encoders` (per seed) and `config`, ready for JSON.

    Raises:
        InvalidInput: a folder without answers or too small, or a split that leaves nobody to judge by.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    count = PeopleCounter(plan, progress)
    told: list[Told] = []
    encoders = []
    for each in plan:
        study = _Study(data, each, config)
        encoders.append({"seed": each.seed, "num_groups": len(study.groups), **study.encoder_metrics})
        for user_id in each.people:
            told.append(study.measure(user_id))
            count.add()
    return {
        "summary": summary(told, CONDITIONS, config.ks),
        "encoders": encoders,
        "config": {
            **data.about(),
            "ks": list(config.ks),
            "seeds": list(config.seeds),
            "num_pairs": config.num_pairs,
            "image_group": config.image_group,
            "limit_people": config.limit_people,
            "learned_prior": config.learned_prior,
        },
    }


class _Study:
    """One split: everything learned from its train side, and what it takes to judge a person."""

    def __init__(self, data: EvaluationData, this: Round, config: SurveyConfig) -> None:
        self._side = TrainSide("survey", data, this.split)
        self._folder, self._split, self._config, self._seed = data.folder, this.split, config, this.seed
        self.base = self._side.base
        split = this.split
        train = {name: self._rated(name) for name in split.train_people}
        self._prior: Prior = OwnPrior(self.base)
        if config.learned_prior:
            self._prior, _ = fit_taste_prior(self.base, list(train.values()))
        self.groups = self._choose_pairs(train)
        self._paired = {image for pairs in self.groups.values() for pair in pairs for image in pair}
        self._answers = self._all_answers()
        self._encoders: dict[str, PreferenceEncoder] = {}
        self.encoder_metrics: dict[str, Any] = {}
        apart = [self._rated(name, without=self._paired) for name in split.train_people]
        for name, answers in self._answers.items():
            answers_UQ = np.stack([answers[user_id] for user_id in split.train_people])
            self._encoders[name], self.encoder_metrics[name] = fit_preference_encoder(
                self.base, apart, answers_UQ, prior=self._prior, seed=self._seed
            )

    def measure(self, user_id: str) -> Told:
        """SRCC of one test person, under every condition at every k."""
        side = self._side
        test = side.test_images(user_id)
        target_NA = side.targets(user_id, test)
        support = [side.image_at[image] for image in self._split.support(user_id, len(side.image_at))]
        support = [image for image in support if image not in self._paired]
        priors = {name: self._shifted(name, user_id) for name in self._encoders}
        compared = self._compared(user_id)
        plain_K = np.full(len(self._config.ks), np.nan)
        told_CK = np.full((len(CONDITIONS), len(self._config.ks)), np.nan)

        def srcc(prior: Prior, rated: RatedSet, said: ComparedSet) -> float:
            adapter = fit(self.base, prior, rated, said).adapter
            return mean_srcc(adapter.score(side.taste_IR[test], side.generic_IA[test]), target_NA)

        for j, k in enumerate(self._config.ks):
            rated = side.rated(user_id, support[:k])
            plain_K[j] = srcc(self._prior, rated, NO_COMPARISONS)
            for c, condition in enumerate(CONDITIONS):
                if condition == COMPARED:
                    told_CK[c, j] = srcc(self._prior, rated, compared)
                elif condition in priors:
                    told_CK[c, j] = srcc(priors[condition], rated, NO_COMPARISONS)
        return Told(user_id, self._seed, plain_K, told_CK)

    def _shifted(self, name: str, user_id: str) -> Prior:
        encoder = self._encoders[name]
        return ShiftedPrior(self._prior, encoder.shift(encoder.encode(self._answers[name][user_id])))

    def _rated(self, user_id: str, without: Collection[int] = ()) -> RatedSet:
        """What somebody rated of train images."""
        return self._side.rated(user_id, [i for i in self._side.train_images(user_id) if i not in without])

    def _choose_pairs(self, train: Mapping[str, RatedSet]) -> dict[str, list[tuple[int, int]]]:
        """By group of images: the pairs on which train people's models disagree most."""
        experts = [
            Expert(user_id, fit(self.base, self._prior, rated, NO_COMPARISONS).adapter, len(rated))
            for user_id, rated in train.items()
        ]
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
        """By condition and person: their answers, shape (Q,)."""
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
        """What somebody's ratings of the first aspect say of pairs: 1, 0, 0.5, or NaN where one was not rated."""
        scores = self._side.score_of[user_id]
        said = []
        for first, second in pairs:
            if first not in scores or second not in scores:
                said.append(np.nan)
                continue
            difference = scores[first][0] - scores[second][0]
            said.append(PREFERS_FIRST if difference > 0 else PREFERS_SECOND if difference < 0 else TIE)
            if np.isnan(difference):
                said[-1] = np.nan
        return np.array(said)

    def _compared(self, user_id: str) -> ComparedSet:
        """The same answers as comparisons."""
        pairs = np.array([pair for group in self.groups.values() for pair in group]).reshape(-1, 2)
        preference_C = self._preferences(user_id, [tuple(pair) for pair in pairs])
        said = ~np.isnan(preference_C)
        first, second = pairs[said].T
        preference_CA = np.full((int(said.sum()), len(self._folder.aspects)), np.nan)
        preference_CA[:, 0] = preference_C[said]
        return ComparedSet.of(
            np.arange(1, len(first) + 1) + len(self._side.image_at),
            self._side.taste_IR[first],
            self._side.generic_IA[first],
            self._side.taste_IR[second],
            self._side.generic_IA[second],
            preference_CA,
        )


def column_answers(user_columns: Mapping[str, Mapping[str, str]], people: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of users.csv as answers: a column of numbers as it is, of few different words as one each.

    A column of many different words (names, say) is left out.

    Raises:
        InvalidInput: nothing is left.
    """
    names = sorted({name for columns in user_columns.values() for name in columns})
    columns: list[dict[str, float]] = []
    for name in names:
        text = {user_id: user_columns.get(user_id, {}).get(name, "").strip() for user_id in people}
        given = {user_id: value for user_id, value in text.items() if value}
        try:
            columns.append({user_id: float(value) for user_id, value in given.items()})
        except ValueError:
            words = sorted(set(given.values()))
            if len(words) <= _MAX_WORDS:
                columns += [{user_id: float(value == word) for user_id, value in given.items()} for word in words]
    if not columns:
        raise InvalidInput("users.csv has no column that could be an answer")
    return {user_id: np.array([column.get(user_id, np.nan) for column in columns]) for user_id in people}
