"""Users of one kind and size as one Avalanche dataset, and the steps in which their rows are drawn.

Whoever has fewer rows a step than columns is filled up with an image of nothing, of weight 0. How many columns there
are follows from the user's own rows: sums over filled columns must not depend on who else is in the stack.

Shape letters: T = images of the table, S = steps, U = users, V = images of a step, X = numbers read of an image,
B = rows of a part, A = aspects, N = rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.strategies.avalanche_names import AvalancheDataset
from paaplus.strategies.base import TrainingRequest
from paaplus.strategies.modules import StackedAdapter, padded
from paaplus.strategies.parameters import Parameters, parameters_of, rank_of, start_of
from paaplus.strategies.recency import ageing
from paaplus.strategies.rows import Part, rows_of
from paaplus.strategies.state import load_state

_FEWEST_COLUMNS = 32  # if any: fewer would save less than the more stacks cost that people then fall into
_STEPS_PER_BLOCK = 64  # bounds what is laid out ahead, whatever the number of steps
_LARGEST = torch.finfo(torch.float32).max
_ROWS_PER_CHUNK = 32  # of what is looked at once: who has fewer chunks than others gets empty ones, which add 0
Drawn = Mapping[Part, np.ndarray]  # rows that steps draw, shape (S, B)


class Columns(NamedTuple):
    """How many images a step has for one user: of ratings and soft targets, and for comparisons, twice each."""

    rated: int
    pairs: int

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Self:
        """Enough for every step, and of few different sizes: what users of one stack agree in."""
        drawn = [part for part in parts if part.num_drawn]
        most = padded(sum(max(part.batch_size or 0, *part.widths) for part in drawn))
        return cls(*(_enough(sum(part.widths[kind] for part in drawn), most) for kind in (0, 1)))

    @property
    def width(self) -> int:
        return self.rated + 2 * self.pairs


def _enough(count: int, most: int) -> int:
    """The next power of two, or what is enough for the most there can be; multiples of a cache line."""
    return min(max(_FEWEST_COLUMNS, 1 << (count - 1).bit_length()), most) if count else 0


class Member:
    """One user of a stack: the request as parts to draw from, and the parent's state.

    Plugins are asked to `admit` it before it is stacked. They restore what they keep of the learner state and add parts
    (`parts` are trained on, `aside` are drawn beside them), and refuse a state that is broken (`InvalidInput`).
    """

    sample: Any  # the reservoir, of strategies that have one

    def __init__(self, position: int, request: TrainingRequest, prior: str) -> None:
        self.position, self.request = position, request
        self.state: Mapping[str, np.ndarray] = load_state(request.state, request.parent)
        self.ageing = ageing(request)
        self.kept: dict[Any, Any] = {}  # by plugin
        self.new = rows_of(request.new, request.new_compared)
        self.past_sequence_N = np.sort(np.concatenate([request.past.sequence_N, request.past_compared.sequence_C]))
        self.parts = [Part(self.new, request.config.batch_size)]
        self.aside: list[Part] = []
        self.rank = rank_of(request.adapter_kind, request.config.rank, request.parent)
        start = start_of(request.adapter_kind, request.base, self.rank, request.center)
        self.begin: Parameters = parameters_of(request.parent, request.base, start) if request.parent else start
        self.center = self.begin if prior == "parent" else start
        self.shares_center = prior == "start" and request.center is None  # with everybody of the kind

    def generator(self) -> torch.Generator:
        """What draws this increment's batches: seeded with the configured seed and the last event that is known."""
        last_sequence = max(self.new.sequence_N.max(initial=0), self.past_sequence_N.max(initial=0))
        seeds = np.random.SeedSequence([self.request.config.seed, int(last_sequence)])
        return torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0]) % 2**63)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What users of one stack agree in."""
        request, columns = self.request, (Columns.of(self.parts), Columns.of(self.aside))
        given = request.adapter_kind, request.config, request.base.digest, request.device
        return *columns, self.rank, len(self.new) > 0, *given

    @property
    def num_rows(self) -> int:
        """Rows of feedback that the batches stand for."""
        return sum(len(part.rows) for part in self.parts if part.num_drawn and part.soft_weight is None)


class Stack(AvalancheDataset):
    """An experience of a stack: a table of images with the answers about them, and each user's parts of it."""

    def __init__(self, members: Sequence[Member], module: StackedAdapter, device: str) -> None:
        super().__init__([])
        self.members, self.module, self.device = list(members), module, torch.device(device)
        self.columns, self.aside = Columns.of(members[0].parts), Columns.of(members[0].aside)
        self.num_new = len(members[0].new)  # 0 for one is 0 for all
        self.starts: dict[tuple[int, Part], int] = {}
        self.nowhere = 0  # the last image of the table, looked at where there is nothing to look at
        for u, member in enumerate(members):
            for part in (*member.parts, *member.aside):
                self.starts[u, part] = self.nowhere
                self.nowhere += len(part.rows.taste_VR)
        x_TX = np.zeros((self.nowhere + 1, module.width), np.float32)
        y_TB = np.zeros((self.nowhere + 1, 2 * module.num_aspects), np.float32)
        precision_A = 1.0 / np.square(module.base.noise_sd_A, dtype=np.float32)
        for (_, part), start in self.starts.items():
            _fill(part, x_TX[start:], y_TB[start:], module, precision_A)
        self.x_TX, self.y_TB = torch.from_numpy(x_TX).to(self.device), torch.from_numpy(y_TB).to(self.device)

    def teach(self, u: int, part: Part, score_VA: Tensor) -> None:
        """Give the images of a user's part these soft targets."""
        start = self.starts[u, part]
        self.y_TB[start : start + len(score_VA), : self.module.num_aspects] = score_VA

    def chunks(self, parts: Mapping[int, Part]) -> Iterator[tuple[Tensor, Tensor]]:
        """Positions of the images of these users' rows and of their second ones, or nowhere; shape (U, 32) each."""
        num_chunks = -(-max((len(part.rows) for part in parts.values()), default=0) // _ROWS_PER_CHUNK)
        image_2UN = np.full((2, self.module.num_places, num_chunks * _ROWS_PER_CHUNK), self.nowhere)
        for u, part in parts.items():
            start, second_N = self.starts[u, part], part.rows.second_N
            image_2UN[0, u, : len(second_N)] = start + np.arange(len(second_N))
            image_2UN[1, u, : len(second_N)] = np.where(second_N < 0, self.nowhere, start + second_N)
        for chunk in torch.from_numpy(image_2UN).to(self.device).split(_ROWS_PER_CHUNK, dim=2):
            yield chunk[0], chunk[1]

    @torch.no_grad()
    def scores(self, parts: Mapping[int, Part], which: int = 0) -> dict[int, Tensor]:
        """Scores of the images of these users' rows (1: of their second ones), shape (N, A), at present parameters."""
        none_UNA = self.x_TX.new_empty(self.module.num_places, 0, self.module.num_aspects)
        score_UNA = torch.cat(
            [none_UNA, *(self.module(self.x_TX[chunk[which]]) for chunk in self.chunks(parts))], dim=1
        )
        return {u: score_UNA[u, : len(part.rows)] for u, part in parts.items()}

    def mse_of_ratings(self) -> np.ndarray:
        """Mean squared error of the scores, as served, of the first part's ratings, shape (U,); NaN: there are none."""
        mse_U = np.full(len(self.members), np.nan)
        for u, score_NA in self.scores({u: member.parts[0] for u, member in enumerate(self.members)}).items():
            rows = self.members[u].parts[0].rows
            error_NA = score_NA.clamp(SCORE_MIN, SCORE_MAX).cpu().numpy().astype(np.float64) - rows.target_NA
            error_J = error_NA[~np.isnan(rows.target_NA) & (rows.second_N[:, None] < 0)]
            if len(error_J):
                mse_U[u] = error_J @ error_J / len(error_J)
        return mse_U


def _fill(part: Part, x_TX: np.ndarray, y_TB: np.ndarray, module: StackedAdapter, precision_A: np.ndarray) -> None:
    """Write a part's images, targets and weights, as `LogLikelihood` reads them."""
    rows, num_aspects, first = part.rows, module.num_aspects, padded(module.taste_dim)
    num_rows, num_images = len(rows), len(rows.taste_VR)
    np.multiply(rows.taste_VR, np.float32(module.taste_unit), out=x_TX[:num_images, : module.taste_dim])
    x_TX[:num_images, first : first + num_aspects] = rows.generic_VA
    if part.soft_weight is not None:
        target_VA = np.zeros((num_images, num_aspects)) if part.soft_VA is None else part.soft_VA
        y_TB[:num_images, :num_aspects] = np.nan_to_num(target_VA)
        y_TB[:num_images, num_aspects:] = np.where(np.isnan(target_VA), 0.0, np.float32(part.soft_weight) * precision_A)
        return
    y_TB[:num_rows, :num_aspects] = np.nan_to_num(rows.target_NA)
    with np.errstate(over="ignore"):  # what becomes infinite is found where the loss is looked at
        weight_NA = np.where(rows.second_N[:, None] < 0, rows.weight_N[:, None] * precision_A, rows.weight_N[:, None])
    y_TB[:num_rows, num_aspects:] = np.where(np.isnan(rows.target_NA), 0.0, weight_NA)


class _Draws:
    """Rows of each step, drawn from one user's generator: a part is gone through in random order, again and again."""

    def __init__(self, member: Member) -> None:
        self.parts = [part for part in (*member.parts, *member.aside) if part.num_drawn]
        self.takes_all = all(part.num_drawn == len(part.rows) for part in self.parts)
        self.generator = None if self.takes_all else member.generator()
        self.waiting = {part: np.empty(0, np.int64) for part in self.parts}

    def rows(self, num_steps: int) -> Drawn:
        """By part, shape (num_steps, rows a step)."""
        drawn = {part: np.broadcast_to(np.arange(part.num_drawn), (num_steps, part.num_drawn)) for part in self.parts}
        if self.takes_all:
            return drawn
        fresh = {part: [self.waiting[part]] for part in self.parts if part.batch_size is not None}
        for step in range(1, num_steps + 1):  # step by step, so that a block's size does not matter
            for part, orders in fresh.items():
                while len(self.waiting[part]) + (len(orders) - 1) * len(part.rows) < step * part.num_drawn:
                    orders.append(torch.randperm(len(part.rows), generator=self.generator).numpy())
        for part, orders in fresh.items():
            row_N, num_taken = np.concatenate(orders), num_steps * part.num_drawn
            self.waiting[part] = row_N[num_taken:]
            if part.num_drawn < len(part.rows):  # who takes all may take them in order: the sums are the same
                drawn[part] = row_N[:num_taken].reshape(num_steps, -1)
        return drawn


class StepLoader:
    """What Avalanche's loop iterates over: `num_steps` batches of images and targets, and those of what lies aside."""

    def __init__(self, stack: Stack, num_steps: int) -> None:
        self.stack, self.num_steps = stack, num_steps

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[Tensor]]:
        draws = [_Draws(member) for member in self.stack.members]
        if all(each.takes_all for each in draws):
            for batch in self._block(draws, min(self.num_steps, 1)):
                yield from (list(batch) for _ in range(self.num_steps))
            return
        for done in range(0, self.num_steps, _STEPS_PER_BLOCK):
            yield from self._block(draws, min(_STEPS_PER_BLOCK, self.num_steps - done))

    def _block(self, draws: Sequence[_Draws], num_steps: int) -> Iterator[list[Tensor]]:
        stack, drawn = self.stack, [each.rows(num_steps) for each in draws]
        parts = [member.parts for member in stack.members], [member.aside for member in stack.members]
        pairs = zip((stack.columns, stack.aside), parts, strict=True)
        layouts = [self._laid_out(columns, each, drawn, num_steps) for columns, each in pairs if columns.width]
        for s in range(num_steps):
            yield [tensor for image_SUV, share_SUV in layouts for tensor in self._batch(image_SUV[s], share_SUV[s])]

    def _laid_out(
        self, columns: Columns, parts: Sequence[Sequence[Part]], drawn: Sequence[Drawn], num_steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which image stands in which column of every step, and how many rows it stands for; shape (S, U, V) each."""
        starts, nowhere = self.stack.starts, self.stack.nowhere
        shape = (num_steps, self.stack.module.num_places, columns.width)
        image_SUV, share_SUV = np.full(shape, nowhere), np.zeros(shape, np.float32)
        for u, parts_of_user in enumerate(parts):
            rated, pair = 0, columns.rated
            for part in parts_of_user:
                if part not in drawn[u]:
                    continue
                first_SB = starts[u, part] + drawn[u][part]
                placed = [(rated, first_SB)]
                if part.rows.num_compared:
                    second_SB = part.rows.second_N[drawn[u][part]]
                    is_pair_SB = second_SB >= 0
                    second_SB = np.where(is_pair_SB, starts[u, part] + second_SB, nowhere)
                    placed.append((rated + part.num_drawn, second_SB))
                    if part.soft_weight is None:
                        first_SB, rating_SB = (np.where(each, first_SB, nowhere) for each in (is_pair_SB, ~is_pair_SB))
                        placed = [(pair, first_SB), (pair + columns.pairs, second_SB)]
                        placed += [(rated, rating_SB)] if part.widths[0] else []
                for column, image_SB in placed:
                    image_SUV[:, u, column : column + part.num_drawn] = image_SB
                    share_SUV[:, u, column : column + part.num_drawn] = part.share
                rated, pair = rated + part.widths[0], pair + part.widths[1]
        return image_SUV, share_SUV

    def _batch(self, image_UV: np.ndarray, share_UV: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images, shape (U, V, X), and targets with weights, shape (U, V, 2 A)."""
        stack, image = self.stack, torch.from_numpy(image_UV).to(self.stack.device)
        y_UVB, num_aspects = stack.y_TB[image], stack.module.num_aspects
        y_UVB[..., num_aspects:] *= torch.from_numpy(share_UV).to(stack.device)[..., None]
        y_UVB[..., num_aspects:].clamp_(max=_LARGEST)  # an infinite weight of no error would be no number
        return stack.x_TX[image], y_UVB
