"""Sign-in, cookies, tokens of forms, headers, and what each kind of session may see, without a browser."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from datetime import timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from paaplus.db.tables import BrowserSessionRow, ImageRow
from paaplus.services.users import keys, sessions
from paaplus.services.users.sessions import COOKIE
from paaplus.studio import pages, routes
from tests.api.conftest import World, jpeg
from tests.support.databases import on_one_database
from tests.support.factories import make_features

HTML = {"Accept": "text/html"}


IN_PATHS = {"user": "x", "name": "x", "item": "x", "side": "first"} | dict.fromkeys(
    ("image_id", "review"), "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001"
)


def code_of(world: World, scope: str) -> str:
    with world.database.session() as session:
        return sessions.make_link(session, world.keys[scope])


def sign_in(world: World, scope: str) -> str:
    """A session of a key of this scope, in the client's cookies; returns the token of its forms."""
    answer = world.client.get(f"/studio/enter?code={code_of(world, scope)}", headers=HTML, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studio/")
    page = world.client.get("/studio/data" if scope == "user" else "/studio/", headers=HTML).text
    found = re.search('<meta name="studio-token" content="([^"]+)">', page)
    assert found, page[:400]
    return found[1]


def post(world: World, path: str, body: dict[str, Any], token: str = "", **headers: str) -> Any:
    return world.client.post(f"/studio{path}", json=body, headers={"X-Studio-Token": token, **headers})


def rating(world: World, value: float = 4) -> dict[str, Any]:
    return {"kind": "rating", "event_id": "s1", "image": str(world.images[0]), "value": value, "min": 1, "max": 5}


def test_link_opens_one_session_once_and_its_cookie_is_hidden_from_scripts(world: World) -> None:
    code = code_of(world, "admin")
    first = world.client.get(f"/studio/enter?code={code}", headers=HTML, follow_redirects=False)
    cookie = first.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=lax", "path=/studio", f"{COOKIE}=".lower()))
    assert code not in first.headers["set-cookie"]
    world.client.cookies.clear()
    second = world.client.get(f"/studio/enter?code={code}", headers=HTML)
    assert second.status_code == 401
    with world.database.read_session() as session:
        stored = session.execute(sa.select(BrowserSessionRow)).scalars().one()
        assert code not in (stored.secret_sha256, stored.previous_sha256)


def test_key_opens_a_session_and_an_unknown_one_does_not(world: World) -> None:
    wrong = world.client.post("/studio/enter", data={"key": "paa_wrong"}, headers=HTML)
    assert wrong.status_code == 401
    right = world.client.post("/studio/enter", data={"key": world.user.token}, headers=HTML, follow_redirects=False)
    assert right.status_code == 303
    assert world.client.get("/studio/state").json()["version"] is None


@on_one_database
def test_change_needs_the_token_of_the_session_and_this_site(world: World) -> None:
    token = sign_in(world, "user")
    assert post(world, "/rate/answers", rating(world)).status_code == 403
    assert post(world, "/rate/answers", rating(world), "x" * 32).status_code == 403
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert post(world, "/rate/answers", rating(world), token, **foreign).status_code == 403
    assert post(world, "/rate/answers", rating(world), token, Origin="https://evil.example").status_code == 403
    first, second = (post(world, "/rate/answers", rating(world), token).json() for _ in range(2))
    assert (first["status"], second["status"], second["sequence"]) == ("accepted", "duplicate", 1)


@on_one_database
def test_user_sees_neither_other_people_nor_the_pages_of_admins(world: World) -> None:
    token = sign_in(world, "user")
    for path, _, needs in routes.GET:
        if needs == "admin":
            address = f"/studio{path}".replace("{user}", str(world.bob))
            assert world.client.get(address).status_code == 403, path
    assert post(world, "/act", {"user": "bob"}, token).status_code == 403
    assert world.client.get(f"/studio/thumbnails/{world.foreign_image}?size=256").status_code == 404
    assert post(world, "/rate/answers", rating(world) | {"image": str(world.foreign_image)}, token).status_code == 404
    assert post(world, "/data/erase", {"name": "ada"}, token).status_code == 403


@on_one_database
def test_application_sees_its_own_users_only(world: World) -> None:
    token = sign_in(world, "application")
    assert post(world, "/act", {"user": str(world.eve)}, token).status_code == 404
    assert (
        world.client.post("/studio/act", data={"user": "ada", "token": token}, follow_redirects=False).status_code
        == 303
    )
    assert world.client.get("/studio/state").json()["pending"] == 0
    assert world.client.get("/studio/watch").status_code == 403


@on_one_database
def test_nothing_is_shown_without_a_session(client: TestClient) -> None:
    for path, _, _ in routes.GET:
        address = f"/studio{path}".format_map(IN_PATHS)
        expected = 200 if path == "/" else 401  # a link without a code is none
        assert client.get(address).status_code == expected, path


def test_session_ends_with_its_key_when_left_and_when_it_is_old(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = sign_in(world, "user")
    assert world.client.get("/studio/state").status_code == 200
    secret = world.client.cookies[COOKIE]
    assert world.client.post("/studio/leave", data={"token": token}, follow_redirects=False).status_code == 303
    world.client.cookies.set(COOKIE, secret, path="/studio")
    assert world.client.get("/studio/state").status_code == 401
    sign_in(world, "user")
    monkeypatch.setattr(keys, "CACHE_S", 0.0)
    time.sleep(0.6)  # what was cached before
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "IDLE", timedelta(0))
        assert world.client.get("/studio/state").status_code == 401
    assert world.client.get("/studio/state").status_code == 200
    with world.database.session() as session:
        keys.revoke(session, world.keys["user"], actor="test")
    assert world.client.get("/studio/state").status_code == 401


def test_secret_is_rotated_and_the_old_one_works_for_a_moment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "CACHE_S", 0.0)
    token = sign_in(world, "user")
    old = world.client.cookies[COOKIE]
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "ROTATED_AFTER", timedelta(0))
        world.client.get("/studio/rate", headers=HTML)
    new = world.client.cookies[COOKIE]
    assert new != old
    world.client.cookies.clear()
    cookie = {"Cookie": f"{COOKIE}={old}"}
    assert world.client.get("/studio/state", headers=cookie).status_code == 200
    assert post(world, "/rate/answers", rating(world), token, **cookie).status_code == 200  # forms of before still work
    monkeypatch.setattr(sessions, "GRACE", timedelta(0))
    assert world.client.get("/studio/state", headers=cookie).status_code == 401
    assert world.client.get("/studio/state", headers={"Cookie": f"{COOKIE}={new}"}).status_code == 200


@on_one_database
def test_pages_allow_no_inline_script_and_are_not_stored(world: World) -> None:
    sign_in(world, "admin")
    for path in ("/studio/", "/studio/watch", "/studio/watch/health"):
        answer = world.client.get(path, headers=HTML)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert re.findall(r"<script(?![^>]*(?:src=|application/json))|\son\w+=|style=", answer.text) == []


@on_one_database
def test_static_files_are_kept_by_the_digest_of_their_content(client: TestClient) -> None:
    for name in pages.STATIC:
        answer = client.get(pages.static_url("/studio", name))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert (
            client.get(f"/studio/static/{name}", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        )
    assert client.get("/studio/static/../calls.py").status_code == 404
    assert {file.name for file in files("paaplus.studio").joinpath("static").iterdir()} == set(pages.STATIC)


@on_one_database
def test_the_root_leads_to_the_studio(client: TestClient) -> None:
    answer = client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/studio/")


@on_one_database
def test_an_address_that_is_none_is_a_page_for_a_person_and_json_for_a_script(client: TestClient) -> None:
    page = client.get("/studio/fotos", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (404, "text/html")
    assert "It does not exist, or you may not see it." in page.text
    script = client.get("/studio/fotos/1", headers={"Accept": "application/json"})
    assert (script.status_code, script.json()["error"]["code"]) == (404, "not_found")


def test_upload_and_thumbnail_with_its_tag(world: World) -> None:
    token = sign_in(world, "user")
    options: dict[str, Any] = {"data": {"name": "trip/a.jpg"}, "headers": {"X-Studio-Token": token}}
    sent = [
        world.client.post("/studio/photos", files={"file": ("a.jpg", jpeg(), "image/jpeg")}, **options).json()
        for _ in range(2)
    ]
    assert [each["created"] for each in sent] == [True, False]
    assert sent[0]["name"] == "trip/a.jpg"
    address = f"/studio/thumbnails/{sent[0]['id']}?size=256"
    first = world.client.get(address)
    assert first.headers["content-type"] == "image/jpeg"
    again = world.client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def two_photos(world: World, token: str) -> list[str]:
    """Ids of two new photos of the session's user."""
    sent = [
        world.client.post(
            "/studio/photos",
            files={"file": ("a.jpg", jpeg(40 + 120 * number), "image/jpeg")},
            headers={"X-Studio-Token": token},
        )
        for number in range(2)
    ]
    return [each.json()["id"] for each in sent]


def test_many_thumbnails_come_in_one_answer_but_only_those_that_the_session_may_see(world: World) -> None:
    ids = [*two_photos(world, sign_in(world, "user")), str(world.foreign_image)]
    address = f"/studio/thumbnails?ids={','.join(ids)}&size=256"
    answer = world.client.get(address)
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    num, *parts = answer.content.split(f"--{boundary}".encode())[1:-1]
    assert num.partition(b"\r\n\r\n")[2] == b"2\r\n"
    named = [re.findall(rb'filename="([^"]+)"', part)[0].decode() for part in parts]
    assert named == ids[:2]
    alone = world.client.get(f"/studio/thumbnails/{ids[0]}?size=256")
    assert parts[0].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") == alone.content
    assert answer.headers["cache-control"] == "no-store"  # one is missing: it may be there the next time
    address = f"/studio/thumbnails?ids={','.join(ids[:2])}&size=256"
    whole = world.client.get(address)
    assert (whole.headers["cache-control"], whole.headers["vary"]) == ("private, max-age=604800, immutable", "Cookie")
    tag = {"If-None-Match": whole.headers["etag"]}
    assert (world.client.get(address, headers=tag).status_code, alone.headers["vary"]) == (304, "Cookie")
    for wrong, status in (("", 400), ("x", 400), (",".join(str(uuid4()) for _ in range(61)), 400)):
        assert world.client.get(f"/studio/thumbnails?ids={wrong}&size=256").status_code == status
    assert world.client.get(f"/studio/thumbnails?ids={ids[0]}&size=77").status_code == 400
    none = world.client.get(f"/studio/thumbnails?ids={world.foreign_image}&size=256")
    assert none.content.count(b"Content-Disposition") == 1, "a form without any part is none"
    world.client.cookies.clear()
    assert world.client.get(address, headers=tag).status_code == 401  # also who has its tag


def test_thumbnails_that_there_was_no_time_to_make_are_named_and_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = two_photos(world, sign_in(world, "user"))
    monkeypatch.setattr("paaplus.studio.thumbnails.MAKE_S", -1.0)
    address = f"/studio/thumbnails?ids={','.join(ids)}&size=128"
    first = world.client.get(address)
    assert (first.content.count(b"filename="), first.headers["cache-control"]) == (1, "no-store")
    assert ids[1].encode() in first.content.split(b'name="later"')[1]
    assert world.client.get(address).content.count(b"filename=") == 2


def test_a_browser_forgets_pictures_when_the_session_is_left(world: World) -> None:
    token = sign_in(world, "user")
    left = world.client.post("/studio/leave", data={"token": token}, follow_redirects=False)
    assert left.headers["clear-site-data"] == '"cache"'


@on_one_database
def test_csv_marks_names_that_a_spreadsheet_would_carry_out(world: World) -> None:
    token = sign_in(world, "user")
    files_sent = {"file": ("a.jpg", jpeg(20), "image/jpeg")}
    body = {"name": "=1+1.jpg"}
    sent = world.client.post("/studio/photos", files=files_sent, data=body, headers={"X-Studio-Token": token}).json()
    with world.database.session() as session:
        make_features(
            session,
            image_id=UUID(sent["id"]),
            extractor_digest=world.base.extractor_digest,
            data=world.features_ID[2].tobytes(),
        )
    table = world.client.get("/studio/order/my-order.csv").text
    assert ",'=1+1.jpg," in table
    with zipfile.ZipFile(io.BytesIO(world.client.get("/studio/order/my-top.zip").content)) as archive:
        assert [name[5:] for name in archive.namelist() if "=1+1" in name] == ["=1+1.jpg"]
    with world.context.database.read_session() as session:
        world.context.blobs.delete(session.get_one(ImageRow, UUID(sent["id"])).sha256)
    with zipfile.ZipFile(io.BytesIO(world.client.get("/studio/order/my-top.zip").content)) as archive:
        [told] = [name for name in archive.namelist() if "=1+1" in name]
        assert told.endswith(" =1+1.unreadable.txt")
        assert "does not exist" in archive.read(told).decode()
    for top in ("1_0", "\u0665", "x", "0", "101"):
        assert world.client.get(f"/studio/order/my-top.zip?top={top}").status_code == 400, top


def test_admin_rolls_back_with_a_reason_and_sees_what_would_change(world: World) -> None:
    world.adapter(world.ada, number=1)
    token = sign_in(world, "admin")
    user = f"/watch/people/{world.ada}"
    preview = world.client.get(f"/studio{user}/preview?from=1&to=base").json()
    assert preview["num_compared"] == 2
    assert all(item["before"] != item["after"] for item in preview["items"])
    move = {"to": "base", "active": "1", "token": token}
    assert world.client.post(f"/studio{user}/rollback", data=move).status_code == 400  # no reason
    done = world.client.post(f"/studio{user}/rollback", data=move | {"reason": "<b>worse</b>"}, follow_redirects=False)
    assert done.status_code == 303
    page = world.client.get(f"/studio{user}", headers=HTML).text
    assert "Rolled back from version 1 to the base model" in page
    assert "&lt;b&gt;worse&lt;/b&gt;" in page
    assert world.client.post(f"/studio{user}/rollback", data=move | {"reason": "again"}).status_code == 409


def test_person_sees_what_the_newest_version_has_changed(world: World) -> None:
    token = sign_in(world, "user")
    assert world.client.get("/studio/order/changes").json() == {"moved": [], "because": [], "version": None}
    assert post(world, "/rate/answers", rating(world, 5), token).status_code == 200
    world.adapter(world.ada, number=1, high_water_sequence=1)
    found = world.client.get("/studio/order/changes").json()
    assert (found["version"], found["before"]) == (1, None)
    assert len(found["moved"]) == 2
    assert found["num_because"] == len(found["because"]) <= 1  # a rating that is held out trains nothing
    assert all(each["stars"] == 5 and each["points"] > 0 for each in found["because"])


def test_many_are_rolled_back_only_after_the_admin_has_seen_whom(world: World) -> None:
    world.adapter(world.ada, number=1)
    token = sign_in(world, "admin")
    conditions = {"strategy": "bayes", "reason": "a bad day", "token": token}
    assert world.client.post("/studio/watch/bulk", data=conditions | {"strategy": ""}).status_code == 400
    shown = world.client.post("/studio/watch/bulk", data=conditions, headers=HTML).text
    assert "1 people would be rolled back" in shown
    active = f"/v1/users/{world.ada}"
    assert world.admin.get(active).json()["active_adapter"]["number"] == 1
    done = world.client.post("/studio/watch/bulk", data=conditions | {"confirmed": "yes"}, headers=HTML).text
    assert "were looked at and rolled back" in done
    assert world.admin.get(active).json()["active_adapter"] is None


def test_every_language_has_every_text_with_the_same_places() -> None:
    texts = {
        file.name: json.loads(file.read_text("utf-8"))
        for file in files("paaplus.studio").joinpath("languages").iterdir()
    }
    places = {name: {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in t.items()} for name, t in texts.items()}
    assert places["zh.json"] == places["en.json"]
    templates = "".join(file.read_text("utf-8") for file in files("paaplus.studio").joinpath("templates").iterdir())
    used = set(re.findall(r't\("([a-z_.]+)"[,)]', templates)) | set(re.findall(r"t\('([a-z_.]+)'[,)]", templates))
    assert used <= texts["en.json"].keys(), used - texts["en.json"].keys()


def test_an_experts_session_reviews_and_answers_surveys_and_sees_nothing_else(world: World) -> None:
    page = world.client.get(
        f"/studio/enter?code={code_of(world, 'expert')}", headers=HTML, follow_redirects=True
    )  # an expert's first page is the queue
    assert str(page.url).endswith("/studio/review")
    token = re.search('<meta name="studio-token" content="([^"]+)">', page.text)
    assert token
    for path, _, needs in routes.GET:
        status = world.client.get(
            f"/studio{path}".format_map(IN_PATHS), headers=HTML, follow_redirects=False
        ).status_code
        if needs in ("viewer", "person", "admin"):
            assert status == 403, path
        else:
            assert status != 403, path
    assert post(world, "/rate/answers", rating(world), token[1]).status_code == 403
    assert post(world, "/match/quiz", {}, token[1]).status_code == 403


def test_a_users_session_reviews_nothing(world: World) -> None:
    token = sign_in(world, "user")
    assert world.client.get("/studio/review", headers=HTML).status_code == 403
    review = IN_PATHS["review"]
    assert post(world, f"/review/{review}", {"verdict": "accept", "event_id": "r1"}, token).status_code == 403
    assert world.client.get(f"/studio/review/{review}/picture?size=256").status_code == 403


def test_form_that_says_a_thing_twice_is_refused(world: World) -> None:
    token = sign_in(world, "admin")
    twice = "user=" + str(world.ada) + "&user=" + str(world.bob) + "&to=order&token=" + token
    headers = HTML | {"Content-Type": "application/x-www-form-urlencoded"}
    refused = world.client.post("/studio/act", content=twice, headers=headers)
    assert refused.status_code == 400
    assert "is given 2 times" in refused.text


@pytest.mark.parametrize("text", ['"value": 4, "value": 5', '"value": NaN'])
def test_json_of_the_studio_is_read_strictly(world: World, text: str) -> None:
    token = sign_in(world, "user")
    body = json.dumps(rating(world)).replace('"value": 4', text)
    headers = {"X-Studio-Token": token, "Content-Type": "application/json"}
    refused = world.client.post("/studio/rate/answers", content=body, headers=headers)
    assert refused.status_code == 400
    assert "the body is no JSON" in refused.text


@on_one_database
def test_every_page_of_an_admin_is_there_also_when_nothing_is_stored_yet(world: World) -> None:
    sign_in(world, "admin")
    user = {"user": str(world.ada)}
    for path, _, needs in routes.GET:
        if needs in ("nothing", "admin") and not path.endswith(("/enter", "/preview")):
            page = world.client.get(f"/studio{path}".format_map(user), headers=HTML)
            assert page.status_code == 200, path


@on_one_database
def test_errors_of_the_services_are_told_in_the_visitors_language(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(world, "admin")
    chinese = HTML | {"Accept-Language": "zh-CN"}
    page = world.client.get("/studio/watch/people/nobody", headers=chinese)
    assert page.status_code == 404
    assert "它不存在，或者你无权查看。（" in page.text
    script = world.client.get("/studio/watch/people?after=x", headers={"Accept-Language": "zh"}).json()
    assert script["error"]["message"] == "输入有误。"  # nobody has told it in Chinese yet
    english = world.client.get("/studio/watch/people?after=x").json()
    assert english["error"]["message"] == "after: an id"

    def fault(*_: object, **__: object) -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr("paaplus.studio.people.users.list_users", fault)
    broken = world.client.get("/studio/watch", headers=chinese)
    assert broken.status_code == 500
    assert "平台出错了" in broken.text
    assert "secret" not in broken.text


@on_one_database
def test_people_are_found_by_a_part_of_their_name_and_paged_within_it(world: World) -> None:
    sign_in(world, "admin")
    found = world.client.get("/studio/watch/people?name=D").json()["items"]
    assert [each["name"] for each in found] == ["ada"]
    after = world.client.get(f"/studio/watch/people?name=a&after={found[0]['id']}").json()
    assert after == {"items": [], "following": None}
    assert world.client.get("/studio/watch/people?name=%25").json()["items"] == []
    assert world.client.get(f"/studio/watch/people?name={'x' * 129}").status_code == 400
    assert world.client.get("/studio/watch/people?name=%00").status_code == 400


@on_one_database
def test_an_admins_pages_of_a_person_are_paid_by_the_admins_key(world: World) -> None:
    token = sign_in(world, "admin")
    assert world.client.post("/studio/act", data={"user": str(world.ada), "token": token}).status_code == 200
    options: dict[str, Any] = {"data": {"name": "a.jpg"}, "headers": {"X-Studio-Token": token}}
    files_sent = {"file": ("a.jpg", jpeg(40), "image/jpeg")}
    token = re.findall(
        '<meta name="studio-token" content="([^"]+)">', world.client.get("/studio/photos", headers=HTML).text
    )[0]
    options["headers"]["X-Studio-Token"] = token
    assert world.client.post("/studio/photos", files=files_sent, **options).status_code == 201
    page = world.client.get("/studio/watch/quotas", headers=HTML).text
    assert "100,000 a day" in page
    shown = [int(each.replace(",", "")) for each in re.findall(r"([\d,]+) of 100,000 a day", page)]
    assert max(shown) <= 1_000, "no more than a process keeps in reserve"
