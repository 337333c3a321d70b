"""The run that all gradient strategies share: from a request to tensors, through Avalanche, to a candidate.

Avalanche objects live for one run. What the next increment needs is in the learner state: the replay buffer as
sequence numbers, importances, counters. Optimiser moments are not part of it: they average gradients of a loss over
other ratings, around parameters the gate may not even have let live, and would triple the state's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from paaplus.configs import TrainingConfig
from paaplus.errors import DivergedError, InvalidInput
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.tensors import pack, unpack
from paaplus.strategies.avalanche_names import DatasetExperience
from paaplus.strategies.base import STATE_FORMAT, Fit, ShouldStop, Trained, TrainingRequest
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.modules import AdapterModule, build_module
from paaplus.strategies.recency import ageing
from paaplus.strategies.template import RegressionStrategy


class RememberingPlugin(Protocol):
    """A plugin with something to keep between increments."""

    def arrays(self) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Run:
    """One increment as tensors: what a strategy's `build` puts its plugins together from."""

    name: str
    config: TrainingConfig
    module: AdapterModule  # at the parent's parameters
    new: FeedbackData
    past: FeedbackData
    state: Mapping[str, np.ndarray]  # what the parent's plugins kept; empty at a first increment
    ageing: float  # how much lighter earlier feedback has become since, 1 unless recency counts
    noise_sd_A: torch.Tensor
    generator: torch.Generator
    should_stop: ShouldStop
    device: str

    def strategy(self, plugins: list[Any]) -> RegressionStrategy:
        return RegressionStrategy(
            name=self.name,
            model=self.module,
            noise_sd_A=self.noise_sd_A,
            config=self.config,
            generator=self.generator,
            should_stop=self.should_stop,
            plugins=plugins,
            device=self.device,
        )


Build = Callable[[Run], tuple[RegressionStrategy, list[RememberingPlugin]]]
See = Callable[[TrainingRequest], TrainingRequest]


def by_gradient(build: Build, see: See = lambda request: request) -> Fit:
    """The `STRATEGIES` entry of a strategy that is trained in steps; `see` is how it looks at a request."""

    def fit(request: TrainingRequest, should_stop: ShouldStop = lambda: False) -> Trained:
        with one_thread():
            return _fit(build, see(request), should_stop)

    return fit


def _fit(build: Build, request: TrainingRequest, should_stop: ShouldStop) -> Trained:
    run = _prepare(request, should_stop)
    mse_before = _mse(run.module.to_adapter(request.base.digest), request.new)
    strategy, remembering = build(run)
    if len(run.new):  # a retraction may leave nothing new to learn: the candidate is then the parent, purged state
        strategy.train(DatasetExperience(dataset=run.new, current_experience=0), eval_streams=[])
    adapter = run.module.to_adapter(request.base.digest)
    if not strategy.step and request.parent is None and request.center and isinstance(adapter, TasteVector):
        adapter = replace(request.center, uncertainty=None)  # nothing said: the very numbers, not rounded once more
    if not adapter.is_finite():
        raise DivergedError(f"{run.name}: parameters that are not finite after step {run.config.num_steps}")
    arrays = {name: array for plugin in remembering for name, array in plugin.arrays().items()}
    state = pack(arrays, {"format": STATE_FORMAT, "strategy": run.name, "adapter": adapter.digest})
    metrics = {
        "num_ratings": float(len(request.new) + len(request.past)),
        "num_comparisons": float(len(request.new_compared) + len(request.past_compared)),
        "num_rows": float(strategy.num_rows),
        "num_steps": float(strategy.step),
        "train_mse_before": mse_before,
        "train_mse": _mse(adapter, request.new),
    }
    return Trained(adapter, state, {name: value for name, value in metrics.items() if np.isfinite(value)})


def _prepare(request: TrainingRequest, should_stop: ShouldStop) -> Run:
    new = FeedbackData.of(request.new, request.device, request.new_compared)
    past = FeedbackData.of(request.past, request.device, request.past_compared)
    module = build_module(request.adapter_kind, request.base, request.config.rank, request.parent, request.center)
    return Run(
        name=request.strategy,
        config=request.config,
        module=module.to(request.device),
        new=new,
        past=past,
        state=load_state(request.state, request.parent),
        ageing=ageing(request),
        noise_sd_A=torch.from_numpy(np.array(request.base.noise_sd_A, np.float32)).to(request.device),
        generator=generator_of(request),
        should_stop=should_stop,
        device=request.device,
    )


def generator_of(request: TrainingRequest) -> torch.Generator:
    """What draws this increment's batches: seeded with the configured seed and the last event that is known."""
    sequences = (
        request.new.sequence_N,
        request.past.sequence_N,
        request.new_compared.sequence_C,
        request.past_compared.sequence_C,
    )
    last_sequence = max((int(sequence_N[-1]) for sequence_N in sequences if len(sequence_N)), default=0)
    seed = int(np.random.SeedSequence([request.config.seed, last_sequence]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed % 2**63)


class LearnerState(dict[str, np.ndarray]):
    """Arrays that plugins kept, by name. One that should be there and is not is an error that says so."""

    def __missing__(self, name: str) -> np.ndarray:
        raise InvalidInput(f"a learner state without {name!r}; it has {sorted(self)[:16]}")


def load_state(state: bytes | None, parent: Adapter | None) -> LearnerState:
    """What the parent's plugins kept; empty without a state.

    Raises:
        InvalidInput: not a learner state, that of another adapter than the parent, or arrays of impossible shapes.
    """
    if state is None:
        return LearnerState()
    arrays, metadata = unpack(state)
    if metadata.get("format") != STATE_FORMAT:
        raise InvalidInput(f"not a learner state: format {metadata.get('format')!r}")
    owner = metadata.get("adapter")
    if owner is not None and (parent is None or owner != parent.digest):
        actual = "no adapter" if parent is None else f"adapter {parent.digest[:12]}"
        raise InvalidInput(f"the learner state belongs to adapter {str(owner)[:12]}, the parent is {actual}")
    _check_shapes(arrays)
    return LearnerState(arrays)


def _check_shapes(arrays: Mapping[str, np.ndarray]) -> None:
    """Lists end in a shape letter, and those of one plugin are of one length; other names hold a single number."""
    sizes: dict[tuple[str, str], int] = {}
    for name, array in arrays.items():
        plugin, _, rest = name.partition("_")
        letters = rest.rpartition("_")[2]
        if "." in name:  # importances: the module knows their shapes
            continue
        if not letters.isupper():
            if array.shape != (1,):
                raise InvalidInput(f"learner state array {name!r:.64}: shape {array.shape}, not one number")
        elif array.ndim != len(letters) or sizes.setdefault((plugin, letters[0]), len(array)) != len(array):
            raise InvalidInput(f"learner state array {name!r:.64}: shape {array.shape} beside {sizes}")


def _mse(adapter: Adapter, rated: RatedSet) -> float:
    error_NA = adapter.score(rated.taste_NR, rated.generic_NA) - rated.target_NA
    return float(np.nanmean(np.square(error_NA, dtype=np.float64))) if np.isfinite(error_NA).any() else float("nan")


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: sums in one order, so the same request gives the same bits; also the fastest at this size."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
