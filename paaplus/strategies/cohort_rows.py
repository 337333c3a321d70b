"""One member of a cohort: its increment as rows that point at images, and what it goes on from.

Rows are what `FeedbackData` is to `train`, without the copies: a buffered row costs its image, not the whole past. How
many columns a step has depends on the member's own rows only: sums over padded columns must not depend on company.
Shape letters: N = rows, T = images, K = buffered rows, R = taste space dim, A = aspects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from paaplus.configs import TrainingConfig
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.adapters import Bottleneck
from paaplus.strategies.base import TrainingRequest
from paaplus.strategies.cohort_bank import ALIGNMENT
from paaplus.strategies.cohort_lessons import DarkScores, Lessons, from_memory, from_parent
from paaplus.strategies.consolidation import SeenFeedback, importances_of
from paaplus.strategies.gradient import generator_of, load_state
from paaplus.strategies.modules import AdapterModule, build_module
from paaplus.strategies.recency import ageing
from paaplus.strategies.reservoir import KeyedSample


@dataclass(frozen=True)
class Recipe:
    """What a strategy that can be fused is made of; each part as in the file of its name."""

    counts_from_parent: bool  # the prior's centre is the parent instead of no change
    replays: bool = False
    consolidates: str = ""  # the name of its importances in the learner state: "fisher", "path", "mas" or none
    distils: bool = False
    remembers: bool = False  # the scores that buffered rows had when they were learned

    def strength(self, config: TrainingConfig) -> float:
        """Of the consolidation."""
        strengths = {"fisher": config.ewc_lambda, "path": config.si_lambda, "mas": config.mas_lambda}
        return strengths.get(self.consolidates, 0.0)


# The other strategies are trained one user at a time.
RECIPES = {
    "naive": Recipe(counts_from_parent=True),
    "replay": Recipe(counts_from_parent=False, replays=True),
    "ewc": Recipe(counts_from_parent=True, consolidates="fisher"),
    "si": Recipe(counts_from_parent=True, consolidates="path"),
    "mas": Recipe(counts_from_parent=True, consolidates="mas"),
    "distillation": Recipe(counts_from_parent=True, distils=True),
    "derpp": Recipe(counts_from_parent=False, replays=True, remembers=True),
    "replay_ewc": Recipe(counts_from_parent=False, replays=True, consolidates="fisher"),
    "replay_si": Recipe(counts_from_parent=False, replays=True, consolidates="path"),
}

_FEWEST_COLUMNS = (
    32  # if any: fewer would save less than the more stacks cost that people of different amounts fall into
)


@dataclass(frozen=True, eq=False)
class Images:
    """Images as a module reads them."""

    taste_TR: np.ndarray
    generic_TA: np.ndarray

    def __len__(self) -> int:
        return len(self.taste_TR)


@dataclass(frozen=True, eq=False)
class Rows:
    """Feedback in a given order. Positions are those of `images`; a rating has no other image (-1)."""

    image_N: np.ndarray
    other_N: np.ndarray
    target_NA: np.ndarray
    preference_NA: np.ndarray
    weight_N: np.ndarray
    sequence_N: np.ndarray

    def __len__(self) -> int:
        return len(self.image_N)

    def take(self, index_N: np.ndarray) -> Rows:
        return Rows(**{field.name: getattr(self, field.name)[index_N] for field in fields(self)})

    def seen_images(self) -> np.ndarray:
        """Positions of the images that rows are about, then those of the second ones of comparisons."""
        return np.concatenate([self.image_N, self.other_N[self.other_N >= 0]])


def rows_of(rated: RatedSet, compared: ComparedSet) -> tuple[Rows, list[Images]]:
    """Ratings and comparisons in order of sequence, and their images: rated, first and second ones of comparisons."""
    num_rated, num_compared, num_aspects = len(rated), len(compared), rated.num_aspects
    images = [Images(rated.taste_NR, rated.generic_NA)]
    ratings = Rows(
        image_N=np.arange(num_rated),
        other_N=np.full(num_rated, -1),
        target_NA=rated.target_NA,
        preference_NA=np.full((num_rated, num_aspects), np.nan, np.float32),
        weight_N=rated.weight_N,
        sequence_N=rated.sequence_N,
    )
    if not num_compared:
        return ratings, images
    images += [
        Images(compared.first_taste_CR, compared.first_generic_CA),
        Images(compared.second_taste_CR, compared.second_generic_CA),
    ]
    comparisons = Rows(
        image_N=np.arange(num_rated, num_rated + num_compared),
        other_N=np.arange(num_rated + num_compared, num_rated + 2 * num_compared),
        target_NA=np.full((num_compared, num_aspects), np.nan, np.float32),
        preference_NA=compared.preference_CA,
        weight_N=compared.weight_C,
        sequence_N=compared.sequence_C,
    )
    both = joined(ratings, comparisons)
    return both.take(np.argsort(both.sequence_N, kind="stable")), images


def joined(first: Rows, second: Rows) -> Rows:
    """Rows that point into one list of images, one after the other."""
    return Rows(*(np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Rows)))


class Columns(NamedTuple):
    """How many columns a step has for one member: rows, second images of comparisons, images with lessons."""

    rows: int
    pairs: int
    taught: int


@dataclass(frozen=True, eq=False)
class Member:
    """One user of a cohort, ready to be stacked. `rows` are the new ones, then the buffered ones."""

    position: int  # among the requests
    request: TrainingRequest
    recipe: Recipe
    state: Mapping[str, np.ndarray]  # the parent's
    ageing: float
    sample: KeyedSample
    seen: SeenFeedback
    dark: DarkScores
    rows: Rows
    images: list[Images]
    lessons: Lessons | None
    start: AdapterModule | None  # at the request's centre; None: no change
    num_new: int
    generator: torch.Generator
    is_whole: bool  # nothing of what the importances saw has been taken back

    @classmethod
    def of(cls, position: int, request: TrainingRequest) -> Member:
        """Read a request, its weights aged already.

        Raises:
            InvalidInput: the learner state is none, another adapter's, or incomplete; nobody can start at the centre.
        """
        recipe, config = RECIPES[request.strategy], request.config
        state = load_state(request.state, request.parent)
        past_sequence_N = np.sort(np.concatenate([request.past.sequence_N, request.past_compared.sequence_C]))
        sample, seen, dark = KeyedSample(config.buffer_size, config.seed), SeenFeedback(), DarkScores()
        is_whole = True
        if recipe.replays:
            sample.restore(state, past_sequence_N)
        if recipe.consolidates:
            is_whole = seen.restore(state, recipe.consolidates, past_sequence_N)
        if recipe.remembers:
            dark.restore(state, sample.sequence_K)
        rows, images = rows_of(request.new, request.new_compared)
        num_new, lessons = len(rows), None
        if len(sample.sequence_K):
            buffered, buffered_images = _buffered(request, sample.sequence_K)
            rows = joined(rows, _moved(buffered, sum(len(each) for each in images)))
            images = [*images, *buffered_images]
        if recipe.distils and len(past_sequence_N):
            pool = _in_row_order(*rows_of(request.past, request.past_compared))
            first = sum(len(each) for each in images)
            lessons = from_parent(request, first + np.arange(sum(len(each) for each in pool)), rows.seen_images())
            images = [*images, *pool]
        if recipe.remembers:
            lessons = from_memory(request, dark, rows.take(np.arange(num_new, len(rows))), num_new)
        return cls(
            position=position,
            request=request,
            recipe=recipe,
            state=state,
            ageing=ageing(request),
            sample=sample,
            seen=seen,
            dark=dark,
            rows=rows,
            images=images,
            lessons=lessons,
            start=_start(request),
            num_new=num_new,
            generator=generator_of(request),
            is_whole=is_whole,
        )

    def check_importances(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Look at the importances that the training will go on from, while an error concerns this member only.

        Raises:
            InvalidInput: the learner state holds none, or others than of parameters of these shapes.
        """
        if self.recipe.consolidates and self.seen.num_increments:
            importances_of(self.state, self.recipe.consolidates, shapes)

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Rows there are and rows a step, of new and of buffered feedback; empty ones are left out."""
        config = self.request.config
        both = [(self.num_new, config.batch_size), (len(self.rows) - self.num_new, config.replay_batch_size)]
        return [(count, min(count, batch_size)) for count, batch_size in both if min(count, batch_size)]

    @property
    def num_rows(self) -> int:
        """Rows of feedback that the batches stand for."""
        return sum(count for count, _ in self.parts)

    @cached_property
    def columns(self) -> Columns:
        """Enough for every step, and of few different sizes: what members of one stack agree in."""
        config = self.request.config
        most = config.batch_size + config.replay_batch_size
        num_pairs, first = 0, 0
        for count, size in self.parts:
            num_compared = int((self.rows.other_N[first : first + count] >= 0).sum())
            # A step that ends one round through the rows and begins another may meet one twice.
            num_pairs += num_compared if size == count else min(size, 2 * num_compared)
            first += count
        return Columns(
            rows=_padded(sum(size for _, size in self.parts), most),
            pairs=_padded(num_pairs, most),
            taught=_padded(self.lessons.num_columns) if self.lessons else 0,
        )

    @property
    def rank(self) -> int:
        parent = self.request.parent
        return len(parent.up_HA) if isinstance(parent, Bottleneck) else self.request.config.rank

    @cached_property
    def new(self) -> Rows:
        return self.rows.take(np.arange(self.num_new))


def _padded(count: int, most: int | None = None) -> int:
    """The next power of two, or what is enough for `most`; multiples of 16, so that users begin at cache lines."""
    if not count:
        return 0
    power = max(_FEWEST_COLUMNS, 1 << (count - 1).bit_length())
    return power if most is None else min(power, -(-most // ALIGNMENT) * ALIGNMENT)


def _start(request: TrainingRequest) -> AdapterModule | None:
    if request.center is None:
        return None
    rank = len(request.parent.up_HA) if isinstance(request.parent, Bottleneck) else request.config.rank
    return build_module(request.adapter_kind, request.base, rank, None, request.center)


def _buffered(request: TrainingRequest, sequence_K: np.ndarray) -> tuple[Rows, list[Images]]:
    """The rows of the past with these sequence numbers, in this order."""
    rated = request.past.select(np.isin(request.past.sequence_N, sequence_K))
    compared = request.past_compared.select(np.isin(request.past_compared.sequence_C, sequence_K))
    rows, images = rows_of(rated, compared)
    return rows.take(np.searchsorted(rows.sequence_N, sequence_K)), images


def _moved(rows: Rows, num_before: int) -> Rows:
    """The rows, with their images after so many others."""
    columns = {field.name: getattr(rows, field.name) for field in fields(Rows)}
    columns["image_N"] = rows.image_N + num_before
    columns["other_N"] = np.where(rows.other_N < 0, -1, rows.other_N + num_before)
    return Rows(**columns)


def _in_row_order(rows: Rows, images: list[Images]) -> list[Images]:
    """The images that rows are about, then the second ones of comparisons: the order in which a pool is drawn from."""
    if len(images) == 1:
        return images
    taste_TR = np.concatenate([each.taste_TR for each in images])
    generic_TA = np.concatenate([each.generic_TA for each in images])
    order_T = rows.seen_images()
    return [Images(taste_TR[order_T], generic_TA[order_T])]
