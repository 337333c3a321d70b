"""Decisions, indices, versions: every page has its head and its line in the index, and the files agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def links(document: Path) -> set[Path]:
    """Files that a document links to."""
    return {(document.parent / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", document.read_text())}


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_decision_begins_with_title_date_status_and_rule(path: Path) -> None:
    title, date, rule = (part.strip() for part in path.read_text().split("\n\n")[:3])
    assert title.startswith(f"# {path.name[:4]} ")
    assert re.match(r"Date: \d{4}-\d\d-\d\d(, extended \d{4}-\d\d-\d\d)?\. Status: (accepted|replaced)", date)
    assert rule.startswith("**Rule.** ")


def test_numbers_of_decisions_have_no_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_index_of_decisions_lists_all() -> None:
    assert set(DECISIONS) <= links(ROOT / "docs" / "decisions" / "README.md")


def test_index_of_documents_lists_all() -> None:
    documents = {*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")} - {
        ROOT / "docs" / "README.md",
        ROOT / "SECURITY.md",
    }
    assert documents <= links(ROOT / "docs" / "README.md")


def test_citation_changelog_and_package_name_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]) == version
    released = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == version


def test_hooks_come_from_the_environment_of_the_project() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert all(hook["entry"].startswith(".venv/bin/") for repo in config["repos"] for hook in repo["hooks"])
