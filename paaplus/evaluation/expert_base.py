"""One split of a data folder as a model base of experts: train people act as experts, test people as new users.

An expert's model is the closed form on all of the expert's ratings of train images. A pair of images is answered by
comparing the person's ratings of the two: the person prefers the higher rated image; equal ratings are a tie.

Shape letters: I = images, N = ratings, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from paaplus.evaluation.agreement import mean_srcc, scores
from paaplus.evaluation.bands import Bands
from paaplus.evaluation.closed_form import learned
from paaplus.evaluation.rounds import Round
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring import check_pairs
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.experts import Expert, Panel
from paaplus.scoring.matching import next_pair
from paaplus.scoring.priors import OwnPrior, Prior

_FIRST_PAIR = 1_000_000  # first sequence number of comparisons, above those of ratings

Pair = tuple[int, int]


@dataclass(frozen=True)
class NewUser:
    """A test person: the images to ask about (`support`, in order) and to measure on (`test`), by position."""

    user_id: str
    score_of: dict[int, np.ndarray]
    support: tuple[int, ...]
    test: np.ndarray


class ExpertBase:
    """A base model of the train side, the train people as experts, and the ratings and answers of new users."""

    def __init__(self, data: EvaluationData, round_: Round, bands: Bands | None = None) -> None:
        self._side = TrainSide("experts", data, round_.split)
        self._split, self.seed = round_.split, round_.seed
        self._bands = bands or Bands(data.folder)
        self.base = self._side.base
        self.prior = OwnPrior(self.base)
        self.experts = [self._expert(user_id) for user_id in sorted(round_.split.train_people)]

    def panel(self, num_experts: int | None) -> Panel:
        """A panel of `num_experts` experts that the seed draws; of all experts for `None`."""
        if num_experts is None or num_experts >= len(self.experts):
            return Panel.of(self.base, self.prior, self.experts)
        drawn = np.random.default_rng([self.seed, num_experts]).choice(len(self.experts), num_experts, replace=False)
        return Panel.of(self.base, self.prior, [self.experts[i] for i in drawn])

    def user(self, user_id: str) -> NewUser:
        """A test person as a new user."""
        score_of = self._side.score_of[user_id]
        support = [self._side.image_at[image] for image in self._split.support(user_id, len(score_of))]
        return NewUser(user_id, score_of, tuple(support), self._side.test_images(user_id))

    def rated(self, user: NewUser, images: Sequence[int] | np.ndarray) -> RatedSet:
        """The user's ratings of these images, in this order."""
        return self._side.rated(user.user_id, images)

    def rated_in_training(self, user_id: str) -> RatedSet:
        """A train person's ratings of train images, in the order of the images."""
        return self._side.rated(user_id, sorted(self._side.train_images(user_id)))

    def compared(self, user: NewUser, pairs: Sequence[Pair]) -> ComparedSet:
        """The user's answers to these pairs, worked out from the user's ratings; to a pair that is asked again, one."""
        if not pairs:
            return NO_COMPARISONS
        pairs = list({frozenset(pair): pair for pair in pairs}.values())
        first, second = np.array(pairs).T
        difference_CA = np.array([user.score_of[i] - user.score_of[j] for i, j in pairs])
        return ComparedSet.of(
            np.arange(_FIRST_PAIR, _FIRST_PAIR + len(pairs)),
            self._side.taste_IR[first],
            self._side.generic_IA[first],
            self._side.taste_IR[second],
            self._side.generic_IA[second],
            np.where(np.isnan(difference_CA), np.nan, (np.sign(difference_CA) + 1.0) / 2.0),
        )

    def quiz(self, user: NewUser, panel: Panel, num_pairs: int) -> list[Pair]:
        """The pairs of an adaptive quiz on the user's rated train images; each depends on the answers before it.

        As in a quiz that the platform asks, some are asked again (`scoring.check_pairs`).
        """
        pool = np.array(sorted(user.support), np.int64)
        at = {int(image): position for position, image in enumerate(pool)}
        generic = {int(image): self._side.generic_IA[image] for image in pool}
        pairs: list[Pair] = []
        while len(pairs) < num_pairs:
            question = next_pair(
                self.base,
                self.prior,
                panel.experts,
                self.rated(user, ()),
                self.compared(user, pairs),
                self._side.taste_IR[pool],
                self._side.generic_IA[pool],
                asked=[(at[first], at[second]) for first, second in pairs],
                seed=self.seed,
                panel=panel,
            )
            if question is None:
                break
            if check_pairs.is_due(len(pairs)) and (
                again := check_pairs.choose(pairs, generic, partial(_prefers, user))
            ):
                pairs.append(again)
                continue
            pairs.append((int(pool[question.first]), int(pool[question.second])))
        return pairs

    def random_pairs(self, user: NewUser, num_pairs: int) -> list[Pair]:
        """Pairs of the first images of the support; each image is in one pair."""
        images = user.support[: 2 * num_pairs]
        return list(zip(images[::2], images[1::2], strict=False))

    def srcc(self, user: NewUser, adapter: Adapter | None, band: str | None = None) -> float:
        """SRCC of an adapter (of the generic score for `None`) on the user's test images; NaN where it is undefined.

        With `band`, the scores also count in the row of that name among the errors where ratings are rare.
        """
        score_NA = scores(adapter, self.rated(user, user.test))
        target_NA = self._side.targets(user.user_id, user.test)
        if band is not None:
            self._bands.add(band, user.user_id, score_NA, target_NA, user.test)
        return mean_srcc(score_NA, target_NA)

    def srcc_after(
        self, user: NewUser, prior: Prior, rated: RatedSet, compared: ComparedSet, band: str | None = None
    ) -> float:
        """SRCC of the closed form that starts from a prior and is trained on these ratings and comparisons."""
        return self.srcc(user, learned(self.base, rated, compared, prior), band)

    def _expert(self, user_id: str) -> Expert:
        rated = self._side.rated(user_id, self._side.train_images(user_id))
        return Expert(user_id, learned(self.base, rated), len(rated))


def _prefers(user: NewUser, pair: Pair) -> bool:
    """Whether the user rated the two images differently on any aspect."""
    difference_A = user.score_of[pair[0]] - user.score_of[pair[1]]
    return bool(np.any(np.nan_to_num(difference_A) != 0.0))
