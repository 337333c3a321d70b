"""Maps, themes and exposure rules over HTTP."""

from __future__ import annotations

from uuid import UUID, uuid4

import numpy as np
import pytest

from paaplus.scoring.exposure_rules import PRESETS
from paaplus.services.images import maps
from paaplus.services.reviews import pseudo_labels
from paaplus.tools.maps import ToolMap
from paaplus.tools.tool import Judgement
from tests.api.conftest import World, jpeg
from tests.support.factories import make_image

TOOL = "exposure_map"


@pytest.fixture
def filed(world: World) -> World:
    """With a file for the tool: the API never reads what is in it."""
    folder = world.context.settings.home / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exposure_map.pth").write_bytes(b"weights")
    return world


def draw(world: World, image: UUID, value: float = 0.25) -> None:
    version = maps.current_version(TOOL, world.context.settings)
    drawn = ToolMap(TOOL, np.full((4, 6), value, np.float16), -0.5, 0.5, "Blue is too bright, red too dark.")
    with world.database.session() as session:
        maps.store(session, image, TOOL, version, drawn)


def test_map_is_asked_for_and_then_answered(filed: World) -> None:
    path = f"/v1/images/{filed.images[0]}/maps/{TOOL}"
    first = filed.application.get(path)
    assert (first.status_code, first.headers["Retry-After"]) == (202, "5")
    job = filed.application.get(f"/v1/jobs/{first.json()['job_id']}").json()
    assert (job["kind"], job["reason"]) == ("draw_map", "map_requested")
    draw(filed, filed.images[0])
    png, npy = filed.application.get(path), filed.application.get(path, format="npy")
    assert (png.status_code, png.headers["content-type"]) == (200, "image/png")
    assert png.content == filed.application.get(path).content
    from io import BytesIO

    values_HW = np.load(BytesIO(npy.content), allow_pickle=False)
    assert (values_HW.shape, values_HW.dtype, float(values_HW[0, 0])) == ((4, 6), np.float16, 0.25)


def test_map_is_seen_by_whom_the_image_concerns(filed: World) -> None:
    own = filed.user.upload(jpeg(40)).json()["id"]
    draw(filed, UUID(own))
    path = f"/v1/images/{own}/maps/{TOOL}"
    assert filed.user.get(path).status_code == 200
    assert filed.application.get(path).status_code == 200
    assert filed.other.get(path).status_code == 404
    assert filed.nobody.get(path).status_code == 401
    assert filed.user.get(f"/v1/images/{uuid4()}/maps/{TOOL}").status_code == 404


def test_tool_without_file_needs_it(world: World) -> None:
    answer = world.application.get(f"/v1/images/{world.images[0]}/maps/{TOOL}")
    assert answer.status_code == 400
    assert "needs wavelet_epoch_2" in answer.json()["error"]["message"]
    [told] = [tool for tool in world.application.get("/v1/tools").json()["items"] if tool["name"] == TOOL]
    assert told["unavailable"].startswith("needs wavelet_epoch_2")
    assert told["version"] is None
    assert "exposure_night" in told["aspects"]
    asked = world.application.post("/v1/pseudo-labels", {"tools": [TOOL]})
    assert (asked.status_code, "needs wavelet" in asked.json()["error"]["message"]) == (400, True)


def test_tool_with_its_file_has_a_version(filed: World) -> None:
    [told] = [tool for tool in filed.application.get("/v1/tools").json()["items"] if tool["name"] == TOOL]
    assert (told["unavailable"], told["needs"]) == (None, "pixels")
    assert told["version"] == maps.current_version(TOOL, filed.context.settings)


def test_theme_is_set_by_the_owner_or_the_application(world: World) -> None:
    own = world.user.upload(jpeg(40), theme=" portrait ").json()
    assert own["theme"] == "portrait"
    shared = world.application.upload(jpeg(60)).json()
    assert shared["theme"] is None
    assert world.user.put(f"/v1/images/{own['id']}/theme", {"theme": "night"}).json()["theme"] == "night"
    assert world.user.put(f"/v1/images/{shared['id']}/theme", {"theme": "night"}).status_code == 403
    assert world.application.put(f"/v1/images/{shared['id']}/theme", {"theme": "night"}).json()["theme"] == "night"
    found = world.application.get("/v1/images", theme="night").json()["items"]
    assert {image["id"] for image in found} == {own["id"], shared["id"]}
    assert world.application.put(f"/v1/images/{own['id']}/theme", {"theme": None}).json()["theme"] is None
    assert world.other.put(f"/v1/images/{own['id']}/theme", {"theme": "x"}).status_code == 404
    for bad in ("", " ", "a\nb"):
        assert world.application.put(f"/v1/images/{own['id']}/theme", {"theme": bad}).status_code == 400
    assert world.application.put(f"/v1/images/{own['id']}/theme", {"theme": "x" * 65}).status_code == 422
    again = world.user.upload(jpeg(40), theme="other")
    assert (again.status_code, again.json()["theme"]) == (200, None)  # the same file keeps the tag that it has


def label(world: World, images: list[UUID], scores: list[dict[str, float]]) -> None:
    version = maps.current_version(TOOL, world.context.settings)
    with world.database.session() as session:
        for image, given in zip(images, scores, strict=True):
            named = {f"exposure_{preset}": value for preset, value in given.items()}
            judgement = Judgement(named, dict.fromkeys(named, 1.0))
            pseudo_labels.store(session, TOOL, version, {image: judgement})


def test_own_rule_is_made_of_ratings_and_unmade_exactly(filed: World) -> None:
    rng = np.random.default_rng(2)
    with filed.database.session() as session:
        images = [make_image(session).id for _ in range(9)]
    given = [{preset: float(rng.uniform(0, 10)) for preset in PRESETS} for _ in images]
    label(filed, images[:8], given[:8])

    def rate(place: int) -> bool:
        body = {"rating": given[place]["night"], "scale": {"min": 0, "max": 10}}
        answer = filed.user.put(f"/v1/users/ada/exposure-ratings/{images[place]}", body)
        assert answer.status_code == 200, answer.text
        return answer.json()["waiting"]

    for place in range(4):
        assert rate(place) is False
    few = filed.user.get("/v1/users/ada/exposure-rule")
    assert (few.status_code, "needs 5" in few.json()["error"]["message"]) == (400, True)
    for place in range(4, 8):
        rate(place)
    path = "/v1/users/ada/exposure-rule"
    before = filed.user.get(path, image=[str(images[0]), str(images[8])]).json()
    assert (before["preset"], before["num_ratings"], before["waiting"]) == ("night", 8, [])
    assert before["scores"][0]["score"] == pytest.approx(given[0]["night"], abs=1.0)
    assert before["scores"][1] == {"image": str(images[8]), "score": None}
    assert min(before["errors"], key=before["errors"].get) == "night"
    assert rate(8) is True  # the tool has not looked at it: a worker is asked
    assert filed.user.get(path).json()["waiting"] == [str(images[8])]
    label(filed, images[8:], given[8:])
    assert filed.user.get(path).json()["num_ratings"] == 9
    assert filed.user.delete(f"/v1/users/ada/exposure-ratings/{images[8]}").status_code == 204
    after = filed.user.get(path, image=[str(images[0]), str(images[8])]).json()
    assert after["scores"][0] == before["scores"][0]
    assert after["errors"] == before["errors"]
    assert filed.user.delete(f"/v1/users/ada/exposure-ratings/{images[8]}").status_code == 404


def test_exposure_is_rated_of_ones_own_and_shared_images_only(filed: World) -> None:
    body = {"rating": 5, "scale": {"min": 0, "max": 10}}
    with filed.database.session() as session:
        of_bob = make_image(session, owner_id=filed.bob).id
    for image in (of_bob, filed.foreign_image, uuid4()):
        assert filed.application.put(f"/v1/users/ada/exposure-ratings/{image}", body).status_code == 404
    outside = body | {"rating": 11}
    assert filed.user.put(f"/v1/users/ada/exposure-ratings/{filed.images[0]}", outside).status_code == 400
    assert filed.user.get("/v1/users/ada/exposure-rule", image=str(of_bob)).status_code == 404
    assert filed.user.put(f"/v1/users/bob/exposure-ratings/{filed.images[0]}", body).status_code == 404
