"""Simulated people on the tiny base model, as rated sets, for tests of learning."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from paaplus import strategy_facts
from paaplus.configs import ADAPTER_STRATEGIES, TrainingConfig
from paaplus.errors import PaaplusError
from paaplus.records import DISLIKED, LIKED, NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import SCORE_CENTER
from paaplus.training import Trained, TrainingRequest
from tests.support.tiny import tiny_base

PAIRS = [(strategy, kind) for kind, strategies in ADAPTER_STRATEGIES.items() for strategy in strategies]
# Trained in steps: the strategies with `plugins`. Those with `fit` instead do without.
STEP_PAIRS = [pair for pair in PAIRS if hasattr(importlib.import_module(strategy_facts.modules()[pair[0]]), "plugins")]
# Fewer steps and smaller batches than the defaults: enough to learn something, and every batch is a real draw.
SMALL = TrainingConfig(num_steps=30, batch_size=8, replay_batch_size=8, buffer_size=16, rank=6)


def base_of(num_aspects: int = 2) -> BaseScorer:
    """A base model on which ratings say a lot: people differ by more than they err."""
    return tiny_base(aspects=tuple(f"aspect{a}" for a in range(num_aspects)))


def base_of_dim(taste_dim: int, num_aspects: int = 1) -> BaseScorer:
    """The tiny base model with a taste space of so many dims."""
    tiny = base_of(num_aspects)
    features = np.eye(tiny.map_QR.shape[0], taste_dim, dtype=np.float32)
    wide = np.zeros((taste_dim, len(tiny.aspects)), np.float32)
    return replace(tiny, map_QR=features, shift_R=np.zeros(taste_dim, np.float32), head_weight_RA=wide)


def person(base: BaseScorer, seed: int = 0) -> np.ndarray:
    """Someone's taste: weights that a rating adds to the generic score, shape (R, A)."""
    rng = np.random.default_rng([7, seed])
    return rng.normal(size=(base.taste_dim, len(base.aspects))) * base.prior_sd_A


def ratings(
    base: BaseScorer,
    weight_RA: np.ndarray,
    count: int,
    *,
    first_sequence: int = 1,
    seed: int = 0,
    missing: float = 0.2,
    noise: float = 0.3,
) -> RatedSet:
    """`count` ratings of random images by the person with these weights, some aspects missing."""
    rng = np.random.default_rng([seed, first_sequence])
    taste_NR = rng.normal(size=(count, base.taste_dim)).astype(np.float32) / np.sqrt(base.taste_dim)
    generic_NA = rng.uniform(4, 6, (count, len(base.aspects))).astype(np.float32)
    target_NA = generic_NA + taste_NR @ weight_RA + noise * rng.normal(size=generic_NA.shape)
    target_NA[rng.random(target_NA.shape) < missing] = np.nan
    sequence_N = np.arange(first_sequence, first_sequence + count)
    return RatedSet.of(sequence_N, taste_NR, generic_NA, np.clip(target_NA, 0, 10))


def comparisons(
    base: BaseScorer, weight_RA: np.ndarray, count: int, *, first_sequence: int = 1, seed: int = 0
) -> ComparedSet:
    """`count` comparisons of random images by the person with these weights: a tie where they differ by little."""
    rng = np.random.default_rng([seed, first_sequence, 1])
    taste_2CR = rng.normal(size=(2, count, base.taste_dim)).astype(np.float32) / np.sqrt(base.taste_dim)
    generic_2CA = rng.uniform(4, 6, (2, count, len(base.aspects))).astype(np.float32)
    value_2CA = generic_2CA + taste_2CR @ weight_RA
    difference_CA = value_2CA[0] - value_2CA[1]
    preference_CA = np.where(np.abs(difference_CA) < 0.3, 0.5, difference_CA > 0)
    sequence_C = np.arange(first_sequence, first_sequence + count)
    return ComparedSet.of(sequence_C, taste_2CR[0], generic_2CA[0], taste_2CR[1], generic_2CA[1], preference_CA)


def likes(
    base: BaseScorer,
    weight_RA: np.ndarray,
    count: int,
    *,
    middle: float = 5.0,
    first_sequence: int = 1,
    seed: int = 0,
    noise: float = 0.3,
) -> ComparedSet:
    """`count` likes and dislikes of random images by the person with these weights: what is above `middle` is liked."""
    rated = ratings(base, weight_RA, count, first_sequence=first_sequence, seed=seed + 1, missing=0.0, noise=0.0)
    rng = np.random.default_rng([seed, first_sequence, 2])
    value_CA = rated.generic_NA + rated.taste_NR @ weight_RA + noise * rng.normal(size=rated.target_NA.shape)
    preference_CA = np.where(value_CA > middle, LIKED, DISLIKED)
    taste_CR, generic_CA = rated.taste_NR, rated.generic_NA
    return ComparedSet.of(rated.sequence_N, taste_CR, generic_CA, taste_CR, generic_CA, preference_CA)


def none_of(rated: RatedSet) -> RatedSet:
    """No rows, of the same shape."""
    return rated.select(np.zeros(len(rated), bool))


def first_request(
    strategy: str, kind: str, base: BaseScorer, new: RatedSet, config: TrainingConfig = SMALL
) -> TrainingRequest:
    """The first increment of someone."""
    return TrainingRequest(strategy, kind, config, base, new, none_of(new), parent=None, state=None)


def next_request(request: TrainingRequest, trained: object, new: RatedSet) -> TrainingRequest:
    """The increment after `request`, going on from what it gave."""
    return replace(
        request,
        new=new,
        past=RatedSet.concatenate(request.past, request.new),
        new_compared=NO_COMPARISONS,
        past_compared=ComparedSet.concatenate(request.past_compared, request.new_compared),
        parent=trained.adapter,  # type: ignore[attr-defined]
        state=trained.state,  # type: ignore[attr-defined]
    )


def trained_of(outcomes: Sequence[Trained | PaaplusError]) -> list[Trained]:
    """What a stack gave, if it gave everybody something; else the first error."""
    trained = []
    for outcome in outcomes:
        if isinstance(outcome, PaaplusError):
            raise outcome
        trained.append(outcome)
    return trained


def taste_of(base: BaseScorer, weight_RA: np.ndarray, *, offset: float = 0.0, slope: float = 0.0) -> TasteVector:
    """The taste vector of somebody with these weights, who also uses the scale in their own way."""
    num_aspects = len(base.aspects)
    return TasteVector(
        base.digest,
        alpha_A=np.full(num_aspects, 1.0 + slope, np.float32),
        beta_A=np.full(num_aspects, offset - slope * SCORE_CENTER, np.float32),
        weight_RA=weight_RA.astype(np.float32),
    )
