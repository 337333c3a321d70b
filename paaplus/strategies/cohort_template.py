"""Avalanche's training template for many users at once, and its plugins for consolidation and lessons.

The loss is the sum of every user's own, so that each row of parameters has its own user's gradient; every user takes
the same number of steps, so that one optimiser clock is everybody's. Losses are looked at once all steps are done: a
user that has left the finite numbers stays in its own row.

Shape letters: U = users, V = images of a step, P = comparisons of a step, A = aspects, S = parameters of one user,
T = images of the table.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from paaplus.configs import TrainingConfig
from paaplus.errors import TrainingStopped
from paaplus.strategies.avalanche_names import SupervisedPlugin, SupervisedTemplate
from paaplus.strategies.base import ShouldStop
from paaplus.strategies.cohort_bank import Bank
from paaplus.strategies.cohort_fisher import fisher_of_new, sensitivity_of_new
from paaplus.strategies.cohort_rows import Recipe
from paaplus.strategies.cohort_steps import Stack, StackLoader, Step
from paaplus.strategies.comparisons import log_likelihood_of_said
from paaplus.strategies.path_integral import importance_of_path
from paaplus.strategies.template import SilentEvaluator


class CohortStrategy(SupervisedTemplate):
    """`RegressionStrategy` for a bank. An experience is a `Stack`; the bank begins it at the parents.

    Plugins may add to `stiffness_US`: the second derivative of each user's penalty, which is zero at the start.
    """

    def __init__(
        self, *, name: str, bank: Bank, recipe: Recipe, config: TrainingConfig, should_stop: ShouldStop
    ) -> None:
        self.name = name
        self.recipe = recipe
        self.config = config
        self.should_stop = should_stop
        self.start_US = torch.empty_like(bank.gradient_US)
        self.stiffness_US = torch.empty_like(bank.gradient_US)
        self.pull_US: Tensor | None = None  # the penalty's gradient at the start
        self.from_center_US: Tensor | None = None
        self.data_gradient_US: Tensor | None = None  # of the likelihood alone, for a plugin that asks for it
        self.loss_history: list[Tensor] = []
        self.errors = _Errors()
        self.consolidation = (
            {"fisher": Fisher, "path": PathIntegral, "mas": Sensitivity}[recipe.consolidates]()
            if recipe.consolidates
            else None
        )
        plugins: list[Any] = [self.errors]
        plugins += [self.consolidation] if self.consolidation else []
        self.memory = _Memory()
        plugins += [_Teaching()] if recipe.distils or recipe.remembers else []
        plugins += [self.memory] if recipe.remembers else []
        super().__init__(
            model=bank,
            optimizer=torch.optim.Adam(bank.parameters(), lr=config.learning_rate, fused=True),
            train_epochs=1,
            device=bank.gradient_US.device,
            plugins=plugins,
            evaluator=SilentEvaluator(),
            eval_every=-1,
        )

    @torch.no_grad()
    def make_train_dataloader(self, **options: Any) -> None:
        """Begin an experience: parameters at the parents, penalties, batches."""
        stack: Stack = self.experience.dataset
        bank, config = self.model, self.config
        self.dataloader = StackLoader(stack, config.num_steps)
        self.optimizer.state.clear()
        bank.rows_US.copy_(bank.zero_S)
        for u, member in enumerate(stack.members):
            if member.start is not None:
                bank.rows_US[u] = bank.row_at(member.start)
        center_US = bank.rows_US.detach().clone()
        for u, member in enumerate(stack.members):
            if member.request.parent is not None:
                bank.rows_US[u] = bank.row_of(member.request.parent)
        self.start_US.copy_(bank.rows_US)
        self.num_rows_U1 = stack.by_user([member.num_rows for member in stack.members], 1)
        self.stiffness_US.copy_(2.0 * config.prior_strength / self.num_rows_U1)
        self.loss_history = []
        self.pull_US = self.from_center_US = None
        if not self.recipe.counts_from_parent:
            self.from_center_US = self.start_US - center_US
            self.pull_US = self.stiffness_US * self.from_center_US

    def training_epoch(self, **kwargs: Any) -> None:
        """Avalanche's loop without the hooks that nobody here uses: at this size they are a quarter of a step."""
        for batch in self.dataloader:
            self.mbatch = batch
            if self.should_stop():
                step, num_steps = len(self.loss_history), self.config.num_steps
                raise TrainingStopped(f"{self.name}: cohort stopped at step {step} of {num_steps}")
            self.mb_output = self.forward()
            self.loss = self.criterion()
            self.backward()
            if self.data_gradient_US is None:
                self.optimizer_step()
            else:
                self._before_update(**kwargs)
                self.optimizer_step()
                self._after_update(**kwargs)

    def losses_of(self, u: int) -> np.ndarray:
        """One user's loss at every step of the last experience."""
        return cast(np.ndarray, torch.stack([loss_U[u] for loss_U in self.loss_history]).cpu().numpy())

    def forward(self) -> Tensor:
        step = Step(*self.mbatch)
        return self.model(step.taste_UVR, step.generic_UVA, step.lever_UVA)

    def criterion(self) -> Tensor:
        """The sum of the users' losses of the data, and the slope of each by its scores."""
        step = Step(*self.mbatch)
        error_UVA = self.mb_output - step.target_UVA
        self.slope_UVA = error_UVA * step.weight_UVA
        loss_U = 0.5 * (error_UVA * self.slope_UVA).sum((1, 2))
        if step.slot_UP.shape[1]:
            loss_U = loss_U + self._compare(step)
        if not self.loss_history and self.pull_US is not None:
            # The rest of the loss starts finite and steps are small, but a parent may be out of all bounds.
            loss_U = loss_U + 0.5 * (self.pull_US * self.from_center_US).sum(1)
        self.loss_history.append(loss_U)
        return loss_U.sum()

    def _compare(self, step: Step) -> Tensor:
        """Losses of comparisons; their slopes are added to those of ratings."""
        columns = self.dataloader.stack.columns
        second = slice(columns.rows, columns.rows + columns.pairs)
        slot_UPA = step.slot_UP[..., None].expand_as(step.preference_UPA)
        difference_UPA = self.mb_output.gather(1, slot_UPA) - self.mb_output[:, second]
        difference_UPA.requires_grad_()
        said_UPA = log_likelihood_of_said(difference_UPA, step.preference_UPA, self.dataloader.stack.noise_sd_A)
        (slope_UPA,) = torch.autograd.grad(said_UPA.sum(), difference_UPA)
        slope_UPA = -2.0 * step.pair_weight_UP[..., None] * slope_UPA
        self.slope_UVA.scatter_add_(1, slot_UPA, slope_UPA)
        self.slope_UVA[:, second] -= slope_UPA
        return -2.0 * (step.pair_weight_UP[..., None] * said_UPA.detach()).sum((1, 2))

    def backward(self) -> None:
        """Write the gradient of every user's loss and penalty into its row."""
        bank, step = self.model, Step(*self.mbatch)
        gradient_US, rows_US = bank.gradient_US, bank.rows_US.detach()
        torch.sub(rows_US, self.start_US, out=gradient_US)
        if self.pull_US is None:
            gradient_US.mul_(self.stiffness_US)
        else:
            torch.addcmul(self.pull_US, gradient_US, self.stiffness_US, out=gradient_US)
        if self.data_gradient_US is None:
            bank.add_gradient(bank.gradient_at, self.slope_UVA, step.taste_UVR, step.lever_UVA)
        else:
            views = bank.views(self.data_gradient_US.zero_())
            bank.add_gradient(views, self.slope_UVA, step.taste_UVR, step.lever_UVA)
            gradient_US.add_(self.data_gradient_US)
        bank.rows_US.grad = gradient_US

    def optimizer_step(self) -> None:
        step = len(self.loss_history) - 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (1.0 - step / self.config.num_steps)
        super().optimizer_step()


class Fisher(SupervisedPlugin):
    """`Consolidation` with Fisher information, user by user: importances come from the states and go back to them."""

    importance_US: Tensor  # of this increment, and with its decay of all before

    @torch.no_grad()
    def before_training_exp(self, strategy: CohortStrategy, **kwargs: Any) -> None:
        stack: Stack = strategy.experience.dataset
        bank, recipe = strategy.model, strategy.recipe
        self.importance_US = torch.zeros_like(bank.gradient_US)
        views = bank.views(self.importance_US)
        for u, member in enumerate(stack.members):
            if member.seen.num_increments:
                for name, view in views.items():
                    value = torch.from_numpy(member.state[f"{recipe.consolidates}.{name}"])
                    view[u] = member.ageing * value.to(view.device)
        weight_U1 = 2.0 * recipe.strength(strategy.config) / strategy.num_rows_U1
        strategy.stiffness_US.addcmul_(self.importance_US, weight_U1)

    @torch.no_grad()
    def after_training_exp(self, strategy: CohortStrategy, **kwargs: Any) -> None:
        self.importance_US.mul_(strategy.config.ewc_decay).add_(self.of_increment(strategy))

    def of_increment(self, strategy: CohortStrategy) -> Tensor:
        return fisher_of_new(strategy.experience.dataset)


class PathIntegral(Fisher):
    """The same with the importances of synaptic intelligence."""

    def before_training_exp(self, strategy: CohortStrategy, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        strategy.data_gradient_US = torch.zeros_like(strategy.start_US)
        self.path_US = torch.zeros_like(strategy.start_US)
        self.before_US = torch.empty_like(strategy.start_US)

    def before_update(self, strategy: CohortStrategy, **kwargs: Any) -> None:
        self.before_US.copy_(strategy.model.rows_US.detach())

    def after_update(self, strategy: CohortStrategy, **kwargs: Any) -> None:
        self.before_US.sub_(strategy.model.rows_US.detach())
        self.path_US.addcmul_(strategy.data_gradient_US, self.before_US)

    def of_increment(self, strategy: CohortStrategy) -> Tensor:
        stack: Stack = strategy.experience.dataset
        num_new_U1 = stack.by_user([member.num_new for member in stack.members], 0)  # the loss is a mean over rows
        fall_US = self.path_US * num_new_U1
        return importance_of_path(fall_US, strategy.start_US, strategy.model.rows_US.detach())


class Sensitivity(Fisher):
    """The same with the importances of memory aware synapses."""

    def of_increment(self, strategy: CohortStrategy) -> Tensor:
        return sensitivity_of_new(strategy.experience.dataset)


class _Teaching(SupervisedPlugin):
    """Lessons: scores of images become targets, those of the parents or those that are remembered."""

    @torch.no_grad()
    def before_training_exp(self, strategy: CohortStrategy, **kwargs: Any) -> None:
        stack: Stack = strategy.experience.dataset
        if not stack.columns.taught:  # which is the same for all members
            return
        lessons = [member.lessons for member in stack.members if member.lessons is not None]
        images = [each.images for each in lessons]
        teacher_TA = torch.zeros_like(stack.generic_TA)
        if strategy.recipe.distils:
            said = stack.scores_of(images)
        else:
            said = [torch.from_numpy(each.said_KIA).flatten(0, 1).to(teacher_TA) for each in lessons]
        for start, image_V, said_VA in zip(stack.starts, images, said, strict=True):
            teacher_TA[np.where(image_V < 0, stack.nowhere, start + image_V)] = said_VA
        teacher_TA[stack.nowhere] = 0.0
        strategy.dataloader.teacher_TA = teacher_TA


class _Memory(SupervisedPlugin):
    """What is said of both images of every new row when it has been learned; NaN for the second one of a rating."""

    said_N2A: list[np.ndarray]  # of each member

    @torch.no_grad()
    def after_training_exp(self, strategy: CohortStrategy, **kwargs: Any) -> None:
        stack: Stack = strategy.experience.dataset
        rows = [member.new for member in stack.members]
        first = stack.scores_of([each.image_N for each in rows])
        second = stack.scores_of([np.maximum(each.other_N, 0) for each in rows])
        self.said_N2A = []
        for each, first_NA, second_NA in zip(rows, first, second, strict=True):
            said_N2A = torch.stack([first_NA, second_NA], dim=1).cpu().numpy()
            said_N2A[each.other_N < 0, 1] = np.nan
            self.said_N2A.append(said_N2A)


class _Errors(SupervisedPlugin):
    """Mean squared error of the new ratings before and after, NaN where there are none."""

    def before_training_exp(self, strategy: CohortStrategy, **kwargs: Any) -> None:
        self.before_U = strategy.experience.dataset.mse_of_new()

    def after_training_exp(self, strategy: CohortStrategy, **kwargs: Any) -> None:
        self.after_U = strategy.experience.dataset.mse_of_new()
