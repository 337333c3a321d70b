"""Every strategy that trains in steps as a plain loop over one user, in float64 and by autograd.

Nothing here is stacked, padded, in closed form or by Avalanche. What an increment begins with (parameters in training
units, the generator of its batches, what the learner state says) is told by the request alone.

Shape letters: N = rows, R = taste space dim, A = aspects, J = parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.comparisons import LOG_TIE_SHARE, TEMPERATURE_PER_NOISE_SD, TIE_WIDTH
from paaplus.scoring.tensors import unpack
from paaplus.strategies.parameters import Parameters, adapter_of, down_sd, parameters_of, rank_of, start_of, up_sd
from paaplus.training import TrainingRequest

COUNTS_FROM_PARENT = {"naive", "ewc", "si", "mas", "distillation", "agem"}
REPLAYS = {"replay", "derpp", "replay_ewc", "replay_si", "replay_tail"}
HOLDS = {"ewc": "fisher", "replay_ewc": "fisher", "si": "path", "replay_si": "path", "mas": "mas"}


@dataclass
class Row:
    """One rating (no second image), or one comparison; NaN where there is no answer."""

    sequence: int
    images: list[tuple[Tensor, Tensor]]  # generic scores and taste
    answer_A: Tensor
    weight: float


class PlainAdapter(nn.Module):
    """One user's adapter; parameters are in training units and count from the prior's centre."""

    def __init__(self, base: BaseScorer, center: Parameters, begin: Parameters) -> None:
        super().__init__()
        self.base, self.center = base, {name: torch.tensor(value).double() for name, value in center.items()}
        self.offsets = nn.ParameterList(
            [torch.tensor(begin[name]).double() - self.center[name] for name in self.center]
        )

    def now(self) -> dict[str, Tensor]:
        return {name: at + offset for (name, at), offset in zip(self.center.items(), self.offsets, strict=True)}

    def forward(self, x: Tensor) -> Tensor:
        """Scores of rows `[generic_A, taste_R]`."""
        base, at = self.base, self.now()
        generic_NA, taste_NR = x[:, : len(base.aspects)], x[:, len(base.aspects) :]
        offset_A = at["offset.weight"] * torch.tensor(base.offset_sd_A)
        slope_A = at["slope.weight"] * torch.tensor(base.slope_sd_A)
        if "weight.weight" in at:
            delta_NA = taste_NR @ at["weight.weight"].T * torch.tensor(base.prior_sd_A)
        else:
            hidden = torch.tanh(taste_NR * down_sd(base) @ at["down.weight"].T + at["down.bias"])
            delta_NA = hidden @ at["up.weight"].T * torch.tensor(up_sd(base, len(at["down.bias"])))
        return generic_NA + offset_A + slope_A * (generic_NA - 5.0) + delta_NA

    def score(self, image: tuple[Tensor, Tensor]) -> Tensor:
        return self(torch.cat(image)[None])[0]

    def adapter(self) -> Adapter:
        return adapter_of({name: value.detach().float().numpy() for name, value in self.now().items()}, self.base)


def rows_in_order(rated: RatedSet, compared: ComparedSet) -> list[Row]:
    def double(*arrays: np.ndarray) -> tuple[Tensor, ...]:
        return tuple(torch.tensor(array).double() for array in arrays)

    rows = [
        Row(int(s), [double(generic_A, taste_R)], *double(target_A), float(weight))
        for s, taste_R, generic_A, target_A, weight in zip(
            rated.sequence_N, rated.taste_NR, rated.generic_NA, rated.target_NA, rated.weight_N, strict=True
        )
    ]
    for c in range(len(compared)):
        first = double(compared.first_generic_CA[c], compared.first_taste_CR[c])
        second = double(compared.second_generic_CA[c], compared.second_taste_CR[c])
        answer = torch.tensor(compared.preference_CA[c]).double()
        rows.append(Row(int(compared.sequence_C[c]), [first, second], answer, float(compared.weight_C[c])))
    return sorted(rows, key=lambda row: row.sequence)


def log_likelihood(difference: Tensor, answer: float, noise_sd: float) -> Tensor:
    """Of one answer: Bradley-Terry with ties, after Rao and Kupper."""
    z = difference / (TEMPERATURE_PER_NOISE_SD * noise_sd)
    first, second = torch.sigmoid(z - TIE_WIDTH), torch.sigmoid(-z - TIE_WIDTH)
    if answer == 0.5:
        return torch.log(torch.sigmoid(z + TIE_WIDTH)) + torch.log(torch.sigmoid(TIE_WIDTH - z)) + LOG_TIE_SHARE
    return torch.log(first if answer == 1.0 else second)


def loss_of(model: PlainAdapter, row: Row, noise_sd_A: np.ndarray) -> Tensor:
    """Minus twice the log likelihood of a row."""
    scores = [model.score(image) for image in row.images]
    total = torch.zeros((), dtype=torch.float64)
    for a, answer in enumerate(row.answer_A.tolist()):
        if answer != answer:
            continue
        if len(scores) == 1:
            total = total + row.weight * ((scores[0][a] - answer) / float(noise_sd_A[a])) ** 2
        else:
            difference = scores[0][a] - scores[1][a]
            total = total - 2.0 * row.weight * log_likelihood(difference, answer, float(noise_sd_A[a]))
    return total


def information(difference: float, noise_sd: float) -> float:
    """Of one comparison about the difference: the curvature of minus its log likelihood, mean over the answers."""
    at, total = torch.tensor(difference, dtype=torch.float64), 0.0
    for answer in (1.0, 0.0, 0.5):
        probability = float(log_likelihood(at, answer, noise_sd).exp())
        hessian = torch.autograd.functional.hessian(lambda d, answer=answer: -log_likelihood(d, answer, noise_sd), at)
        total += probability * float(hessian)
    return total


def importances_of(model: PlainAdapter, rows: list[Row], kind: str) -> list[Tensor]:
    """Fisher information (`fisher`) or sensitivity (`mas`) of rows, summed, by parameter."""
    parameters, noise_sd_A = list(model.parameters()), model.base.noise_sd_A
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for row in rows:
        scores = [model.score(image) for image in row.images]
        for a, answer in enumerate(row.answer_A.tolist()):
            if answer != answer:
                continue
            noise_sd = float(noise_sd_A[a])
            if kind == "mas":
                values, weight = [score[a] for score in scores], row.weight / noise_sd
            elif len(scores) == 1:
                values, weight = [scores[0][a]], row.weight / noise_sd**2
            else:
                values = [scores[0][a] - scores[1][a]]
                weight = row.weight * information(float(values[0].detach()), noise_sd)
            for value in values:
                for each, slope in zip(total, torch.autograd.grad(value, parameters, retain_graph=True), strict=True):
                    each += weight * (slope.abs() if kind == "mas" else slope.square())
    return total


def fisher_of(adapter: Adapter, base: BaseScorer, rated: RatedSet) -> dict[str, np.ndarray]:
    """Fisher information of ratings at an adapter's parameters, by parameter."""
    at = parameters_of(adapter, base, {})
    found = importances_of(PlainAdapter(base, at, at), rows_in_order(rated, NO_COMPARISONS), "fisher")
    return {name: value.numpy() for name, value in zip(at, found, strict=True)}


class Draws:
    """Positions of a part's rows: every row once, in random order, before any row again."""

    def __init__(self, count: int, batch_size: int, generator: torch.Generator) -> None:
        self.count, self.size, self.generator, self.waiting = count, min(count, batch_size), generator, []

    def __call__(self) -> list[int]:
        while len(self.waiting) < self.size:
            self.waiting += torch.randperm(self.count, generator=self.generator).tolist()
        taken, self.waiting = self.waiting[: self.size], self.waiting[self.size :]
        return taken

    @property
    def share(self) -> float:
        """How many rows each that is taken stands for."""
        return self.count / self.size


class Adam:
    """As published, with an L2 penalty in the gradient."""

    def __init__(self, parameters: list[Tensor], decay: float) -> None:
        self.parameters, self.decay, self.step = parameters, decay, 0
        self.mean = [torch.zeros_like(parameter) for parameter in parameters]
        self.square = [torch.zeros_like(parameter) for parameter in parameters]

    def update(self, gradients: list[Tensor], rate: float) -> None:
        self.step += 1
        for i, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            gradient = gradient + self.decay * parameter.detach()
            self.mean[i] = 0.9 * self.mean[i] + 0.1 * gradient
            self.square[i] = 0.999 * self.square[i] + 0.001 * gradient**2
            mean, square = self.mean[i] / (1 - 0.9**self.step), self.square[i] / (1 - 0.999**self.step)
            parameter.data -= rate * mean / (square.sqrt() + 64e-8)


@dataclass
class Known:
    """What an oracle's increment gives."""

    adapter: Adapter
    importances: dict[str, np.ndarray]


def oracle(request: TrainingRequest) -> Known:
    """One increment. The learner state must be whole: nothing that importances saw has been taken back."""
    strategy, config, base = request.strategy, request.config, request.base
    new = rows_in_order(request.new, request.new_compared)
    past = rows_in_order(request.past, request.past_compared)
    if strategy == "joint":
        new, past, request = past + new, [], replace(request, parent=None, state=None)
    last = max((row.sequence for row in past + new), default=0)
    seed = int(np.random.SeedSequence([config.seed, last]).generate_state(1, np.uint64)[0])
    generator = torch.Generator().manual_seed(seed % 2**63)
    state = unpack(request.state)[0] if request.state else {}
    rank = rank_of(request.adapter_kind, config.rank, request.parent)
    start = start_of(request.adapter_kind, base, rank, request.center)
    begin = parameters_of(request.parent, base, start) if request.parent else start
    model = PlainAdapter(base, begin if strategy in COUNTS_FROM_PARENT else start, begin)
    parent = PlainAdapter(base, begin, begin)
    parameters, noise_sd_A = list(model.parameters()), base.noise_sd_A

    trained_on = past + new if strategy == "cumulative" else new
    parts = [(trained_on, Draws(len(trained_on), config.batch_size, generator))]
    buffered: list[Row] = []
    if strategy in REPLAYS | {"agem"}:
        by_sequence = {row.sequence: row for row in past}
        kept = [int(s) for s in state.get("buffer_sequence_K", [])][: config.buffer_size]
        buffered = [by_sequence[s] for s in kept if s in by_sequence]
    if strategy in REPLAYS and buffered and config.replay_batch_size:
        parts.append((buffered, Draws(len(buffered), config.replay_batch_size, generator)))
    num_rows = sum(len(rows) for rows, _ in parts)
    pool, dark = [], []
    keeps_new = strategy == "distillation" and bool(past) and config.distillation_batch > 0
    if strategy == "distillation" and past and config.distillation_pool:
        pool = [row.images[0] for row in past] + [row.images[1] for row in past if len(row.images) == 2]
    if strategy == "derpp" and "dark_K2A" in state:
        scores = dict(zip(state["dark_sequence_K"].tolist(), torch.tensor(state["dark_K2A"]).double(), strict=True))
        dark = [(row, scores[row.sequence]) for row in buffered if row.sequence in scores]
    aside = pool or dark or (buffered if strategy == "agem" else [])
    draw_aside = Draws(len(aside), config.replay_batch_size, generator) if aside and config.replay_batch_size else None

    prefix = HOLDS.get(strategy, "")
    strength = {"fisher": config.ewc_lambda, "path": config.si_lambda, "mas": config.mas_lambda}.get(prefix, 0.0)
    held = [torch.zeros_like(parameter) for parameter in parameters]
    if prefix and f"{prefix}.offset.weight" in state:
        ageing = 2.0 ** (-len(new) / config.recency_half_life) if config.recency_half_life else 1.0
        held = [ageing * torch.tensor(state[f"{prefix}.{name}"]).double() for name in model.center]
    anchor = [parameter.detach().clone() for parameter in parameters]
    path = [torch.zeros_like(parameter) for parameter in parameters]

    adam = Adam(parameters, 2.0 * config.prior_strength)
    for step in range(config.num_steps):
        batches = [([rows[i] for i in draw()], draw.share) for rows, draw in parts]
        loss = sum(share * loss_of(model, row, noise_sd_A) for rows, share in batches for row in rows)
        taken = [aside[i] for i in draw_aside()] if draw_aside else []
        if pool and draw_aside:
            loss = loss + config.distillation_pool * draw_aside.share * keeping(model, parent, taken, noise_sd_A)
        if keeps_new:
            images = [image for row in new for image in row.images]
            per_image = config.distillation_batch * len(new) / len(images)
            loss = loss + per_image * keeping(model, parent, images, noise_sd_A)
        if dark and draw_aside and config.derpp_alpha:
            for row, score_2A in taken:
                for image, answer_A in zip(row.images, score_2A, strict=False):
                    distance = ((model.score(image) - answer_A) / torch.tensor(noise_sd_A)).square().sum()
                    loss = loss + config.derpp_alpha * draw_aside.share * distance
        data_gradients = list(torch.autograd.grad(loss, parameters))
        gradients = [
            gradient + 2.0 * strength * importance * (parameter.detach() - at)
            for gradient, importance, parameter, at in zip(data_gradients, held, parameters, anchor, strict=True)
        ]
        if strategy == "agem" and taken:
            reference = torch.autograd.grad(sum(loss_of(model, row, noise_sd_A) for row in taken), parameters)
            product = sum((one * other).sum() for one, other in zip(gradients, reference, strict=True))
            square = sum(other.square().sum() for other in reference)
            if product < 0:
                gradients = [one - product / square * other for one, other in zip(gradients, reference, strict=True)]
        before = [parameter.detach().clone() for parameter in parameters]
        adam.update(gradients, config.learning_rate * (1.0 - step / config.num_steps))
        for i, parameter in enumerate(parameters):
            path[i] -= data_gradients[i] * (parameter.detach() - before[i])

    found = {}
    if prefix:
        if prefix == "path":
            moves = [parameter.detach() - at for parameter, at in zip(parameters, anchor, strict=True)]
            share = len(new) / num_rows
            fresh = [(share * way).clamp(min=0.0) / (move**2 + 0.01) for way, move in zip(path, moves, strict=True)]
        else:
            fresh = importances_of(model, new, prefix)
        for name, old, each in zip(model.center, held, fresh, strict=True):
            found[name] = (config.ewc_decay * old + each).numpy()
    return Known(model.adapter(), found)


def keeping(
    model: PlainAdapter, parent: PlainAdapter, images: list[tuple[Tensor, Tensor]], noise_sd_A: np.ndarray
) -> Tensor:
    """Squared distance to the parent's scores of images, in units of rating noise, summed."""
    distances = [(model.score(image) - parent.score(image).detach()) / torch.tensor(noise_sd_A) for image in images]
    return torch.stack([distance.square().sum() for distance in distances]).sum()
