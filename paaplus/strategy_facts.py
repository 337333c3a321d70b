"""What each strategy says of itself: read from its file without running it, since the API must not load torch.

A strategy's file holds one assignment `FACTS = Facts(...)` whose arguments are literals. Strategies of other packages
are entry points of the group `paaplus.strategies`: `name = "package.module"`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from paaplus.errors import InvalidInput

ENTRY_POINTS = "paaplus.strategies"
# A new strategy of this package is its file and its name here.
_BUILT_IN = (
    "bayes",
    "naive",
    "replay",
    "ewc",
    "si",
    "mas",
    "distillation",
    "derpp",
    "agem",
    "replay_ewc",
    "replay_si",
    "replay_tail",
    "cumulative",
    "joint",
)
_PRIORS = ("learned", "start", "parent")


@dataclass(frozen=True)
class Facts:
    """What the platform must know of a strategy.

    Attributes:
        prior: what the prior is centred on. `start`: the user's starting point, or no change. `parent`: the version
            that training goes on from. `learned`: it takes the taste prior in force itself.
        remembers: what its learner state holds: `buffer`, `dark`, or importances (`fisher`, `path`, `mas`).
        settings: fields of `TrainingConfig` that only some strategies read, of those that this one reads.
        earlier: how earlier feedback counts, for the table of docs/strategies.md.
        adapters: the kinds that it trains.
        goes_on: False: every training starts anew, so that no increment depends on how feedback was cut.
    """

    prior: str
    earlier: str
    adapters: tuple[str, ...] = ("taste_vector", "bottleneck")
    remembers: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    goes_on: bool = True

    def __post_init__(self) -> None:
        if self.prior not in _PRIORS or not self.adapters:
            raise InvalidInput(f"a strategy of prior {self.prior!r} ({_PRIORS}) for adapters {self.adapters}")


@cache
def modules() -> dict[str, str]:
    """The module of every strategy, by the strategy's name.

    Raises:
        InvalidInput: a package offers a strategy under a name that is taken.
    """
    found = {name: f"paaplus.strategies.{name}" for name in _BUILT_IN}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, point.value)):
        if found.setdefault(point.name, point.value) != point.value:
            raise InvalidInput(f"strategy {point.name!r} of {point.value}: {found[point.name]} has that name")
    return found


@cache
def facts() -> dict[str, Facts]:
    """The facts of every strategy, by name.

    Raises:
        InvalidInput: a module that is not there, or a file without facts that can be read.
    """
    return {name: _facts_of(name, module) for name, module in modules().items()}


def _facts_of(name: str, module: str) -> Facts:
    parent, _, _ = module.partition(".")
    if parent == __package__:  # by path: looking the module up would load its package, and with it torch
        file = Path(__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    else:
        try:
            spec = find_spec(module)
        except ModuleNotFoundError:
            spec = None
        if spec is None or spec.origin is None:
            raise InvalidInput(f"strategy {name!r}: there is no module {module}")
        file = Path(spec.origin)
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == ["FACTS"]:
            call = statement.value
            if isinstance(call, ast.Call) and not call.args:
                try:
                    values = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
                    return Facts(**values)
                except (TypeError, ValueError) as error:
                    raise InvalidInput(f"strategy {name!r}: FACTS of {file}: {error}") from error
    raise InvalidInput(f"strategy {name!r}: {file} has no FACTS = Facts(...) of literals")
