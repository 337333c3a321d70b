"""Print which part of paaplus imports which: rooms, levels, sizes, circles, arrows upwards.

    python -m tests.developer.print_imports           # the table, and 1 as exit status if a rule is broken
    python -m tests.developer.print_imports --write   # also renew the drawing in docs/architecture.md

A room is a folder or a file directly below `paaplus/`. A room's level is 0 when it imports no other room, else one more
than the highest level that it imports. The layers, and so what counts as upwards, are those of the import contract in
pyproject.toml. A circle is a set of modules which import each other, directly or through others.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"(<!-- imports:start[^>]*-->\n).*?(<!-- imports:end -->)", re.DOTALL)

Arrows = dict[str, set[str]]


@dataclass(frozen=True)
class Folder:
    """One folder with Python files: its size, and what its children import of each other."""

    name: str
    num_files: int
    num_lines: int
    num_children: int
    num_levels: int
    circles: list[list[str]]


def modules_of(graph: grimp.ImportGraph) -> Arrows:
    """Each module with the modules that it imports."""
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def children_of(arrows: Arrows, folder: str) -> Arrows:
    """The folder's direct children (files and folders) with those siblings that anything in them imports."""
    depth = folder.count(".") + 2

    def child(module: str) -> str | None:
        return ".".join(module.split(".")[:depth]) if module.startswith(f"{folder}.") else None

    found: Arrows = {}
    for module, imported in arrows.items():
        if (name := child(module)) is not None:
            siblings = {other for other in map(child, imported) if other is not None and other != name}
            found.setdefault(name, set()).update(siblings)
    return found


def circles_of(arrows: Arrows) -> list[list[str]]:
    """Sets of two and more nodes that reach each other, each sorted."""
    reached = {node: _reachable(arrows, node) for node in arrows}
    groups = {frozenset(other for other in reached[node] if node in reached[other]) for node in arrows}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def levels_of(arrows: Arrows) -> dict[str, int]:
    """The length of the longest way down from each node; nodes of one circle count as one."""
    circle = {node: group[0] for group in circles_of(arrows) for node in group}
    levels: dict[str, int] = {}

    def level(node: str) -> int:
        if node not in levels:
            members = [other for other in arrows if circle.get(other, other) == node]
            below = {circle.get(other, other) for member in members for other in arrows[member]} - {node}
            levels[node] = 1 + max(map(level, below), default=-1)
        return levels[node]

    return {node: level(circle.get(node, node)) for node in arrows}


def layers() -> list[list[str]]:
    """The layers of the import contract, from the top; each is a list of rooms."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [contract] = [found for found in contracts if found["type"] == "layers" and found["containers"] == ["paaplus"]]
    return [[f"paaplus.{room.strip(' ()')}" for room in re.split("[|:]", layer)] for layer in contract["layers"]]


def upward_arrows(rooms: Arrows, layers_: list[list[str]]) -> list[tuple[str, str]]:
    """Arrows from a room to one of the same layer or of a higher one."""
    place = {room: index for index, layer in enumerate(layers_) for room in layer}
    return sorted((room, other) for room in rooms for other in rooms[room] if place[other] <= place[room])


def needed_arrows(rooms: Arrows) -> list[tuple[str, str]]:
    """Arrows without those that a longer way shows already (the transitive reduction of a graph without circles)."""
    return sorted(
        (room, other)
        for room in rooms
        for other in rooms[room]
        if not any(other in _reachable(rooms, between) for between in rooms[room] - {other})
    )


def folders_of(arrows: Arrows) -> list[Folder]:
    """Every folder of the package with its size, sorted by name."""
    names = {module.rsplit(".", 1)[0] for module in arrows if "." in module}
    return [_folder(arrows, name) for name in sorted(names)]


def drawing(rooms: Arrows) -> str:
    """The import graph of the rooms as a Mermaid diagram, one row a level."""
    levels = levels_of(rooms)
    lines = ["```mermaid", "graph TD"]
    for level in range(max(levels.values()), -1, -1):
        names = " & ".join(_short(room) for room in sorted(rooms) if levels[room] == level)
        lines.append(f"  %% level {level}: {names.replace(' & ', ', ')}")
    lines += [f"  {_short(room)} --> {_short(other)}" for room, other in needed_arrows(rooms)]
    return "\n".join([*lines, "```", ""])


def main() -> int:
    """Print the picture; return 1 if there is an arrow upwards or a circle."""
    arrows = modules_of(grimp.build_graph("paaplus", cache_dir=None))
    rooms = children_of(arrows, "paaplus")
    levels = levels_of(rooms)
    folders = {folder.name: folder for folder in folders_of(arrows)}

    print(f"{'level':>5}  {'room':<14} {'files':>5} {'lines':>6}  imports")
    for room in sorted(rooms, key=lambda name: (-levels[name], name)):
        size = folders.get(room) or _folder(arrows, room)
        print(f"{levels[room]:>5}  {_short(room):<14} {size.num_files:>5} {size.num_lines:>6}  {_listed(rooms[room])}")

    print(f"\n{'folder':<40} {'files':>5} {'children':>8} {'levels':>6} {'circles':>7}")
    for folder in folders.values():
        print(
            f"{folder.name:<40} {folder.num_files:>5} {folder.num_children:>8} {folder.num_levels:>6} "
            f"{len(folder.circles):>7}"
        )

    upward = upward_arrows(rooms, layers())
    circles = circles_of(arrows)
    circles += [circle for folder in folders.values() for circle in folder.circles if circle not in circles]
    print()
    print("no arrow upwards" if not upward else "arrows upwards: " + ", ".join(f"{a} -> {b}" for a, b in upward))
    print("no circle" if not circles else "circles:\n" + "\n".join("  " + ", ".join(circle) for circle in circles))

    if "--write" in sys.argv[1:]:
        text = DOCUMENT.read_text()
        DOCUMENT.write_text(BLOCK.sub(lambda found: found[1] + drawing(rooms) + found[2], text))
    return 1 if upward or circles else 0


def _reachable(arrows: Arrows, start: str) -> set[str]:
    """All nodes on ways from the start, the start included."""
    found, waiting = {start}, [start]
    while waiting:
        new = arrows[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def _folder(arrows: Arrows, name: str) -> Folder:
    children = children_of(arrows, name)
    modules = [module for module in arrows if module == name or module.startswith(f"{name}.")]
    return Folder(
        name=name,
        num_files=len(modules),
        num_lines=sum(map(_num_lines, modules)),
        num_children=len(children),
        num_levels=1 + max(levels_of(children).values(), default=-1),
        circles=circles_of(children),
    )


def _num_lines(module: str) -> int:
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return len(file.read_text().splitlines())


def _short(room: str) -> str:
    return room.removeprefix("paaplus.")


def _listed(rooms: set[str]) -> str:
    return ", ".join(sorted(map(_short, rooms))) or "-"


if __name__ == "__main__":
    sys.exit(main())
