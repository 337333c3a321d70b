"""The studio as people use it: a real browser, a real server, real photographs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paaplus.services.feedback import feedback_log
from paaplus.services.users import users
from paaplus.services.users.keys import OPERATOR
from paaplus.studio import tour
from tests.studio.browsers import Screen
from tests.studio.conftest import Studio
from tests.support.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

RANKING = "/studio/order/ranking"
FILLED = """() => [...document.querySelectorAll('.wall img')].every(
  (each) => each.src.startsWith('blob:') && each.complete && each.naturalWidth > 1)"""
NUM_THUMBNAILS = """path => fetch(path).then(answer => answer.formData()).then(
    form => [form.get("num"), [...form.values()].filter(value => value instanceof Blob).length])"""
HOSTILE = "<img src=x onerror=window.hostile=1>"


def begin(screen: Screen, link: str, *, mine: bool = False) -> None:
    """Sign in with a link; `mine`: as an admin, and open the pages of the person at this machine."""
    screen.page.goto(link)
    if mine:
        screen.page.locator("form[action$='/mine'] button").click()
        screen.page.wait_for_url(lambda address: address.endswith(("/photos", "/rate")))


def send_files(screen: Screen, files: list[Path]) -> str:
    """Choose files on the photos page; returns what it says at the end."""
    screen.page.set_input_files("#files", [str(file) for file in files])
    screen.page.wait_for_selector("#uploading[data-done=yes]")
    return screen.page.inner_text("#upload-text")


def wait_for_features(screen: Screen, number: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    deadline = time.monotonic() + 240
    while len(items) < number and time.monotonic() < deadline:
        screen.page.wait_for_timeout(300)
        items = screen.ask(RANKING)["items"]
    assert len(items) >= number, f"{len(items)} of {number} photos have scores"
    return items


def rate(screen: Screen, number: int, stars: Callable[[str], int]) -> None:
    """Rate photos with the keyboard, by the name of each, until the page says that the judge has learned."""
    page = screen.page
    for _ in range(number):
        if page.locator("#learned[open]").count():
            return
        photo = page.wait_for_selector("#stage[data-ready=yes] > img")
        name, source = photo.get_attribute("alt"), photo.get_attribute("src")
        page.keyboard.press(str(stars(name)))
        page.wait_for_function(
            "old => !document.querySelector(`#stage > img[src='${old}']`) || document.querySelector('#learned').open",
            arg=source,
        )


def run_after(screen: Screen, run: str | None) -> tuple[str | None, int | None]:
    """The training that the last answers have made due, and the version that is live after it."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        state = screen.ask("/studio/state")
        if state["last_run"] and state["last_run"]["id"] != run and state["job"] is None:
            return state["last_run"]["id"], state["version"]
        screen.page.wait_for_timeout(300)
    raise AssertionError(f"no training in a minute: {state}")


def test_from_the_printed_link_to_the_first_rated_photo(
    studio: Studio, screen: Screen, open_screen: Callable[..., Screen]
) -> None:
    page, link = screen.page, studio.admin_link()
    started = time.monotonic()
    begin(screen, link)
    assert page.url == f"{studio.url}/studio/"  # the code is gone from the address
    screen.shoot("doors-1280-light")
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("button", name="built-in pictures").click()
    page.wait_for_selector("#stage[data-ready=yes] > img")
    page.keyboard.press("4")
    page.wait_for_function("() => document.querySelector('#reveal').textContent.includes('★★★★☆')")
    seconds = time.monotonic() - started
    print(f"from the link to the first rated photo: 3 clicks and a key, {seconds:.1f} s")
    assert seconds < 60
    page.keyboard.press("u")
    page.wait_for_function("() => document.querySelector('#toast').textContent === 'Taken back.'")
    other = open_screen()
    begin(other, link)
    assert "used already" in other.page.inner_text("main")
    assert other.status("/studio/watch") == 401


def test_ten_photos_change_the_order_of_the_others(
    studio: Studio, screen: Screen, open_screen: Callable[..., Screen]
) -> None:
    me = studio.user("me", "photos", gate={"min_order_odds": 1.0})  # how careful the gate is, is tested elsewhere
    begin(screen, studio.admin_link(), mine=True)
    page = screen.page
    before = wait_for_features(screen, 38)
    assert [item["rank"] for item in before] == [item["generic_rank"] for item in before]
    best = {item["name"]: item["generic_rank"] for item in before}
    page.goto(f"{studio.url}/studio/rate")

    def stars(name: str) -> int:  # like everybody, but no sunsets and no landscapes
        return 1 if best[name] < 6 else max(1, 5 - best[name] // 8)

    run, version = None, None
    for _ in range(3):
        if version is None:  # the gate may want more answers than ten
            rate(screen, 10, stars)
            run, version = run_after(screen, run)
    page.wait_for_selector("#learned[open] #learned-list[data-moved=yes]", timeout=30_000)
    screen.shoot("learned-1280-light")
    page.get_by_role("link", name="See my order").click()
    page.wait_for_selector(".tile .move")
    after = screen.ask(RANKING)
    assert after["version"] is not None
    unrated = [item for item in after["items"] if item["stars"] is None]
    assert any(item["rank"] != item["generic_rank"] for item in unrated)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tile img')].slice(0, 6).every(img => img.naturalWidth)"
    )
    screen.shoot("order-1280-light")
    for place, shown in enumerate((screen, open_screen(width=390, height=844, scheme="dark"))):
        if place:
            begin(shown, studio.admin_link(), mine=True)
            shown.page.goto(f"{studio.url}/studio/order")
        shown.page.locator("#changes summary").click()
        shown.page.wait_for_selector("#changes-body .cause")
        assert "Points: by how much a score would differ" in shown.page.inner_text("#changes-body")
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= (390 if place else 1280)
        shown.page.locator("#changes").scroll_into_view_if_needed()
        shown.shoot("changes-390-dark" if place else "changes-1280-light")
    page.locator("#changes summary").click()
    tiles = page.locator(".tile .place")
    assert tiles.nth(0).inner_text() == "1"
    page.get_by_role("button", name="Not rated").click()
    assert page.locator(".tile").count() == len(unrated)
    with studio.database.read_session() as session:
        user = users.resolve(session, OPERATOR, str(me))
        log = feedback_log.read(session, user, None)
        rated = {event.image_id for event in log.events}  # also what the gate set aside
        assert len(rated) == len(after["items"]) - len(unrated) >= 10


def test_answers_without_an_order_are_called_so(studio: Studio, screen: Screen, tmp_path: Path) -> None:
    """The gate keeps everybody's order; the page does not ask for ten photos that were rated already."""
    user_id = studio.user("unsure", gate={"min_order_odds": 1e6})
    begin(screen, studio.user_link(user_id))
    files = [tmp_path / f"{picture.name}.jpg" for picture in tour.pictures()[:12]]
    for file, picture in zip(files, tour.pictures(), strict=False):
        picture.load(320).save(file, "JPEG")
    send_files(screen, files)
    wait_for_features(screen, len(files))
    page = screen.page
    page.goto(f"{studio.url}/studio/order")
    page.wait_for_selector(".tile")
    assert "Rate ten photos" in page.inner_text("#lead")
    page.goto(f"{studio.url}/studio/rate")
    rate(screen, 10, lambda name: 1 + len(name) % 5)
    assert run_after(screen, None)[1] is None
    page.goto(f"{studio.url}/studio/order")
    page.wait_for_selector(".tile .given")
    assert "You have rated 10 photos; it becomes yours when your judge is sure" in page.inner_text("#lead")
    screen.shoot("order-unsure-1280-light")


def test_an_admin_rolls_back_and_the_scores_return(studio: Studio, screen: Screen) -> None:
    begin(screen, studio.admin_link(), mine=True)
    page = screen.page
    personal, version = wait_for_features(screen, 38), screen.ask(RANKING)["version"]
    page.goto(f"{studio.url}/studio/watch")
    screen.shoot("watch-1280-light")
    page.locator("#find").fill("me")
    page.get_by_role("link", name="me", exact=True).click()
    page.get_by_role("radio", name="Base model").check()
    page.wait_for_selector("#preview li")
    page.wait_for_function("() => [...document.querySelectorAll('#preview img')].every(image => image.complete)")
    screen.shoot("rollback-1280-light")
    page.locator("#against").select_option("base")  # any two can be compared; what is done is done to the active one
    page.get_by_text("Nothing changes.").wait_for()
    assert page.locator("#change-form").is_hidden()
    page.locator("#against").select_option(str(version))
    page.wait_for_selector("#preview li")
    page.locator("#reason").fill("the last ratings were a mistake")
    page.get_by_role("button", name="Roll back").click()
    page.wait_for_selector(f"text=Rolled back from version {version} to the base model")
    generic = screen.ask(RANKING)
    assert generic["version"] is None
    assert all(item["score"] == item["generic"] for item in generic["items"])
    page.get_by_role("radio", name=f"Version {version} ").check()
    page.wait_for_selector("#preview li")
    page.locator("#reason").fill("it was none")
    page.get_by_role("button", name="Promote").click()
    page.wait_for_selector(f"text=Version {version} was promoted")
    back = screen.ask(RANKING)["items"]
    assert {item["id"]: item["score"] for item in back} == {item["id"]: item["score"] for item in personal}
    page.goto(f"{studio.url}/studio/watch/audit")
    assert "is intact" in page.inner_text("main")
    for name in ("jobs", "health"):
        page.goto(f"{studio.url}/studio/watch/{name}")
        screen.shoot(f"{name}-1280-light")


def test_pairs_on_a_phone(studio: Studio, open_screen: Callable[..., Screen], photographs: list[Path]) -> None:
    screen = open_screen(width=390, height=844, scheme="dark")
    phone_user = studio.user("phone")
    begin(screen, studio.user_link(phone_user))
    send_files(screen, photographs)
    wait_for_features(screen, len(photographs))
    page = screen.page
    page.goto(f"{studio.url}/studio/rate?by=pairs")
    seen = set()
    for place in range(3):
        page.wait_for_selector("#stage[data-ready=yes] .pair img")
        sources = tuple(image.get_attribute("src") or "" for image in page.query_selector_all(".pair img"))
        seen.add(frozenset(sources))
        if place == 0:
            screen.shoot("pairs-390-dark")
        page.locator(".pair").nth(place % 2).tap()
        page.wait_for_function(
            "old => document.querySelector('.pair img')?.getAttribute('src') !== old || "
            "document.querySelectorAll('.pair img').length < 2",
            arg=sources[0],
        )
    assert len(seen) == 3
    wait_until("three comparisons are stored", lambda: num_comparisons(studio, phone_user) == 3)
    page.goto(f"{studio.url}/studio/rate")
    page.wait_for_selector("#stage[data-ready=yes] > img")
    page.evaluate(
        f"async () => (await import('{studio.url}/studio/static/common.js')).say('A long message. '.repeat(8))"
    )
    page.wait_for_function("() => getComputedStyle(document.querySelector('#toast')).opacity === '1'")
    screen.shoot("message-390-dark")
    message, stars = (page.locator(each).bounding_box() for each in ("#toast", ".answers"))
    assert message is not None
    assert stars is not None
    assert message["y"] + message["height"] < stars["y"], "a message leaves the stars free"
    assert message["width"] > 300
    for path in ("rate", "rate?by=pairs", "order", "photos", "data"):
        page.goto(f"{studio.url}/studio/{path}")
        screen.settle()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        screen.shoot(f"{path.replace('?by=', '-')}-390-dark")


def num_comparisons(studio: Studio, user_id: Any) -> int:
    with studio.database.read_session() as session:
        log = feedback_log.read(session, users.resolve(session, OPERATOR, str(user_id)), None)
        return len(log.latest_comparisons())


def test_two_people_in_two_browsers_see_only_their_own(
    studio: Studio, open_screen: Callable[..., Screen], photographs: list[Path]
) -> None:
    ann, bea = open_screen(), open_screen()
    begin(ann, studio.user_link(studio.user("ann")))
    begin(bea, studio.user_link(studio.user("bea")))
    send_files(ann, photographs[:2])
    send_files(bea, photographs[2:3])
    for one, number in ((ann, 2), (bea, 1)):
        one.page.reload()
        assert one.page.locator(".wall img").count() == number
        one.page.wait_for_function(FILLED)
    photo = ann.page.locator(".wall img").first.get_attribute("data-id")
    of_ann = f"/studio/thumbnails/{photo}?size=256"
    assert ann.status(of_ann) == 200
    assert bea.status(of_ann) == 404
    assert ann.page.evaluate(NUM_THUMBNAILS, f"/studio/thumbnails?ids={photo}&size=256") == ["1", 1]
    assert bea.page.evaluate(NUM_THUMBNAILS, f"/studio/thumbnails?ids={photo}&size=256") == ["0", 0]
    assert ann.status("/studio/watch") == 403
    assert ann.page.get_by_role("link", name="Watch").count() == 0
    ann.page.locator(".top-end summary").click()
    ann.page.get_by_role("button", name="Sign out").click()
    ann.page.wait_for_selector("#key")
    assert ann.status(of_ann) == 401  # the browser has not kept it either


def test_a_folder_is_sent_and_what_is_known_or_no_photo_is_told(
    studio: Studio, screen: Screen, photographs: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    for file in photographs[:2]:
        shutil.copy(file, folder)
    shutil.copy(photographs[0], folder / "again.jpg")
    (folder / "broken.jpg").write_bytes(b"no photo")
    (folder / "notes.txt").write_text("not sent")
    begin(screen, studio.user_link(studio.user("folder")))
    screen.page.set_input_files("#folder", str(folder))
    screen.page.wait_for_selector("#uploading[data-done=yes]")
    assert screen.page.inner_text("#upload-text") == "2 added, 1 were here already, 1 not accepted"
    assert "holiday/broken.jpg" in screen.page.inner_text("#refused")


def test_names_that_people_typed_stay_text(
    studio: Studio, open_screen: Callable[..., Screen], photographs: list[Path], tmp_path: Path
) -> None:
    user_id = studio.user(HOSTILE)
    file = tmp_path / f"{HOSTILE}.jpg"
    shutil.copy(photographs[3], file)
    person, admin = open_screen(), open_screen()
    begin(person, studio.user_link(user_id))
    send_files(person, [file])
    wait_for_features(person, 1)
    begin(admin, studio.admin_link())
    for screen, path in (
        (person, "photos"), (person, "rate"), (person, "order"), (person, "data"),
        (admin, "watch"), (admin, f"watch/people/{user_id}"), (admin, "watch/jobs"), (admin, "watch/audit"),
    ):  # fmt: skip
        screen.page.goto(f"{studio.url}/studio/{path}")
        screen.settle()
        assert screen.page.evaluate("window.hostile") is None, path
        assert screen.page.locator("img[src='x']").count() == 0, path
    person.page.goto(f"{studio.url}/studio/order")
    person.page.locator(".tile button").click()
    assert HOSTILE in person.page.inner_text("#viewer-text")
    admin.page.goto(f"{studio.url}/studio/watch")
    admin.page.locator("#find").fill(HOSTILE)
    admin.page.get_by_role("link", name=HOSTILE).wait_for()
    assert HOSTILE in admin.page.inner_text("#people")


def test_ratings_are_kept_while_no_worker_is_there(
    studio: Studio, open_screen: Callable[..., Screen], photographs: list[Path]
) -> None:
    studio.stop_worker()
    try:
        screen = open_screen(width=390, height=844)
        user_id = studio.user("away", min_new_feedback=3)
        begin(screen, studio.user_link(user_id))
        send_files(screen, photographs[:5])
        screen.page.goto(f"{studio.url}/studio/rate")
        rate(screen, 4, lambda name: 3)
        screen.page.wait_for_selector("#away:not([hidden])", timeout=30_000)
        screen.shoot("worker-away-390-light")
        with studio.database.read_session() as session:
            assert users.resolve(session, OPERATOR, str(user_id)).feedback_sequence == 4
    finally:
        studio.start_worker()
    screen.page.wait_for_selector("#away", state="hidden", timeout=90_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(studio: Studio, open_screen: Callable[..., Screen], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    screen = open_screen(scheme=scheme)
    page = screen.page
    page.goto(f"{studio.url}/studio/")
    found = {"sign-in": axe.run(page)}
    page.goto(studio.admin_link())
    found["doors"] = axe.run(page)
    with studio.database.read_session() as session:
        me = users.resolve(session, OPERATOR, "photos/me").id
    begin(screen, studio.admin_link(), mine=True)
    paths = ["photos", "rate", "rate?by=pairs", "order", f"watch/people/{me}"]
    if scheme == "light":  # the others have no colour of their own
        paths += ["data", "watch", "watch/jobs", "watch/audit", "watch/health"]
    for path in paths:
        page.goto(f"{studio.url}/studio/{path}")
        page.wait_for_selector("h1")
        if path == "order":
            page.wait_for_selector(".tile")
        found[path] = axe.run(page)
    problems = [
        f"{path}: {each['id']} {each['help']}: {each['nodes'][0]['html'][:120]}"
        for path, result in found.items()
        for each in result.response["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert problems == []


def test_the_pages_speak_chinese(studio: Studio, screen: Screen) -> None:
    begin(screen, studio.admin_link(), mine=True)
    screen.page.goto(f"{studio.url}/studio/?lang=zh")
    assert screen.page.locator("html").get_attribute("lang") == "zh-Hans"
    screen.page.goto(f"{studio.url}/studio/order")
    assert "我的排序" in screen.page.inner_text("h1")
    screen.page.wait_for_selector(".tile")
    screen.shoot("order-1280-chinese")
    with studio.database.read_session() as session:
        me = users.resolve(session, OPERATOR, "photos/me").id
    screen.page.goto(f"{studio.url}/studio/watch/people/{me}")
    screen.page.locator(".timeline details summary").first.click()
    assert "顺序" in screen.page.inner_text(".checks >> nth=0")
    screen.page.locator(".timeline").scroll_into_view_if_needed()
    screen.shoot("person-1280-chinese")
