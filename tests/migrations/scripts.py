"""Migrations of one test: the project's environment with other migrations."""

from __future__ import annotations

import shutil
from pathlib import Path

from alembic.config import Config

PROJECT_MIGRATIONS = Path(__file__).parents[2] / "migrations"

STEP = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down_revision!r}


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    {downgrade}
"""


class Migrations:
    """A copy of the project's `migrations` in a folder, to which a test adds migrations."""

    def __init__(self, folder: Path, *, with_versions: bool) -> None:
        ignore = shutil.ignore_patterns("__pycache__", *([] if with_versions else ["2*.py"]))
        shutil.copytree(PROJECT_MIGRATIONS, folder, ignore=ignore)
        self.folder = folder

    def add(self, revision: str, after: str | None, upgrade: str, downgrade: str = "pass") -> None:
        """A migration whose bodies are lines of Python, separated by newlines."""
        body = STEP.format(
            revision=revision,
            down_revision=after,
            upgrade=upgrade.replace("\n", "\n    "),
            downgrade=downgrade.replace("\n", "\n    "),
        )
        (self.folder / "versions" / f"{revision}.py").write_text(body)

    def config(self, url: str) -> Config:
        config = Config(attributes={"url": url})
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("path_separator", "os")
        return config
