"""The studio's routes: path, handler, and who may call it."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route, Router

from paaplus.services.users.sessions import SessionRing
from paaplus.studio import bulk, enter, order, pages, photos, rate, watch
from paaplus.studio.calls import Handler, Needs, endpoint

_USER: Final = "/watch/people/{user}"

GET: Final[list[tuple[str, Handler, Needs]]] = [
    ("/", enter.doors, "nothing"),
    ("/enter", enter.enter_with_link, "nothing"),
    ("/photos", photos.page, "person"),
    ("/thumbnails/{image_id}", photos.thumbnail, "session"),
    ("/rate", rate.page, "person"),
    ("/rate/photos", rate.next_photos, "person"),
    ("/rate/pair", rate.next_pair, "person"),
    ("/state", rate.state, "person"),
    ("/order", order.page, "person"),
    ("/order/ranking", order.ranking, "person"),
    ("/order/changes", order.changes, "person"),
    ("/order/my-order.csv", order.as_csv, "person"),
    ("/order/my-top.zip", order.as_zip, "person"),
    ("/data", order.my_data, "person"),
    ("/data/my-data.zip", order.export_data, "person"),
    ("/watch", watch.people, "admin"),
    ("/watch/people", watch.more_people, "admin"),
    (_USER, watch.person, "admin"),
    (f"{_USER}/preview", watch.preview, "admin"),
    ("/watch/bulk", bulk.page, "admin"),
    ("/watch/jobs", watch.job_list, "admin"),
    ("/watch/audit", watch.audit_list, "admin"),
    ("/watch/health", watch.health, "admin"),
]

POST: Final[list[tuple[str, Handler, Needs]]] = [
    ("/enter", enter.enter_with_key, "nothing"),
    ("/leave", enter.leave, "session"),
    ("/mine", enter.rate_mine, "admin"),
    ("/tour", enter.look_around, "admin"),
    ("/act", enter.act_as, "session"),
    ("/photos", photos.upload, "person"),
    ("/photos/built-in", photos.add_builtin, "person"),
    ("/rate/answers", rate.post_answer, "person"),
    ("/rate/learn", rate.learn_now, "person"),
    ("/data/erase", order.erase, "person"),
    ("/watch/bulk", bulk.roll_back, "admin"),
    (f"{_USER}/invite", watch.invite, "admin"),
    (f"{_USER}/{{act}}", watch.change, "admin"),
]


def router() -> Router:
    """The studio, to be mounted at `/studio`."""
    ring = SessionRing()
    routes = [Route("/static/{name}", pages.static_file, methods=["GET"])]
    routes += [Route(path, endpoint(call, ring, path=path, needs=needs), methods=["GET"]) for path, call, needs in GET]
    routes += [
        Route(path, endpoint(call, ring, path=path, needs=needs, upload=call is photos.upload), methods=["POST"])
        for path, call, needs in POST
    ]
    return Router(routes)


def home() -> Route:
    """The address without a path leads to the studio."""

    async def lead(request: Request) -> RedirectResponse:
        return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + "/studio/", 307)

    return Route("/", lead, methods=["GET"], include_in_schema=False)
