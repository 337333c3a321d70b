"""Draw a tool's map of one image. What the tool refuses is kept as the answer, so that nobody asks again."""

from __future__ import annotations

from uuid import UUID

from paaplus.db.tables import ImageMapRow, ImageRow
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.image_files import decode_image
from paaplus.pipelines.context import Running
from paaplus.queue import jobs
from paaplus.services.images import maps
from paaplus.tools.maps import Maps, ToolMap
from paaplus.tools.tool import ToolImage


def run(running: Running) -> str:
    """Draw, unless it is there already.

    Raises:
        Conflict: this worker has another version of the tool than the one that was asked for.
        NotFound: the image is gone.
        Unavailable: the tool's file is not here, or the storage does not answer.
    """
    context, payload = running.context, running.lease.payload
    image_id, name, version = UUID(payload["image_id"]), str(payload["tool"]), str(payload["version"])
    with context.database.read_session() as session:
        image = session.get(ImageRow, image_id)
        if image is None:
            raise NotFound(f"image {image_id} does not exist")
        is_drawn = session.get(ImageMapRow, (image_id, name, version)) is not None
        sha256 = image.sha256
    if not is_drawn:
        drawn = _draw(running, name, version, sha256)
        with context.database.session() as session:
            maps.store(session, image_id, name, version, drawn)
    with context.database.session() as session:
        jobs.complete(session, running.lease)
    return f"map of {image_id} by {name} {version}"


def _draw(running: Running, name: str, version: str, sha256: str) -> ToolMap | InvalidInput:
    from paaplus.models.siblings.load import load_tool  # torch networks, which few deployments need here

    context = running.context
    tool = load_tool(context.settings.home, name, context.device)
    if tool.version != version:
        raise Conflict(f"tool {name} is {tool.version} here, asked for was {version}: the weight files differ")
    assert isinstance(tool, Maps), "only such tools are asked"
    data = context.blobs.get(sha256)
    try:
        return tool.map(ToolImage(image=decode_image(data, context.settings.max_image_pixels)))
    except InvalidInput as error:
        return error
