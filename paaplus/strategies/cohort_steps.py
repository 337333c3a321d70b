"""What the members of a stack see step by step: ids into one table of images, targets and weights.

Every member's rows are drawn by its own generator, in the order in which `train` draws from it. Members with fewer rows
a step than its columns are filled up with rows of weight 0, which add nothing.

Shape letters: T = images of the table, S = steps of a block, U = members, V = images of a step, B = rows of a part,
P = comparisons of a step, A = aspects, N = rows of new feedback, I = images of a draw.
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
from paaplus.strategies.cohort_bank import Bank, Seen
from paaplus.strategies.cohort_rows import Member, Rows

_STEPS_PER_BLOCK = 64  # bounds what is laid out ahead, whatever the number of steps
_ROWS_PER_CHUNK = 32  # of what is looked at once: whoever has fewer chunks than others gets empty ones, which add 0


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


class NewRows(NamedTuple):
    """New feedback of every member, a chunk of it. Where there is none: the image `nowhere`, NaN and weight 0."""

    image_UV: Tensor
    other_UV: Tensor  # the second image of a comparison, or `nowhere`
    target_UVA: Tensor
    preference_UVA: Tensor
    weight_UV: Tensor


class Stack(AvalancheDataset):
    """Members of one kind and size as an Avalanche dataset of nothing but their table of images."""

    def __init__(self, members: Sequence[Member], bank: Bank, noise_sd_A: Tensor) -> None:
        super().__init__([])
        self.members = list(members)
        self.columns = members[0].columns
        self.bank = bank
        self.num_users = bank.num_users  # at least as many as there are members
        self.noise_sd_A = noise_sd_A
        device = noise_sd_A.device
        parts = [images for member in members for images in member.images]
        # The last image is the one that is looked at where there is nothing to look at.
        nothing = [np.zeros((1, parts[0].taste_TR.shape[1]), np.float32)]
        taste_TR = np.concatenate([images.taste_TR for images in parts] + nothing)
        nothing = [np.zeros((1, len(noise_sd_A)), np.float32)]
        self.generic_TA = torch.from_numpy(np.concatenate([images.generic_TA for images in parts] + nothing)).to(device)
        self.taste_TR = bank.seen(torch.from_numpy(taste_TR).to(device))
        sizes = [sum(len(images) for images in member.images) for member in members]
        self.starts = [int(end) - size for end, size in zip(np.cumsum(sizes), sizes, strict=True)]
        self.nowhere = len(taste_TR) - 1

    def by_user(self, values: list[int], otherwise: int) -> Tensor:
        """One number a member, shape (U, 1), and another for places that are not taken."""
        filled = values + [otherwise] * (self.num_users - len(values))
        return torch.tensor(filled, dtype=torch.float32, device=self.taste_TR.device)[:, None]

    @cached_property
    def new(self) -> list[NewRows]:
        """All new feedback in chunks, for what is computed of it at once."""
        rows = [member.new for member in self.members]
        num_chunks = -(-max(len(each) for each in rows) // _ROWS_PER_CHUNK)
        shape, num_aspects = (num_chunks, self.num_users, _ROWS_PER_CHUNK), self.generic_TA.shape[1]
        chunks = NewRows(
            image_UV=torch.full(shape, self.nowhere),
            other_UV=torch.full(shape, self.nowhere),
            target_UVA=torch.full((*shape, num_aspects), torch.nan),
            preference_UVA=torch.full((*shape, num_aspects), torch.nan),
            weight_UV=torch.zeros(shape),
        )
        for u, (each, start) in enumerate(zip(rows, self.starts, strict=True)):
            position_N = np.arange(len(each))
            at = (position_N // _ROWS_PER_CHUNK, u, position_N % _ROWS_PER_CHUNK)
            chunks.image_UV.numpy()[at] = start + each.image_N
            chunks.other_UV.numpy()[at] = np.where(each.other_N < 0, self.nowhere, start + each.other_N)
            chunks.target_UVA.numpy()[at] = each.target_NA
            chunks.preference_UVA.numpy()[at] = each.preference_NA
            chunks.weight_UV.numpy()[at] = each.weight_N
        return [NewRows(*(column[k].to(self.taste_TR.device) for column in chunks)) for k in range(num_chunks)]

    @property
    def has_comparisons(self) -> bool:
        return self.columns.pairs > 0

    def images(self, image_UV: Tensor) -> Seen:
        """Images by position."""
        return Seen(self.taste_TR[image_UV], self.generic_TA[image_UV])

    def scores(self, image_UV: Tensor) -> Tensor:
        """Each user's scores of images by position, at the present parameters, shape (U, V, A)."""
        images = self.images(image_UV)
        return cast(Tensor, self.bank(*images, self.bank.lever(images.generic_UVA)))

    def scores_of(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Each member's scores of as many images as are asked for, by position among the member's, shape (V, A)."""
        num_chunks = -(-max(len(image_V) for image_V in images) // _ROWS_PER_CHUNK)
        image_UV = np.full((self.num_users, num_chunks * _ROWS_PER_CHUNK), self.nowhere)
        for u, (image_V, start) in enumerate(zip(images, self.starts, strict=True)):
            image_UV[u, : len(image_V)] = start + image_V
        chunks = torch.from_numpy(image_UV).to(self.taste_TR.device).split(_ROWS_PER_CHUNK, dim=1)
        score_UVA = torch.cat([self.scores(chunk_UV) for chunk_UV in chunks], dim=1)
        return [score_UVA[u, : len(image_V)] for u, image_V in enumerate(images)]

    def mse_of_new(self) -> Tensor:
        """Mean squared error of the scores of new ratings, as served, shape (U,), float64; NaN where there are none."""
        total_U = torch.zeros(self.num_users, dtype=torch.float64, device=self.taste_TR.device)
        count_U = torch.zeros_like(total_U)
        for new in self.new:
            error_UVA = self.scores(new.image_UV).clamp_(SCORE_MIN, SCORE_MAX) - new.target_UVA
            total_U += error_UVA.square().nansum((1, 2), dtype=torch.float64)
            count_U += (~torch.isnan(new.target_UVA)).sum((1, 2))
        return total_U / count_U

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
            layout.add_lessons([each.lessons for each in draws])
        return layout.steps(teacher_TA)


class _Draws:
    """Positions of the rows of each step, drawn from one member's generator as `StepLoader` and lessons would."""

    lessons: np.ndarray  # drawn by the last `rows`, shape (num_steps, draws a step); there may be none

    def __init__(self, member: Member) -> None:
        self.generator = member.generator
        lessons = member.lessons
        self.num_parts = len(member.parts)
        self.parts = member.parts
        if lessons is not None and lessons.num_drawn:
            self.parts = [*self.parts, (len(lessons.image_KI), lessons.num_drawn)]
        self.waiting: list[list[Tensor]] = [[] for _ in self.parts]

    def rows(self, num_steps: int) -> list[np.ndarray]:
        """By part, shape (num_steps, rows a step)."""
        num_waiting = [sum(len(each) for each in waiting) for waiting in self.waiting]
        for step in range(1, num_steps + 1):
            for i, (count, size) in enumerate(self.parts):
                while num_waiting[i] < step * size:
                    self.waiting[i].append(torch.randperm(count, generator=self.generator))
                    num_waiting[i] += count
        drawn = []
        for i, (count, size) in enumerate(self.parts):
            row_N = torch.cat(self.waiting[i])
            row_SB = row_N[: num_steps * size].view(num_steps, size).numpy()
            # A step that takes all rows may take them in order: its sums are the same, and so is the next step's batch.
            drawn.append(row_SB if size < count else np.broadcast_to(np.arange(count), row_SB.shape))
            self.waiting[i] = [row_N[num_steps * size :]]
        self.lessons = drawn[-1] if len(drawn) > self.num_parts else np.empty((num_steps, 0), np.int64)
        return drawn[: self.num_parts]


class _Layout:
    """The arrays of a block of steps, filled column by column: rows, second images of comparisons, teaching."""

    def __init__(self, stack: Stack, num_steps: int) -> None:
        self.stack = stack
        self.num_steps = num_steps
        self.precision_A = 1.0 / np.square(stack.noise_sd_A.cpu().numpy())
        self.columns = [self._image(stack.columns.rows)]
        self.target_SUVA = self._numbers(stack.columns.rows)
        self.weights = [self._numbers(stack.columns.rows)]
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
            first_row, column = first_row + count, column + size

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
        num_pairs = self.stack.columns.pairs
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

    def add_lessons(self, drawn: list[np.ndarray]) -> None:
        """Columns for images whose scores are to stay as they are: those that are drawn, and those of every step."""
        width = self.stack.columns.taught
        image_SUV, weight_SUVA = self._image(width), self._numbers(width)
        for u, (member, start, row_SB) in enumerate(zip(self.stack.members, self.stack.starts, drawn, strict=True)):
            lessons = member.lessons
            assert lessons is not None, "members of one stack have lessons or have none"
            image_SV = lessons.image_KI[row_SB].reshape(self.num_steps, -1)
            every = np.s_[:, u, image_SV.shape[1] : lessons.num_columns]
            image_SUV[:, u, : image_SV.shape[1]] = np.where(image_SV < 0, self.stack.nowhere, start + image_SV)
            weight_SBIA = lessons.weight_KIA[row_SB]
            weight_SUVA[:, u, : image_SV.shape[1]] = weight_SBIA.reshape(self.num_steps, -1, len(self.precision_A))
            image_SUV[every] = start + lessons.image_V
            weight_SUVA[every] = lessons.weight_VA
        self.columns.append(image_SUV)
        self.weights.append(weight_SUVA)

    def steps(self, teacher_TA: Tensor | None) -> Iterator[list[Tensor]]:
        stack, device = self.stack, self.stack.taste_TR.device
        image_SUV = torch.from_numpy(np.concatenate(self.columns, axis=2)).to(device)
        weight_SUVA = torch.from_numpy(np.concatenate(self.weights, axis=2)).to(device)
        generic_SUVA = stack.generic_TA[image_SUV]
        lever_SUVA = stack.bank.lever(generic_SUVA)
        target_SUVA = torch.zeros_like(generic_SUVA) if teacher_TA is None else teacher_TA[image_SUV]
        target_SUVA[:, :, : stack.columns.rows] = torch.from_numpy(self.target_SUVA).to(device)
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
