"""Images: upload, look up, search, download, delete."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import File, Form, Header, Query, Response, UploadFile
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from paaplus.api import caching
from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import (
    ApiContext,
    Context,
    IdempotencyKey,
    Limit,
    ReadSession,
    UserKey,
    WriteSession,
    begin_once,
)
from paaplus.api.routing import router_of
from paaplus.api.schemas.common import FlagText, Moment, OfUser, Page, Sought, WholeText
from paaplus.api.schemas.images import ImageOut
from paaplus.api.schemas.maps import ThemeIn
from paaplus.db.tables import ImageRow
from paaplus.errors import Forbidden, InvalidInput, TooLarge
from paaplus.services import idempotency
from paaplus.services.images import deletions, names, themes, thumbnails, uploads
from paaplus.services.images import images as images_service
from paaplus.services.images.filters import ImageFilter
from paaplus.services.users import users as users_service
from paaplus.services.users.first_use import create_missing
from paaplus.services.users.keys import Principal
from paaplus.services.users.rate_limits import RateLimitKind

router = router_of("/v1/images", "images")

IfNoneMatch = Annotated[str | None, Header(max_length=4096, description="`ETag` of an answer that the caller has.")]
CONTENT_S = 0  # seconds that a browser may show a picture without asking: it may have been deleted
THUMBNAIL_S = 300


def _pictures(*media_types: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types},
            "description": "The picture.",
            "headers": {"ETag": {"schema": {"type": "string"}, "required": True}},
        },
        304: {"description": "The caller has it: `If-None-Match` names it."},
    }


@router.post("", status_code=201, responses={200: {"model": ImageOut, "description": "The same file exists already."}})
def add_image(
    key: UserKey,
    context: Context,
    response: Response,
    # the format: generators of clients know a file by it
    file: Annotated[UploadFile, File(description="JPEG, PNG or WebP.", json_schema_extra={"format": "binary"})],
    user: Annotated[
        str | None, Form(max_length=256, description="The user who owns the image; omitted: the application owns it.")
    ] = None,
    application: Annotated[
        str | None, Form(max_length=64, description="Needed with an admin key, if no user is given.")
    ] = None,
    name: Annotated[
        str | None,
        Form(
            max_length=names.NAME_MAX,
            description="A name, or the path in a folder, with `/`; default: the name of the file.",
        ),
    ] = None,
    external_id: Annotated[
        str | None,
        Form(
            max_length=names.EXTERNAL_ID_MAX,
            description="The application's own id of the image, one per image of an owner.",
        ),
    ] = None,
    theme: Annotated[str | None, Form(max_length=64, description="A tag, for example what the image shows.")] = None,
) -> ImageOut:
    """Upload an image. It is turned upright, converted to sRGB and stripped of all metadata before it is stored.

    Uploading the same file again gives the same image; it adds a `name` and an `external_id` that the image lacks, and
    changes neither. An `external_id` that another file has is a conflict. A worker extracts the image's features;
    `features` shows the progress.
    """
    application, owner_id = _owner(context, key, user, application)
    theme = themes.check(theme)
    name = names.check_name(name) if name is not None else names.file_name(file.filename)
    external_id = names.check_external_id(external_id) if external_id is not None else None
    max_bytes = context.settings.max_upload_bytes
    if file.size is not None and file.size > max_bytes:
        raise TooLarge(f"the file has {file.size} bytes; at most {max_bytes} are accepted")
    context.allowances.spend(key, RateLimitKind.UPLOADS)
    added = uploads.add(
        context.database,
        context.blobs,
        context.settings,
        application=application,
        owner_id=owner_id,
        data=file.file.read(),
        name=name,
        external_id=external_id,
        theme=theme,
    )
    response.status_code = 201 if added.created else 200
    return ImageOut.of(added.row, added.features)


@router.get("")
def list_images(
    key: UserKey,
    context: Context,
    session: ReadSession,
    cursor: Cursor,
    user: Annotated[OfUser | None, Query(description="Only private images of this user.")] = None,
    shared: Annotated[
        FlagText | None, Query(description="true: only images that belong to no user; false: only private ones.")
    ] = None,
    external_id: Annotated[Sought | None, Query(max_length=128, description="Only images with this own id.")] = None,
    name: Annotated[Sought | None, Query(max_length=512, description="Only images with exactly this name.")] = None,
    name_prefix: Annotated[
        Sought | None, Query(max_length=512, description="Only images whose name begins so, for example with a folder.")
    ] = None,
    search: Annotated[
        Sought | None, Query(max_length=512, description="Only images whose name contains this, in either case.")
    ] = None,
    theme: Annotated[Sought | None, Query(max_length=64, description="Only images with this tag.")] = None,
    rated_by: Annotated[OfUser | None, Query(description="Only images that this user has rated or liked.")] = None,
    unrated_by: Annotated[
        OfUser | None, Query(description="Only images that this user has neither rated nor liked.")
    ] = None,
    created_since: Annotated[
        Moment | None, Query(description="Only images stored since then.", examples=["2026-11-22T12:00:00Z"])
    ] = None,
    limit: Limit = 50,
) -> Page[ImageOut]:
    """Images that the key may see and that meet all of the conditions."""
    owner_id, rated_by_id = _user_id(session, key, user), _user_id(session, key, rated_by)
    unrated_by_id = _user_id(session, key, unrated_by)
    if owner_id is not None and shared:
        raise InvalidInput("user and shared=true exclude each other: a shared image belongs to no user")
    if rated_by_id is not None and rated_by_id == unrated_by_id:
        raise InvalidInput("rated_by and unrated_by name the same user")
    if name is not None and name_prefix is not None and not name.startswith(name_prefix):
        raise InvalidInput("name and name_prefix exclude each other")
    wanted = ImageFilter(
        owner_id=owner_id,
        shared=shared,
        external_id=external_id,
        name=name,
        name_prefix=name_prefix,
        search=search,
        theme=theme,
        rated_by=rated_by_id,
        unrated_by=unrated_by_id,
        created_since=created_since,
    )
    rows = images_service.list_images(session, key, wanted, limit=limit, before=cursor.after)
    states = images_service.feature_states(session, [row.id for row in rows], context.settings)
    return Page(items=[ImageOut.of(row, states[row.id]) for row in rows], next_cursor=cursor.next(rows, limit))


@router.get("/{image_id}")
def get_image(image_id: UUID, key: UserKey, context: Context, session: ReadSession) -> ImageOut:
    """One image, without its bytes."""
    row = images_service.get(session, key, image_id)
    return ImageOut.of(row, images_service.feature_states(session, [row.id], context.settings)[row.id])


@router.get("/{image_id}/content", response_class=Response, responses=_pictures("image/jpeg", "image/png"))
def get_content(image_id: UUID, key: UserKey, context: Context, if_none_match: IfNoneMatch = None) -> Response:
    """The picture as it is stored: upright, in sRGB, without metadata."""
    row = _visible(context, key, image_id)
    headers = caching.headers(row.sha256, CONTENT_S)
    if caching.is_known(if_none_match, row.sha256):
        return Response(status_code=304, headers=headers)
    return Response(context.blobs.get(row.sha256), media_type=row.media_type, headers=headers)


@router.get("/{image_id}/thumbnail", response_class=Response, responses=_pictures(*thumbnails.MEDIA_TYPES.values()))
async def get_thumbnail(
    image_id: UUID,
    key: UserKey,
    context: Context,
    size: Annotated[
        WholeText,
        Query(description="Longest side in pixels.", json_schema_extra={"enum": list(thumbnails.SIZES)}),
    ] = 256,
    format: Annotated[thumbnails.Format, Query(description="The file's format.")] = "jpeg",
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A small picture of the image: no side is longer than `size`, and none longer than the image's own.

    It is made at the first request, and kept.
    """
    thumbnails.check_size(size)
    row = await run_in_threadpool(_visible, context, key, image_id)
    tag = thumbnails.version_tag(row, size, format)
    headers = caching.headers(tag, THUMBNAIL_S)
    if caching.is_known(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    found = await run_in_threadpool(thumbnails.find, context.blobs, row, size, format)
    if found is None:
        make = partial(thumbnails.get, context.database, context.blobs, context.settings, row, size, format)
        found = await context.thumbnails.do(make)
    return Response(found.data, media_type=found.media_type, headers=headers)


@router.put("/{image_id}/theme")
def set_theme(image_id: UUID, body: ThemeIn, key: UserKey, context: Context, session: WriteSession) -> ImageOut:
    """Tag an image with what it is about, or take the tag away. A user tags their own images only."""
    row = themes.set_theme(session, key, image_id, body.theme)
    return ImageOut.of(row, images_service.feature_states(session, [row.id], context.settings)[row.id])


@router.delete("/{image_id}", status_code=204)
def delete_image(
    image_id: UUID,
    key: UserKey,
    context: Context,
    once: IdempotencyKey,
    with_feedback: Annotated[
        FlagText, Query(description="Delete the image also if feedback is about it; that feedback is then retracted.")
    ] = False,
) -> None:
    """Delete an image with its file, thumbnails, features, maps, labels, reviews and receipts.

    A user deletes their own images only.

    If feedback is about the image, that is a conflict, unless `with_feedback` says so. Then the events stay in the log
    without the image, each with a retraction: later trainings do not learn from them, and users whose version did are
    due for training.
    """
    with context.database.session() as session:
        if once is not None:
            begin_once(session, once)
        deletions.delete(session, context.blobs, key, image_id, with_feedback=with_feedback, actor=key.actor)
        if once is not None:
            idempotency.finish(session, once, 204, b"")
    context.database.scrub()


def _visible(context: ApiContext, key: Principal, image_id: UUID) -> ImageRow:
    with context.database.read_session() as session:
        return images_service.get(session, key, image_id)


def _user_id(session: Session, key: Principal, ref: str | None) -> UUID | None:
    return users_service.resolve(session, key, ref).id if ref is not None else None


def _owner(context: ApiContext, key: Principal, user: str | None, application: str | None) -> tuple[str, UUID | None]:
    """The application and the owner of the upload. A user's uploads always belong to the user."""
    if key.user_id is not None:
        user = user or str(key.user_id)
    if user is not None:
        create_missing(context.database, key, [user])
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
