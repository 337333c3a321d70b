"""Train many users in one fused run: each becomes what it becomes alone, to the bit.

Members that agree in strategy, adapter, configuration, base model and columns of a step are stacked, a few at a time:
as many as keep parameters, optimiser and batches near the processor. Each stack is one experience of one Avalanche
strategy. Nothing of a member's numbers depends on who shares its stack or how many do: nothing is shared but the clock,
and every array has the shape and place that it has for the member alone. A member that leaves the finite numbers is
reported and harms nobody.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from paaplus.errors import DivergedError, InvalidInput, PaaplusError
from paaplus.scoring.tensors import pack
from paaplus.strategies.avalanche_names import DatasetExperience
from paaplus.strategies.base import STATE_FORMAT, ShouldStop, Trained, TrainingRequest
from paaplus.strategies.cohort_bank import build_bank
from paaplus.strategies.cohort_rows import RECIPES, Member
from paaplus.strategies.cohort_steps import Stack
from paaplus.strategies.cohort_template import CohortStrategy
from paaplus.strategies.gradient import one_thread
from paaplus.strategies.modules import build_module

# Of the members of one stack together. Measured (benchmarks/cohort.py, docs/decisions/0016): on a processor small
# stacks stay in its caches; a GPU wants as much at once as there is.
_WORKING_SET_BYTES = {"cpu": 4 * 2**20, "cuda": 4 * 2**30}
_ROWS_OF_PARAMETERS = 6  # parameters, gradient, two moments, start, stiffness

Outcome = Trained | PaaplusError


def fit_cohort(requests: Mapping[int, TrainingRequest], should_stop: ShouldStop) -> dict[int, Outcome]:
    """Train those requests that can be fused, by their key; the others are not in the answer.

    Which ones those are depends on each request alone.

    Args:
        requests: checked, and their weights aged.
        should_stop: asked before every step of all.

    Raises:
        TrainingStopped: `should_stop` said so; nobody was trained.
    """
    outcomes: dict[int, Outcome] = {}
    groups: dict[object, list[Member]] = defaultdict(list)
    for key, request in requests.items():
        if request.strategy not in RECIPES or not len(request.new) + len(request.new_compared):
            continue
        try:
            member = Member.of(key, request)
        except PaaplusError as error:
            outcomes[key] = error
            continue
        if member.is_whole:  # else importances have to be computed anew first, which `train` does
            groups[_kind_of(member)].append(member)
    with one_thread():
        for members in groups.values():
            outcomes |= _fit_group(members, should_stop)
    return outcomes


def _kind_of(member: Member) -> object:
    """What members of one stack agree in."""
    request = member.request
    return (
        member.columns,
        request.strategy,
        request.adapter_kind,
        request.config,
        request.base.digest,
        request.device,
        member.rank if request.adapter_kind == "bottleneck" else 0,
    )


def _fit_group(members: Sequence[Member], should_stop: ShouldStop) -> dict[int, Outcome]:
    request, recipe = members[0].request, members[0].recipe
    template = build_module(request.adapter_kind, request.base, members[0].rank, None).to(request.device)
    noise_sd_A = torch.from_numpy(np.array(request.base.noise_sd_A, np.float32)).to(request.device)
    shapes = {name: tuple(parameter.shape) for name, parameter in template.named_parameters()}
    outcomes: dict[int, Outcome] = {}
    sound: list[Member] = []
    for member in members:
        try:
            member.check_importances(shapes)
            sound.append(member)
        except InvalidInput as error:
            outcomes[member.position] = error
    strategy: CohortStrategy | None = None
    for part in _parts(sound, sum(map(math.prod, shapes.values()))):
        if strategy is None:
            strategy = CohortStrategy(
                name=request.strategy,
                bank=build_bank(template, len(part)),
                recipe=recipe,
                config=request.config,
                should_stop=should_stop,
            )
        stack = Stack(part, strategy.model, noise_sd_A)
        strategy.train(DatasetExperience(dataset=stack, current_experience=0), eval_streams=[])
        outcomes |= {member.position: _outcome(member, u, strategy) for u, member in enumerate(part)}
    return outcomes


def _parts(members: Sequence[Member], num_parameters: int) -> Iterator[list[Member]]:
    """Members in parts of nearly one size, the largest first; those with as much new feedback together."""
    if not members:
        return
    request = members[0].request
    bytes_each = 4 * (_ROWS_OF_PARAMETERS * num_parameters + sum(members[0].columns) * request.base.taste_dim)
    num_parts = -(-len(members) * bytes_each // _WORKING_SET_BYTES[torch.device(request.device).type])
    size = -(-len(members) // min(num_parts, len(members)))
    ordered = sorted(members, key=lambda member: member.num_new)
    for first in range(0, len(ordered), size):
        yield ordered[first : first + size]


def _outcome(member: Member, u: int, strategy: CohortStrategy) -> Outcome:
    """What has become of the member in place u."""
    name, num_steps = strategy.name, strategy.config.num_steps
    loss_S = strategy.losses_of(u)
    if not np.isfinite(loss_S).all():
        step = int(np.flatnonzero(~np.isfinite(loss_S))[0])
        return DivergedError(f"{name}: loss {loss_S[step]:g} at step {step} of {num_steps}")
    adapter = strategy.model.adapter(u, member.request.base.digest)
    if not adapter.is_finite():
        return DivergedError(f"{name}: parameters that are not finite after step {num_steps}")
    metrics = {
        "num_ratings": float(len(member.request.new) + len(member.request.past)),
        "num_comparisons": float(len(member.request.new_compared) + len(member.request.past_compared)),
        "num_rows": float(member.num_rows),
        "num_steps": float(num_steps),
        "train_mse_before": float(strategy.errors.before_U[u]),
        "train_mse": float(strategy.errors.after_U[u]),
    }
    state = pack(_arrays(member, u, strategy), {"format": STATE_FORMAT, "strategy": name, "adapter": adapter.digest})
    return Trained(adapter, state, {name: value for name, value in metrics.items() if np.isfinite(value)})


def _arrays(member: Member, u: int, strategy: CohortStrategy) -> dict[str, np.ndarray]:
    """What the member's next increment goes on from."""
    arrays: dict[str, np.ndarray] = {}
    new_sequence_N = member.new.sequence_N
    if member.recipe.replays:
        member.sample.offer(new_sequence_N)
        arrays |= member.sample.arrays()
    if member.recipe.remembers:
        member.dark.update(zip(new_sequence_N.tolist(), strategy.memory.said_N2A[u], strict=True))
        member.dark.keep(member.sample.sequence_K)
        arrays |= member.dark.arrays()
    if strategy.consolidation is not None:
        prefix = member.recipe.consolidates
        member.seen.add(new_sequence_N)
        views = strategy.model.views(strategy.consolidation.importance_US[u : u + 1])
        arrays |= {f"{prefix}.{name}": view[0].cpu().numpy() for name, view in views.items()}
        arrays |= member.seen.arrays(prefix)
    return arrays
