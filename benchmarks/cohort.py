"""How many users a second are trained: stock Avalanche, this project's solo path, cohorts of users, the closed form.

    python benchmarks/cohort.py [--taste-dims 256,768] [--cohorts 16,32,64] [--repeats 7] [--record]

One process, one thread, warm; the contenders take turns, and a row shows the median over the turns, in seconds of the
processor: other load costs everybody cache and clock, but not whole time slices. People are simulated: random tastes
over random images whose spectrum falls as that of photographs does. Everybody trains the second increment of 32
ratings, with the 32 earlier ones in the buffer: bottleneck of rank 32, 32 new and 32 replayed rows a step, 20 steps,
replay and EWC. Ours are timed from request to learner state; stock Avalanche (Naive with its own ReplayPlugin and
EWCPlugin over a plain TensorDataset, the same torch module, loss, Adam and falling learning rate, no loggers, no
evaluation) only inside `train()`, with everything before it already in memory.

The second table is the whole way: due users whose jobs wait in SQLite, one worker without Celery, everything that
`paaplus.pipelines.run_jobs` does for them (claim, read, train, judge, commit), one job at a time and
`PAAPLUS_COHORT_SIZE` at a time, in seconds of the processor; a turn starts from the same copied database.

With CUDA, cohorts of 1,024 to 4,096 users follow on the GPU, in seconds of the clock on the wall. --record keeps the
result in benchmarks/results, with date, commit and load.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sqlalchemy as sa
import structlog
import torch
from kshot import ROOT, circumstances
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import TensorDataset

from paaplus.configs import TrainingConfig
from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow, ImageRow, RunRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from paaplus.metrics import srcc
from paaplus.pipelines.context import WorkerContext
from paaplus.pipelines.run_jobs import run_next
from paaplus.records import RatedSet
from paaplus.scoring.base import BaseScorer
from paaplus.scoring.priors import TastePrior
from paaplus.services import base_models, feedback, scheduling
from paaplus.services.feedback import NewEvent
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from paaplus.strategies.avalanche_names import AvalancheDataset, DatasetExperience, EWCPlugin, ReplayPlugin
from paaplus.strategies.modules import AdapterModule, build_module, rows
from paaplus.strategies.template import SilentEvaluator
from paaplus.training import Trained, TrainingRequest, train, train_cohort

# After avalanche_names, without which it cannot be imported beside a torch for CPUs.
from avalanche.training.plugins import LRSchedulerPlugin  # isort: skip
from avalanche.training.supervised import Naive  # isort: skip

CONFIG = TrainingConfig(num_steps=20, batch_size=32, replay_batch_size=32, rank=32)
INCREMENT, NUM_INCREMENTS, NUM_UNSEEN = 32, 2, 200
PRIOR_RANK = 64  # coordinates of the taste prior that the closed form starts from
CLOCK = time.process_time  # of one thread, so that other load on the machine does not count
STOCK_USERS = 16  # a turn, and of whom the SRCC is shown
NUM_IMAGES, TOLD = 400, 40  # of the deployment, and rated by everybody in each increment; a fifth never trains
POLICIES: dict[str, dict[str, object]] = {
    "bottleneck replay_ewc": {"adapter": "bottleneck", "strategy": "replay_ewc", "training": CONFIG.to_dict()},
    "taste_vector bayes": {"adapter": "taste_vector", "strategy": "bayes"},
}


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
        trained = train_cohort(requests)
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


def closed_form(request: TrainingRequest) -> TrainingRequest:
    """The same feedback for `bayes`, from a taste prior of few coordinates as a deployment learns one."""
    base = request.base
    factor_PKA = np.zeros((base.taste_dim + 2, PRIOR_RANK, 1), np.float32)
    sds = [base.offset_sd_A[0], base.slope_sd_A[0], *[base.prior_sd_A[0]] * (PRIOR_RANK - 2)]
    factor_PKA[np.arange(PRIOR_RANK), np.arange(PRIOR_RANK), 0] = sds
    prior = _prior_of(base, factor_PKA)
    return replace(request, strategy="bayes", adapter_kind="taste_vector", parent=None, state=None, prior=prior)


_PRIORS: dict[str, TastePrior] = {}


def _prior_of(base: BaseScorer, factor_PKA: np.ndarray) -> TastePrior:
    mean_PA = np.zeros((base.taste_dim + 2, 1), np.float32)
    return _PRIORS.setdefault(base.digest, TastePrior(base.digest, mean_PA, factor_PKA, base.noise_sd_A))


class LogPosterior:
    """The loss of ours: without the prior, stock Avalanche learns noise, and its SRCC falls by up to .09."""

    def __init__(self, module: AdapterModule, noise_variance: float) -> None:
        self.module = module
        self.noise_variance = noise_variance
        self.num_rows = 0

    def __call__(self, score_B1: torch.Tensor, target_B1: torch.Tensor) -> torch.Tensor:
        mse = nn.functional.mse_loss(score_B1, target_B1)
        return mse / self.noise_variance + self.module.penalty() / self.num_rows


class Stock:
    """One user in stock Avalanche, kept in memory from increment to increment."""

    def __init__(self, base: BaseScorer) -> None:
        module = build_module("bottleneck", base, CONFIG.rank, None)
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
        )

    def train(self, increment: int, rated: RatedSet) -> None:
        self.criterion.num_rows += len(rated)
        data = TensorDataset(rows(rated.generic_NA, rated.taste_NR), torch.from_numpy(rated.target_NA))
        experience = DatasetExperience(dataset=AvalancheDataset([data]), current_experience=increment)
        with warnings.catch_warnings(record=True):  # stock replay insists on one at every experience
            self.strategy.train(experience, eval_streams=[])

    def score(self, rated: RatedSet) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(self.strategy.model(rows(rated.generic_NA, rated.taste_NR)).numpy())


def quality(score_NA: np.ndarray, unseen: RatedSet) -> float:
    return srcc(score_NA[:, 0], unseen.target_NA[:, 0])


def measure(taste_dim: int, cohorts: list[int], repeats: int) -> list[dict[str, object]]:
    """Rows of the table: contender, ms a user, users a second, ratio to stock and to solo, SRCC."""
    base = simulated_base(taste_dim)
    people = simulated_people(base, max(cohorts), seed=0)
    requests = last_requests(base, people)
    bayes_requests = [closed_form(request) for request in requests]
    stocks = []
    for person in people[:STOCK_USERS]:
        stock = Stock(base)
        for k in range(NUM_INCREMENTS - 1):
            stock.train(k, person.increments[k])
        stocks.append(stock)

    contenders: dict[str, Callable[[], tuple[float, list[float]]]] = {
        "stock Avalanche": lambda: run_stock(stocks, people),
        "solo": lambda: timed(lambda: [train(request) for request in requests[:STOCK_USERS]], people),
        **{
            f"cohort of {count}": lambda count=count: timed(  # type: ignore[misc]
                lambda: [known(each) for each in train_cohort(requests[:count])], people
            )
            for count in cohorts
        },
        "bayes": lambda: timed(lambda: [train(request) for request in bayes_requests[:STOCK_USERS]], people),
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
            "times_solo": median["solo"] / value,
            "srcc": srccs[name],
            "ms_per_user_of_turns": [round(1e3 * each, 3) for each in seconds[name]],
        }
        for name, value in median.items()
    ]


def run_stock(stocks: list[Stock], people: list[Person]) -> tuple[float, list[float]]:
    fresh = copy.deepcopy(stocks)
    clock = CLOCK()
    for stock, person in zip(fresh, people, strict=False):
        stock.train(NUM_INCREMENTS - 1, person.increments[-1])
    seconds = CLOCK() - clock
    srcc_U = [quality(stock.score(person.unseen), person.unseen) for stock, person in zip(fresh, people, strict=False)]
    return seconds / len(fresh), srcc_U


def timed(
    run: Callable[[], list[Trained]], people: list[Person], now: Callable[[], float] = CLOCK
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


def measure_gpu(taste_dim: int, counts: list[int], repeats: int) -> list[dict[str, object]]:
    """Cohorts on CUDA."""
    base = simulated_base(taste_dim)
    people = simulated_people(base, max(counts), seed=1)
    requests = [replace(request, device="cuda") for request in last_requests(base, people)]
    found = []
    for count in counts:
        turns = []
        for _ in range(repeats + 1):

            def run(count: int = count) -> list[Trained]:
                return [known(each) for each in train_cohort(requests[:count])]  # results are on the host: it is done

            turns.append(timed(run, people, time.perf_counter))
        value = statistics.median([each_s for each_s, _ in turns[1:]])
        found.append(
            {
                "contender": f"cohort of {count} on {torch.cuda.get_device_name()}",
                "taste_dim": taste_dim,
                "ms_per_user": 1e3 * value,
                "users_per_s": 1.0 / value,
                "srcc": float(np.mean(turns[-1][1])),
            }
        )
    return found


def deployed(home: Path, dim: int, policy: dict[str, object], num_users: int) -> Settings:
    """A deployment on SQLite where everybody has a first version and has rated as many again: jobs wait."""
    settings = Settings(home=home, database_url=f"sqlite:///{home / 'paaplus.db'}")
    migrate.upgrade(settings.database_url)
    database, blobs = Database(settings.database_url), BlobStore(settings.resolved_storage_url)
    base = simulated_base(dim, features_are_taste=True)
    rng = np.random.default_rng(dim)
    spectrum_R = 1.0 / (np.arange(dim) + 3.0)
    features_ID = (rng.normal(size=(NUM_IMAGES, dim)) * np.sqrt(spectrum_R / spectrum_R.sum())).astype(np.float16)
    generic_I1 = base.generic(base.project(features_ID))
    with database.session() as session:
        base_models.register(session, blobs, base, {"extractor": "none"}, {})
        users = [
            UserRow(id=new_id(), application="bench", external_id=f"user{u}", policy=policy, created_at=utcnow())
            for u in range(num_users)
        ]
        session.add_all(users)
        images = [new_id() for _ in range(NUM_IMAGES)]
        for i, image_id in enumerate(images):
            digest = f"{i:064x}"
            columns = {
                "sha256": digest,
                "upload_sha256": digest,
                "size_bytes": 1,
                "width_px": 1,
                "height_px": 1,
                "media_type": "image/png",
            }
            session.add(ImageRow(id=image_id, application="bench", created_at=utcnow(), **columns))
        session.flush()
        for image_id, features_D in zip(images, features_ID, strict=True):
            columns = {"extractor_digest": base.extractor_digest, "data": features_D.tobytes()}
            session.add(FeaturesRow(image_id=image_id, created_at=utcnow(), **columns))
    context = WorkerContext(database, blobs, settings.model_copy(update={"cohort_size": 64}), worker="bench")
    for k in range(NUM_INCREMENTS):
        if k:
            drain(context)
        for u, user in enumerate(users):
            person = np.random.default_rng([dim, u])
            score_I1 = generic_I1 + features_ID @ (person.normal(size=(dim, 1)) * base.prior_sd_A)
            order = person.permutation(NUM_IMAGES)[k * TOLD : (k + 1) * TOLD]
            values = np.clip(score_I1[order, 0] + person.normal(size=TOLD), 0, 10)
            with database.session() as session:
                events = [
                    NewEvent(
                        index=n,
                        user_id=user.id,
                        event_id=f"{k}-{n}",
                        kind=FeedbackKind.RATING,
                        image_id=images[i],
                        payload={"ratings": {"beauty": float(value)}, "scale": {"min": 0, "max": 10}},
                    )
                    for n, (i, value) in enumerate(zip(order, values, strict=True))
                ]
                feedback.append(session, "bench", events, source="bench", settings=settings)
        scheduling.scan(database, settings)
    database.dispose()
    return settings


def drain(context: WorkerContext) -> tuple[int, float]:
    """Run every job that waits; how many, and the seconds until the first claim of them was done."""
    clock, num_jobs, first_s = CLOCK(), 0, 0.0
    while num := run_next(context, ["cpu"]):
        num_jobs += num
        first_s = first_s or CLOCK() - clock
    return num_jobs, first_s


def measure_workers(dim: int, num_users: int, sizes: list[int], repeats: int) -> list[dict[str, object]]:
    """Rows of the second table."""
    found: list[dict[str, object]] = []
    for name, policy in POLICIES.items():
        seconds: dict[int, list[float]] = {size: [] for size in sizes}
        firsts: dict[int, list[float]] = {size: [] for size in sizes}
        parts: dict[int, dict[str, float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            settings = deployed(Path(folder) / "made", dim, policy, num_users)
            for turn, size in itertools.product(range(repeats + 1), sizes):
                home = Path(folder) / "turn"
                shutil.copytree(settings.home, home)
                now = settings.model_copy(
                    update={"home": home, "database_url": f"sqlite:///{home / 'paaplus.db'}", "cohort_size": size}
                )
                database = Database(now.database_url)
                context = WorkerContext(database, BlobStore(now.resolved_storage_url), now, worker="bench")
                clock = CLOCK()
                num_jobs, first_s = drain(context)
                spent = CLOCK() - clock
                assert num_jobs == num_users, f"{num_jobs} jobs of {num_users} users"
                if turn:  # the first one warms up
                    seconds[size].append(spent / num_jobs)
                    firsts[size].append(first_s)
                parts[size] = mean_timings(database)
                database.dispose()
                shutil.rmtree(home)
        for size in sizes:
            value = statistics.median(seconds[size])
            found.append(
                {
                    "policy": name,
                    "taste_dim": dim,
                    "num_users": num_users,
                    "cohort_size": size,
                    "ms_per_user": 1e3 * value,
                    "users_per_s": 1.0 / value,
                    "times_one_at_a_time": statistics.median(seconds[sizes[0]]) / value,
                    "first_claim_done_s": statistics.median(firsts[size]),
                    "ms_per_user_of_turns": [round(1e3 * each, 3) for each in seconds[size]],
                    **{f"{part}_ms": 1e3 * part_s for part, part_s in parts[size].items()},
                }
            )
    return found


def mean_timings(database: Database) -> dict[str, float]:
    """What the latest runs say of themselves, in seconds; every user must have a second version."""
    with database.read_session() as session:
        runs = session.execute(sa.select(RunRow.timings).where(RunRow.from_sequence > 0)).scalars().all()
    return {part: statistics.mean(timings[f"{part}_s"] for timings in runs) for part in ("read", "train", "judge")}


def show_workers(found: list[dict[str, object]]) -> None:
    print("\n| policy | taste dim | users | at a time | ms a user | users a second | x one | first done s | parts |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in found:
        print(
            f"| {row['policy']} | {row['taste_dim']} | {row['num_users']} | {row['cohort_size']} "
            f"| {row['ms_per_user']:.1f} | {row['users_per_s']:.0f} | {row['times_one_at_a_time']:.2f} "
            f"| {row['first_claim_done_s']:.2f} "
            f"| {row['read_ms']:.1f} / {row['train_ms']:.1f} / {row['judge_ms']:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taste-dims", default="256,768")
    parser.add_argument("--cohorts", default="16,32,64")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--users", type=int, default=64, help="due users of the second table; 0: leave it out")
    parser.add_argument("--sizes", default=f"1,{Settings().cohort_size},64", help="of its claims")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cohorts = [int(count) for count in options.cohorts.split(",")]
    found: list[dict[str, object]] = []
    for taste_dim in map(int, options.taste_dims.split(",")):
        found += measure(taste_dim, cohorts, options.repeats)
        if torch.cuda.is_available():
            found += measure_gpu(taste_dim, [1024, 2048, 4096], options.repeats)
    print("| taste dim | contender | ms a user | users a second | x stock | x solo | SRCC |")
    print("|---|---|---|---|---|---|---|")
    for row in found:
        ratios = [f"{row[name]:.1f}" if name in row else "" for name in ("times_stock", "times_solo")]
        print(
            f"| {row['taste_dim']} | {row['contender']} | {row['ms_per_user']:.2f} | {row['users_per_s']:.0f} "
            f"| {ratios[0]} | {ratios[1]} | {row['srcc']:.4f} |"
        )
    workers: list[dict[str, object]] = []
    if options.users:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        sizes = [int(size) for size in options.sizes.split(",")]
        workers = measure_workers(256, options.users, sizes, options.repeats)
        show_workers(workers)
    if options.record:
        folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-cohort"
        folder.mkdir(parents=True, exist_ok=True)
        told = f"python benchmarks/cohort.py --taste-dims {options.taste_dims} --cohorts {options.cohorts}"
        told += f" --repeats {options.repeats} --users {options.users} --sizes {options.sizes}"
        about = circumstances(told) | {"people": "simulated, seed 0", "num_threads": 1, "num_aspects": 1}
        (folder / "run.json").write_text(json.dumps(about, indent=2) + "\n")
        (folder / "cohort.json").write_text(json.dumps(found, indent=2) + "\n")
        (folder / "workers.json").write_text(json.dumps(workers, indent=2) + "\n")


if __name__ == "__main__":
    main()
