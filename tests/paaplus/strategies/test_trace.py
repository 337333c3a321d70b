"""What of Avalanche runs when a worker trains: the functions that docs/strategies.md names. Nobody may bypass them."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from paaplus.configs import TrainingConfig
from paaplus.pipelines import adapt
from paaplus.pipelines.context import Running
from paaplus.strategy_facts import facts
from paaplus.training import TrainingRequest, train_many
from tests.support.learning import STEP_PAIRS, base_of, first_request, next_request, person, ratings, trained_of

BASE = base_of(2)
CONFIG = TrainingConfig(num_steps=3, rank=6)
DOCUMENT = Path(__file__).parents[3] / "docs" / "strategies.md"

# module below avalanche.training, function
LOOP = {
    ("templates.base", "BaseTemplate.train"),
    ("templates.base_sgd", "BaseSGDTemplate._before_training_exp"),
    ("templates.base_sgd", "BaseSGDTemplate._train_exp"),
    ("templates.base_sgd", "BaseSGDTemplate.backward"),
    ("templates.base_sgd", "BaseSGDTemplate.optimizer_step"),
    ("templates.observation_type.batch_observation", "BatchObservation.check_model_and_optimizer"),
    ("templates.problem_type.supervised_problem", "SupervisedProblem.forward"),
    ("templates.problem_type.supervised_problem", "SupervisedProblem.criterion"),
    ("templates.update_type.sgd_update", "SGDUpdate.training_epoch"),
    ("plugins.lr_scheduling", "LRSchedulerPlugin.after_training_iteration"),
    ("plugins.clock", "Clock.after_training_iteration"),
}
REPLAY = {
    ("plugins.replay", "ReplayPlugin.after_training_exp"),
    ("storage_policy", "ReservoirSamplingBuffer.post_adapt"),
}
EWC = {
    ("plugins.ewc", "EWCPlugin.before_backward"),
    ("plugins.ewc", "EWCPlugin.after_training_exp"),
    ("plugins.ewc", "EWCPlugin.update_importances"),
}
AGEM = {
    ("plugins.agem", "AGEMPlugin.before_training_iteration"),
    ("storage_policy", "ReservoirSamplingBuffer.post_adapt"),
}
RUNS = {
    "replay": REPLAY,
    "derpp": REPLAY,
    "ewc": EWC,
    "si": EWC,
    "mas": EWC,
    "replay_ewc": REPLAY | EWC,
    "replay_si": REPLAY | EWC,
    "replay_tail": REPLAY,
    "agem": AGEM,
}
EVERY_STEP = {
    ("templates.base_sgd", "BaseSGDTemplate.backward"),
    ("templates.problem_type.supervised_problem", "SupervisedProblem.criterion"),
    ("plugins.ewc", "EWCPlugin.before_backward"),
    ("plugins.agem", "AGEMPlugin.before_training_iteration"),
}


class Trace:
    """Counts calls of Avalanche's training functions while it is active."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], int] = {}

    def _called(self, frame: FrameType, event: str, _: Any) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("avalanche.training."):
            key = module.removeprefix("avalanche.training."), frame.f_code.co_qualname
            self.calls[key] = self.calls.get(key, 0) + 1

    def __enter__(self) -> Trace:
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


def second_increments(strategy: str, kind: str, count: int) -> list[TrainingRequest]:
    """With a past, a parent and a learner state."""
    firsts = [
        first_request(strategy, kind, BASE, ratings(BASE, person(BASE, u), 12, seed=u), CONFIG) for u in range(count)
    ]
    return [
        next_request(first, trained, ratings(BASE, person(BASE, u), 8, first_sequence=30, seed=u))
        for u, (first, trained) in enumerate(zip(firsts, trained_of(train_many(firsts)), strict=True))
    ]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("strategy", "kind"), STEP_PAIRS)
def test_a_workers_training_runs_avalanche(strategy: str, kind: str, count: int) -> None:
    requests = second_increments(strategy, kind, count)
    with Trace() as trace:  # what a worker calls for the jobs that it has claimed
        outcomes = adapt._train_together([(FakeRunning(), request) for request in requests])
    assert not [each for each in outcomes if isinstance(each, Exception)]
    expected = LOOP | RUNS.get(strategy, set())
    assert expected <= trace.calls.keys(), expected - trace.calls.keys()
    for function in expected & EVERY_STEP:
        assert trace.calls[function] == CONFIG.num_steps, function  # of all users together
    for plugin in ("plugins.ewc", "plugins.replay", "plugins.agem"):  # and nothing that the strategy is not
        if not any(module == plugin for module, _ in expected):
            assert not [name for name in trace.calls if name[0] == plugin]


class FakeRunning(Running):
    """As much of a running job as training asks for."""

    def __init__(self) -> None: ...

    def should_stop(self) -> bool:
        return False


def test_the_stock_penalty_is_what_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the stock plugin's penalty, EWC is fine-tuning."""
    [request] = second_increments("ewc", "bottleneck", 1)
    [naive] = trained_of(train_many([replace(request, strategy="naive", state=None)]))
    [held] = trained_of(train_many([request]))
    assert held.adapter.digest != naive.adapter.digest
    monkeypatch.setattr(
        "avalanche.training.plugins.ewc.EWCPlugin.before_backward", lambda self, strategy, **kwargs: None
    )
    [free] = trained_of(train_many([request]))
    assert free.adapter.digest == naive.adapter.digest


def test_the_document_names_what_runs_and_nothing_else() -> None:
    _, _, after = DOCUMENT.read_text(encoding="utf-8").partition("| in | Avalanche's own |")
    named = set(re.findall(r"`(\w+\.\w+)`", after.partition("\n\n")[0]))
    assert named == {name for functions in (LOOP, REPLAY, EWC, AGEM) for _, name in functions}


def test_the_documents_table_is_made_of_the_facts() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, each in facts().items():
        adapters = "both" if len(each.adapters) == 2 else f"`{each.adapters[0]}`"
        prior = {"learned": "the taste prior in force", "start": "the starting point", "parent": "the parent"}[
            each.prior
        ]
        row = f"| `{name}` | {each.earlier} | {prior} | {adapters} |"
        assert row in text.splitlines(), f"the first table of docs/strategies.md lacks this row: {row}"
