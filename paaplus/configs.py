"""Configurations of training, gate, drift and policy: frozen values that are checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from paaplus.errors import InvalidInput
from paaplus.strategy_facts import facts

# Read from the strategies' files, so that the API can refuse an unknown one without loading torch.
STRATEGY_NAMES = tuple(facts())
ADAPTER_STRATEGIES: dict[str, tuple[str, ...]] = {
    kind: tuple(name for name, each in facts().items() if kind in each.adapters)
    for kind in ("taste_vector", "bottleneck")
}
MATCH_STRATEGY = "match"  # `AdapterRow.strategy` of versions that a match made
# Start from the taste prior in force; the others from the base model's own.
PRIOR_STRATEGIES = tuple(name for name, each in facts().items() if each.prior == "learned")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    """Check that a value is within bounds, and an integer if the bounds are integers."""
    kinds: tuple[type, ...] = (int,) if isinstance(low, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        what = "a whole number" if kinds == (int,) else "a number"
        raise InvalidInput(f"{name} must be {what} from {low} to {high}, got {value!r}")


class _FromDict:
    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make from JSON. An unknown name is an error; a missing one has its default."""
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(values) - known):
            raise InvalidInput(f"unknown {cls.__name__} field(s) {unknown}; known: {sorted(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the values are numbers, texts, and other configurations."""
        values = vars(self)
        return {name: each.to_dict() if isinstance(each, _FromDict) else each for name, each in values.items()}


@dataclass(frozen=True)
class TrainingConfig(_FromDict):
    """How one increment is trained; `bayes` uses `recency_half_life` only. Measured in docs/decisions/0005."""

    num_steps: int = 60  # whatever the amount of data
    batch_size: int = 32  # new ratings a step
    replay_batch_size: int = 32  # buffered ratings a step
    buffer_size: int = 256
    learning_rate: float = 0.05  # in prior standard deviations of a parameter; falls to 0 over the steps
    prior_strength: float = 1.0  # 1: the base model's taste prior as it was fitted
    rank: int = 16  # hidden units of a new bottleneck
    ewc_lambda: float = 1.0  # 1: earlier ratings count like new ones, in the diagonal approximation
    ewc_decay: float = 0.9  # factor of the former importances at each increment; also of SI and MAS
    si_lambda: float = 1.0  # in the units of `ewc_lambda`
    mas_lambda: float = 1.0
    distillation_pool: float = 1.0  # 1: a pool image counts like a rating equal to the parent's score
    distillation_batch: float = 0.1  # the same for the images of new ratings
    derpp_alpha: float = 0.5  # the same for buffered rows, beside their ratings
    recency_half_life: float = 0.0  # number of later events that halve a weight; 0: all weights are equal
    seed: int = 0

    def __post_init__(self) -> None:
        _check_range("num_steps", self.num_steps, 1, 100_000)
        _check_range("batch_size", self.batch_size, 1, 4096)
        _check_range("replay_batch_size", self.replay_batch_size, 0, 4096)
        _check_range("buffer_size", self.buffer_size, 0, 100_000)
        _check_range("learning_rate", self.learning_rate, 1e-8, 10.0)
        _check_range("prior_strength", self.prior_strength, 0.0, 1e3)
        _check_range("rank", self.rank, 1, 64)
        _check_range("ewc_lambda", self.ewc_lambda, 0.0, 1e6)
        _check_range("ewc_decay", self.ewc_decay, 0.0, 1.0)
        _check_range("si_lambda", self.si_lambda, 0.0, 1e6)
        _check_range("mas_lambda", self.mas_lambda, 0.0, 1e6)
        _check_range("distillation_pool", self.distillation_pool, 0.0, 1e3)
        _check_range("distillation_batch", self.distillation_batch, 0.0, 1e3)
        _check_range("derpp_alpha", self.derpp_alpha, 0.0, 1e3)
        _check_range("recency_half_life", self.recency_half_life, 0.0, 1e6)
        _check_range("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class GateConfig(_FromDict):
    """When a candidate becomes active. Losses are squared errors on the 0-10 score scale. Measured in decision 0006."""

    min_order_odds: float = 3.0  # that all feedback follows an order, before a first version goes live
    min_evidence: int = 5  # unseen ratings or comparisons; with fewer, a check is not made
    margin: float = 0.05  # loss that a candidate may add and still count as not worse
    min_probability: float = 0.1  # of not being worse; a candidate below it is refused
    forgetting_margin: float = 0.15  # like `margin`, on ratings of earlier increments
    max_negative_flip_rate: float = 0.02  # like `margin`, for the net share of negative flips
    comparison_margin: float = 0.1  # like `margin`, for the log loss on comparisons
    robustness_budget: float = 0.0  # mean change of pixels, 0-1, that filters may make; 0: robustness is not checked
    max_rasr_rise: float = 10.0  # percentage points that filters may raise more of a candidate's scores than before
    max_msi_rise: float = 0.2  # score points that filters may raise a candidate's scores further than before

    def __post_init__(self) -> None:
        _check_range("min_order_odds", self.min_order_odds, 1.0, 1e6)
        _check_range("min_evidence", self.min_evidence, 2, 10_000)
        _check_range("margin", self.margin, 0.0, 10.0)
        _check_range("min_probability", self.min_probability, 0.0, 1.0)
        _check_range("forgetting_margin", self.forgetting_margin, 0.0, 10.0)
        _check_range("max_negative_flip_rate", self.max_negative_flip_rate, 0.0, 1.0)
        _check_range("comparison_margin", self.comparison_margin, 0.0, 10.0)
        _check_range("robustness_budget", self.robustness_budget, 0.0, 1.0)
        _check_range("max_rasr_rise", self.max_rasr_rise, 0.0, 100.0)
        _check_range("max_msi_rise", self.max_msi_rise, 0.0, 10.0)


@dataclass(frozen=True)
class DriftConfig(_FromDict):
    """When a user counts as drifting, and what follows. Errors are in score points. Measured in decision 0015."""

    tolerance: float = 0.2  # growth of the mean error that is ignored
    threshold: float = 15.0  # sum of errors above the tolerance that counts as drift
    min_ratings: int = 20  # before the first alarm
    recency_half_life: float = 50.0  # of a user who has drifted, if shorter than the policy's; 0: no change

    def __post_init__(self) -> None:
        _check_range("tolerance", self.tolerance, 0.0, 10.0)
        _check_range("threshold", self.threshold, 0.0, 1e6)
        _check_range("min_ratings", self.min_ratings, 1, 1_000_000)
        _check_range("recency_half_life", self.recency_half_life, 0.0, 1e6)


@dataclass(frozen=True)
class Policy(_FromDict):
    """How and when a user is trained. There is a default policy; a user may override any field."""

    adapter: str = "taste_vector"
    strategy: str = "bayes"
    min_new_feedback: int = 10
    max_interval_s: float = 86_400.0
    paused: bool = False
    training: TrainingConfig = field(default_factory=TrainingConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)

    def __post_init__(self) -> None:
        if self.adapter not in ADAPTER_STRATEGIES:
            raise InvalidInput(f"unknown adapter {self.adapter!r}; known: {sorted(ADAPTER_STRATEGIES)}")
        if self.strategy not in ADAPTER_STRATEGIES[self.adapter]:
            raise InvalidInput(
                f"strategy {self.strategy!r} cannot train adapter {self.adapter!r}; "
                f"possible: {list(ADAPTER_STRATEGIES[self.adapter])}"
            )
        _check_range("min_new_feedback", self.min_new_feedback, 1, 1_000_000)
        _check_range("max_interval_s", self.max_interval_s, 1.0, 366 * 86_400.0)
        if not isinstance(self.paused, bool):
            raise InvalidInput(f"paused must be true or false, got {self.paused!r}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls().overridden(values)

    def overridden(self, values: dict[str, Any]) -> Self:
        """This policy with the given fields replaced; `training`, `gate` and `drift` are merged field by field.

        Raises:
            InvalidInput: an unknown field, or a value out of range.
        """
        known = {f.name for f in fields(self)}
        if unknown := sorted(set(values) - known):
            raise InvalidInput(f"unknown policy field(s) {unknown}; known: {sorted(known)}")
        changes = dict(values)
        for name, kind in (("training", TrainingConfig), ("gate", GateConfig), ("drift", DriftConfig)):
            if name in changes:
                if not isinstance(changes[name], dict):
                    raise InvalidInput(f"policy field {name!r} must be an object, got {changes[name]!r}")
                merged = {**getattr(self, name).to_dict(), **changes[name]}
                changes[name] = kind.from_dict(merged)
        return replace(self, **changes)
