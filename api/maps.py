"""Maps of images by tools: numbers, or a picture of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path, Query, Response

from paaplus.api.dependencies import Context, UserKey
from paaplus.api.routing import router_of
from paaplus.api.schemas.maps import MapJobOut
from paaplus.api.schemas.tools import ToolName
from paaplus.services.images import maps
from paaplus.tools.maps import ToolMap, to_npy, to_png

router = router_of("/v1/images/{image_id}/maps", "images")

RETRY_AFTER_S = 5  # an image takes a worker a few seconds
PNG, NPY = "image/png", "application/octet-stream"
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/{tool}",
    response_class=Response,
    responses={
        200: {"content": {PNG: _BINARY, NPY: _BINARY}, "description": "The map."},
        202: {"model": MapJobOut, "description": "A worker draws it: ask again."},
    },
)
def get_map(
    image_id: UUID,
    tool: Annotated[ToolName, Path(examples=["exposure_map"])],
    key: UserKey,
    context: Context,
    format_: Annotated[
        Literal["png", "npy"], Query(alias="format", description="png: colours. npy: the numbers, float16.")
    ] = "png",
) -> Response:
    """A tool's map of an image. `exposure_map`: blue is too bright, red too dark, -0.5 to 0.5.

    The first request is answered with 202 and the job that draws the map. The map is kept as long as the image.
    """
    found = maps.get_or_request(context.database, key, image_id, tool, context.settings)
    if isinstance(found, ToolMap):
        if format_ == "png":
            return Response(to_png(found), media_type=PNG)
        return Response(to_npy(found), media_type=NPY)
    return Response(
        MapJobOut(job_id=found).model_dump_json(),
        status_code=202,
        media_type="application/json",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )
