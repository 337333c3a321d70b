"""Training in steps, many users at once: each becomes what the user becomes alone, to the bit.

Users that agree in strategy, adapter, configuration, base model and columns of a step are stacked. Each stack is one
experience of one Avalanche strategy. A user who leaves the finite numbers is reported and harms nobody.
Shape letters: U = users, S = steps.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch

from paaplus.errors import DivergedError, PaaplusError
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.strategies.base import ShouldStop, Trained, TrainingRequest
from paaplus.strategies.modules import build_module
from paaplus.strategies.parameters import adapter_of
from paaplus.strategies.stack import Member, Stack
from paaplus.strategies.state import packed_state
from paaplus.strategies.template import StackTemplate
from paaplus.strategies.uncertainty import evidence_of

_STACK_SIZE = {"cpu": 64, "cuda": 4096}  # users; measured in docs/decisions/0016
Outcome = Trained | PaaplusError


def train_in_steps(
    strategy: ModuleType, requests: Mapping[int, TrainingRequest], should_stop: ShouldStop
) -> dict[int, Outcome]:
    """What becomes of each request of a strategy, by its key; requests are checked, and their weights aged.

    Raises:
        TrainingStopped: `should_stop`, asked before every step of all, returned true; nobody was trained.
    """
    see = getattr(strategy, "see", lambda request: request)
    outcomes: dict[int, Outcome] = {}
    plugins: dict[Any, list[Any]] = {}  # by configuration
    stacks: dict[Any, list[Member]] = defaultdict(list)
    for key, request in requests.items():
        config = request.config
        if config not in plugins:
            plugins[config] = strategy.plugins(config)
        try:
            member = Member(key, see(request), strategy.FACTS.prior)
            for plugin in plugins[config]:
                if hasattr(plugin, "admit"):
                    plugin.admit(member)
        except PaaplusError as error:
            outcomes[key] = error
            continue
        stacks[member.kind].append(member)
    with _one_thread():
        for members in stacks.values():
            for part in _parts(members):
                outcomes |= _train_stack(part, plugins[part[0].request.config], should_stop)
    return outcomes


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread: sums in one order, so the same request gives the same bits; also the fastest at this size."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _parts(members: Sequence[Member]) -> list[Sequence[Member]]:
    """Members in parts of nearly one size; those with as much new feedback together."""
    most = _STACK_SIZE[torch.device(members[0].request.device).type]
    size = -(-len(members) // -(-len(members) // most))
    ordered = sorted(members, key=lambda member: len(member.new))
    return [ordered[first : first + size] for first in range(0, len(ordered), size)]


def _train_stack(members: Sequence[Member], plugins: list[Any], should_stop: ShouldStop) -> dict[int, Outcome]:
    request = members[0].request
    share = all(member.shares_center for member in members)
    centers = [member.center for member in (members[:1] if share else members)]
    module = build_module(request.adapter_kind, request.base, centers, len(members)).to(request.device)
    module.load([member.begin for member in members])
    stack = Stack(members, module, request.device)
    template = StackTemplate(stack=stack, plugins=plugins, should_stop=should_stop)
    before_U = stack.mse_of_ratings()
    loss_SU = template.train_stack(stack).numpy()
    after_U, arrays = stack.mse_of_ratings(), module.parameters_now()
    outcomes: dict[int, Outcome] = {}
    for u, member in enumerate(members):
        steps = {"num_steps": template.num_steps, "train_mse_before": before_U[u], "train_mse": after_U[u]}
        try:
            _check_finite(request.strategy, loss_SU[:, u])
            trained = _trained(stack, u, adapter_of(module.user(arrays, u), request.base), plugins)
        except PaaplusError as error:
            outcomes[member.position] = error
            continue
        metrics = {name: float(value) for name, value in steps.items() if np.isfinite(value)}
        outcomes[member.position] = replace(trained, metrics=trained.metrics | metrics)
    return outcomes


def _check_finite(name: str, loss_S: np.ndarray) -> None:
    if not np.isfinite(loss_S).all():
        step = int(np.flatnonzero(~np.isfinite(loss_S))[0])
        raise DivergedError(f"{name}: loss {loss_S[step]:g} at step {step} of {len(loss_S)}")


def _trained(stack: Stack, u: int, adapter: Adapter, plugins: Sequence[Any]) -> Trained:
    """One user's candidate with what plugins keep and hold, and the evidence around it."""
    member, request = stack.members[u], stack.members[u].request
    adapter = _served(member, adapter)
    if not adapter.is_finite():
        raise DivergedError(f"{request.strategy}: parameters that are not finite after the last step")
    arrays: dict[str, np.ndarray] = {}
    held: dict[str, np.ndarray] = {}
    for plugin in plugins:
        arrays |= plugin.arrays(stack, u) if hasattr(plugin, "arrays") else {}
        holds = plugin.held(stack, u) if hasattr(plugin, "held") else {}
        held |= {name: held.get(name, 0.0) + value for name, value in holds.items()}
    if not all(np.isfinite(array).all() for name, array in arrays.items() if "." in name):
        raise DivergedError(f"{request.strategy}: importances that are not finite")
    adapter, loo_NA = evidence_of(member, adapter, held)
    metrics = {
        "num_ratings": float(len(request.new) + len(request.past)),
        "num_comparisons": float(len(request.new_compared) + len(request.past_compared)),
        "num_rows": float(member.num_rows if stack.num_new else 0),
    }
    return Trained(adapter, packed_state(arrays, request.strategy, adapter), metrics, loo_NA)


def _served(member: Member, trained: Adapter) -> Adapter:
    """What is served; with nothing new, what is known already, and not rounded once more."""
    parent, center = member.request.parent, member.request.center
    if len(member.new):
        return trained
    if parent is None and center and isinstance(trained, TasteVector):
        return replace(center, uncertainty=None)
    return parent or trained
