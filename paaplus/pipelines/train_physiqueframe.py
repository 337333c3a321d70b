"""Train PhysiqueFrame on a split of PhysiqueAA50K, or of a data set with the same layout.

A run is one folder: `run.json` (the configuration), `state.pt` (the state), `log.csv` (a row per epoch) and
`physiqueframe.safetensors` (the best network so far). A run that is started again on its folder continues. On a CPU its
result is then bit-identical to that of a run without interruption.

Shape letters: N = rows, A = aspects.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from paaplus.data.physique.dataset import PhysiqueDataset, RatedBatch
from paaplus.data.physique.meshes import MeshStore
from paaplus.data.physique.reader import PhysiqueRows
from paaplus.errors import Conflict, DivergedError, InvalidInput
from paaplus.models.physiqueframe.network.config import ASPECTS, FrameConfig
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.network.loss import AspectLoss
from paaplus.models.physiqueframe.weights.checkpoint import load_checkpoint, save_checkpoint
from paaplus.pipelines.evaluate_physiqueframe import METRICS, evaluate, network_scores
from paaplus.pipelines.physiqueframe_batches import MirroredSamples, load_batches, shuffled_batches
from paaplus.pipelines.training_files import TrainingState, read_state, write_log, write_state
from paaplus.whole_files import write_atomically

BEST_FILE, STATE_FILE, LOG_FILE, RUN_FILE = "physiqueframe.safetensors", "state.pt", "log.csv", "run.json"
_ADAM_EPS = 1e-5  # of the published training

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a run. Defaults are those of the published training, except for `weighted_loss` and `flip`.

    Attributes:
        learning_rate: of the first epochs; multiplied by `decay` after every `decay_epochs` epochs.
        weighted_loss: weight the aspects by trained log-variances; False: the published sum of squared errors.
        flip: mirror half of the images, with their joints and meshes.
        freeze_image_encoder: do not train CLIP; not for a network that is trained from scratch.
        amp: use bfloat16 on a GPU.
        metric: its mean over the aspects on `val.csv` decides which epoch is best, and early stopping.
        patience: the run ends after this number of epochs without a better one; 0: never.
        state_steps: the state is stored after this number of steps, and after every epoch.
        num_workers: processes that read images; 0: this process.
    """

    num_epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 1e-4
    decay: float = 0.1
    decay_epochs: int = 5
    weighted_loss: bool = True
    flip: bool = True
    freeze_image_encoder: bool = True
    amp: bool = True
    metric: str = "srcc"
    patience: int = 0
    state_steps: int = 500
    num_workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least = {"num_epochs": 1, "batch_size": 2, "decay_epochs": 1, "state_steps": 1, "patience": 0,
                    "num_workers": 0, "seed": 0}  # fmt: skip
        for name, low in at_least.items():
            if getattr(self, name) < low:
                raise InvalidInput(f"{name} {getattr(self, name)}: {low} or more")
        if not (0 < self.learning_rate < 1 and 0 < self.decay <= 1):
            raise InvalidInput(f"learning rate {self.learning_rate}, decay {self.decay}: between 0 and 1")
        if self.metric not in METRICS:
            raise InvalidInput(f"metric {self.metric!r}; known: {', '.join(METRICS)}")


@dataclass(frozen=True)
class TrainResult:
    """The result of a run. `epochs` are the rows of the log."""

    best_file: Path
    best_epoch: int
    epochs: tuple[dict[str, float], ...]
    stopped_early: bool

    @property
    def best(self) -> dict[str, float]:
        return self.epochs[self.best_epoch - 1]


@dataclass
class _Run:
    """The changing state of a run."""

    network: PhysiqueFrame
    loss: AspectLoss
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    device: str
    epoch: int = 0  # number of finished epochs
    step: int = 0  # number of finished steps in the current epoch
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def train_physiqueframe(
    train: PhysiqueRows,
    val: PhysiqueRows,
    out: Path,
    *,
    config: TrainConfig,
    frame: FrameConfig | None = None,
    init: Path | None = None,
    meshes: Path | None = None,
    device: str = "cpu",
    progress: Progress = lambda done, total, message: None,
) -> TrainResult:
    """Start the run in `out`, or continue it.

    Args:
        train: rows to train on.
        val: rows that decide which epoch is best.
        out: the run's folder.
        config: how to train.
        frame: sizes of a network that is trained from scratch; None: those of `init`, or the official sizes.
        init: a checkpoint to start from; None: from scratch.
        meshes: a store of body meshes (`paaplus.data.physique.meshes`); None: only the image branch is trained.
        device: of torch.
        progress: called with the number of finished steps of the epoch, the number of all, and a text.

    Raises:
        InvalidInput: rows, files or sizes do not fit together.
        Conflict: the folder holds another run.
        DivergedError: the loss is not finite.
    """
    if len(train) < 2:
        raise InvalidInput(f"{train.file}: {len(train)} rows; batch normalisation needs 2")
    out.mkdir(parents=True, exist_ok=True)
    network = _network(frame, init, config.seed)
    _check_or_write_config(out, train, val, config, network.config, init, meshes)
    with ExitStack() as stack:
        store = stack.enter_context(MeshStore(meshes)) if meshes else None
        run = _prepare(network.to(device), config, device)
        _restore(run, out / STATE_FILE)
        sets = PhysiqueDataset(train, store, network.config), PhysiqueDataset(val, store, network.config)
        stopped = _stopped(run)
        while run.epoch < config.num_epochs and not stopped:
            _epoch(run, *sets, out, progress)
            stopped = _stopped(run)
    return TrainResult(out / BEST_FILE, run.best_epoch, tuple(run.history), stopped)


def _epoch(run: _Run, train: PhysiqueDataset, val: PhysiqueDataset, out: Path, progress: Progress) -> None:
    config = run.config
    rate = config.learning_rate * config.decay ** (run.epoch // config.decay_epochs)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    batches = shuffled_batches(len(train), config.batch_size, config.seed, run.epoch)
    text = f"epoch {run.epoch + 1} of {config.num_epochs}"
    progress(run.step, len(batches), text)
    started = time.perf_counter()
    run.network.train()
    samples = MirroredSamples(train, config.flip, config.seed, run.epoch)
    for batch in load_batches(samples, batches[run.step :], config.num_workers, run.network.config):
        run.loss_sum += _step(run, batch)
        run.step += 1
        progress(run.step, len(batches), text)
        if run.step % config.state_steps == 0 and run.step < len(batches):
            run.seconds += time.perf_counter() - started
            started = time.perf_counter()
            write_state(out / STATE_FILE, _state(run))
    run.seconds += time.perf_counter() - started
    row = {"epoch": float(run.epoch + 1), "learning_rate": rate, "loss": run.loss_sum / len(batches)}
    if run.loss.log_variance_A is not None:
        values = run.loss.log_variance_A.tolist()
        row |= {f"log_variance_{aspect}": value for aspect, value in zip(ASPECTS, values, strict=True)}
    row |= evaluate(run.network, val, config.batch_size, run.device, config.amp)
    run.history.append(row | {"train_seconds": round(run.seconds, 2)})
    run.epoch, run.step, run.loss_sum, run.seconds = run.epoch + 1, 0, 0.0, 0.0
    if _is_best(run):
        run.best_epoch = run.epoch
        save_checkpoint(run.network, out / BEST_FILE)
    write_log(out / LOG_FILE, run.history)
    write_state(out / STATE_FILE, _state(run))


def _step(run: _Run, batch: RatedBatch) -> float:
    batch = batch.to(run.device)
    score_BA = network_scores(run.network, batch, run.device, run.config.amp)
    loss = run.loss(score_BA.float(), batch.truth_BA)
    if not bool(torch.isfinite(loss)):
        raise DivergedError(f"loss {float(loss.detach())} in step {run.step + 1} of epoch {run.epoch + 1}")
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.optimizer.step()
    return float(loss.detach())


def _network(frame: FrameConfig | None, init: Path | None, seed: int) -> PhysiqueFrame:
    if init is not None:
        return load_checkpoint(init, frame)[0]
    torch.manual_seed(seed)
    return PhysiqueFrame(frame)


def _prepare(network: PhysiqueFrame, config: TrainConfig, device: str) -> _Run:
    network.requires_grad_(True)
    if config.freeze_image_encoder:
        network.freeze_image_encoder()
    loss = AspectLoss(len(ASPECTS), config.weighted_loss).to(device)
    trained = [parameter for part in (network, loss) for parameter in part.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=config.learning_rate, eps=_ADAM_EPS)
    torch.manual_seed(config.seed)  # for dropout; from here on part of the state
    return _Run(network, loss, optimizer, config, device)


def _check_or_write_config(
    out: Path,
    train: PhysiqueRows,
    val: PhysiqueRows,
    config: TrainConfig,
    frame: FrameConfig,
    init: Path | None,
    meshes: Path | None,
) -> None:
    """Write `run.json`, or check that the folder's run has the same configuration.

    Raises:
        Conflict: it has another one.
    """
    wanted = {
        "train": str(train.file),
        "val": str(val.file),
        "num_rows": [len(train), len(val)],
        "init": str(init) if init else None,
        "meshes": str(meshes) if meshes else None,
        "config": asdict(config),
        "frame": frame.to_dict(),
    }
    wanted = json.loads(json.dumps(wanted))
    file = out / RUN_FILE
    if file.is_file():
        stored = json.loads(file.read_text(encoding="utf-8"))
        if different := sorted(key for key in wanted if wanted[key] != stored.get(key)):
            raise Conflict(f"{out} holds another run: its {', '.join(different)} differ; give another folder")
    write_atomically(file, json.dumps(wanted, indent=2).encode())


def _restore(run: _Run, file: Path) -> None:
    state = read_state(file)
    if state is None:
        return
    run.network.load_state_dict(state.network)
    run.loss.load_state_dict(state.loss)
    run.optimizer.load_state_dict(state.optimizer)
    torch.set_rng_state(state.random)
    for name, value in state.progress.items():
        setattr(run, name, value)


def _state(run: _Run) -> TrainingState:
    names = ("epoch", "step", "loss_sum", "seconds", "best_epoch", "history")
    return TrainingState(
        network=run.network.state_dict(),
        loss=run.loss.state_dict(),
        optimizer=run.optimizer.state_dict(),
        random=torch.get_rng_state(),
        progress={name: getattr(run, name) for name in names},
    )


def _is_best(run: _Run) -> bool:
    """Whether the last epoch is the best. One with an undefined metric is only better than no epoch."""
    name = f"{run.config.metric}_mean"
    last = run.history[-1][name]
    best = run.history[run.best_epoch - 1][name] if run.best_epoch else math.nan
    return run.best_epoch == 0 or last > best or (math.isnan(best) and not math.isnan(last))


def _stopped(run: _Run) -> bool:
    return run.config.patience > 0 and run.epoch - run.best_epoch >= run.config.patience
