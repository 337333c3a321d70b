"""What matching a new user with expert models gains: SRCC after quiz answers and ratings, by what they start from.

Everybody answers the same questions under every method but `random_pairs`: the pairs that tell most under the
combination of all experts (`scoring/questions.py`). Methods differ in the prior that the closed form starts
from:

* `generic`: the prior in force, which knows no expert; with ratings alone it is the learning core's `bayes`.
* `best_expert`: the one that is most likely after the answers, whatever else is.
* `combination`: of all experts, shrunken.
* `selected`: what `scoring.matching.select` chooses.
* `combination_survey`: the combination, its mean moved by what users.csv says of the person.
* `random_pairs`: the combination after pairs drawn at random; its images are the first that the person would rate.

Shape letters: U = test people, M = methods, S = states (what has been answered).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.checks import check_limit
from paaplus.evaluation.matching.expert_base import ExpertsStage, NewUser
from paaplus.evaluation.paired import Measured, about, entry, interval, stacked
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.survey.run import column_answers
from paaplus.evaluation.train_side import EvaluationData
from paaplus.fitting.preference_encoder import MIN_PEOPLE, fit_preference_encoder
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.experts import Panel
from paaplus.scoring.matching import COMBINATION, EXPERT, GENERIC, select
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.scoring.priors import Prior, ShiftedPrior

METHODS = ("generic", "best_expert", "combination", "selected", "combination_survey", "random_pairs")
FEW_METHODS = ("best_expert", "combination", "selected")  # with fewer experts


@dataclass(frozen=True)
class State:
    """How much a person has answered."""

    num_pairs: int
    num_ratings: int

    @property
    def name(self) -> str:
        return f"{self.num_pairs} pairs, {self.num_ratings} ratings"


@dataclass(frozen=True)
class MatchingConfig:
    """What is measured. `num_experts` are the smaller model bases beside all train people."""

    pairs: tuple[int, ...] = (0, 4, 8, 12)
    ks: tuple[int, ...] = (5, 10, 25)
    num_experts: tuple[int, ...] = (5, 20, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    limit_people: int | None = None  # test people a seed, the first of the split

    def __post_init__(self) -> None:
        for name, numbers, least in (
            ("pairs", self.pairs, 0),
            ("k", self.ks, 1),
            ("experts", self.num_experts, 2),
            ("seeds", self.seeds, 0),
        ):
            if len(set(numbers)) != len(numbers) or any(number < least for number in numbers):
                raise InvalidInput(f"{name} {list(numbers)}: distinct numbers, none below {least}")
        if not self.pairs or not self.seeds:
            raise InvalidInput("no pairs or no seeds: one at least")
        check_limit(self.limit_people)

    @property
    def fewer_states(self) -> tuple[State, ...]:
        """Where smaller model bases are measured: no pairs or all, no ratings or the middle number of them."""
        ks = {0, *self.ks[len(self.ks) // 2 :][:1]}
        return tuple(
            state for state in self.states if state.num_pairs in (0, max(self.pairs)) and state.num_ratings in ks
        )

    @property
    def states(self) -> tuple[State, ...]:
        """Pairs alone, ratings alone, and ratings after all pairs."""
        quizzed = [max(self.pairs)] if max(self.pairs) else []
        return (
            *(State(num_pairs, 0) for num_pairs in self.pairs),
            *(State(num_pairs, k) for num_pairs in (0, *quizzed) for k in self.ks),
        )


def run_matching(
    data: EvaluationData, make_split: MakeSplit, config: MatchingConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Evaluate on every seed's split; arguments like those of `kshot.run_kshot`.

    Returns:
        `summary` (per state: every method), `quiz` (what the pairs gain), `selected` (how often which kind) and
        `config`, ready for JSON.

    Raises:
        InvalidInput: a split that does not fit the folder, or leaves nobody to judge by.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    count = PeopleCounter(plan, progress)
    measured: list[Measured] = []
    for each in plan:
        match = _Match(data, each, config)
        for user_id in each.people:
            measured.append(match.measure(user_id))
            count.add()
    return document_of(data, config, measured)


def document_of(data: EvaluationData, config: MatchingConfig, measured: Sequence[Measured]) -> dict[str, Any]:
    """Means and intervals over what was measured, ready for JSON."""
    people, generic_U, srcc_by_method = stacked(measured)
    return {
        "summary": _summary(people, generic_U, srcc_by_method, config),
        "quiz": _quiz(people, srcc_by_method, config),
        "selected": {
            state.name: {
                kind: sum(one.kinds[s] == kind for one in measured if one.kinds)
                for kind in (GENERIC, COMBINATION, EXPERT)
            }
            for s, state in enumerate(config.states)
        },
        "config": {
            **about(data, measured),
            "pairs": list(config.pairs),
            "ks": list(config.ks),
            "seeds": list(config.seeds),
            "fewer_experts": list(config.num_experts),
            "limit_people": config.limit_people,
        },
    }


class _Match:
    """One split: the model bases, and how well somebody is known under each method in each state."""

    def __init__(self, data: EvaluationData, this: Round, config: MatchingConfig) -> None:
        self._stage = ExpertsStage(data, this)
        self._config = config
        self._everybody = self._stage.panel(None)
        self._panels = {num_experts: self._stage.panel(num_experts) for num_experts in config.num_experts}
        self._answers: dict[str, np.ndarray] = {}
        self._encoder: PreferenceEncoder | None = None
        train_people = this.split.train_people
        if data.folder.user_columns and len(train_people) >= MIN_PEOPLE:
            self._answers = column_answers(data.folder.user_columns, [*train_people, *this.split.test_people])
            self._encoder, _ = fit_preference_encoder(
                self._stage.base,
                [self._stage.rated_in_training(user_id) for user_id in train_people],
                np.stack([self._answers[user_id] for user_id in train_people]),
                seed=this.seed,
            )

    def measure(self, user_id: str) -> Measured:
        """SRCC by method in every state, and what kind was selected."""
        stage, config, panel = self._stage, self._config, self._everybody
        user = stage.user(user_id)
        generic = stage.srcc(user, None)
        if not np.isfinite(generic):
            return Measured(user.user_id, stage.seed, len(stage.experts), generic, {})
        pairs = stage.quiz(user, panel, max(config.pairs))
        drawn = stage.random_pairs(user, max(config.pairs))
        num_states = len(config.states)
        srcc = {method: np.full(num_states, np.nan) for method in METHODS}
        kinds = []
        shifted = self._shifted(user, panel.combination)
        for s, state in enumerate(config.states):
            rated = stage.rated(user, user.support[: state.num_ratings])
            compared = stage.compared(user, pairs[: state.num_pairs])
            kind, found = self._found(user, panel, rated, compared)
            kinds.append(kind)
            for method, value in found.items():
                srcc[method][s] = value
            if shifted is not None:
                srcc["combination_survey"][s] = stage.known(user, shifted, rated, compared)
            if state.num_pairs and not state.num_ratings:
                compared = stage.compared(user, drawn[: state.num_pairs])
                srcc["random_pairs"][s] = stage.known(user, panel.combination, rated, compared)
        for num_experts in config.num_experts:
            values = {method: np.full(num_states, np.nan) for method in FEW_METHODS}
            for state in config.fewer_states:
                rated = stage.rated(user, user.support[: state.num_ratings])
                compared = stage.compared(user, pairs[: state.num_pairs])
                _, found = self._found(user, self._panels[num_experts], rated, compared)
                for method in FEW_METHODS:
                    values[method][config.states.index(state)] = found[method]
            srcc |= {f"{method} of {num_experts}": values[method] for method in FEW_METHODS}
        return Measured(user.user_id, stage.seed, len(stage.experts), generic, srcc, tuple(kinds))

    def _found(
        self, user: NewUser, panel: Panel, rated: RatedSet, compared: ComparedSet
    ) -> tuple[str, dict[str, float]]:
        stage = self._stage
        selection = select(stage.base, stage.prior, panel.experts, rated, compared, panel=panel)
        likely = max(panel.experts, key=lambda expert: selection.probabilities[expert.id])
        srcc = {
            "generic": stage.known(user, stage.prior, rated, compared),
            "best_expert": stage.known(user, panel.around(likely), rated, compared),
            "combination": stage.known(user, panel.combination, rated, compared),
        }
        chosen = {GENERIC: "generic", COMBINATION: "combination"}.get(selection.kind, "best_expert")
        return selection.kind, {**srcc, "selected": srcc[chosen]}

    def _shifted(self, user: NewUser, prior: Prior) -> Prior | None:
        if self._encoder is None:
            return None
        return ShiftedPrior(prior, self._encoder.shift(self._encoder.encode(self._answers[user.user_id])))


def _summary(
    people: Sequence[str], generic_U: np.ndarray, srcc_by_method: dict[str, np.ndarray], config: MatchingConfig
) -> list[dict[str, Any]]:
    """One entry a state: every method that was measured there; `ahead` is of `generic` with the same answers."""
    entries = []
    for s, state in enumerate(config.states):
        told: dict[str, Any] = {}
        for method, srcc_US in srcc_by_method.items():
            if not np.isnan(srcc_US[:, s]).all():
                told[method] = entry(people, srcc_US[:, s], generic_U, srcc_by_method["generic"][:, s])
        entries.append({"state": state.name, "pairs": state.num_pairs, "ratings": state.num_ratings, **told})
    return entries


def _quiz(people: Sequence[str], srcc_by_method: dict[str, np.ndarray], config: MatchingConfig) -> dict[str, Any]:
    """What all the pairs gain, under the combination: over no pairs, and over pairs drawn at random."""
    at = {state: s for s, state in enumerate(config.states)}
    combination_US, most = srcc_by_method["combination"], max(config.pairs)
    told = {}
    for k in (0, *config.ks):
        before, after = at.get(State(0, k)), at.get(State(most, k))
        if before is not None and after is not None and most:
            told[f"{most} pairs before {k} ratings"] = interval(
                people, combination_US[:, after] - combination_US[:, before]
            )
    if most:
        random_U = srcc_by_method["random_pairs"][:, at[State(most, 0)]]
        told["adaptive over random"] = interval(people, combination_US[:, at[State(most, 0)]] - random_U)
    return told
