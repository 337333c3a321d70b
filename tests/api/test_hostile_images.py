"""Hostile pictures through the upload: a clear refusal that changes nothing, or a picture with nothing else in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from paaplus.db.tables import Base
from paaplus.image_files import decode_image
from tests.api.conftest import World
from tests.api.test_errors import assert_error
from tests.support.hostile import CANARY, hostile_images, odd_images

# What is never written by an upload that is refused; the world's own rows are counted too.
TABLES = [table for table in Base.metadata.sorted_tables if table.name not in ("allowances",)]


def state(world: World) -> tuple[dict[str, int], int]:
    """Rows by table, and files in storage."""
    with world.database.read_session() as session:
        rows = {
            table.name: session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in TABLES
        }
    folder = Path(world.context.blobs.url.removeprefix("file://"))
    return rows, sum(file.is_file() for file in folder.rglob("*"))


def test_hostile_files_are_refused_and_change_nothing(world: World) -> None:
    before = state(world)
    wrong = {}
    for name, data in hostile_images().items():
        response = world.application.upload(data, filename="holiday.jpg")
        if response.status_code not in (400, 413, 422):
            wrong[name] = (response.status_code, response.text[:200])
            continue
        error = assert_error(response, response.status_code, response.json()["error"]["code"])
        assert len(error["message"]) < 500, name
    assert wrong == {}
    assert state(world) == before


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)  # what is stored does not depend on it
def test_odd_pictures_are_stored_without_what_came_with_them(world: World) -> None:
    for name, data in odd_images().items():
        response = world.application.upload(data, filename="holiday.jpg")
        assert response.status_code == 201, (name, response.text)
        uploaded = response.json()
        with world.database.read_session() as session:
            table = Base.metadata.tables["images"]
            sha256 = session.execute(sa.select(table.c.sha256).order_by(table.c.id.desc()).limit(1)).scalar_one()
        stored = world.context.blobs.get(sha256)
        assert CANARY not in stored, name
        image = decode_image(stored)
        assert (image.mode, image.size) == ("RGB", (uploaded["width_px"], uploaded["height_px"])), name
        assert sorted(image.size) == [32, 48], name
