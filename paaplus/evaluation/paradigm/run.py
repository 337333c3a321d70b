"""Run the paradigm study: the usual approach against PAA+, and against PAA+ without single stages (an ablation).

Every person gives the same number of answers under every method. A rating of an image and a choice between two images
each count as one answer. The usual approach asks for ratings alone. PAA+ begins with a quiz of adaptive pairs and then
asks for ratings. All methods ask for ratings of the images in the same order.

* `prevailing`: the usual approach: a generic model, fine-tuned on all ratings at once without a prior (bottleneck).
* `prevailing_shrunken`: the same ratings and generic model, trained in closed form.
* `paa+`: quiz, match with expert models (`scoring.matching`), closed form on all answers so far.
* `no_experts`: no match: the prior in force chooses the quiz and is the starting point.
* `no_selection`: the quiz as in `paa+`, but the match is with an expert drawn at random.
* `no_fine_tuning`: matched after the quiz, without any training afterwards.
* `no_continual`: matched, and trained once at the third number of answers; later answers are not used.
* `no_quiz`: matched, but all answers are ratings.
* `gradient`: `paa+` with a bottleneck around the match, trained increment by increment with replay and EWC.
* `forgetting`: the same with the strategy `naive`, which trains on each increment alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paaplus.evaluation.bands import Bands
from paaplus.evaluation.closed_form import learned
from paaplus.evaluation.expert_base import ExpertBase, NewUser, Pair
from paaplus.evaluation.paired import PairedMeasurement, config_entries
from paaplus.evaluation.paradigm.config import ParadigmConfig
from paaplus.evaluation.paradigm.summary import FULL, summary
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.experts import Panel
from paaplus.scoring.matching import select
from paaplus.scoring.priors import Prior
from paaplus.training import TrainingRequest, train

METHODS = (
    "prevailing",
    "prevailing_shrunken",
    FULL,
    "no_experts",
    "no_selection",
    "no_fine_tuning",
    "no_continual",
    "no_quiz",
    "gradient",
    "forgetting",
)


def run_paradigm(
    data: EvaluationData, make_split: MakeSplit, config: ParadigmConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure every method on every seed's split; the arguments are those of `kshot.run.run_kshot`.

    Returns:
        A document, ready for JSON: `summary` (per number of answers, every method), `bands` and `config`.

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
        "summary": summary(measured, config.answers),
        "bands": bands.summary(),
        "config": {
            **config_entries(data, measured),
            "answers": list(config.answers),
            "quiz_pairs": config.num_pairs,
            "seeds": list(config.seeds),
            "limit_people": config.limit_people,
        },
    }


class _SplitMeasurement:
    """Makes one split's model base and measures test people under every method."""

    def __init__(self, data: EvaluationData, round_: Round, config: ParadigmConfig, bands: Bands) -> None:
        self._base, self._config = ExpertBase(data, round_, bands), config
        self._all_experts = self._base.panel(None)
        self._no_experts = Panel.of(self._base.base, self._base.prior, ())

    def measure(self, user_id: str) -> PairedMeasurement:
        """One person's SRCC by method at every number of answers; without methods if the generic SRCC is undefined."""
        base = self._base
        user = base.user(user_id)
        generic = base.srcc(user, None, "generic")
        srcc: dict[str, np.ndarray] = {}
        if np.isfinite(generic):
            srcc = _PersonMeasurement(base, user, self._config, self._all_experts, self._no_experts).measure()
        return PairedMeasurement(user_id, base.seed, len(base.experts), generic, srcc)


class _PersonMeasurement:
    """Measures one test person under every method."""

    def __init__(
        self, base: ExpertBase, user: NewUser, config: ParadigmConfig, panel: Panel, no_experts: Panel
    ) -> None:
        self._base, self._user, self._config, self._panel, self._no_experts = base, user, config, panel, no_experts

    def measure(self) -> dict[str, np.ndarray]:
        """Per method, the SRCC at every number of answers."""
        base, user, config = self._base, self._user, self._config
        quiz, quiz_without_experts = (
            base.quiz(user, panel, config.num_pairs) for panel in (self._panel, self._no_experts)
        )
        rng = np.random.default_rng([base.seed, zlib.crc32(user.user_id.encode())])
        random_expert = self._panel.around(self._panel.experts[rng.integers(len(self._panel.experts))])
        srcc: dict[str, list[float]] = {method: [] for method in METHODS}
        for answers in config.answers:
            given = self.first_answers(quiz, answers)
            srcc[FULL].append(base.srcc_after(user, self._match(*given), *given, f"{FULL}, {answers} answers"))
            for method, last in (("no_fine_tuning", config.answers[1]), ("no_continual", config.answers[2])):
                srcc[method].append(srcc[FULL][min(len(srcc[FULL]) - 1, config.answers.index(last))])
            ratings = base.rated(user, user.support[:answers])
            match_by_ratings = self._match(ratings, NO_COMPARISONS)
            srcc["prevailing"].append(self._fine_tuned(ratings))
            srcc["prevailing_shrunken"].append(base.srcc_after(user, base.prior, ratings, NO_COMPARISONS))
            srcc["no_experts"].append(
                base.srcc_after(user, base.prior, *self.first_answers(quiz_without_experts, answers))
            )
            srcc["no_selection"].append(base.srcc_after(user, random_expert, *given))
            srcc["no_quiz"].append(base.srcc_after(user, match_by_ratings, ratings, NO_COMPARISONS))
        for method, strategy in (("gradient", "replay_ewc"), ("forgetting", "naive")):
            srcc[method] = self._trained_in_increments(strategy, quiz)
        return {method: np.array(values) for method, values in srcc.items()}

    def first_answers(self, quiz: Sequence[Pair], answers: int) -> tuple[RatedSet, ComparedSet]:
        """The first answers of a person under PAA+: the pairs of the quiz, then ratings."""
        num_pairs = min(answers, len(quiz))
        rated = self._base.rated(self._user, self._user.support[: answers - num_pairs])
        return rated, self._base.compared(self._user, quiz[:num_pairs])

    def _match(self, rated: RatedSet, compared: ComparedSet) -> Prior:
        """The prior that these answers select; the prior in force if they select no expert model."""
        base = self._base
        selection = select(base.base, base.prior, self._panel.experts, rated, compared, panel=self._panel)
        return selection.prior or base.prior

    def _fine_tuned(self, rated: RatedSet) -> float:
        """SRCC of the usual approach: train on all ratings at once, from the generic model, without a prior."""
        if not len(rated):
            return self._base.srcc(self._user, None)
        request = self._request("joint", rated)
        request = replace(request, config=replace(request.config, prior_strength=0.0))
        return self._base.srcc(self._user, train(request).adapter)

    def _trained_in_increments(self, strategy: str, quiz: Sequence[Pair]) -> list[float]:
        """SRCC at every number of answers of a strategy that trains on each increment, around the quiz's match."""
        base, user = self._base, self._user
        no_ratings = base.rated(user, ())
        match = self._match(*self.first_answers(quiz, self._config.num_pairs))
        center = learned(base.base, no_ratings, prior=match)
        srcc = [base.srcc_after(user, self._match(no_ratings, NO_COMPARISONS), no_ratings, NO_COMPARISONS)]
        request = replace(self._request(strategy, no_ratings), center=center)
        past: tuple[RatedSet, ComparedSet] = (no_ratings, NO_COMPARISONS)
        for answers in self._config.answers[1:]:
            given = self.first_answers(quiz, answers)
            num_rated, num_compared = len(past[0]), len(past[1])
            request = replace(
                request,
                new=given[0].select(np.arange(num_rated, len(given[0]))),
                past=past[0],
                new_compared=given[1].select(np.arange(num_compared, len(given[1]))),
                past_compared=past[1],
            )
            trained = train(request)
            srcc.append(base.srcc(user, trained.adapter))
            request = replace(request, parent=trained.adapter, state=trained.state)
            past = given
        return srcc

    def _request(self, strategy: str, rated: RatedSet) -> TrainingRequest:
        return TrainingRequest(
            strategy=strategy,
            adapter_kind="bottleneck",
            config=replace(self._config.training, seed=self._base.seed),
            base=self._base.base,
            new=rated,
            past=rated.select(np.zeros(len(rated), bool)),
            parent=None,
            state=None,
            new_compared=NO_COMPARISONS,
        )
