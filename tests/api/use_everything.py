"""A program: start the application in this process, use it, and say what was loaded. Run by `test_app`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from io import BytesIO
from uuid import UUID

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.services.registry import base_models
from tests.support.factories import make_features
from tests.support.tiny import FEATURE_DIM, tiny_base

HEAVY = ("torch", "torchvision", "timm", "avalanche", "celery", "kombu", "scipy", "matplotlib")


def main(token: str) -> None:
    statuses = {}
    with TestClient(create_app(), headers={"Authorization": f"Bearer {token}"}) as client:
        context = client.app.state.context  # type: ignore[attr-defined]
        base = tiny_base()
        with context.database.session() as session:
            base_models.register(session, context.blobs, base, {}, {})

        def ask(method: str, path: str, **options: object) -> dict[str, object]:
            response = client.request(method, path, **options)  # type: ignore[arg-type]
            statuses[f"{method} {path}"] = response.status_code
            return dict(response.json()) if "json" in response.headers["content-type"] else {}

        buffer = BytesIO()
        Image.new("RGB", (32, 32)).save(buffer, "JPEG")
        user = ask("POST", "/v1/users", json={"external_id": "ada", "application": "app"})["id"]
        image = ask("POST", "/v1/images", files={"file": ("a.jpg", buffer.getvalue())}, data={"application": "app"})
        with context.database.session() as session:
            data = np.ones(FEATURE_DIM, np.float16).tobytes()
            make_features(session, image_id=UUID(str(image["id"])), extractor_digest=base.extractor_digest, data=data)
        rating = {"event_id": "1", "user": user, "kind": "rating", "image": image["id"], "ratings": {"beauty": 6},
                  "scale": {"min": 1, "max": 7}}  # fmt: skip
        ask("POST", "/v1/feedback", json=rating)
        predicted = ask("POST", "/v1/predictions", json={"users": [user], "images": [image["id"]]})
        assert predicted["items"][0]["status"] == "scored", predicted  # type: ignore[index]
        for path in ("/v1/users", f"/v1/users/{user}/metrics", "/v1/jobs", "/v1/audit", "/metrics", "/openapi.json"):
            ask("GET", path)
        ask("PUT", f"/v1/images/{image['id']}/theme", json={"theme": "portrait"})
        for path in (f"/v1/users/{user}/anchors/{image['id']}", f"/v1/users/{user}/consistency"):
            ask("GET", path)
        items = [{"id": "people", "kind": "scale", "text": "People?", "min": 1, "max": 7}]
        ask("POST", "/v1/surveys", json={"name": "first", "domain": "photographs", "application": "app",
                                         "form": {"title": "t", "items": items}})  # fmt: skip
        ask("PUT", f"/v1/users/{user}/survey-answers/first", json={"answers": {"people": 3}})
        ask("PUT", f"/v1/users/{user}/preference", json={"preference": [0.2, 0.8]})
        for path in ("/v1/surveys", "/v1/surveys/first?application=app", "/v1/surveys/first/encoders?application=app",
                     f"/v1/users/{user}/survey-answers/first", f"/v1/users/{user}/preference"):  # fmt: skip
            ask("GET", path)
        loaded = heavy(sys.modules)  # so far: scipy comes with the first quiz or match
        ask("PUT", f"/v1/experts/{user}", json={"name": "Dr. Ada", "domain": "photographs"})
        other = ask("POST", "/v1/users", json={"external_id": "bob", "application": "app"})["id"]
        for path in ("/v1/experts", f"/v1/experts/{user}", "/v1/expert-agreement?application=app"):
            ask("GET", path)
        ask("POST", f"/v1/users/{other}/match")
        for path in (f"/v1/users/{other}/match", f"/v1/users/{other}/suggestions"):
            ask("GET", path)
        ask("GET", "/v1/tools")
        label = {"image": image["id"], "scores": {"beauty": 5}}
        ask("POST", "/v1/pseudo-labels/precomputed",
            json={"tool": "precomputed", "version": "1", "labels": [label], "application": "app"})  # fmt: skip
        batch = ask("POST", "/v1/review-batches", json={"name": "b", "experts": [user], "application": "app"})
        for path in ("/v1/pseudo-labels", "/v1/review-batches", f"/v1/review-batches/{batch['id']}"):
            ask("GET", path)
        ask("GET", "/v1/tools/precomputed/revisions")
        loaded |= heavy(sys.modules) - {"scipy"}
    print(json.dumps({"statuses": statuses, "heavy": sorted(loaded)}))


def heavy(modules: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in modules} & set(HEAVY)


if __name__ == "__main__":
    main(sys.argv[1])
