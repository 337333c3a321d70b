"""Run the matching study: SRCC of new users after quiz answers and ratings, by the prior that the closed form has.

Every person answers the same questions under every method but `random_pairs`: the pairs that are most informative under
the combination of all experts (`scoring.questions`). The methods differ in the prior that the closed form starts from.

* `generic`: the prior in force, which uses no expert; with ratings alone it equals the strategy `bayes`.
* `best_expert`: the expert who is most likely given the answers.
* `combination`: the combination of all experts, with shrinkage.
* `selected`: the choice of `scoring.matching.select`.
* `combination_survey`: the combination, its mean shifted by the person's answers in users.csv.
* `random_pairs`: the combination, after pairs of the first images of the support instead of adaptive pairs.

Shape letters: U = test people, M = methods, S = states (what has been answered).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paaplus.evaluation.bands import Bands
from paaplus.evaluation.expert_base import ExpertBase, NewUser
from paaplus.evaluation.matching.config import MatchingConfig
from paaplus.evaluation.matching.summary import summary
from paaplus.evaluation.paired import PairedMeasurement, config_entries
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData
from paaplus.evaluation.user_columns import column_answers
from paaplus.fitting.preference_encoder import MIN_PEOPLE, fit_preference_encoder
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.experts import Panel
from paaplus.scoring.matching import COMBINATION, GENERIC, select
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.scoring.priors import Prior, ShiftedPrior

METHODS = ("generic", "best_expert", "combination", "selected", "combination_survey", "random_pairs")
FEW_EXPERTS_METHODS = ("best_expert", "combination", "selected")  # measured with smaller model bases too


def run_matching(
    data: EvaluationData, make_split: MakeSplit, config: MatchingConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure every method on every seed's split; the arguments are those of `kshot.run.run_kshot`.

    Returns:
        A document, ready for JSON: `summary`, `quiz` and `selected` as `matching.summary.summary` makes them,
        `bands` and `config`.

    Raises:
        InvalidInput: a split does not fit the folder, or SRCC is undefined for all test people.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    counter = PeopleCounter(plan, progress)
    measured: list[PairedMeasurement] = []
    bands = Bands(data.folder)
    for round_ in plan:
        measurement = _SplitMeasurement(data, round_, config, bands)
        for user_id in round_.people:
            measured.append(measurement.measure(user_id))
            counter.add()
    return {
        **summary(measured, config),
        "bands": bands.summary(),
        "config": {
            **config_entries(data, measured),
            "pairs": list(config.pairs),
            "ks": list(config.ks),
            "seeds": list(config.seeds),
            "fewer_experts": list(config.num_experts),
            "limit_people": config.limit_people,
        },
    }


class _SplitMeasurement:
    """Makes one split's model bases and measures test people with them."""

    def __init__(self, data: EvaluationData, round_: Round, config: MatchingConfig, bands: Bands) -> None:
        self._base = ExpertBase(data, round_, bands)
        self._config = config
        self._all_experts = self._base.panel(None)
        self._panels = {num_experts: self._base.panel(num_experts) for num_experts in config.num_experts}
        self._answers: dict[str, np.ndarray] = {}
        self._encoder: PreferenceEncoder | None = None
        train_people = round_.split.train_people
        if data.folder.user_columns and len(train_people) >= MIN_PEOPLE:
            self._answers = column_answers(data.folder.user_columns, [*train_people, *round_.split.test_people])
            self._encoder, _ = fit_preference_encoder(
                self._base.base,
                [self._base.rated_in_training(user_id) for user_id in train_people],
                np.stack([self._answers[user_id] for user_id in train_people]),
                seed=round_.seed,
            )

    def measure(self, user_id: str) -> PairedMeasurement:
        """One person's SRCC by method in every state, and the kind of match that was selected."""
        base, config, panel = self._base, self._config, self._all_experts
        user = base.user(user_id)
        generic = base.srcc(user, None, "generic")
        if not np.isfinite(generic):
            return PairedMeasurement(user.user_id, base.seed, len(base.experts), generic, {})
        pairs = base.quiz(user, panel, max(config.pairs))
        random_pairs = base.random_pairs(user, max(config.pairs))
        num_states = len(config.states)
        srcc = {method: np.full(num_states, np.nan) for method in METHODS}
        kinds = []
        shifted = self._shifted(user, panel.combination)
        for s, state in enumerate(config.states):
            rated = base.rated(user, user.support[: state.num_ratings])
            compared = base.compared(user, pairs[: state.num_pairs])
            kind, values = self._match(user, panel, rated, compared, f"combination, {state.name}")
            kinds.append(kind)
            for method, value in values.items():
                srcc[method][s] = value
            if shifted is not None:
                srcc["combination_survey"][s] = base.srcc_after(user, shifted, rated, compared)
            if state.num_pairs and not state.num_ratings:
                compared = base.compared(user, random_pairs[: state.num_pairs])
                srcc["random_pairs"][s] = base.srcc_after(user, panel.combination, rated, compared)
        for num_experts in config.num_experts:
            srcc |= self._measure_few_experts(user, num_experts, pairs)
        return PairedMeasurement(user.user_id, base.seed, len(base.experts), generic, srcc, tuple(kinds))

    def _measure_few_experts(
        self, user: NewUser, num_experts: int, pairs: list[tuple[int, int]]
    ) -> dict[str, np.ndarray]:
        """SRCC with a smaller model base, per method an array of shape (S,); NaN in states that are not measured."""
        base, config = self._base, self._config
        srcc = {method: np.full(len(config.states), np.nan) for method in FEW_EXPERTS_METHODS}
        for state in config.few_experts_states:
            rated = base.rated(user, user.support[: state.num_ratings])
            compared = base.compared(user, pairs[: state.num_pairs])
            _, values = self._match(user, self._panels[num_experts], rated, compared)
            for method in FEW_EXPERTS_METHODS:
                srcc[method][config.states.index(state)] = values[method]
        return {f"{method} of {num_experts}": srcc_S for method, srcc_S in srcc.items()}

    def _match(
        self, user: NewUser, panel: Panel, rated: RatedSet, compared: ComparedSet, band: str | None = None
    ) -> tuple[str, dict[str, float]]:
        """The kind of match that is selected after these answers, and the SRCC of the methods."""
        base = self._base
        selection = select(base.base, base.prior, panel.experts, rated, compared, panel=panel)
        best = max(panel.experts, key=lambda expert: selection.probabilities[expert.id])
        srcc = {
            "generic": base.srcc_after(user, base.prior, rated, compared),
            "best_expert": base.srcc_after(user, panel.around(best), rated, compared),
            "combination": base.srcc_after(user, panel.combination, rated, compared, band),
        }
        method = {GENERIC: "generic", COMBINATION: "combination"}.get(selection.kind, "best_expert")
        return selection.kind, {**srcc, "selected": srcc[method]}

    def _shifted(self, user: NewUser, prior: Prior) -> Prior | None:
        """The prior with its mean shifted by the person's answers; None without an encoder."""
        if self._encoder is None:
            return None
        return ShiftedPrior(prior, self._encoder.shift(self._encoder.encode(self._answers[user.user_id])))
