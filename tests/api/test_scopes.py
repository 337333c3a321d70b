"""A key opens only its own doors: every route, with every kind of key and with none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.api.dependencies import OpensTo, OpenToAll
from paaplus.db.tables import ExpertRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.jobs import JobState
from paaplus.db.tables.models import AdapterState
from paaplus.scoring.exposure_rules import PRESETS
from paaplus.services.images import maps
from paaplus.services.reviews import pseudo_labels
from paaplus.settings import Settings
from paaplus.tools.tool import Judgement
from tests.api.conftest import World, jpeg
from tests.support.databases import on_one_database
from tests.support.factories import make_features, make_image, make_job, make_user

PUBLIC: frozenset[KeyScope] = frozenset()
USER = frozenset({KeyScope.USER, KeyScope.APPLICATION, KeyScope.ADMIN})
APPLICATION = frozenset({KeyScope.APPLICATION, KeyScope.ADMIN})
ADMIN = frozenset({KeyScope.ADMIN})
PERSON = frozenset(KeyScope)
EXPERT = frozenset({KeyScope.EXPERT})

REASON = {"reason": "because"}
PREFERENCE = {"preference": [0.2, 0.8]}
# What the key of another application gets: the thing is not there, or nothing of ours is shown.
NOT_THERE, ITS_OWN = "not there", "its own"

Request = tuple[str, dict[str, Any]]


def at(path: str, body: Any = None, **options: Any) -> Request:
    return path, (options | {"json": body} if body is not None else options)


def predict(world: World) -> Request:
    return at("/v1/predictions", {"items": [{"user": str(world.ada), "image": str(world.images[0])}]})


def rate(world: World) -> Request:
    return at("/v1/feedback", world.rating(f"e{id(object())}", user=str(world.ada)))


def upload(world: World) -> Request:
    files = {"file": ("a.jpg", jpeg(), "image/jpeg")}
    return at("/v1/images", files=files, data={"user": str(world.ada)})


def picture(tail: str) -> Callable[[World], Request]:
    """Of a new picture of ada's, so that it may be deleted."""

    def build(world: World) -> Request:
        image = world.application.upload(jpeg(shade=120), user=str(world.ada)).json()["id"]
        return at(f"/v1/images/{image}{tail}")

    return build


def rated(world: World) -> Request:
    path, options = rate(world)
    world.application.post(path, options["json"])
    return at("/v1/feedback")


def new_user(world: World) -> Request:
    return at("/v1/users", {"external_id": "zoe", "application": "test-app"})


def somebody_to_erase(world: World) -> Request:
    with world.database.session() as session:
        return at(f"/v1/users/{make_user(session).id}")


def job_of_ada(world: World) -> Request:
    with world.database.session() as session:
        return at(f"/v1/jobs/{make_job(session, user_id=world.ada, state=JobState.SUCCEEDED).id}")


def key_to_revoke(world: World) -> Request:
    return at(f"/v1/keys/{world.admin.post('/v1/keys', {'name': 'k', 'scope': 'admin'}).json()['id']}")


def key_to_rotate(world: World) -> Request:
    return at(f"{key_to_revoke(world)[0]}/rotate")


def of_ada(tail: str, body: Any = None) -> Callable[[World], Request]:
    return lambda world: at(f"/v1/users/{world.ada}{tail}", body)


def promote(world: World) -> Request:
    row = world.adapter(world.ada, state=AdapterState.CANDIDATE)
    return at(f"/v1/users/{world.ada}/adapters/{row.number}/promote", REASON)


def unpin(world: World) -> Request:
    world.admin.post(f"/v1/users/{world.ada}/adapters/1/pin", REASON)
    return at(f"/v1/users/{world.ada}/unpin", REASON)


def survey(world: World) -> None:
    form = {"title": "t", "items": [{"id": "a", "kind": "scale", "text": "?", "min": 1, "max": 7}]}
    world.application.post("/v1/surveys", {"name": "first", "domain": "photographs", "form": form})


def new_survey(world: World) -> Request:
    form = {"title": "t", "items": [{"id": "a", "kind": "scale", "text": "?", "min": 0, "max": 1}]}
    return at("/v1/surveys", {"name": "new", "domain": "photographs", "form": form, "application": "test-app"})


def of_survey(tail: str) -> Callable[[World], Request]:
    def build(world: World) -> Request:
        survey(world)
        return at(f"/v1/surveys/first{tail}?application=test-app")

    return build


def answer(world: World) -> Request:
    survey(world)
    return at(f"/v1/users/{world.ada}/survey-answers/first", {"answers": {"a": 3}})


def answers(world: World) -> Request:
    path, options = answer(world)
    world.application.put(path, options["json"])
    return at(path)


def preference(world: World) -> Request:
    world.application.put(f"/v1/users/{world.ada}/preference", PREFERENCE)
    return at(f"/v1/users/{world.ada}/preference")


def pictures(world: World) -> None:
    """Enough shared ones that a quiz finds two which are not held out for ada, whichever are."""
    with world.database.session() as session:
        for _ in range(12):
            image = make_image(session)
            data = world.features_ID[0].tobytes()
            make_features(session, image_id=image.id, extractor_digest=world.base.extractor_digest, data=data)


def quiz(world: World) -> Request:
    pictures(world)
    return at(f"/v1/users/{world.ada}/quiz", {"max_pairs": 4})


def open_quiz(world: World) -> Request:
    path, options = quiz(world)
    world.application.post(path, options["json"])
    return at(path)


def quiz_answer(world: World) -> Request:
    path, _ = open_quiz(world)
    position = world.application.get(path).json()["pair"]["position"]
    body = {"position": position, "preference": "tie", "event_id": f"quiz-{id(object())}-{position}"}
    return at(f"{path}/answers", body)


def match(world: World) -> Request:
    with world.database.session() as session:  # an expert is matched with nobody
        session.execute(sa.delete(ExpertRow).where(ExpertRow.user_id == world.ada))
    return at(f"/v1/users/{world.ada}/match", {})


def matched(world: World) -> Request:
    path, _ = match(world)
    world.application.post(path)
    return at(path)


def new_expert(world: World) -> Request:
    return at(f"/v1/experts/{world.bob}", {"name": "Dr. Bob", "domain": "photographs"})


def of_expert(tail: str) -> Callable[[World], Request]:
    def build(world: World) -> Request:
        world.application.put(f"/v1/experts/{world.ada}", {"name": "Dr. Ada", "domain": "photographs"})
        return at(f"/v1/experts/{world.ada}{tail}")

    return build


def review_batch(world: World) -> dict[str, Any]:
    """A new batch of six pictures for ada, with labels from elsewhere."""
    world.application.put(f"/v1/experts/{world.ada}", {"name": "Dr. Ada", "domain": "photographs"})
    world.application.post(f"/v1/experts/{world.ada}/restore")
    images = [world.application.upload(jpeg(shade=20 * i)).json()["id"] for i in range(6)]
    labels = [{"image": image, "scores": {"beauty": 5}} for image in images]
    world.application.post("/v1/pseudo-labels/precomputed", {"tool": "precomputed", "version": "1", "labels": labels})
    body = {"name": "b", "experts": [str(world.ada)], "images": images}
    made: dict[str, Any] = world.application.post("/v1/review-batches", body).json()
    return made


def of_batch(tail: str) -> Callable[[World], Request]:
    return lambda world: at(f"/v1/review-batches/{review_batch(world)['id']}{tail}")


def webhook(world: World) -> str:
    made = world.application.post("/v1/webhooks", {"url": f"https://app.example/hook/{uuid4()}"})
    return f"/v1/webhooks/{made.json()['id']}"


def new_webhook(world: World) -> Request:
    return at("/v1/webhooks", {"url": "https://app.example/hook", "application": "test-app"})


def new_batch(world: World) -> Request:
    review_batch(world)
    image = world.application.upload(jpeg(shade=0)).json()["id"]
    body = {"name": "b", "experts": [str(world.ada)], "images": [image], "application": "test-app"}
    return at("/v1/review-batches", body)


def of_review(tail: str, body: Any = None) -> Callable[[World], Request]:
    def build(world: World) -> Request:
        batch = review_batch(world)["id"]
        review = world.callers["expert"].get("/v1/reviews/next", batch=batch).json()["review"]["id"]
        return at(f"/v1/reviews/{review}{tail}", body and body | {"event_id": review})

    return build


def reviewed(world: World) -> None:
    batch = review_batch(world)["id"]
    expert = world.callers["expert"]
    while (review := expert.get("/v1/reviews/next", batch=batch).json()["review"]) is not None:
        expert.post(f"/v1/reviews/{review['id']}", {"event_id": review["id"], "verdict": "accept"})


def learn(world: World) -> Request:
    reviewed(world)
    return at("/v1/tools/precomputed/revisions", {"application": "test-app"})


def retire_learned(world: World) -> Request:
    path, options = learn(world)
    number = world.application.post(path, options["json"]).json()["version"]
    return at(f"{path}/{number}/retire", options["json"])


def labels_wanted(world: World) -> Request:
    return at("/v1/pseudo-labels", {"tools": ["exposure"], "application": "test-app"})


def labels_from_elsewhere(world: World) -> Request:
    label = {"image": str(world.images[0]), "scores": {"beauty": 5}}
    body = {"tool": "precomputed", "version": "1", "labels": [label], "application": "test-app"}
    return at("/v1/pseudo-labels/precomputed", body)


def with_file(world: World) -> None:
    """The API never reads a network: any bytes are a file."""
    folder = world.context.settings.home / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exposure_map.pth").write_bytes(b"weights")


def drawn_map(world: World) -> Request:
    with_file(world)
    return at(f"/v1/images/{world.images[0]}/maps/exposure_map")


def theme(world: World) -> Request:
    image = world.user.upload(jpeg(120)).json()["id"]
    return at(f"/v1/images/{image}/theme", {"theme": "portrait"})


def exposure_rating(world: World) -> Request:
    with_file(world)
    body = {"rating": 6, "scale": {"min": 1, "max": 7}}
    return at(f"/v1/users/{world.ada}/exposure-ratings/{world.images[0]}", body)


def rated_exposure(world: World) -> Request:
    path, options = exposure_rating(world)
    world.application.put(path, options["json"])
    return at(path)


def exposure_rule(world: World) -> Request:
    with_file(world)
    with world.database.session() as session:
        images = [make_image(session).id for _ in range(5)]
        version = maps.current_version("exposure_map", world.context.settings)
        scores = {f"exposure_{preset}": 5.0 for preset in PRESETS}
        label = Judgement(scores, dict.fromkeys(scores, 1.0))
        pseudo_labels.store(session, "exposure_map", version, dict.fromkeys(images, label))
    for image in images:
        body = {"rating": 6, "scale": {"min": 1, "max": 7}}
        world.application.put(f"/v1/users/{world.ada}/exposure-ratings/{image}", body)
    return at(f"/v1/users/{world.ada}/exposure-rule?image={images[0]}")


# Every route: whom it opens to, what to ask, and what another application's key gets.
ROUTES: dict[tuple[str, str], tuple[frozenset[KeyScope], Callable[[World], Request], str]] = {
    ("GET", "/healthz"): (PUBLIC, lambda w: at("/healthz"), ITS_OWN),
    ("GET", "/readyz"): (PUBLIC, lambda w: at("/readyz"), ITS_OWN),
    ("GET", "/metrics"): (PUBLIC, lambda w: at("/metrics"), ITS_OWN),
    ("POST", "/v1/users"): (APPLICATION, new_user, "forbidden"),
    ("GET", "/v1/users"): (APPLICATION, lambda w: at("/v1/users"), ITS_OWN),
    ("GET", "/v1/users/{user}"): (USER, of_ada(""), NOT_THERE),
    ("PUT", "/v1/users/{user}/policy"): (APPLICATION, of_ada("/policy", {}), NOT_THERE),
    ("PUT", "/v1/users/{user}/sharing"): (USER, of_ada("/sharing", {"shares_taste": True}), NOT_THERE),
    ("GET", "/v1/users/{user}/events"): (USER, of_ada("/events"), NOT_THERE),
    ("POST", "/v1/webhooks"): (APPLICATION, new_webhook, "forbidden"),
    ("GET", "/v1/webhooks"): (APPLICATION, lambda w: at("/v1/webhooks"), ITS_OWN),
    ("POST", "/v1/webhooks/{webhook_id}/enable"): (APPLICATION, lambda w: at(f"{webhook(w)}/enable"), NOT_THERE),
    ("POST", "/v1/webhooks/{webhook_id}/disable"): (APPLICATION, lambda w: at(f"{webhook(w)}/disable"), NOT_THERE),
    ("GET", "/v1/webhooks/{webhook_id}/deliveries"): (
        APPLICATION,
        lambda w: at(f"{webhook(w)}/deliveries"),
        NOT_THERE,
    ),
    ("DELETE", "/v1/webhooks/{webhook_id}"): (APPLICATION, lambda w: at(webhook(w)), NOT_THERE),
    ("GET", "/v1/users/{user}/export"): (USER, of_ada("/export"), NOT_THERE),
    ("DELETE", "/v1/users/{user}"): (APPLICATION, somebody_to_erase, NOT_THERE),
    ("POST", "/v1/images"): (USER, upload, NOT_THERE),
    ("GET", "/v1/images"): (USER, lambda w: at("/v1/images"), ITS_OWN),
    ("GET", "/v1/images/{image_id}"): (USER, lambda w: at(f"/v1/images/{w.images[0]}"), NOT_THERE),
    ("GET", "/v1/images/{image_id}/content"): (USER, picture("/content"), NOT_THERE),
    ("GET", "/v1/images/{image_id}/thumbnail"): (USER, picture("/thumbnail?size=128"), NOT_THERE),
    ("DELETE", "/v1/images/{image_id}"): (USER, picture(""), NOT_THERE),
    ("PUT", "/v1/images/{image_id}/theme"): (USER, theme, NOT_THERE),
    ("GET", "/v1/images/{image_id}/maps/{tool}"): (USER, drawn_map, NOT_THERE),
    ("PUT", "/v1/users/{user}/exposure-ratings/{image_id}"): (USER, exposure_rating, NOT_THERE),
    ("DELETE", "/v1/users/{user}/exposure-ratings/{image_id}"): (USER, rated_exposure, NOT_THERE),
    ("GET", "/v1/users/{user}/exposure-rule"): (USER, exposure_rule, NOT_THERE),
    ("GET", "/v1/users/{user}/anchors/{image_id}"): (
        USER,
        lambda w: at(f"/v1/users/{w.ada}/anchors/{w.images[0]}"),
        NOT_THERE,
    ),
    ("GET", "/v1/users/{user}/consistency"): (USER, of_ada("/consistency"), NOT_THERE),
    ("POST", "/v1/feedback"): (USER, rate, NOT_THERE),
    ("GET", "/v1/feedback"): (USER, rated, ITS_OWN),
    ("POST", "/v1/predictions"): (USER, predict, NOT_THERE),
    ("POST", "/v1/rankings"): (USER, lambda w: at("/v1/rankings", {"user": str(w.ada)}), NOT_THERE),
    ("POST", "/v1/audiences"): (APPLICATION, lambda w: at("/v1/audiences", {"image": str(w.images[0])}), NOT_THERE),
    ("GET", "/v1/users/{user}/adapters"): (USER, of_ada("/adapters"), NOT_THERE),
    ("GET", "/v1/users/{user}/adapters/compare"): (USER, of_ada("/adapters/compare?a=1&b=1"), NOT_THERE),
    ("GET", "/v1/users/{user}/adapters/{number}"): (USER, of_ada("/adapters/1"), NOT_THERE),
    ("GET", "/v1/users/{user}/history"): (USER, of_ada("/history"), NOT_THERE),
    ("GET", "/v1/users/{user}/metrics"): (USER, of_ada("/metrics"), NOT_THERE),
    ("GET", "/v1/users/{user}/exclusions"): (USER, of_ada("/exclusions"), NOT_THERE),
    ("POST", "/v1/users/{user}/adapters/{number}/promote"): (ADMIN, promote, "forbidden"),
    ("POST", "/v1/users/{user}/adapters/{number}/pin"): (ADMIN, of_ada("/adapters/1/pin", REASON), "forbidden"),
    ("POST", "/v1/users/{user}/unpin"): (ADMIN, unpin, "forbidden"),
    ("POST", "/v1/adapters/rollback"): (
        ADMIN,
        lambda _: at("/v1/adapters/rollback", REASON | {"strategy": "bayes", "dry_run": True}),
        "forbidden",
    ),
    ("POST", "/v1/users/{user}/rollback"): (ADMIN, of_ada("/rollback", REASON | {"to": 0}), "forbidden"),
    ("POST", "/v1/users/{user}/retrain"): (ADMIN, of_ada("/retrain", REASON), "forbidden"),
    ("POST", "/v1/users/{user}/exclusions/release"): (ADMIN, of_ada("/exclusions/release", REASON), "forbidden"),
    ("GET", "/v1/jobs"): (USER, lambda w: at("/v1/jobs"), ITS_OWN),
    ("GET", "/v1/jobs/{job_id}"): (USER, job_of_ada, NOT_THERE),
    ("GET", "/v1/base-models"): (USER, lambda w: at("/v1/base-models"), ITS_OWN),
    ("POST", "/v1/keys"): (ADMIN, lambda w: at("/v1/keys", {"name": "k", "scope": "admin"}), "forbidden"),
    ("GET", "/v1/keys"): (ADMIN, lambda w: at("/v1/keys"), "forbidden"),
    ("DELETE", "/v1/keys/{key_id}"): (ADMIN, key_to_revoke, "forbidden"),
    ("POST", "/v1/keys/{key_id}/rotate"): (ADMIN, key_to_rotate, "forbidden"),
    ("POST", "/v1/surveys"): (APPLICATION, new_survey, "forbidden"),
    ("GET", "/v1/surveys"): (PERSON, lambda w: at("/v1/surveys"), ITS_OWN),
    ("GET", "/v1/surveys/{name}"): (PERSON, of_survey(""), "forbidden"),
    ("GET", "/v1/surveys/{name}/encoders"): (PERSON, of_survey("/encoders"), "forbidden"),
    ("PUT", "/v1/users/{user}/survey-answers/{name}"): (PERSON, answer, NOT_THERE),
    ("GET", "/v1/users/{user}/survey-answers/{name}"): (PERSON, answers, NOT_THERE),
    ("PUT", "/v1/users/{user}/preference"): (USER, of_ada("/preference", PREFERENCE), NOT_THERE),
    ("GET", "/v1/users/{user}/preference"): (USER, preference, NOT_THERE),
    ("DELETE", "/v1/users/{user}/preference"): (USER, preference, NOT_THERE),
    ("POST", "/v1/users/{user}/quiz"): (USER, quiz, NOT_THERE),
    ("GET", "/v1/users/{user}/quiz"): (USER, open_quiz, NOT_THERE),
    ("POST", "/v1/users/{user}/quiz/answers"): (USER, quiz_answer, NOT_THERE),
    ("GET", "/v1/users/{user}/suggestions"): (USER, of_ada("/suggestions?count=3"), NOT_THERE),
    ("POST", "/v1/users/{user}/match"): (USER, match, NOT_THERE),
    ("GET", "/v1/users/{user}/match"): (USER, matched, NOT_THERE),
    ("PUT", "/v1/experts/{user}"): (APPLICATION, new_expert, NOT_THERE),
    ("GET", "/v1/experts"): (APPLICATION, lambda w: at("/v1/experts"), ITS_OWN),
    ("GET", "/v1/experts/{user}"): (APPLICATION | {KeyScope.EXPERT}, of_expert(""), NOT_THERE),
    ("POST", "/v1/experts/{user}/retire"): (APPLICATION, of_expert("/retire"), NOT_THERE),
    ("POST", "/v1/experts/{user}/restore"): (APPLICATION, of_expert("/restore"), NOT_THERE),
    ("GET", "/v1/expert-agreement"): (
        APPLICATION,
        lambda w: at("/v1/expert-agreement?application=test-app"),
        ITS_OWN,
    ),
    ("GET", "/v1/tools"): (APPLICATION, lambda w: at("/v1/tools"), ITS_OWN),
    ("GET", "/v1/tools/{tool}/revisions"): (APPLICATION, lambda w: at("/v1/tools/generic/revisions"), ITS_OWN),
    ("POST", "/v1/tools/{tool}/revisions"): (APPLICATION, learn, "forbidden"),
    ("POST", "/v1/tools/{tool}/revisions/{number}/retire"): (APPLICATION, retire_learned, "forbidden"),
    ("POST", "/v1/pseudo-labels"): (APPLICATION, labels_wanted, "forbidden"),
    ("GET", "/v1/pseudo-labels"): (APPLICATION, lambda w: at("/v1/pseudo-labels"), ITS_OWN),
    ("POST", "/v1/pseudo-labels/precomputed"): (APPLICATION, labels_from_elsewhere, "forbidden"),
    ("POST", "/v1/review-batches"): (APPLICATION, new_batch, "forbidden"),
    ("GET", "/v1/review-batches"): (APPLICATION, lambda w: at("/v1/review-batches"), ITS_OWN),
    ("GET", "/v1/review-batches/{batch_id}"): (APPLICATION, of_batch(""), NOT_THERE),
    ("POST", "/v1/review-batches/{batch_id}/close"): (APPLICATION, of_batch("/close"), NOT_THERE),
    ("GET", "/v1/reviews/next"): (EXPERT, lambda w: at("/v1/reviews/next"), "forbidden"),
    ("GET", "/v1/reviews/{review_id}"): (EXPERT, of_review(""), "forbidden"),
    ("GET", "/v1/reviews/{review_id}/image"): (EXPERT, of_review("/image"), "forbidden"),
    ("POST", "/v1/reviews/{review_id}"): (EXPERT, of_review("", {"verdict": "accept"}), "forbidden"),
    ("GET", "/v1/audit"): (ADMIN, lambda w: at("/v1/audit"), "forbidden"),
    ("GET", "/v1/audit/verification"): (ADMIN, lambda w: at("/v1/audit/verification"), "forbidden"),
}
SCOPE_OF = {
    "admin": KeyScope.ADMIN,
    "application": KeyScope.APPLICATION,
    "other": KeyScope.APPLICATION,
    "user": KeyScope.USER,
    "expert": KeyScope.EXPERT,
}


def declared_guards(app: FastAPI) -> dict[tuple[str, str], list[frozenset[KeyScope]]]:
    """What each route of the application declares, found in its tree of dependencies."""
    declared = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, APIRoute):
            continue
        todo, guards = [context.dependant], []
        while todo:
            dependant = todo.pop()
            todo += dependant.dependencies
            if isinstance(dependant.call, OpensTo | OpenToAll):
                guards.append(dependant.call.scopes)
        for method in route.methods:
            declared[method, context.path] = guards
    return declared


def test_every_route_declares_once_whom_it_opens_to(settings: Settings) -> None:
    declared = declared_guards(create_app(settings))
    assert {route: guards for route, guards in declared.items() if len(guards) != 1} == {}
    assert {route: guards[0] for route, guards in declared.items()} == {
        route: scopes for route, (scopes, _, _) in ROUTES.items()
    }


@on_one_database
def test_routes_without_a_key_are_these_and_no_others(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    open_paths = {
        path
        for path, methods in document["paths"].items()
        if not any(operation.get("security") for operation in methods.values())
    }
    assert open_paths == {"/healthz", "/readyz", "/metrics"}
    for path in ("/redoc", "/docs/oauth2-redirect", "/v1", "/v1/users/", "/healthz/", "/v1//users"):
        assert client.get(path).status_code == 404
    assert client.get("/", follow_redirects=False).headers["location"] == "/studio/"  # its own: test_studio.py


@pytest.mark.slow
@pytest.mark.parametrize(
    ("database_kind", "caller"),
    [
        *(("sqlite", caller) for caller in ("nobody", *SCOPE_OF)),
        ("postgresql", "admin"),  # whose key opens every route, so that every route's queries run there too
    ],
    indirect=["database_kind"],
)
def test_each_key_opens_what_its_scope_says(world: World, caller: str) -> None:
    world.adapter(world.ada)
    wrong = {}
    for (method, template), (scopes, build, foreign) in ROUTES.items():
        path, options = build(world)
        who = world.nobody if caller == "nobody" else world.callers[caller]
        response = who.request(method, path, **options)
        if scopes == PUBLIC:
            expected = response.status_code == 200
        elif caller == "nobody":
            expected = response.status_code == 401
        elif SCOPE_OF[caller] not in scopes:
            expected = response.status_code == 403
        elif caller == "other" and foreign != ITS_OWN:
            expected = response.status_code == {NOT_THERE: 404, "forbidden": 403}[foreign]
        elif caller == "other" and template == "/v1/base-models":
            expected = response.status_code == 200
        elif caller == "other":
            ours = {str(world.ada), str(world.bob), *map(str, world.images)}
            expected = response.status_code == 200 and not any(name in response.text for name in ours)
        else:
            expected = response.status_code in (200, 201, 202, 204)
        if not expected:
            wrong[method, template] = (response.status_code, response.text[:300])
    assert wrong == {}


USER_ROUTES = [(m, t) for (m, t), (scopes, _, _) in ROUTES.items() if "{user}" in t and KeyScope.USER in scopes]


@pytest.mark.slow
def test_user_key_sees_no_other_user_on_any_route(world: World) -> None:
    world.adapter(world.bob)
    for route in USER_ROUTES:
        of_ada_path, options = ROUTES[route][1](world)
        for name in ("bob", str(world.bob), str(world.eve), "test-app/bob"):
            path = of_ada_path.replace(str(world.ada), name)
            response = world.user.request(route[0], path, **options)
            assert response.status_code == 404, (path, response.text)
    listed = world.user.get("/v1/jobs").json()["items"]
    assert all(job["user_id"] == str(world.ada) for job in listed)


def test_header_that_holds_no_key_is_unauthenticated(world: World) -> None:
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", "Bearer wrong", "Bearer paa_\xff", "bearer", "Bearer a b"):
        response = world.client.get("/v1/images", headers={"Authorization": header.encode("latin-1")})
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json()["error"]["code"] == "unauthenticated"


def test_key_is_looked_at_before_the_request(world: World) -> None:
    """What is wrong with a body is nobody's business who may not send it."""
    assert world.nobody.post("/v1/users", {"nonsense": 1}).status_code == 401
    assert world.user.post("/v1/users", {"nonsense": 1}).status_code == 403
    assert world.application.post("/v1/users", {"nonsense": 1}).status_code == 422
