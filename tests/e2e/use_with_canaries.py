"""A program in which all that callers say is CANARY, said rightly and wrongly. Run by `test_log_contents`."""

from __future__ import annotations

import sys
from typing import Any

from starlette.testclient import TestClient

from paaplus import logs
from paaplus.api.app import create_app
from paaplus.pipelines.context import WorkerContext
from paaplus.pipelines.run_jobs import run_next
from paaplus.services import scheduling
from tests.api.conftest import Caller, World
from tests.support.hostile import encoded, huge_exif, noise

CANARY = "canary-3f1c"


def talk(world: World) -> None:
    app, admin = world.application, world.admin
    app.post("/v1/users", {"external_id": CANARY})
    key = admin.post("/v1/keys", {"name": CANARY, "scope": "user", "user": f"test-app/{CANARY}"}).json()["key"]
    user = Caller(world.client, key)
    Caller(world.client, f"paa_{CANARY}").get("/v1/users")
    Caller(world.client, CANARY).get(f"/v1/users/{CANARY}", external_id=CANARY)
    user.upload(encoded(noise(), "JPEG", exif=huge_exif(), comment=CANARY.encode()), filename=f"{CANARY}.jpg")
    user.upload(CANARY.encode(), filename=CANARY)
    user.upload(encoded(noise(), "JPEG", comment=CANARY.encode())[:-300], filename=CANARY)
    rating = world.rating(CANARY, user=CANARY)
    for change in (
        {},
        {"event_id": f"{CANARY}-1", "ratings": {CANARY: 3}},
        {"event_id": f"{CANARY}-2", "image": CANARY},
        {"event_id": f"{CANARY}-3", "kind": CANARY},
        {"event_id": f"{CANARY}-4", CANARY: CANARY},
        {"ratings": {"beauty": 2}},
    ):
        user.post("/v1/feedback", rating | change)
    user.post("/v1/feedback", {"events": [rating | {"event_id": f"{CANARY}-b{i}"} for i in range(40)] + [CANARY]})
    user.post("/v1/feedback", {"event_id": "r", "user": CANARY, "kind": "retraction", "retracts": CANARY})
    user.post("/v1/predictions", {"users": [CANARY], "images": [str(world.images[0])]})
    user.post("/v1/predictions", {"users": [CANARY, f"{CANARY}-nobody"], "images": [CANARY]})
    user.request("POST", "/v1/feedback", content=f"{{{CANARY}".encode(), headers={"Content-Type": "application/json"})
    user.post(f"/v1/users/{CANARY}/quiz", {"max_pairs": CANARY})
    user.post(f"/v1/users/{CANARY}/quiz")
    for answer in ({"preference": CANARY}, {"preference": {CANARY: "first"}}, {"preference": "first"}):
        user.post(f"/v1/users/{CANARY}/quiz/answers", {"position": 1, "event_id": f"{CANARY}-q"} | answer)
    user.post(f"/v1/users/{CANARY}/match", {"experts": [CANARY]})
    user.post(f"/v1/users/{CANARY}/match")
    app.put(f"/v1/experts/{CANARY}", {"name": CANARY, "domain": CANARY, "form": CANARY})
    app.put(f"/v1/experts/{CANARY}", {"name": CANARY, "domain": CANARY})
    app.get(f"/v1/experts/{CANARY}")
    label = {"image": str(world.images[0]), "scores": {"beauty": 5}}
    for change in (
        {},
        {"tool": "precomputed:other", "labels": [label | {"scores": {CANARY: 5}}]},
        {"tool": f"precomputed:{CANARY}"},
    ):
        app.post("/v1/pseudo-labels/precomputed", {"tool": "precomputed", "version": "1", "labels": [label]} | change)
    app.post("/v1/pseudo-labels", {"tools": [CANARY]})
    app.get("/v1/pseudo-labels", tool=CANARY)
    app.post(f"/v1/tools/{CANARY}/revisions", {})
    form = {"title": CANARY, "items": [{"id": CANARY, "kind": "scale", "text": CANARY, "min": 1, "max": 7}]}
    choice = {"id": CANARY, "kind": "choice", "text": CANARY, "options": [CANARY, "b"]}
    for change in (
        {},
        {"form": {"title": CANARY, "items": [choice]}},
        {"form": {CANARY: CANARY}},
        {"name": "a b" + CANARY},
    ):
        app.post("/v1/surveys", {"name": CANARY, "domain": CANARY, "form": form} | change)
    for answers in ({CANARY: CANARY}, {CANARY: "c" + CANARY}, {f"{CANARY}-2": 1}, CANARY):
        user.put(f"/v1/users/{CANARY}/survey-answers/{CANARY}", {"answers": answers})
    user.get(f"/v1/users/{CANARY}/survey-answers/{CANARY}")
    user.get(f"/v1/surveys/{CANARY}/encoders")
    for preference in ([0.5, 0.25], [CANARY], CANARY):
        user.put(f"/v1/users/{CANARY}/preference", {"preference": preference})
    expert = Caller(
        world.client,
        admin.post("/v1/keys", {"name": CANARY, "scope": "expert", "user": f"test-app/{CANARY}"}).json()["key"],
    )
    for change in ({}, {"experts": [f"{CANARY}-nobody"]}, {"tools": [CANARY]}):
        app.post("/v1/review-batches", {"name": CANARY, "experts": [CANARY], "tools": ["precomputed"]} | change)
    review = expert.get("/v1/reviews/next").json()["review"]["id"]
    for change in ({"verdict": CANARY}, {"scores": {CANARY: 3}}, {"verdict": "accept", "scores": {}}):
        body = {"event_id": f"{CANARY}-review", "verdict": "correct", "scores": {"beauty": 3}}
        expert.post(f"/v1/reviews/{review}", body | change)
    for method, path in (("GET", f"/{CANARY}"), ("GET", f"/v1/users/{CANARY}/adapters/{CANARY}"), ("PUT", "/v1/users")):
        user.request(method, path)
    app.put(f"/v1/users/{CANARY}/policy", {"strategy": CANARY})
    app.put(f"/v1/users/{CANARY}/policy", {"min_new_feedback": 1})
    for path, body in (("retrain", {}), ("rollback", {"to": 0}), ("adapters/1/promote", {}), ("unpin", {})):
        admin.post(f"/v1/users/test-app/{CANARY}/{path}", {"reason": CANARY} | body)
        admin.post(f"/v1/users/{world.ada}/{path}", {"reason": CANARY} | body)


def work(world: World) -> None:
    context = world.context
    worker = WorkerContext(context.database, context.blobs, context.settings, worker="test")
    scheduling.scan(context.database, context.settings)
    while run_next(worker, ["cpu", "gpu"]):
        pass


def main() -> None:
    logs.configure("DEBUG")
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        world = World(client)
        talk(world)
        work(world)
        user: Any = world.application.get(f"/v1/users/{CANARY}").json()
        world.application.post("/v1/predictions", {"users": [CANARY], "images": [str(world.images[0])]})
        world.application.delete(f"/v1/users/{CANARY}")
        world.admin.get("/v1/audit")
        for caller in world.callers.values():
            sys.stdout.write(f"{caller.token}\n")
        sys.stdout.write(f"{user['id']}\n")


if __name__ == "__main__":
    main()
