"""The paper's claim, tried: the prevailing paradigm against PAA+ in full and with each of its stages taken away.

Everybody gives the same number of answers under every method, and each counts as one: a rating of an image, or a choice
between two. The prevailing paradigm asks for ratings alone. PAA+ begins with a quiz of adaptive pairs, then asks for
ratings; images are rated in one order under all methods.

* `prevailing`: one generic model; the user's ratings fine-tune it anew, with no prior but where it starts (bottleneck).
* `prevailing_shrunken`: the same ratings and generic model with the platform's own learner: the closed form.
* `paa+`: quiz, match with expert models (`scoring/matching.py`), closed form on all answers so far.
* `no_experts`: the same, from the generic model: the quiz is chosen under the prior in force, nobody is matched.
* `no_selection`: the quiz as in `paa+`, but the match is with an expert drawn at random.
* `no_fine_tuning`: matched by the quiz; nothing after it is learned.
* `no_continual`: matched, fine-tuned once at the second stop, and nothing after it is learned.
* `no_quiz`: matched, but all answers are ratings.
* `gradient`: `paa+` with a bottleneck around the match, trained increment by increment with replay and EWC.
* `forgetting`: the same, each increment fine-tuned alone (naive).

Shape letters: U = people, T = stops (numbers of answers).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from paaplus.configs import TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.checks import check_limit, check_numbers
from paaplus.evaluation.matching.expert_base import ExpertsStage, NewUser, Pair
from paaplus.evaluation.paired import Measured, about, entry, stacked
from paaplus.evaluation.rounds import PeopleCounter, Progress, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.closed_form import fit
from paaplus.scoring.experts import Panel
from paaplus.scoring.matching import select
from paaplus.scoring.priors import Prior
from paaplus.training import TrainingRequest, train

FULL = "paa+"
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


@dataclass(frozen=True)
class ParadigmConfig:
    """What is compared: stops, each a number of answers; the quiz is over at the first above 0."""

    answers: tuple[int, ...] = (0, 10, 25, 50, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    limit_people: int | None = None  # test people a seed, the first of the split
    training: TrainingConfig = field(default_factory=TrainingConfig)  # of the gradient methods

    def __post_init__(self) -> None:
        if len(self.answers) < 3 or self.answers[0] != 0 or list(self.answers) != sorted(set(self.answers)):
            raise InvalidInput(f"answers {list(self.answers)}: from 0 upwards, three stops at least")
        check_numbers("seeds", self.seeds)
        check_limit(self.limit_people)

    @property
    def num_pairs(self) -> int:
        return self.answers[1]


def run_paradigm(
    data: EvaluationData, make_split: MakeSplit, config: ParadigmConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Evaluate on every seed's split; arguments like those of `kshot.run_kshot`.

    Returns:
        `summary` (per stop: every method, beside `paa+`) and `config`, ready for JSON.

    Raises:
        InvalidInput: a split that does not fit the folder, or leaves nobody to judge by.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    count = PeopleCounter(plan, progress)
    measured: list[Measured] = []
    for each in plan:
        stage = ExpertsStage(data, each)
        panels = stage.panel(None), Panel.of(stage.base, stage.prior, ())
        for user_id in each.people:
            user = stage.user(user_id)
            generic = stage.srcc(user, None)
            found = _Paths(stage, user, config, *panels).measure() if np.isfinite(generic) else {}
            measured.append(Measured(user_id, each.seed, len(stage.experts), generic, found))
            count.add()
    return document_of(data, config, measured)


def document_of(data: EvaluationData, config: ParadigmConfig, measured: Sequence[Measured]) -> dict[str, Any]:
    """Means and intervals over what was measured, ready for JSON."""
    people, generic_U, srcc_by_method = stacked(measured)
    summary = [
        {"state": f"{answers} answers", "answers": answers}
        | {
            method: entry(people, srcc_UT[:, t], generic_U, srcc_by_method[FULL][:, t])
            for method, srcc_UT in srcc_by_method.items()
        }
        for t, answers in enumerate(config.answers)
    ]
    return {
        "summary": summary,
        "config": {
            **about(data, measured),
            "answers": list(config.answers),
            "quiz_pairs": config.num_pairs,
            "seeds": list(config.seeds),
            "limit_people": config.limit_people,
        },
    }


class _Paths:
    """One test person's way through all stops, under every method."""

    def __init__(self, stage: ExpertsStage, user: NewUser, config: ParadigmConfig, panel: Panel, nobody: Panel) -> None:
        self._stage, self._user, self._config, self._panel, self._nobody = stage, user, config, panel, nobody

    def measure(self) -> dict[str, np.ndarray]:
        """By method, SRCC at every stop."""
        stage, user, config = self._stage, self._user, self._config
        quiz, alone = (stage.quiz(user, panel, config.num_pairs) for panel in (self._panel, self._nobody))
        rng = np.random.default_rng([stage.seed, zlib.crc32(user.user_id.encode())])
        random_expert = self._panel.around(self._panel.experts[rng.integers(len(self._panel.experts))])
        at: dict[str, list[float]] = {method: [] for method in METHODS}
        for answers in config.answers:
            asked = self._said(quiz, answers)
            matched = self._match(*asked)
            at[FULL].append(stage.known(user, matched, *asked))
            for method, last in (("no_fine_tuning", config.answers[1]), ("no_continual", config.answers[2])):
                at[method].append(at[FULL][min(len(at[FULL]) - 1, config.answers.index(last))])
            ratings = stage.rated(user, user.support[:answers])
            by_ratings = self._match(ratings, NO_COMPARISONS)
            at["prevailing"].append(self._fine_tuned(ratings))
            at["prevailing_shrunken"].append(stage.known(user, stage.prior, ratings, NO_COMPARISONS))
            at["no_experts"].append(stage.known(user, stage.prior, *self._said(alone, answers)))
            at["no_selection"].append(stage.known(user, random_expert, *asked))
            at["no_quiz"].append(stage.known(user, by_ratings, ratings, NO_COMPARISONS))
        for method, strategy in (("gradient", "replay_ewc"), ("forgetting", "naive")):
            at[method] = self._increments(strategy, quiz)
        return {method: np.array(values) for method, values in at.items()}

    def _said(self, quiz: Sequence[Pair], answers: int) -> tuple[RatedSet, ComparedSet]:
        """The first answers of a person of PAA+: the quiz, then ratings."""
        num_pairs = min(answers, len(quiz))
        rated = self._stage.rated(self._user, self._user.support[: answers - num_pairs])
        return rated, self._stage.compared(self._user, quiz[:num_pairs])

    def _match(self, rated: RatedSet, compared: ComparedSet) -> Prior:
        stage = self._stage
        selection = select(stage.base, stage.prior, self._panel.experts, rated, compared, panel=self._panel)
        return selection.prior or stage.prior

    def _fine_tuned(self, rated: RatedSet) -> float:
        """The prevailing way: all labels at once, from the generic model, held by no prior."""
        if not len(rated):
            return self._stage.srcc(self._user, None)
        request = self._request("joint", rated, NO_COMPARISONS)
        request = replace(request, config=replace(request.config, prior_strength=0.0))
        return self._stage.srcc(self._user, train(request).adapter)

    def _increments(self, strategy: str, quiz: Sequence[Pair]) -> list[float]:
        """A strategy that goes on from stop to stop, around the match that the quiz gave."""
        stage, user = self._stage, self._user
        rated, compared = self._said(quiz, self._config.num_pairs)
        nothing = stage.rated(user, ())
        center = fit(stage.base, self._match(rated, compared), nothing, NO_COMPARISONS).adapter
        found = [stage.known(user, self._match(nothing, NO_COMPARISONS), nothing, NO_COMPARISONS)]
        request = replace(self._request(strategy, nothing, NO_COMPARISONS), center=center)
        before: tuple[RatedSet, ComparedSet] = (nothing, NO_COMPARISONS)
        for answers in self._config.answers[1:]:
            now = self._said(quiz, answers)
            num_rated, num_compared = len(before[0]), len(before[1])
            request = replace(
                request,
                new=now[0].select(np.arange(num_rated, len(now[0]))),
                past=before[0],
                new_compared=now[1].select(np.arange(num_compared, len(now[1]))),
                past_compared=before[1],
            )
            trained = train(request)
            found.append(stage.srcc(user, trained.adapter))
            request = replace(request, parent=trained.adapter, state=trained.state)
            before = now
        return found

    def _request(self, strategy: str, rated: RatedSet, compared: ComparedSet) -> TrainingRequest:
        return TrainingRequest(
            strategy=strategy,
            adapter_kind="bottleneck",
            config=replace(self._config.training, seed=self._stage.seed),
            base=self._stage.base,
            new=rated,
            past=rated.select(np.zeros(len(rated), bool)),
            parent=None,
            state=None,
            new_compared=compared,
        )
