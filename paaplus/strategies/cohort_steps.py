"""What the members of a stack see step by step: ids into one table of images, targets and weights.

Every member's rows are drawn by its own generator, in the order in which it is drawn from when the user is trained
alone. Members with fewer rows a step are filled up with rows of weight 0, which add nothing.

Shape letters: T = images of the table, S = steps of a block, U = members, V = images of a step, B = rows of a part,
P = comparisons of a step, A = aspects, N = rows of new feedback.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.strategies.avalanche_names import AvalancheDataset
from paaplus.strategies.cohort_bank import Bank
from paaplus.strategies.cohort_rows import Member, Rows

_STEPS_PER_BLOCK = 64  # bounds what is laid out ahead, whatever the number of steps


class Step(NamedTuple):
    """One step's batch of every member. `weight` is the second derivative of a member's loss by a score."""

    taste_UVR: Tensor
    generic_UVA: Tensor
    lever_UVA: Tensor
    target_UVA: Tensor
    weight_UVA: Tensor
    slot_UP: Tensor  # of the first image of a comparison; the second one is in column `first_pair + p`
    preference_UPA: Tensor
    pair_weight_UP: Tensor


class NewFeedback(NamedTuple):
    """All new feedback of a stack: rows, then second images of comparisons, NaN and weight 0 behind the last."""

    image_UV: Tensor
    target_UVA: Tensor
    weight_UV: Tensor
    slot_UP: Tensor
    preference_UPA: Tensor
    num_rows: int


class Stack(AvalancheDataset):
    """Members of one kind and size as an Avalanche dataset of nothing but their table of images."""

    def __init__(self, members: Sequence[Member], bank: Bank, noise_sd_A: Tensor) -> None:
        super().__init__([])
        self.members = list(members)
        self.bank = bank
        self.num_users = bank.num_users  # at least as many as there are members
        self.noise_sd_A = noise_sd_A
        device = noise_sd_A.device
        parts = [images for member in members for images in (*member.images, *member.pool)]
        # The last image is the one that is looked at where there is nothing to look at.
        nothing = [np.zeros((1, parts[0].taste_TR.shape[1]), np.float32)]
        taste_TR = np.concatenate([images.taste_TR for images in parts] + nothing)
        nothing = [np.zeros((1, len(noise_sd_A)), np.float32)]
        self.generic_TA = torch.from_numpy(np.concatenate([images.generic_TA for images in parts] + nothing)).to(device)
        self.taste_TR = bank.seen(torch.from_numpy(taste_TR).to(device))
        sizes = [sum(len(images) for images in member.images) for member in members]
        ends = np.cumsum([size + member.num_pool for size, member in zip(sizes, members, strict=True)])
        self.pool_starts = [int(end) - member.num_pool for end, member in zip(ends, members, strict=True)]
        self.starts = [start - size for start, size in zip(self.pool_starts, sizes, strict=True)]
        self.nowhere = len(taste_TR) - 1
        # New rows begin at the same column for everybody; so do buffered ones, and second images of comparisons.
        self.num_new_columns = max(member.parts[0][1] for member in members)
        self.first_pair = self.num_new_columns + max(sum(size for _, size in member.parts[1:]) for member in members)

    def by_user(self, values: list[int], otherwise: int) -> Tensor:
        """One number a member, shape (U, 1), and another for places that are not taken."""
        filled = values + [otherwise] * (self.num_users - len(values))
        return torch.tensor(filled, dtype=torch.float32, device=self.taste_TR.device)[:, None]

    @cached_property
    def new(self) -> NewFeedback:
        """All new feedback, for what is computed of it at once."""
        rows = [member.new for member in self.members]
        num_rows = max(len(each) for each in rows)
        pairs = [np.flatnonzero(each.other_N >= 0) for each in rows]
        num_pairs = max(len(each) for each in pairs)
        shape, num_aspects = (self.num_users, num_rows + num_pairs), self.generic_TA.shape[1]
        image_UV = np.full(shape, self.nowhere)
        target_UVA = np.full((*shape, num_aspects), np.nan, np.float32)
        weight_UV = np.zeros(shape, np.float32)
        slot_UP = np.zeros((self.num_users, num_pairs), np.int64)
        preference_UPA = np.full((self.num_users, num_pairs, num_aspects), np.nan, np.float32)
        for u, (each, pair_P, start) in enumerate(zip(rows, pairs, self.starts, strict=True)):
            image_UV[u, : len(each)] = start + each.image_N
            image_UV[u, num_rows : num_rows + len(pair_P)] = start + each.other_N[pair_P]
            target_UVA[u, : len(each)] = each.target_NA
            weight_UV[u, : len(each)] = each.weight_N
            slot_UP[u, : len(pair_P)] = pair_P
            preference_UPA[u, : len(pair_P)] = each.preference_NA[pair_P]
        device = self.taste_TR.device
        return NewFeedback(
            image_UV=torch.from_numpy(image_UV).to(device),
            target_UVA=torch.from_numpy(target_UVA).to(device),
            weight_UV=torch.from_numpy(weight_UV).to(device),
            slot_UP=torch.from_numpy(slot_UP).to(device),
            preference_UPA=torch.from_numpy(preference_UPA).to(device),
            num_rows=num_rows,
        )

    def pool_image_UV(self) -> Tensor:
        """Positions of the images that distillation draws from, `nowhere` behind the last."""
        image_UV = np.full((self.num_users, max(member.num_pool for member in self.members)), self.nowhere)
        for u, (member, start) in enumerate(zip(self.members, self.pool_starts, strict=True)):
            image_UV[u, : member.num_pool] = start + np.arange(member.num_pool)
        return torch.from_numpy(image_UV).to(self.taste_TR.device)

    def scores(self, image_UV: Tensor) -> Tensor:
        """Each user's scores of images by position, at the present parameters, shape (U, V, A)."""
        generic_UVA = self.generic_TA[image_UV]
        return cast(Tensor, self.bank(self.taste_TR[image_UV], generic_UVA, self.bank.lever(generic_UVA)))

    def mse_of_new(self) -> Tensor:
        """Mean squared error of the scores of new ratings, as served, shape (U,); NaN where there are none."""
        score_UVA = self.scores(self.new.image_UV).clamp(SCORE_MIN, SCORE_MAX)
        return (score_UVA - self.new.target_UVA).square().nanmean((1, 2))

    def steps(self, num_steps: int, teacher_TA: Tensor | None) -> Iterator[list[Tensor]]:
        """The batches of all steps; the first tensor is written over from step to step.

        Args:
            num_steps: how many.
            teacher_TA: what distillation wants the images' scores to be, None without.
        """
        draws = [_Draws(member) for member in self.members]
        for done in range(0, num_steps, _STEPS_PER_BLOCK):
            yield from self._block(draws, min(_STEPS_PER_BLOCK, num_steps - done), teacher_TA)

    def _block(self, draws: list[_Draws], num_steps: int, teacher_TA: Tensor | None) -> Iterator[list[Tensor]]:
        layout = _Layout(self, num_steps)
        for u, start in enumerate(self.starts):
            layout.add_rows(u, start, draws[u].rows(num_steps))
        layout.add_pairs()
        if teacher_TA is not None:
            layout.add_teaching([each.pool_rows(num_steps) for each in draws])
        return layout.steps(teacher_TA)


class _Draws:
    """Positions of the rows of each step, drawn from one member's generator as `StepLoader` and distillation would."""

    def __init__(self, member: Member) -> None:
        config = member.request.config
        self.generator = member.generator
        self.parts = member.parts
        num_pool = min(config.replay_batch_size, member.num_pool) if config.distillation_pool else 0
        self.with_pool = [*self.parts, (member.num_pool, num_pool)] if num_pool else self.parts
        self.waiting: list[list[Tensor]] = [[] for _ in self.with_pool]
        self.drawn: list[np.ndarray] = []

    def rows(self, num_steps: int) -> list[np.ndarray]:
        """By part, shape (num_steps, rows a step)."""
        num_waiting = [sum(len(each) for each in waiting) for waiting in self.waiting]
        for step in range(1, num_steps + 1):
            for i, (count, size) in enumerate(self.with_pool):
                while num_waiting[i] < step * size:
                    self.waiting[i].append(torch.randperm(count, generator=self.generator))
                    num_waiting[i] += count
        self.drawn = []
        for i, (count, size) in enumerate(self.with_pool):
            row_N = torch.cat(self.waiting[i])
            row_SB = row_N[: num_steps * size].view(num_steps, size).numpy()
            # A step that takes all rows may take them in order: its sums are the same, and so is the next step's batch.
            self.drawn.append(row_SB if size < count else np.broadcast_to(np.arange(count), row_SB.shape))
            self.waiting[i] = [row_N[num_steps * size :]]
        return self.drawn[: len(self.parts)]

    def pool_rows(self, num_steps: int) -> np.ndarray:
        """Drawn by the last `rows`: images of the pool; there may be none."""
        none = np.empty((num_steps, 0), np.int64)
        return self.drawn[len(self.parts)] if len(self.with_pool) > len(self.parts) else none


class _Layout:
    """The arrays of a block of steps, filled column by column: rows, second images of comparisons, teaching."""

    def __init__(self, stack: Stack, num_steps: int) -> None:
        self.stack = stack
        self.num_steps = num_steps
        self.precision_A = 1.0 / np.square(stack.noise_sd_A.cpu().numpy())
        self.columns = [self._image(stack.first_pair)]
        self.target_SUVA = self._numbers(stack.first_pair)
        self.weights = [self._numbers(stack.first_pair)]
        self.pairs: list[tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def add_rows(self, u: int, start: int, drawn: list[np.ndarray]) -> None:
        """Columns for the rows that a member draws."""
        member = self.stack.members[u]
        num_drawn = sum(size for _, size in member.parts)
        first_row, column = 0, 0
        for (count, size), row_SB in zip(member.parts, drawn, strict=True):
            # A mean over the batch then estimates the mean over all rows of all parts.
            share = (count / member.num_rows) / (size / num_drawn)
            rows, row_SB = member.rows, row_SB + first_row
            at = np.s_[:, u, column : column + size]
            self.columns[0][at] = start + rows.image_N[row_SB]
            target_SBA = rows.target_NA[row_SB]
            weight_SB = rows.weight_N[row_SB] * np.float32(share / num_drawn)
            self.target_SUVA[at] = np.nan_to_num(target_SBA)
            with np.errstate(over="ignore"):  # what becomes infinite is found where the loss is looked at
                self.weights[0][at] = np.where(np.isnan(target_SBA), 0.0, 2.0 * weight_SB[..., None] * self.precision_A)
            if (rows.other_N >= 0).any():
                self._find_pairs(u, rows, start, row_SB, weight_SB, column)
            first_row, column = first_row + count, self.stack.num_new_columns

    def _find_pairs(
        self, u: int, rows: Rows, start: int, row_SB: np.ndarray, weight_SB: np.ndarray, column: int
    ) -> None:
        step_Q, slot_Q = np.nonzero(rows.other_N[row_SB] >= 0)
        row_Q = row_SB[step_Q, slot_Q]
        place = np.stack([step_Q, slot_Q + column, start + rows.other_N[row_Q]])
        self.pairs.append((u, place, rows.preference_NA[row_Q], weight_SB[step_Q, slot_Q], step_Q))

    def add_pairs(self) -> None:
        """Columns for the second images of all comparisons that `add_rows` met."""
        num_SU = np.zeros((self.num_steps, self.stack.num_users), np.int64)
        where = []
        for u, _, _, _, step_Q in self.pairs:
            by_step = np.searchsorted(step_Q, np.arange(self.num_steps))
            pair_Q = np.arange(len(step_Q)) - by_step[step_Q] + num_SU[step_Q, u]
            num_SU[:, u] += np.bincount(step_Q, minlength=self.num_steps)
            where.append(pair_Q)
        num_pairs = int(num_SU.max())
        shape = (self.num_steps, self.stack.num_users, num_pairs)
        self.slot_SUP = np.zeros(shape, np.int64)
        self.preference_SUPA = np.full((*shape, len(self.precision_A)), np.nan, np.float32)
        self.pair_weight_SUP = np.zeros(shape, np.float32)
        image_SUP = self._image(num_pairs)
        for (u, place, preference_QA, weight_Q, _), pair_Q in zip(self.pairs, where, strict=True):
            step_Q, slot_Q, image_Q = place
            self.slot_SUP[step_Q, u, pair_Q] = slot_Q
            self.preference_SUPA[step_Q, u, pair_Q] = preference_QA
            self.pair_weight_SUP[step_Q, u, pair_Q] = weight_Q
            image_SUP[step_Q, u, pair_Q] = image_Q
        self.columns.append(image_SUP)
        self.weights.append(self._numbers(num_pairs))

    def add_teaching(self, drawn: list[np.ndarray]) -> None:
        """Columns for images whose scores are to stay as they are: those drawn from the pool, and all new ones."""
        members, starts = self.stack.members, self.stack.starts
        new = [np.concatenate([each.image_N, each.other_N[each.other_N >= 0]]) for each in (m.new for m in members)]
        first_new = max(pool_SB.shape[1] for pool_SB in drawn)
        width = first_new + max(len(each) for each in new)
        image_SUV, weight_SUVA = self._image(width), self._numbers(width)
        for u, (member, start, new_T, pool_SB) in enumerate(zip(members, starts, new, drawn, strict=True)):
            if not member.num_pool:
                continue  # nothing is known yet that could be forgotten
            config, size = member.request.config, pool_SB.shape[1]
            if size:
                image_SUV[:, u, :size] = self.stack.pool_starts[u] + pool_SB
                share = config.distillation_pool * member.num_pool / member.num_rows / size
                weight_SUVA[:, u, :size] = 2.0 * share * self.precision_A
            at = np.s_[:, u, first_new : first_new + len(new_T)]
            image_SUV[at] = start + new_T
            weight_SUVA[at] = 2.0 * config.distillation_batch / len(new_T) * self.precision_A
        self.columns.append(image_SUV)
        self.weights.append(weight_SUVA)

    def steps(self, teacher_TA: Tensor | None) -> Iterator[list[Tensor]]:
        stack, device = self.stack, self.stack.taste_TR.device
        image_SUV = torch.from_numpy(np.concatenate(self.columns, axis=2)).to(device)
        weight_SUVA = torch.from_numpy(np.concatenate(self.weights, axis=2)).to(device)
        generic_SUVA = stack.generic_TA[image_SUV]
        lever_SUVA = stack.bank.lever(generic_SUVA)
        target_SUVA = torch.zeros_like(generic_SUVA) if teacher_TA is None else teacher_TA[image_SUV]
        target_SUVA[:, :, : stack.first_pair] = torch.from_numpy(self.target_SUVA).to(device)
        pairs = [torch.from_numpy(each).to(device) for each in (self.slot_SUP, self.preference_SUPA)]
        pairs.append(torch.from_numpy(self.pair_weight_SUP).to(device))
        taste_UVR = torch.empty(*image_SUV.shape[1:], stack.taste_TR.shape[1], device=device)
        is_fixed = bool((image_SUV == image_SUV[:1]).all())
        for s in range(self.num_steps):
            if not (s and is_fixed):
                torch.index_select(stack.taste_TR, 0, image_SUV[s].flatten(), out=taste_UVR.flatten(0, 1))
            fixed = [each[s] for each in (generic_SUVA, lever_SUVA, target_SUVA, weight_SUVA, *pairs)]
            yield list(Step(taste_UVR, *fixed))

    def _image(self, width: int) -> np.ndarray:
        return np.full((self.num_steps, self.stack.num_users, width), self.stack.nowhere)

    def _numbers(self, width: int) -> np.ndarray:
        return np.zeros((self.num_steps, self.stack.num_users, width, len(self.precision_A)), np.float32)


class StackLoader:
    """What Avalanche's loop iterates over."""

    def __init__(self, stack: Stack, num_steps: int) -> None:
        self.stack = stack
        self.num_steps = num_steps
        self.teacher_TA: Tensor | None = None  # a plugin may set it

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[Any]:
        return self.stack.steps(self.num_steps, self.teacher_TA)
