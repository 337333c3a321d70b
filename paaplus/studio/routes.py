"""The studio's routes: path, handler, and who may call it."""

from __future__ import annotations

from typing import Final

from starlette.routing import Route, Router

from paaplus.services.users.sessions import SessionRing
from paaplus.studio import (
    bulk,
    changes,
    data,
    enter,
    exports,
    health,
    match,
    news,
    operation,
    order,
    pages,
    people,
    photos,
    rate,
    research,
    review,
    surveys,
    thumbnails,
    watch,
    watch_reviews,
)
from paaplus.studio.calls import Handler, endpoint
from paaplus.studio.checks import Needs

_USER: Final = "/watch/people/{user}"
_ELSEWHERE: Final = "/{elsewhere:path}"  # whatever no other route takes

GET: Final[list[tuple[str, Handler, Needs]]] = [
    ("/", enter.doors, "nothing"),
    ("/enter", enter.enter_with_link, "nothing"),
    ("/photos", photos.page, "person"),
    ("/thumbnails", thumbnails.many, "viewer"),
    ("/thumbnails/{image_id}", thumbnails.one, "viewer"),
    ("/rate", rate.page, "person"),
    ("/rate/photos", rate.next_photos, "person"),
    ("/rate/pair", rate.next_pair, "person"),
    ("/state", rate.state, "person"),
    ("/news", news.stream, "person"),
    ("/match", match.page, "person"),
    ("/match/state", match.state, "person"),
    ("/surveys", surveys.listing, "member"),
    ("/surveys/{name}", surveys.page, "member"),
    ("/surveys/{name}/pictures/{item}/{side}", surveys.picture, "member"),
    ("/review", review.page, "expert"),
    ("/review/queue", review.queue, "expert"),
    ("/review/{review}/picture", review.picture, "expert"),
    ("/order", order.page, "person"),
    ("/order/ranking", order.ranking, "person"),
    ("/order/bursts", order.bursts, "person"),
    ("/order/changes", changes.changes, "person"),
    ("/order/my-order.csv", exports.as_csv, "person"),
    ("/order/my-top.zip", exports.as_zip, "person"),
    ("/order/my-order-xmp.zip", exports.as_xmp, "person"),
    ("/data", data.my_data, "person"),
    ("/data/my-data.zip", data.export_data, "person"),
    ("/watch", people.page, "admin"),
    ("/watch/people", people.more, "admin"),
    (_USER, watch.person, "admin"),
    (f"{_USER}/preview", watch.preview, "admin"),
    ("/watch/bulk", bulk.page, "admin"),
    ("/watch/jobs", operation.job_list, "admin"),
    ("/watch/audit", operation.audit_list, "admin"),
    ("/watch/health", health.page, "admin"),
    ("/watch/schedule", operation.schedule_list, "admin"),
    ("/watch/quotas", operation.quota_list, "admin"),
    ("/watch/reviews", watch_reviews.listing, "admin"),
    ("/research", research.page, "admin"),
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
    ("/match/quiz", match.open_quiz, "person"),
    ("/match/answers", match.post_answer, "person"),
    ("/match/choose", match.choose, "person"),
    ("/surveys/{name}", surveys.save, "member"),
    ("/review/{review}", review.decide, "expert"),
    ("/watch/reviews/{batch}/close", watch_reviews.close, "admin"),
    ("/data/erase", data.erase, "person"),
    ("/watch/bulk", bulk.roll_back, "admin"),
    (f"{_USER}/invite", watch.invite, "admin"),
    (f"{_USER}/{{act}}", watch.change, "admin"),
]


def router() -> Router:
    """The studio, as `door` mounts it."""
    ring = SessionRing()
    routes = [Route("/static/{name}", pages.static_file, methods=["GET"])]
    routes += [Route(path, endpoint(call, ring, path=path, needs=needs), methods=["GET"]) for path, call, needs in GET]
    routes += [
        Route(path, endpoint(call, ring, path=path, needs=needs, upload=call is photos.upload), methods=["POST"])
        for path, call, needs in POST
    ]
    routes.append(Route(_ELSEWHERE, endpoint(enter.nowhere, ring, path=_ELSEWHERE, needs="nothing"), methods=["GET"]))
    return Router(routes)
