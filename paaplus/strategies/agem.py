"""Averaged gradient episodic memory: a step may not raise the loss of a sample of earlier feedback, to first order.

Stock are the reference gradient and when it is computed. Stock memory, a list of every experience's rows that grows
without end and divides its sample by its own length until nothing is left, is the bounded reservoir here. The stock
projection is over all parameters, hence over all users of a stack; here every user has its own.

Source: Chaudhry et al., "Efficient lifelong learning with A-GEM" (arXiv:1812.00420).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import AGEMPlugin, SupervisedPlugin
from paaplus.strategies.replay import UserReservoirs
from paaplus.strategies.rows import Part
from paaplus.strategies.stack import Member, Stack
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="parent",
    earlier="a step may not raise the loss of a sample of it, to first order",
    remembers=("buffer",),
    settings=("buffer_size", "replay_batch_size"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [UserAGEM(config)]


class UserAGEM(AGEMPlugin):
    """A-GEM with every user's own memory and projection."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(patterns_per_experience=config.buffer_size, sample_size=config.replay_batch_size)
        self.reservoirs = UserReservoirs(config)

    def admit(self, member: Member) -> None:
        member.sample, buffered = self.reservoirs.restored(member)
        member.aside.append(Part(buffered, self.sample_size))

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        stack: Stack = strategy.experience.dataset
        self.buffers = [stack] if stack.aside.width else []  # the stock plugin asks whether any is there

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.memory, criterion, stack = strategy.mbatch[2:], strategy._criterion, strategy.experience.dataset
        criterion.num_pairs = stack.aside.pairs
        super().before_training_iteration(strategy, **kwargs)
        criterion.num_pairs = stack.columns.pairs

    def sample_from_memory(self) -> list[Tensor]:
        """What the loader drew beside the batch; the last is a task id, which nobody reads."""
        return [*self.memory, self.memory[0]]

    @torch.no_grad()
    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        if not self.buffers:
            return
        gradients = [parameter.grad for parameter in strategy.model.parameters()]
        references = self.reference_gradients.split([gradient.numel() for gradient in gradients])
        pairs = [(one, other.view_as(one)) for one, other in zip(gradients, references, strict=True)]
        product_U = torch.stack([(one * other).flatten(1).sum(1) for one, other in pairs]).sum(0)
        square_U = torch.stack([other.square().flatten(1).sum(1) for _, other in pairs]).sum(0)
        share_U = torch.where(product_U < 0, product_U / square_U, 0.0)
        for gradient, reference in pairs:
            gradient -= share_U[:, None, None] * reference

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.reservoirs.post_adapt(strategy, strategy.experience)

    def arrays(self, stack: Stack, u: int) -> dict[str, np.ndarray]:
        return stack.members[u].sample.arrays()
