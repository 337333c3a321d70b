"""The drawing of imports in docs/architecture.md is the real import graph, and the graph keeps its rules."""

from __future__ import annotations

import grimp
import pytest

from tests.developer import print_imports
from tests.developer.print_imports import Arrows


@pytest.fixture(scope="module")
def modules() -> Arrows:
    return print_imports.modules_of(grimp.build_graph("paaplus", cache_dir=None))


@pytest.fixture(scope="module")
def rooms(modules: Arrows) -> Arrows:
    return print_imports.children_of(modules, "paaplus")


def test_drawing_is_the_import_graph(rooms: Arrows) -> None:
    found = print_imports.BLOCK.search(print_imports.DOCUMENT.read_text())
    assert found, "docs/architecture.md has no drawing of imports"
    drawn = found[0].removeprefix(found[1]).removesuffix(found[2])
    assert drawn == print_imports.drawing(rooms), "renew it: python -m tests.developer.print_imports --write"


def test_rooms_import_downwards_only(rooms: Arrows) -> None:
    assert print_imports.upward_arrows(rooms, print_imports.layers()) == []


def test_no_circle_outside_strategies(modules: Arrows) -> None:
    folders = [circle for folder in print_imports.folders_of(modules) for circle in folder.circles]
    circles = print_imports.circles_of(modules) + folders
    assert [circle for circle in circles if not all(name.startswith("paaplus.strategies.") for name in circle)] == []


def test_evaluations_never_reach_the_starter_base_model(modules: Arrows) -> None:
    reached = {name for name in modules if name.startswith("paaplus.evaluation")}
    waiting = list(reached)
    while waiting:
        new = modules[waiting.pop()] - reached
        reached |= new
        waiting += new
    assert "paaplus.models.base_fit" in reached
    assert [name for name in reached if name.startswith("paaplus.starter")] == []


def test_every_folder_is_described(modules: Arrows) -> None:
    text = print_imports.DOCUMENT.read_text()
    rooms = print_imports.children_of(modules, "paaplus")
    assert [room for room in rooms if f"`{room.removeprefix('paaplus.')}`" not in text] == []


DIAMOND = {"p.a": {"p.b", "p.c", "p.d"}, "p.b": {"p.d"}, "p.c": {"p.d"}, "p.d": set()}
CIRCLE = {"p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.b", "p.d"}, "p.d": set()}


def test_levels_count_the_longest_way_down() -> None:
    assert print_imports.levels_of(DIAMOND) == {"p.a": 2, "p.b": 1, "p.c": 1, "p.d": 0}
    assert print_imports.levels_of(CIRCLE) == {"p.a": 2, "p.b": 1, "p.c": 1, "p.d": 0}


def test_circle_is_found() -> None:
    assert print_imports.circles_of(DIAMOND) == []
    assert print_imports.circles_of(CIRCLE) == [["p.b", "p.c"]]


def test_arrow_upwards_is_found() -> None:
    assert print_imports.upward_arrows(DIAMOND, [["p.a"], ["p.b", "p.c"], ["p.d"]]) == []
    assert print_imports.upward_arrows(DIAMOND, [["p.a"], ["p.d"], ["p.b", "p.c"]]) == [("p.b", "p.d"), ("p.c", "p.d")]


def test_arrow_is_left_out_where_a_longer_way_shows_it() -> None:
    assert ("p.a", "p.d") not in print_imports.needed_arrows(DIAMOND)
    assert len(print_imports.needed_arrows(DIAMOND)) == 4


def test_folder_imports_what_anything_in_it_imports() -> None:
    arrows = {"p.a": set(), "p.a.x": {"p.b.y", "p.a.z"}, "p.a.z": set(), "p.b": set(), "p.b.y": set()}
    assert print_imports.children_of(arrows, "p") == {"p.a": {"p.b"}, "p.b": set()}
    assert print_imports.children_of(arrows, "p.a") == {"p.a.x": {"p.a.z"}, "p.a.z": set()}
