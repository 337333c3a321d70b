"""Images over HTTP."""

from __future__ import annotations

from uuid import uuid4

from tests.api.conftest import World, jpeg


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
