"""Maps that tools draw of images: kept by image and tool version, drawn by a worker when somebody asks first."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import ImageMapRow, ImageRow
from paaplus.db.tables.jobs import JobKind
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import InvalidInput
from paaplus.queue import jobs
from paaplus.services.images import images
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from paaplus.tools import files
from paaplus.tools.maps import ToolMap, from_npy, to_npy

PRIORITY = 4  # somebody waits for it


def get_or_request(
    database: Database, principal: Principal, image_id: UUID, tool: str, settings: Settings
) -> ToolMap | UUID:
    """The tool's map of an image, or the job that draws it.

    Raises:
        NotFound: no such image, or none that this principal may see.
        InvalidInput: the tool draws no maps, its file is missing, or it has refused this image.
    """
    with database.read_session() as session:
        image = images.get(session, principal, image_id)
        version = current_version(tool, settings)
        row = session.get(ImageMapRow, (image_id, tool, version))
        if row is not None:
            return _read(row)
    with database.session() as session:
        return _request(session, image, tool, version, settings)


def current_version(tool: str, settings: Settings) -> str:
    """The version that a map drawn now would have.

    Raises:
        InvalidInput: the tool draws no maps, or its file is missing.
    """
    drawing = [name for name, told in files.TOOL_FILES.items() if told.draws_map]
    if tool not in drawing:
        raise InvalidInput(f"tool {tool!r:.80} draws no maps; those that do: {', '.join(drawing)}")
    version = files.version(settings.home, tool)
    if version is None:
        raise InvalidInput(f"tool {tool!r} {files.needs(tool)}")
    return version


def store(session: Session, image_id: UUID, tool: str, version: str, drawn: ToolMap | InvalidInput) -> bool:
    """Keep a map, or why there is none; False: the image is gone. The first that is stored stays."""
    alive = sa.select(ImageRow.id).where(ImageRow.id == image_id).with_for_update(read=True)
    if session.execute(alive).first() is None:
        return False
    row = {"image_id": image_id, "tool": tool, "tool_version": version, "created_at": utcnow()}
    if isinstance(drawn, ToolMap):
        told = {"data": to_npy(drawn), "low": drawn.low, "high": drawn.high, "meaning": drawn.meaning, "error": None}
    else:
        told = {"data": None, "low": None, "high": None, "meaning": None, "error": str(drawn)}
    insert_ignoring_conflicts(session, ImageMapRow, [row | told])
    return True


def _read(row: ImageMapRow) -> ToolMap:
    if row.data is None or row.low is None or row.high is None or row.meaning is None:
        raise InvalidInput(f"tool {row.tool!r} has no map of image {row.image_id}: {row.error}")
    return from_npy(row.data, row.tool, row.low, row.high, row.meaning)


def _request(session: Session, image: ImageRow, tool: str, version: str, settings: Settings) -> UUID:
    return jobs.enqueue(
        session,
        JobKind.DRAW_MAP,
        f"map:{image.id}:{tool}",
        queue=settings.features_queue,
        reason="map_requested",
        user_id=image.owner_id,
        payload={"application": image.application, "image_id": str(image.id), "tool": tool, "version": version},
        max_attempts=settings.max_attempts,
        priority=PRIORITY,
    )
