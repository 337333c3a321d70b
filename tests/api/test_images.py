"""Images over HTTP."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from paaplus.ids import sha256_hex
from tests.api.conftest import Caller, World, jpeg


def test_image_is_uploaded_once(world: World) -> None:
    first, again = (world.application.upload(jpeg(), filename="beach.jpg") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    image = first.json()
    assert (image["name"], image["width_px"], image["height_px"]) == ("beach.jpg", 32, 24)
    assert (image["owner_id"], image["features"], image["error"]) == (None, "pending", None)
    job = world.application.get(f"/v1/jobs/{image['job_id']}").json()
    assert (job["kind"], job["state"], job["user_id"]) == ("extract_features", "queued", None)


def test_content_decides_not_the_name(world: World) -> None:
    files = {"file": ("a.png", jpeg(), "image/gif")}
    response = world.application.request("POST", "/v1/images", files=files)
    assert response.json()["media_type"] == "image/jpeg"
    wrong = world.application.upload(b"<svg/>", filename="a.jpg")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_input")


def test_image_belongs_to_whom_it_is_uploaded_for(world: World) -> None:
    uploads = {
        "application": world.application.upload(jpeg()),
        "for ada": world.application.upload(jpeg(), user="ada"),
        "by ada": world.user.upload(jpeg(20)),
        "by ada, named": world.user.upload(jpeg(40), user="ada"),
        "by admin": world.admin.upload(jpeg(60), user="test-app/ada"),
        "admin's": world.admin.upload(jpeg(80), application="test-app"),
    }
    assert {name: response.json()["owner_id"] for name, response in uploads.items()} == {
        "application": None,
        "for ada": str(world.ada),
        "by ada": str(world.ada),
        "by ada, named": str(world.ada),
        "by admin": str(world.ada),
        "admin's": None,
    }
    private = uploads["by ada"].json()["id"]
    assert world.user.get(f"/v1/images/{private}").status_code == 200
    assert world.other.get(f"/v1/images/{private}").status_code == 404


def test_nobody_uploads_in_anothers_name(world: World) -> None:
    assert world.user.upload(jpeg(), user="bob").status_code == 404
    assert world.application.upload(jpeg(), user=str(world.eve)).status_code == 404
    assert world.application.upload(jpeg(), application="other-app").status_code == 403
    assert world.user.upload(jpeg(), application="other-app").status_code == 400
    assert world.admin.upload(jpeg()).status_code == 400
    assert world.admin.upload(jpeg(), application="not/a name").status_code == 400
    assert len(world.admin.get("/v1/images").json()["items"]) == 4  # those that were there


def test_image_list_says_what_can_be_scored(world: World) -> None:
    page = world.application.get("/v1/images", limit=2).json()
    rest = world.application.get("/v1/images", limit=2, cursor=page["next_cursor"]).json()
    images = page["items"] + rest["items"]
    assert [(image["id"], image["features"]) for image in images] == [
        (str(world.images[2]), "pending"),
        (str(world.images[1]), "ready"),
        (str(world.images[0]), "ready"),
    ]
    assert world.application.get(f"/v1/images/{world.images[0]}").json() == images[2]


def test_upload_without_a_file_is_refused(world: World) -> None:
    assert world.application.post("/v1/images", {"file": "x"}).status_code == 415
    assert world.application.request("POST", "/v1/images", data={"file": "text"}).status_code == 415
    assert world.application.request("POST", "/v1/images", content=b"x").status_code == 415
    assert world.application.request("POST", "/v1/images").status_code == 422
    text = world.application.request("POST", "/v1/images", files={"user": (None, "ada")})
    assert text.status_code == 422
    broken = world.application.request(
        "POST", "/v1/images", content=b"--x\r\nnonsense", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code in (400, 422)


def test_owner_that_cannot_be_named_is_refused(world: World) -> None:
    statuses = [world.application.upload(jpeg(), user=user).status_code for user in ("nul\0", "../bob", "x" * 300)]
    assert statuses == [404, 404, 422]


def test_file_above_the_limit_is_refused(world: World) -> None:
    limit = world.context.settings.max_upload_bytes
    response = world.application.upload(bytes(limit + 1))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert str(limit) in response.json()["error"]["message"]


def test_unknown_image_is_not_found(world: World) -> None:
    assert world.application.get(f"/v1/images/{uuid4()}").status_code == 404
    assert world.application.get("/v1/images/not-a-uuid").status_code == 422


# --- names and own ids


def test_application_finds_its_images_by_its_own_ids(world: World) -> None:
    made = world.application.upload(jpeg(), name="2026/sea/beach.jpg", external_id="asset-1").json()
    assert (made["name"], made["external_id"]) == ("2026/sea/beach.jpg", "asset-1")
    assert world.application.get("/v1/images", external_id="asset-1").json()["items"] == [made]
    taken = world.application.upload(jpeg(20), external_id="asset-1")
    assert (taken.status_code, made["id"] in taken.text) == (409, True)
    other = world.application.upload(jpeg(), external_id="asset-2")
    assert (other.status_code, "asset-1" in other.text) == (409, True)
    assert world.application.upload(jpeg()).json() == made, "nothing asked, nothing changed"
    assert world.user.upload(jpeg(20), external_id="asset-1").status_code == 201, "a user's own ids are others"
    plain = world.application.upload(jpeg(40), filename="C:\\photos\\lamp.jpg").json()
    assert (plain["name"], plain["external_id"]) == ("lamp.jpg", None)
    later = world.application.upload(jpeg(40), name="other.jpg", external_id="asset-3")
    assert (later.status_code, later.json()) == (200, plain | {"external_id": "asset-3"}), "what it lacked is added"


@pytest.mark.parametrize("wrong", ["/etc/a.jpg", "../a.jpg", "a/../b.jpg", "a//b.jpg", "a\u202eb", "a\x07b", "x" * 513])
def test_name_that_is_no_relative_path_is_refused(world: World, wrong: str) -> None:
    assert world.application.upload(jpeg(), name=wrong).status_code in (400, 422)
    assert world.application.upload(jpeg(), external_id=" a").status_code == 400


# --- filters


def test_images_are_filtered_and_searched(world: World) -> None:
    for n, name in enumerate(("a/Beach.jpg", "a/lamp.jpg", "ab/beach.jpg", "50%_off.jpg")):
        world.application.upload(jpeg(20 * n), name=name, external_id=f"x{n}", theme="sea" if n < 2 else "land")
    own = world.user.upload(jpeg(200), name="a/own.jpg").json()

    def names(**query: Any) -> list[str]:
        answer = world.application.get("/v1/images", **query)
        assert answer.status_code == 200, answer.text
        return sorted(item["name"] for item in answer.json()["items"] if item["name"])

    assert names(name_prefix="a/") == ["a/Beach.jpg", "a/lamp.jpg", "a/own.jpg"]
    assert names(name_prefix="A/") == []
    assert names(search="beach") == ["a/Beach.jpg", "ab/beach.jpg"]
    assert names(search="50%_") == ["50%_off.jpg"]
    assert names(name="a/lamp.jpg", theme="sea") == ["a/lamp.jpg"]
    assert names(user="ada") == names(shared="false") == ["a/own.jpg"]
    assert "a/own.jpg" not in names(shared="true")
    assert names(created_since="2100-01-01T00:00:00Z") == names(created_since="2200-12-31T23:59:59Z") == []
    assert names(created_since="1900-01-01T00:00:00Z") == names()
    assert names(created_since=own["created_at"]) == ["a/own.jpg"]
    assert world.application.get("/v1/images", created_since="yesterday").status_code == 422
    assert world.application.get("/v1/images", user="nobody").status_code == 404
    assert world.application.get("/v1/images", rated_by=str(world.eve)).status_code == 404
    assert world.application.get("/v1/images", nonsense="1").status_code == 422
    for part in ("name", "name_prefix", "search", "external_id", "theme"):
        assert world.application.get("/v1/images", **{part: "a\0"}).status_code == 422, "PostgreSQL takes no NUL"
    assert world.user.get("/v1/images", user="bob").status_code == 404


def test_images_are_filtered_by_what_a_user_has_rated(world: World) -> None:
    world.application.post("/v1/feedback", world.rating("e1", image=0))
    world.application.post("/v1/feedback", world.rating("e2", image=1))
    retraction = {"event_id": "e3", "user": "ada", "kind": "retraction", "retracts": "e2"}
    assert world.application.post("/v1/feedback", retraction).status_code == 201

    def found(**query: Any) -> list[str]:
        return [item["id"] for item in world.application.get("/v1/images", **query).json()["items"]]

    assert found(rated_by="ada") == [str(world.images[0])]
    assert found(unrated_by="ada") == [str(world.images[2]), str(world.images[1])]
    assert found(rated_by="bob") == []


# --- pictures


def test_picture_and_thumbnail_come_with_the_right_key_only(world: World) -> None:
    shared = world.application.upload(jpeg(0, (640, 320))).json()
    private = world.user.upload(jpeg(20, (300, 900))).json()
    bob = Caller(
        world.client, world.admin.post("/v1/keys", {"name": "b", "scope": "user", "user": str(world.bob)}).json()["key"]
    )
    for tail in ("content", "thumbnail?size=128"):
        for image, may in (
            (shared, (world.application, world.user, world.admin, bob)),
            (private, (world.application, world.user, world.admin)),
        ):
            for caller in may:
                assert caller.get(f"/v1/images/{image['id']}/{tail}").status_code == 200, tail
        for caller in (world.other, bob):
            assert caller.get(f"/v1/images/{private['id']}/{tail}").status_code == 404
        assert world.other.get(f"/v1/images/{shared['id']}/{tail}").status_code == 404


def test_picture_is_the_stored_one_and_known_ones_are_not_sent_again(world: World) -> None:
    image = world.application.upload(jpeg(0, (640, 320))).json()
    path = f"/v1/images/{image['id']}"
    whole = world.application.get(f"{path}/content")
    assert (sha256_hex(whole.content), whole.headers["content-type"]) == (image["sha256"], "image/jpeg")
    assert whole.headers["ETag"] == f'"{image["sha256"]}"'
    assert whole.headers["Cache-Control"] == "private, no-cache"
    small = world.application.get(f"{path}/thumbnail", size=256, format="webp")
    assert small.headers["content-type"] == "image/webp"
    assert Image.open(BytesIO(small.content)).size == (256, 128)
    assert Image.open(BytesIO(world.application.get(f"{path}/thumbnail", size=1024).content)).size == (640, 320)
    assert small.headers["Cache-Control"].startswith("private, max-age=")
    assert "Authorization" in small.headers["Vary"]
    for tail, tag in (("/content", whole.headers["ETag"]), ("/thumbnail?size=256&format=webp", small.headers["ETag"])):
        for tags in (tag, f'"x", W/{tag}', "*"):
            again = world.application.request("GET", path + tail, headers={"If-None-Match": tags})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert world.application.request("GET", path + tail, headers={"If-None-Match": '"x"'}).status_code == 200
        head = world.application.request("HEAD", path + tail)
        assert (head.status_code, head.content) == (200, b"")
    for wrong in ({"size": 99}, {"size": "big"}, {"format": "gif"}, {"width": 9}):
        assert world.application.get(f"{path}/thumbnail", **wrong).status_code in (400, 422)
    lost = world.application.get(f"/v1/images/{world.images[0]}/thumbnail")
    assert lost.status_code == 404, "a row whose file is lost"


# --- deletion


def test_image_is_deleted_with_its_files_by_its_owner(world: World) -> None:
    data = jpeg(60, (300, 200))
    private, shared = world.user.upload(data).json(), world.application.upload(data).json()
    blobs = world.context.blobs
    assert world.user.get(f"/v1/images/{private['id']}/thumbnail").status_code == 200
    for caller, image, status in (
        (world.other, private, 404),
        (world.user, shared, 403),
        (world.user, private, 204),
        (world.user, private, 404),
    ):
        assert caller.delete(f"/v1/images/{image['id']}").status_code == status
    assert blobs.exists(shared["sha256"]), "another image has the same file"
    assert world.application.delete(f"/v1/images/{shared['id']}").status_code == 204
    assert not blobs.exists(shared["sha256"])
    left = [file for file in (world.context.settings.home / "blobs").rglob("*") if file.is_file()]
    assert [file for file in left if shared["sha256"] in str(file)] == [], "no thumbnail is left"
    assert world.application.get(f"/v1/images/{shared['id']}/content").status_code == 404
    assert world.user.upload(data).status_code == 201


def test_deletion_under_a_key_is_carried_out_once(world: World) -> None:
    path = f"/v1/images/{world.images[2]}"
    answers = [world.application.request("DELETE", path, headers={"Idempotency-Key": "d1"}) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
    assert world.application.delete(path).status_code == 404
    entry = world.admin.get("/v1/audit", limit=1).json()["items"][0]
    assert (entry["action"], entry["subject_id"]) == ("image_deleted", str(world.images[2]))


def test_image_with_feedback_is_deleted_when_that_is_asked_for(world: World) -> None:
    world.application.post("/v1/feedback", world.rating("e1", image=0))
    comparison = {
        "event_id": "e2", "user": "bob", "kind": "comparison", "image": str(world.images[1]),
        "other_image": str(world.images[0]), "preference": {"beauty": "first"},
    }  # fmt: skip
    assert world.application.post("/v1/feedback", comparison).status_code == 201
    path = f"/v1/images/{world.images[0]}"
    refused = world.application.delete(path)
    assert (refused.status_code, "2 events of feedback by 2 user(s)" in refused.text) == (409, True)
    assert world.application.get(path).status_code == 200
    assert world.application.request("DELETE", path, params={"with_feedback": "true"}).status_code == 204
    assert world.application.get(path).status_code == 404
    for user, event in (("ada", "e1"), ("bob", "e2")):
        items = world.application.get("/v1/feedback", user=user).json()["items"]
        assert [(item["kind"], item["retracts"], item["is_retracted"]) for item in items] == [
            ("retraction", event, False),
            (items[1]["kind"], None, True),
        ]
        assert items[1]["image"] is None or items[1]["other_image"] is None
    again = world.application.post("/v1/feedback", world.rating("e1", image=0))
    assert (again.status_code, again.json()["status"]) == (200, "duplicate"), "a retry is safe"
