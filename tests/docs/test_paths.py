"""What the documents name is there: files, links, commands of `paaplus` with their options, make targets, settings."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup

from paaplus.cli import tree
from paaplus.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md"))
    if not (path.parent.parent.name == "results" and path.name != "NOTES.md")  # what a benchmark printed
)
TO_BE_WRITTEN = {"l2", "mine"}  # files that the walks of CONTRIBUTING write
NO_SETTINGS = re.compile(r"PAAPLUS_(DATA|FAULT|BENCH_DATA|TEST_\w*|)$")  # variables that settings.py does not read

FENCE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*\.(?:py|md|toml|yml|mako|cff|ini)")
FOLDER = re.compile(r"(?:api|benchmarks|docs|migrations|paaplus|tests|workers)(?:/[\w-]+)*/?")
COMMAND = re.compile(r"(?<![\w./+\[-])paaplus((?: +[^\s`;|&#]+)+)")


@dataclass(frozen=True)
class Document:
    """One document: its text, and what stands in code (fenced blocks with continued lines joined, and spans)."""

    name: str

    @functools.cached_property
    def text(self) -> str:
        return (ROOT / self.name).read_text()

    @functools.cached_property
    def blocks(self) -> list[str]:
        return [block.replace("\\\n", " ") for block in FENCE.findall(self.text)]

    @functools.cached_property
    def spans(self) -> list[str]:
        return SPAN.findall(FENCE.sub("", self.text))

    @property
    def code(self) -> list[str]:
        return [line for block in self.blocks for line in block.splitlines()] + self.spans


def missing_files(document: Document) -> list[str]:
    """Files and folders in spans that exist neither below the root, beside it, nor below a folder it names."""
    named = [span.partition("::")[0] for span in document.spans]
    folders = [
        ROOT,
        (ROOT / document.name).parent,
        *(ROOT / span for span in named if span.endswith("/") and FOLDER.fullmatch(span)),
    ]
    paths = [span for span in named if FILE.fullmatch(span) or ("/" in span and FOLDER.fullmatch(span))]
    return [
        path
        for path in paths
        if not any(any(folder.glob(path.rstrip("/"))) for folder in folders)
        and Path(path).stem.removeprefix("test_") not in TO_BE_WRITTEN
        and not any(part.isupper() for part in path.split("/")[: -1 if "." in path else None])  # DIR/recipe.py
        and not any((ROOT / "benchmarks" / "results").glob(f"*/{path}"))  # a kind of report, as `gate.md`
    ]


def missing_links(document: Document) -> list[str]:
    """Relative links without a file, or without the heading that they point to."""
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", document.text))
    return [link for link in links if not re.match(r"https?:", link) and not leads_somewhere(document, link)]


def leads_somewhere(document: Document, link: str) -> bool:
    file, _, anchor = link.partition("#")
    path = (ROOT / document.name).parent / file if file else ROOT / document.name
    if not path.exists():
        return False
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if anchor else []
    return not anchor or anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@functools.cache
def command_named(name: str) -> Any:
    return tree.load(name)


def wrong_command(words: list[str]) -> str | None:
    """What is wrong with the words after `paaplus`; None if they name a command and options of it."""
    first, *rest = words
    if first in ("--help", "--version"):
        return None
    if first not in tree.COMMANDS:
        return f"no command {first!r}"
    command = command_named(first)
    while isinstance(command, TyperGroup) and rest and re.fullmatch(r"[a-z][a-z0-9-]*", rest[0]):
        if rest[0] not in command.commands:
            return f"no command {rest[0]!r} in {command.name!r}"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    options = {re.split("[=:]", word)[0].rstrip(".,)") for word in rest if re.match("--?[a-z]", word, re.IGNORECASE)}
    unknown = options - known - {"--help"}
    if unknown and not command.context_settings.get("ignore_unknown_options"):
        return f"no option {', '.join(sorted(unknown))} in {command.name!r}"
    return None


def wrong_commands(document: Document) -> list[str]:
    found = [match.split() for line in document.code for match in COMMAND.findall(line)]
    return [f"paaplus {' '.join(words)}: {wrong}" for words in found if (wrong := wrong_command(words))]


def wrong_targets(document: Document) -> list[str]:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = [name for line in document.code for name in re.findall(r"(?:^|\s)make ([a-z]+)", line)]
    return [name for name in wanted if name not in targets]


def wrong_modules(document: Document) -> list[str]:
    wanted = [name for line in document.code for name in re.findall(r"python -m ((?:tests|paaplus)[\w.]*)", line)]
    return [name for name in wanted if find_spec(name) is None]


def wrong_scripts(document: Document) -> list[str]:
    wanted = [name for line in document.code for name in re.findall(r"python (benchmarks/\w+\.py)", line)]
    return [name for name in wanted if not (ROOT / name).exists()]


def wrong_variables(document: Document) -> list[str]:
    known = {f"PAAPLUS_{name.upper()}" for name in Settings.model_fields}
    wanted = set(re.findall(r"PAAPLUS_[A-Z_]*", document.text))
    return sorted(name for name in wanted - known if not NO_SETTINGS.match(name))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_exists(name: str) -> None:
    document = Document(name)
    if name != "CHANGELOG.md":  # tells of what was
        assert missing_files(document) == []
        assert wrong_commands(document) == []
    assert missing_links(document) == []
    assert wrong_targets(document) == []
    assert wrong_modules(document) == []
    assert wrong_scripts(document) == []
    assert wrong_variables(document) == []


def test_documents_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/README.md", "docs/operations/README.md"} <= set(DOCUMENTS)
    assert len(DOCUMENTS) > 35


def test_documents_name_much() -> None:
    documents = [Document(name) for name in DOCUMENTS]
    assert sum(len(COMMAND.findall(line)) for document in documents for line in document.code) > 60
    assert sum(bool(FILE.fullmatch(span)) for document in documents for span in document.spans) > 100


WRONG = """
`paaplus/no_such_file.py`, `tests/no_such_folder/`, [nowhere](docs/nowhere.md), [no heading](README.md#no-heading)
`paaplus no-such-command`, `paaplus users no-such-command`, `make nosuchtarget`, PAAPLUS_NO_SUCH

```
paaplus db upgrade --no-such-option
python benchmarks/no_such.py
python -m tests.no_such
```
"""


def test_what_is_not_there_is_found() -> None:
    document = Document("WRONG.md")
    document.__dict__["text"] = WRONG
    assert missing_files(document) == ["paaplus/no_such_file.py", "tests/no_such_folder/"]
    assert missing_links(document) == ["docs/nowhere.md", "README.md#no-heading"]
    assert len(wrong_commands(document)) == 3
    assert wrong_targets(document) == ["nosuchtarget"]
    assert wrong_scripts(document) == ["benchmarks/no_such.py"]
    assert wrong_modules(document) == ["tests.no_such"]
    assert wrong_variables(document) == ["PAAPLUS_NO_SUCH"]
