"""Images: upload and look up."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, File, Form, Query, Response, UploadFile

from paaplus.api.dependencies import ApiContext, Context, Cursor, Limit, ReadSession, UserKey, WriteSession
from paaplus.api.routing import Route
from paaplus.api.schemas.common import Page, next_cursor
from paaplus.api.schemas.images import ImageOut
from paaplus.api.schemas.maps import ThemeIn
from paaplus.errors import Forbidden, InvalidInput, TooLarge
from paaplus.services.images import images as images_service
from paaplus.services.images import themes
from paaplus.services.users import users as users_service
from paaplus.services.users.keys import Principal
from paaplus.services.users.rate_limits import RateLimitKind

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=Route)


@router.post("", status_code=201, responses={200: {"model": ImageOut, "description": "The same file exists already."}})
def add_image(
    key: UserKey,
    context: Context,
    response: Response,
    file: Annotated[UploadFile, File(description="JPEG, PNG or WebP.")],
    user: Annotated[
        str | None, Form(max_length=256, description="The user who owns the image; omitted: the application owns it.")
    ] = None,
    application: Annotated[
        str | None, Form(max_length=64, description="Needed with an admin key, if no user is given.")
    ] = None,
    theme: Annotated[str | None, Form(max_length=64, description="A tag, for example what the image shows.")] = None,
) -> ImageOut:
    """Upload an image. It is turned upright, converted to sRGB and stripped of all metadata before it is stored.

    Uploading the same file again gives the same image. A worker extracts its features; `features` shows the progress.
    """
    application, owner_id = _owner(context, key, user, application)
    theme = themes.check(theme)
    max_bytes = context.settings.max_upload_bytes
    if file.size is not None and file.size > max_bytes:
        raise TooLarge(f"the file has {file.size} bytes; at most {max_bytes} are accepted")
    context.allowances.spend(key, RateLimitKind.UPLOADS)
    added = images_service.add(
        context.database,
        context.blobs,
        context.settings,
        application=application,
        owner_id=owner_id,
        data=file.file.read(),
        name=file.filename,
        theme=theme,
    )
    response.status_code = 201 if added.created else 200
    return ImageOut.of(added.row, added.features)


@router.get("")
def list_images(
    key: UserKey,
    context: Context,
    session: ReadSession,
    theme: Annotated[str | None, Query(max_length=64, description="Only images with this tag.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ImageOut]:
    """Images that the key may see."""
    rows = images_service.list_images(session, key, theme=theme, limit=limit, before=cursor)
    states = images_service.feature_states(session, [row.id for row in rows], context.settings)
    return Page(items=[ImageOut.of(row, states[row.id]) for row in rows], next_cursor=next_cursor(rows, limit))


@router.get("/{image_id}")
def get_image(image_id: UUID, key: UserKey, context: Context, session: ReadSession) -> ImageOut:
    """One image, without its bytes."""
    row = images_service.get(session, key, image_id)
    return ImageOut.of(row, images_service.feature_states(session, [row.id], context.settings)[row.id])


@router.put("/{image_id}/theme")
def set_theme(image_id: UUID, body: ThemeIn, key: UserKey, context: Context, session: WriteSession) -> ImageOut:
    """Tag an image with what it is about, or take the tag away. A user tags their own images only."""
    row = themes.set_theme(session, key, image_id, body.theme)
    return ImageOut.of(row, images_service.feature_states(session, [row.id], context.settings)[row.id])


def _owner(context: ApiContext, key: Principal, user: str | None, application: str | None) -> tuple[str, UUID | None]:
    """The application and the owner of the upload. A user's uploads always belong to the user."""
    if key.user_id is not None:
        user = user or str(key.user_id)
    if user is not None:
        with context.database.read_session() as session:
            row = users_service.resolve(session, key, user)
        if application not in (None, row.application):
            raise InvalidInput(f"user {user!r} belongs to application {row.application!r}, not {application!r}")
        return row.application, row.id
    if key.application is None:
        if application is None:
            raise InvalidInput("an admin key belongs to no application: name an owner in 'user', or an 'application'")
        return application, None
    if application not in (None, key.application):
        raise Forbidden(f"this key belongs to application {key.application!r}, not {application!r}")
    return key.application, None
