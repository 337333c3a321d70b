"""A slow link, a connection that breaks, a session that ends: nothing that was answered is lost, or counted twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from paaplus.services.feedback import feedback_log
from paaplus.services.users import sessions, users
from paaplus.services.users.keys import OPERATOR
from paaplus.services.users.sessions import COOKIE
from tests.studio.browsers import Screen
from tests.studio.conftest import Studio
from tests.support.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

READY = "#stage[data-ready=yes] > img"
KEPT = "() => Object.keys(localStorage).filter(key => key.startsWith('studio.unsent.')).length"
SLOW = {"offline": False, "latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000}  # 400 kbit/s


def ratings(studio: Studio, user_id: UUID) -> list[Any]:
    with studio.database.read_session() as session:
        user = users.resolve(session, OPERATOR, str(user_id))
        return feedback_log.read(session, user, None).latest_ratings()


def with_photos(studio: Studio, screen: Screen, name: str, photographs: list[Path]) -> UUID:
    """A person with photos, signed in, on the rating page."""
    user_id = studio.user(name)
    page = screen.page
    page.goto(studio.user_link(user_id))
    page.set_input_files("#files", [str(file) for file in photographs])
    page.wait_for_selector("#uploading[data-done=yes]")
    page.goto(f"{studio.url}/studio/rate")
    page.wait_for_selector(READY)
    return user_id


def test_an_answer_of_an_ended_session_is_sent_when_its_person_is_back_and_by_nobody_else(
    studio: Studio, screen: Screen, photographs: list[Path]
) -> None:
    page = screen.page
    page.add_init_script("delete window.EventSource")  # otherwise the page leaves before the answer
    page.route("**/studio/state", lambda route: route.abort() if ended else route.continue_())
    ended = False
    ann = with_photos(studio, screen, "ann-away", photographs[:3])
    bea = studio.user("bea-away")
    rated = page.locator("#stage > img").get_attribute("alt")
    ended = True
    end_session_quietly(studio, screen)
    page.keyboard.press("5")
    page.wait_for_selector("#unsent:not([hidden])")
    assert "the session that has ended are kept in this browser: 1." in page.inner_text("#unsent")
    screen.shoot("unsent-1280-light")
    assert ratings(studio, ann) == []
    ended = False
    page.goto(studio.user_link(bea))  # another person at the same browser
    page.goto(f"{studio.url}/studio/rate")
    page.wait_for_selector("text=No photos yet")
    page.wait_for_timeout(1500)
    assert page.locator("#toast.on").count() == 0
    assert ratings(studio, bea) == ratings(studio, ann) == []
    assert page.evaluate(KEPT) == 1
    page.goto(studio.user_link(ann))
    page.wait_for_selector("text=Answers that had waited, now sent: 1")
    wait_until("the rating is stored", lambda: len(ratings(studio, ann)) == 1, 60)
    [stored] = ratings(studio, ann)
    assert set(stored.scores.values()) == {10.0}
    assert page.evaluate(KEPT) == 0
    page.wait_for_selector(READY)
    assert page.locator("#stage > img").get_attribute("alt") != rated
    page.reload()
    page.wait_for_selector(READY)
    assert len(ratings(studio, ann)) == 1


def end_session_quietly(studio: Studio, screen: Screen) -> None:
    """End the session without a request of the page that would lead it to the sign-in."""
    [cookie] = [each for each in screen.context.cookies() if each["name"] == COOKIE]
    with studio.database.session() as session:
        sessions.close(session, cookie["value"])
    screen.page.wait_for_timeout(2_000)  # what the API's process had cached


def test_an_answer_given_without_a_connection_survives_the_page(
    studio: Studio, screen: Screen, photographs: list[Path]
) -> None:
    user_id = with_photos(studio, screen, "page-closed", photographs[:3])
    page = screen.page
    screen.context.set_offline(True)
    page.keyboard.press("2")
    page.wait_for_selector("#offline:not([hidden])")
    assert page.evaluate(KEPT) == 1
    page.goto("about:blank")  # without a question: nothing is lost
    screen.context.set_offline(False)
    page.goto(f"{studio.url}/studio/rate")
    wait_until("the rating is stored", lambda: len(ratings(studio, user_id)) == 1, 60)
    page.wait_for_function(f"() => ({KEPT})() === 0")


def test_on_a_slow_link_the_page_says_so_and_a_doubled_press_is_one_answer(
    studio: Studio, open_screen: Callable[..., Screen], photographs: list[Path]
) -> None:
    screen = open_screen(width=390, height=844, scheme="dark")
    user_id = with_photos(studio, screen, "slow", photographs[:6])
    page = screen.page
    link = screen.context.new_cdp_session(page)
    link.send("Network.enable")
    link.send("Network.clearBrowserCache")
    link.send("Network.emulateNetworkConditions", SLOW)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{studio.url}/studio/rate", wait_until="commit")
    page.wait_for_selector("#stage[aria-busy=true] .stage-loading")
    screen.shoot("slow-loading-390-dark")
    page.wait_for_selector("#stage > img")
    page.wait_for_selector(".stage.slow")  # the question is there, its picture on its way
    page.keyboard.press("3")  # nobody has seen the picture
    screen.shoot("slow-picture-390-dark")
    page.wait_for_selector(READY)
    assert ratings(studio, user_id) == []
    first = page.locator("#stage > img").get_attribute("src")
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').filter((each) => each.name.includes('size=1024')).length > 1"
    )  # the next ones are fetched before they are asked for
    page.keyboard.press("4")
    page.keyboard.press("4")
    page.locator(".rate-value").nth(3).dispatch_event("click")
    page.wait_for_function("old => document.querySelector('#stage > img')?.getAttribute('src') !== old", arg=first)
    wait_until("the rating is stored", lambda: len(ratings(studio, user_id)) == 1, 60)
    page.wait_for_selector(READY)
    page.wait_for_timeout(1_500)  # a second answer would be on its way
    assert len(ratings(studio, user_id)) == 1
    assert len([each for each in asked if each.endswith("/rate/answers")]) == 1


def test_an_upload_that_breaks_says_so_and_goes_on(
    studio: Studio, open_screen: Callable[..., Screen], photographs: list[Path]
) -> None:
    screen = open_screen(width=390, height=844)
    page = screen.page
    page.goto(studio.user_link(studio.user("breaks")))
    page.wait_for_selector("#drop")
    page.clock.install()
    sent = 0

    def some(route: Any) -> None:
        nonlocal sent
        sent += 1
        if sent <= 2 or is_back:
            route.continue_()
        else:
            route.abort()

    is_back = False
    page.route("**/studio/photos", some)
    page.set_input_files("#files", [str(file) for file in photographs[:6]])
    page.wait_for_function("() => document.querySelector('#upload-text').textContent.includes('nothing is lost')")
    screen.shoot("upload-waits-390-light")
    while page.locator("#uploading[data-done=broken]").count() == 0:
        page.clock.fast_forward(40_000)
        page.wait_for_timeout(50)
    assert "2 added, 0 were here already, 4 not sent yet" in page.inner_text("#upload-text")
    screen.shoot("upload-broken-390-light")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    is_back = True
    page.get_by_role("button", name="Go on").click()
    page.wait_for_selector("#uploading[data-done=yes]")
    assert page.inner_text("#upload-text") == "6 added, 0 were here already, 0 not accepted"
    page.unroute("**/studio/photos")
    page.goto(f"{studio.url}/studio/photos")
    assert page.locator(".wall img").count() == 6
