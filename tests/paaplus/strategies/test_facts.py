"""What strategies say of themselves, who reads it, and strategies of other packages."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paaplus import strategies, strategy_facts
from paaplus.errors import InvalidInput
from paaplus.strategy_facts import Facts, facts, modules

HERE = Path(strategies.__file__).parent
ROOT = Path(__file__).parents[3]
OURS = '''
"""Fine-tuning that never moves far: a strategy of another package."""
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategy_facts import Facts

FACTS = Facts(adapters=("taste_vector",), prior="parent", earlier="hardly")


class Gentle(SupervisedPlugin):
    def before_update(self, strategy, **kwargs):
        for parameter in strategy.model.parameters():
            parameter.grad.zero_()


def plugins(config):
    return [Gentle()]
'''
PROGRAM = """
from paaplus.configs import ADAPTER_STRATEGIES, Policy
import sys
assert "torch" not in sys.modules
assert "gentle" in ADAPTER_STRATEGIES["taste_vector"] and "gentle" not in ADAPTER_STRATEGIES["bottleneck"]
print(Policy(strategy="gentle").strategy)
from paaplus.training import train
from tests.support.learning import base_of, first_request, person, ratings
base = base_of(1)
trained = train(first_request("gentle", "taste_vector", base, ratings(base, person(base), 12)))
print(abs(trained.adapter.weight_RA).max(), trained.metrics["num_steps"])
"""


@pytest.mark.parametrize("name", facts())
def test_facts_read_from_the_file_are_those_of_the_module(name: str) -> None:
    module = importlib.import_module(modules()[name])
    assert module.FACTS == facts()[name]
    assert hasattr(module, "plugins") != hasattr(module, "fit")


@pytest.mark.parametrize("name", facts())
def test_a_strategy_knows_no_sibling_but_those_that_it_builds_on(name: str) -> None:
    """`replay`, `ewc` and `si` hold the plugins that others build on; they know none of those."""
    tree = ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    basic = {"replay": (), "ewc": (), "si": ("ewc",)}.get(name, ("replay", "ewc", "si"))
    assert imported & {f"paaplus.strategies.{other}" for other in facts()} <= {f"paaplus.strategies.{b}" for b in basic}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no FACTS"),
        ("FACTS = Facts(adapters=NAMES, prior='start', earlier='')", "malformed node"),
        ("FACTS = Facts(adapters=('taste_vector',), prior='start')", "earlier"),
        ("FACTS = Facts(adapters=('taste_vector',), prior='none', earlier='')", "prior 'none'"),
    ],
)
def test_facts_that_cannot_be_read_are_told(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_strategy.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InvalidInput, match=words):
        strategy_facts._facts_of("some", "some_strategy")
    with pytest.raises(InvalidInput, match="there is no module"):
        strategy_facts._facts_of("some", "nowhere.at_all")


def installed(folder: Path, entry: str) -> dict[str, str]:
    """A package with a strategy, installed in a folder; the environment of a process that has it."""
    (folder / "gentle_package").mkdir()
    (folder / "gentle_package" / "__init__.py").write_text("")
    (folder / "gentle_package" / "gentle.py").write_text(OURS)
    about = folder / "gentle_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gentle-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[paaplus.strategies]\n{entry} = gentle_package.gentle\n")
    root = str(Path(__file__).parents[3])
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), root])}


def test_a_strategy_of_another_package_is_configured_and_trained(tmp_path: Path) -> None:
    environment = installed(tmp_path, "gentle")
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert output.split() == ["gentle", "0.0", "30.0"]


def test_a_package_cannot_take_the_name_of_another_strategy(tmp_path: Path) -> None:
    environment = installed(tmp_path, "naive")
    command = [sys.executable, "-c", "import paaplus.configs"]
    error = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr
    assert "strategy 'naive' of gentle_package.gentle: paaplus.strategies.naive has that name" in error


@pytest.mark.parametrize(
    ("document", "head"),
    [
        ("docs/strategies.md", "| strategy | the state carries |"),
        ("README.md", "| adapter | what it is | size | strategies |"),
        ("README.zh-CN.md", "| 适配器 | 说明 | 大小 | 策略 |"),
    ],
)
def test_tables_of_documents_name_every_strategy(document: str, head: str) -> None:
    _, found, after = (ROOT / document).read_text(encoding="utf-8").partition(head)
    assert found, f"{document} has no table {head}"
    table = after.partition("\n\n")[0]
    lacking = [name for name in facts() if f"`{name}`" not in table]
    assert not lacking, f"the table {head} of {document} lacks {lacking}"


def test_modules_are_named_once() -> None:
    assert len(set(modules().values())) == len(modules())
    assert isinstance(facts()["bayes"], Facts)
