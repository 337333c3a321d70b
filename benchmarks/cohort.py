"""How many users a second are trained: stock Avalanche one at a time, stacks of users, the closed form.

    python benchmarks/cohort.py [--taste-dims 256,768] [--stacks 1,16,32,64] [--repeats 7] [--record]

One process, one thread, warm; the contenders take turns, and a row shows the median over the turns, in seconds of the
processor: other load costs everybody cache and clock, but not whole time slices. People are simulated: random tastes
over random images whose spectrum falls as that of photographs does. Everybody trains the second increment of 32
ratings, with the 32 earlier ones in the buffer: bottleneck of rank 32, 32 new and 32 replayed rows a step, 20 steps,
replay and EWC. Ours are timed from request to learner state; stock Avalanche (Naive with its own ReplayPlugin and
EWCPlugin over a plain TensorDataset, the same adapter as a torch module, the same loss, Adam and falling learning rate,
no loggers, no evaluation) only inside `train()`, with everything before it already in memory.

The closed form learns the same 64 ratings from the base model's own prior. `bayes, weights` gives what the others give,
the parameters after the increment, fitted afresh from all ratings; `bayes, version` is all that a worker commits of it:
checks, predictive standard deviations, every prediction without one and without two ratings, metrics and state.

With CUDA, stacks of 1,024 and 4,096 users follow on the GPU, float32, against stock Avalanche on the same GPU, in
seconds of the clock on the wall. --record keeps the result in benchmarks/results, with date, commit and load.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from recording import ROOT, run_conditions
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import TensorDataset

from paaplus.configs import TrainingConfig
from paaplus.metrics import srcc
from paaplus.records import RatedSet
from paaplus.scoring import closed_form
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import SCORE_CENTER, OwnPrior
from paaplus.strategies.avalanche_names import AvalancheDataset, DatasetExperience, EWCPlugin, ReplayPlugin
from paaplus.strategies.parameters import down_sd, start_of, up_sd
from paaplus.strategies.template import SilentEvaluator
from paaplus.training import Trained, TrainingRequest, train, train_many

# After avalanche_names, without which it cannot be imported beside a torch for CPUs.
from avalanche.training.plugins import LRSchedulerPlugin  # isort: skip
from avalanche.training.supervised import Naive  # isort: skip

CONFIG = TrainingConfig(num_steps=20, batch_size=32, replay_batch_size=32, rank=32)
INCREMENT, NUM_INCREMENTS, NUM_UNSEEN = 32, 2, 200
CLOCK = time.process_time  # of one thread, so that other load on the machine does not count
STOCK_USERS = 16  # a turn, and of whom the SRCC is shown


@dataclass(frozen=True)
class Person:
    """Simulated ratings in order, and noiseless scores of images that are never trained on."""

    increments: list[RatedSet]
    unseen: RatedSet


def simulated_base(taste_dim: int, features_are_taste: bool = False) -> BaseScorer:
    """A base model of which only the taste space and the priors matter; features are taste, or are not used."""
    one = np.ones(1, np.float32)
    feature_dim = taste_dim if features_are_taste else 4
    map_QR = np.eye(taste_dim) if features_are_taste else np.zeros((4, taste_dim))
    return BaseScorer(
        name="simulated",
        aspects=("beauty",),
        extractor_digest="0" * 64,
        mean_D=np.zeros(feature_dim, np.float32),
        components_DP=np.eye(feature_dim, dtype=np.float32),
        anchors_TP=np.empty((0, feature_dim), np.float32),
        inverse_width=1.0,
        map_QR=map_QR.astype(np.float32),
        shift_R=np.zeros(taste_dim, np.float32),
        head_weight_RA=np.zeros((taste_dim, 1), np.float32),
        head_bias_A=5.0 * one,
        prior_sd_A=1.5 * one,
        noise_sd_A=1.0 * one,
        offset_sd_A=0.8 * one,
        slope_sd_A=0.3 * one,
    )


def simulated_people(base: BaseScorer, count: int, seed: int) -> list[Person]:
    rng = np.random.default_rng([base.taste_dim, seed])
    spectrum_R = 1.0 / (np.arange(base.taste_dim) + 3.0)
    scale_R = np.sqrt(spectrum_R / spectrum_R.sum())  # a squared norm of 1 on average
    people = []
    for _ in range(count):
        weight_R1 = rng.normal(size=(base.taste_dim, 1)) * base.prior_sd_A
        num_ratings = INCREMENT * NUM_INCREMENTS
        taste_NR = (rng.normal(size=(num_ratings + NUM_UNSEEN, base.taste_dim)) * scale_R).astype(np.float32)
        generic_N1 = rng.normal(5.0, 1.0, (len(taste_NR), 1)).astype(np.float32)
        score_N1 = generic_N1 + taste_NR @ weight_R1
        noise_N1 = rng.normal(size=score_N1.shape) * base.noise_sd_A
        noise_N1[num_ratings:] = 0.0
        rated = RatedSet.of(np.arange(1, len(taste_NR) + 1), taste_NR, generic_N1, score_N1 + noise_N1)
        cuts = np.arange(0, num_ratings, INCREMENT)
        increments = [rated.select(np.arange(cut, cut + INCREMENT)) for cut in cuts]
        people.append(Person(increments, rated.select(np.arange(num_ratings, len(taste_NR)))))
    return people


def last_requests(base: BaseScorer, people: list[Person]) -> list[TrainingRequest]:
    """Everybody's last increment, after the earlier ones have been trained."""
    requests = [
        TrainingRequest(
            "replay_ewc", "bottleneck", CONFIG, base, p.increments[0], p.increments[0].select(np.arange(0)), None, None
        )
        for p in people
    ]
    for k in range(1, NUM_INCREMENTS):
        trained = train_many(requests)
        requests = [
            replace(
                request,
                new=person.increments[k],
                past=RatedSet.concatenate(*person.increments[:k]),
                parent=known(each).adapter,
                state=known(each).state,
            )
            for request, person, each in zip(requests, people, trained, strict=True)
        ]
    return requests


def known(outcome: Trained | Exception) -> Trained:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def closed_form_request(request: TrainingRequest) -> TrainingRequest:
    return replace(request, strategy="bayes", adapter_kind="taste_vector", parent=None, state=None)


def fitted(request: TrainingRequest) -> closed_form.Fitted:
    rated = RatedSet.concatenate(request.past, request.new)
    return closed_form.fit(request.base, OwnPrior(request.base), rated, request.new_compared)


class PlainBottleneck(nn.Module):
    """One user's bottleneck of one aspect, as one would write it for stock Avalanche. Rows are generic score, taste."""

    def __init__(self, base: BaseScorer) -> None:
        super().__init__()
        start = start_of("bottleneck", base, CONFIG.rank, None)
        self.base, self.unit = base, down_sd(base)
        self.up_sd = float(up_sd(base, CONFIG.rank)[0])
        for name, value in start.items():
            self.register_buffer(f"center_{name.replace('.', '_')}", torch.from_numpy(value.copy()))
        self.affine = nn.Parameter(torch.zeros(2))
        self.down = nn.Linear(base.taste_dim, CONFIG.rank)
        self.up = nn.Linear(CONFIG.rank, 1, bias=False)
        with torch.no_grad():
            self.down.weight.copy_(self.center_down_weight)
            self.down.bias.zero_()
            self.up.weight.copy_(self.center_up_weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        generic_B1, base = x[:, :1], self.base
        plain_B1 = generic_B1 + self.affine[0] * float(base.offset_sd_A[0])
        plain_B1 = plain_B1 + self.affine[1] * float(base.slope_sd_A[0]) * (generic_B1 - SCORE_CENTER)
        return plain_B1 + self.up(torch.tanh(self.down(x[:, 1:] * self.unit))) * self.up_sd

    def penalty(self) -> torch.Tensor:
        """Squared distance from the centre of the prior."""
        down, up = self.down.weight - self.center_down_weight, self.up.weight - self.center_up_weight
        return self.affine.square().sum() + down.square().sum() + self.down.bias.square().sum() + up.square().sum()


def plain_rows(rated: RatedSet) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([rated.generic_NA, rated.taste_NR], axis=1))


class LogPosterior:
    """The loss of ours: without the prior, stock Avalanche learns noise, and its SRCC falls by up to .09."""

    def __init__(self, module: PlainBottleneck, noise_variance: float) -> None:
        self.module = module
        self.noise_variance = noise_variance
        self.num_rows = 0

    def __call__(self, score_B1: torch.Tensor, target_B1: torch.Tensor) -> torch.Tensor:
        mse = nn.functional.mse_loss(score_B1, target_B1)
        return mse / self.noise_variance + self.module.penalty() / self.num_rows


class Stock:
    """One user in stock Avalanche, kept in memory from increment to increment."""

    def __init__(self, base: BaseScorer, device: str = "cpu") -> None:
        module = PlainBottleneck(base).to(device)
        optimizer = torch.optim.Adam(module.parameters(), lr=CONFIG.learning_rate)
        self.criterion = LogPosterior(module, float(base.noise_sd_A[0]) ** 2)
        self.strategy = Naive(
            model=module,
            optimizer=optimizer,
            criterion=self.criterion,
            train_mb_size=CONFIG.batch_size,
            train_epochs=CONFIG.num_steps,  # an increment is one batch
            plugins=[
                ReplayPlugin(CONFIG.buffer_size, CONFIG.batch_size, CONFIG.replay_batch_size),
                EWCPlugin(CONFIG.ewc_lambda, mode="online", decay_factor=CONFIG.ewc_decay),
                LRSchedulerPlugin(LambdaLR(optimizer, lambda step: 1.0 - step / CONFIG.num_steps)),
            ],
            evaluator=SilentEvaluator(),
            device=device,
        )

    def train(self, increment: int, rated: RatedSet) -> None:
        self.criterion.num_rows += len(rated)
        data = TensorDataset(plain_rows(rated), torch.from_numpy(rated.target_NA))
        experience = DatasetExperience(dataset=AvalancheDataset([data]), current_experience=increment)
        with warnings.catch_warnings(record=True):  # stock replay insists on one at every experience
            self.strategy.train(experience, eval_streams=[])

    def score(self, rated: RatedSet) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(self.strategy.model(plain_rows(rated).to(self.strategy.device)).cpu().numpy())


def quality(score_NA: np.ndarray, unseen: RatedSet) -> float:
    return srcc(score_NA[:, 0], unseen.target_NA[:, 0])


def measure(taste_dim: int, stacks: list[int], repeats: int) -> list[dict[str, object]]:
    """Rows of the table: contender, ms a user, users a second, ratio to stock, SRCC."""
    base = simulated_base(taste_dim)
    people = simulated_people(base, max(max(stacks), STOCK_USERS), seed=0)
    requests = last_requests(base, people)
    bayes_requests = [closed_form_request(request) for request in requests[:STOCK_USERS]]
    stocks = stocks_of(base, people, "cpu")

    contenders: dict[str, Callable[[], tuple[float, list[float]]]] = {
        "stock Avalanche": lambda: run_stock(stocks, people),
        **{
            f"stack of {count}": lambda count=count: timed(  # type: ignore[misc]
                lambda: [
                    known(each)
                    for first in range(0, max(count, STOCK_USERS), count)  # as many people as stock Avalanche, or more
                    for each in train_many(requests[first : first + count])
                ],
                people,
            )
            for count in stacks
        },
        "bayes, weights": lambda: timed(lambda: [fitted(request) for request in bayes_requests], people),
        "bayes, version": lambda: timed(lambda: [train(request) for request in bayes_requests], people),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    srccs: dict[str, float] = {}
    for turn in range(repeats + 1):
        for name, run in contenders.items():
            each_s, srcc_U = run()
            if turn:  # the first one warms up
                seconds[name].append(each_s)
            srccs[name] = float(np.mean(srcc_U))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        {
            "contender": name,
            "taste_dim": taste_dim,
            "ms_per_user": 1e3 * value,
            "users_per_s": 1.0 / value,
            "times_stock": median["stock Avalanche"] / value,
            "srcc": srccs[name],
            "ms_per_user_of_turns": [round(1e3 * each, 3) for each in seconds[name]],
        }
        for name, value in median.items()
    ]


def stocks_of(base: BaseScorer, people: list[Person], device: str) -> list[Stock]:
    """Some people in stock Avalanche, all but the last increment trained."""
    stocks = []
    for person in people[:STOCK_USERS]:
        stock = Stock(base, device)
        for k in range(NUM_INCREMENTS - 1):
            stock.train(k, person.increments[k])
        stocks.append(stock)
    return stocks


def run_stock(stocks: list[Stock], people: list[Person], now: Callable[[], float] = CLOCK) -> tuple[float, list[float]]:
    fresh = copy.deepcopy(stocks)
    clock = now()
    for stock, person in zip(fresh, people, strict=False):
        stock.train(NUM_INCREMENTS - 1, person.increments[-1])
    seconds = now() - clock
    srcc_U = [quality(stock.score(person.unseen), person.unseen) for stock, person in zip(fresh, people, strict=False)]
    return seconds / len(fresh), srcc_U


def timed(
    run: Callable[[], Sequence[Trained | closed_form.Fitted]], people: list[Person], now: Callable[[], float] = CLOCK
) -> tuple[float, list[float]]:
    clock = now()
    trained = run()
    seconds = now() - clock
    unseen = [person.unseen for person in people[: min(len(trained), STOCK_USERS)]]
    srcc_U = [
        quality(each.adapter.score(rated.taste_NR, rated.generic_NA), rated)
        for each, rated in zip(trained, unseen, strict=False)
    ]
    return seconds / len(trained), srcc_U


def measure_on(device: str, taste_dim: int, counts: list[int], repeats: int) -> list[dict[str, object]]:
    """Stacks on a device, and stock Avalanche on the same, in seconds of the clock on the wall."""
    base = simulated_base(taste_dim)
    people = simulated_people(base, max(counts), seed=1)
    requests = [replace(request, device=device) for request in last_requests(base, people)]
    stocks = stocks_of(base, people, device)
    stock_turns = [run_stock(stocks, people, time.perf_counter) for _ in range(repeats + 1)][1:]
    stock_s = statistics.median([each_s for each_s, _ in stock_turns])
    where = torch.cuda.get_device_name() if device == "cuda" else device
    found: list[dict[str, object]] = [
        {
            "contender": f"stock Avalanche on {where}",
            "taste_dim": taste_dim,
            "ms_per_user": 1e3 * stock_s,
            "users_per_s": 1.0 / stock_s,
            "times_stock": 1.0,
            "srcc": float(np.mean(stock_turns[-1][1])),
        }
    ]
    for count in counts:
        turns = []
        for _ in range(repeats + 1):

            def run(count: int = count) -> list[Trained]:
                return [known(each) for each in train_many(requests[:count])]  # results are on the host: it is done

            turns.append(timed(run, people, time.perf_counter))
        value = statistics.median([each_s for each_s, _ in turns[1:]])
        found.append(
            {
                "contender": f"stack of {count} on {where}",
                "taste_dim": taste_dim,
                "ms_per_user": 1e3 * value,
                "users_per_s": 1.0 / value,
                "times_stock": stock_s / value,
                "srcc": float(np.mean(turns[-1][1])),
            }
        )
    return found


def show(found: list[dict[str, object]]) -> None:
    print("| taste dim | contender | ms a user | users a second | x stock | SRCC |")
    print("|---|---|---|---|---|---|")
    for row in found:
        print(
            f"| {row['taste_dim']} | {row['contender']} | {row['ms_per_user']:.2f} | {row['users_per_s']:.0f} "
            f"| {row['times_stock']:.1f} | {row['srcc']:.4f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taste-dims", default="256,768")
    parser.add_argument("--stacks", default="1,16,32,64")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stacks = [int(count) for count in options.stacks.split(",")]
    found: list[dict[str, object]] = []
    for taste_dim in map(int, options.taste_dims.split(",")):
        found += measure(taste_dim, stacks, options.repeats)
        if torch.cuda.is_available():
            found += measure_on("cuda", taste_dim, [1024, 4096], options.repeats)
    show(found)
    if options.record:
        told = f"python benchmarks/cohort.py --taste-dims {options.taste_dims} --stacks {options.stacks}"
        record("cohort", f"{told} --repeats {options.repeats}", found)


def record(name: str, command: str, found: list[dict[str, object]]) -> None:
    """Keep a table of simulated people, with what a reader needs to run it again."""
    folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    about = run_conditions(command) | {"people": "simulated, seed 0", "num_threads": 1, "num_aspects": 1}
    (folder / "run.json").write_text(json.dumps(about, indent=2) + "\n")
    (folder / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
