"""Online elastic weight consolidation: parameters that earlier feedback pinned down are held near the parent's.

Shape letters: U = users, V = images, A = aspects, N = rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paaplus.configs import TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.strategies.avalanche_names import EWCPlugin, ParamData, SupervisedPlugin
from paaplus.strategies.likelihood import information
from paaplus.strategies.parameters import Parameters
from paaplus.strategies.rows import Part, selected
from paaplus.strategies.stack import Member, Stack
from paaplus.strategies.state import SeenFeedback
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="parent",  # and importances around it: Laplace's approximation of what earlier feedback left
    earlier="parameters are held at the parent's, by the Fisher information of earlier feedback",
    remembers=("fisher",),
    settings=("ewc_lambda", "ewc_decay"),
)

Arrays = dict[str, Tensor]  # of a stack, by parameter
Importance = Callable[[Stack, Mapping[int, Part]], Arrays]  # of these users' rows


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Consolidation("fisher", config.ewc_lambda, config.ewc_decay, fisher)]


@dataclass(eq=False)
class _Kept:
    """What one user's learner state says of importances, or the rows to compute them `again` from."""

    seen: SeenFeedback
    importance: Parameters | None = None
    again: Part | None = None


class Consolidation(EWCPlugin):
    """Avalanche's online EWC, going on where every user's learner state ended.

    The penalty is `strength * sum(importance * (parameter - parent's)^2)` with the importances summed over all earlier
    increments, each `decay` times as heavy as the next. With Fisher information, strength and decay at 1 that is the
    diagonal Laplace approximation of the earlier feedback. Penalty and online update are stock; stock importances,
    squared gradients of a batch's mean loss, shrink with batch size and residual.
    """

    def __init__(self, prefix: str, strength: float, decay: float, importance: Importance) -> None:
        """`prefix` names the importances in the learner state."""
        super().__init__(strength, mode="online", decay_factor=decay)
        self.prefix, self.importance = prefix, importance

    def admit(self, member: Member) -> None:
        """Read what the parent's state says of importances; raises `InvalidInput` if one is missing or cannot be.

        When feedback that they saw is no longer among the past, they are computed anew from what still is: a retracted
        rating must not go on protecting what it taught.
        """
        seen, past_sequence_N = SeenFeedback.restored(member.state, self.prefix), member.past_sequence_N
        member.kept[self] = kept = _Kept(seen)
        if not seen.num_increments:
            return
        digest = seen.digest_among(past_sequence_N)
        if seen.digest == digest:
            found = {name: self._checked(member, name, value) for name, value in member.begin.items()}
            kept.importance = {name: member.ageing * value for name, value in found.items()}
            return
        seen.digest = digest
        seen_N = past_sequence_N[seen.ages(past_sequence_N) >= 0]
        rows = selected(member.request.past, member.request.past_compared, seen_N)
        decay_N = float(self.decay_factor) ** seen.ages(rows.sequence_N)
        kept.again = Part(replace(rows, weight_N=(rows.weight_N * decay_N).astype(np.float32)), 0)
        member.aside.append(kept.again)

    def _checked(self, member: Member, name: str, like: np.ndarray) -> np.ndarray:
        value = member.state[f"{self.prefix}.{name}"]
        if value.shape != like.shape or value.dtype != np.float32 or not np.isfinite(value).all():
            found = f"{value.dtype} of shape {value.shape}, needed are finite float32 of {like.shape}"
            raise InvalidInput(f"learner state array {self.prefix}.{name}: {found}")
        return value

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        stack: Stack = strategy.experience.dataset
        strategy.clock.train_exp_counter = 1  # stock: the first experience has no penalty. Who has no past has zeros.
        kept = [member.kept[self] for member in stack.members]
        arrays = stack.module.stacked([each.importance for each in kept], stack.module.num_places)
        arrays = {name: value.to(stack.device) for name, value in arrays.items()}
        if again := {u: each.again for u, each in enumerate(kept) if each.again is not None}:
            add(arrays, self.importance(stack, again))
        self.importances[0] = as_param_data(arrays)
        self.earlier = {name: value.cpu() for name, value in arrays.items()}
        self.saved_params[0] = as_param_data(dict(stack.module.named_parameters()))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        stack: Stack = strategy.experience.dataset
        if stack.num_new:
            super().after_training_exp(strategy, **kwargs)
        self.latest = {name: value.data.cpu() for name, value in self.importances[min(stack.num_new, 1)].items()}

    def compute_importances(self, model: Any, *args: Any, **options: Any) -> dict[str, ParamData]:
        """Replaces the stock computation, which goes through a data set in batches."""
        dataset: Stack = args[2]
        return as_param_data(self.importance(dataset, {u: each.parts[0] for u, each in enumerate(dataset.members)}))

    def arrays(self, stack: Stack, u: int) -> dict[str, np.ndarray]:
        member = stack.members[u]
        seen = member.kept[self].seen
        if stack.num_new:
            seen.add(member.past_sequence_N, member.new.sequence_N)
        elif not seen.num_increments:
            return seen.arrays(self.prefix)
        importance = stack.module.user(self.latest, u)
        return {f"{self.prefix}.{name}": value for name, value in importance.items()} | seen.arrays(self.prefix)

    def held(self, stack: Stack, u: int) -> Parameters:
        """How firmly the penalty held each of a user's parameters: half its second derivative."""
        return {name: self.ewc_lambda * value for name, value in stack.module.user(self.earlier, u).items()}


def fisher(stack: Stack, parts: Mapping[int, Part]) -> Arrays:
    """Diagonal Fisher information: sums over rows and aspects of `weight * information * (d value / d parameter)^2`.

    The value of a rating is the score, its information 1 / noise_sd^2; that of a comparison the difference of scores.
    """
    module, total = stack.module, stack.module.zeros()
    for image_UV, second_UV in stack.chunks(parts):
        x_UVX, weight_UVA = stack.x_TX[image_UV], stack.y_TB[image_UV][..., module.num_aspects :]
        is_pair_UV1 = (second_UV != stack.nowhere)[..., None]
        if not is_pair_UV1.any():
            add(total, module.derivative_sums(x_UVX, weight_UVA, torch.square))
            continue
        other_UVX, preference_UVA = stack.x_TX[second_UV], stack.y_TB[image_UV][..., : module.num_aspects]
        with torch.no_grad():
            of_one_UVA = information(module(x_UVX) - module(other_UVX), preference_UVA, module.noise_sd_A)
        compared_UVA = torch.where(is_pair_UV1, weight_UVA * of_one_UVA, 0.0)
        # (first - second)^2 = first^2 + second^2 - 2 first second. A row counts as one or the other.
        first_UVA = torch.where(is_pair_UV1, compared_UVA, weight_UVA)
        add(total, module.derivative_sums(x_UVX, first_UVA, torch.square))
        add(total, module.derivative_sums(other_UVX, compared_UVA, torch.square))
        add(total, module.derivative_sums(x_UVX, -2.0 * compared_UVA, torch.square, other_UVX))
    return {name: value.clamp_(min=0.0) for name, value in total.items()}  # rounding may leave a trace below 0


def add(total: Arrays, more: Arrays) -> None:
    for name, value in more.items():
        total[name] += value


def as_param_data(arrays: Mapping[str, Tensor]) -> dict[str, ParamData]:
    return {
        name: ParamData(name, value.shape, init_tensor=value.detach().clone(), device=value.device)
        for name, value in arrays.items()
    }
