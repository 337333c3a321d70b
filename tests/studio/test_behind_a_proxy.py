"""The studio under a path prefix, in a real browser: no page, script, picture or stream leaves the prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.studio.browsers import Screen
from tests.studio.conftest import Studio, second_api
from tests.studio.prefix_proxy import PrefixProxy, proxy
from tests.support.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

PREFIX = "/paaplus"


@pytest.fixture(scope="module")
def behind(studio: Studio) -> Iterator[str]:
    """The address of an API that knows its prefix, with the database of the studio."""
    with second_api(studio, PAAPLUS_ROOT_PATH=PREFIX) as url:
        yield url


@pytest.fixture(params=[True, False], ids=["stripped", "kept"])
def outside(behind: str, request: pytest.FixtureRequest) -> Iterator[PrefixProxy]:
    with proxy(behind, PREFIX, strips=request.param) as running:
        yield running


def through(outside: PrefixProxy, link: str) -> str:
    """A link of the platform as the proxy's visitors have it."""
    return f"{outside.url}/studio/enter?{link.partition('?')[2]}"


def test_a_person_rates_and_an_admin_watches_behind_a_prefix(
    studio: Studio, outside: PrefixProxy, open_screen: Callable[..., Screen], photographs: list[Path]
) -> None:
    name = f"behind-{'stripped' if outside.strips else 'kept'}"
    user_id = studio.user(name)
    person = open_screen()
    page, answers = person.page, []
    page.on("response", lambda response: answers.append((response.status, response.url)))
    page.goto(through(outside, studio.user_link(user_id)))
    page.wait_for_url(f"{outside.url}/studio/photos")
    assert {cookie["path"] for cookie in person.context.cookies()} == {f"{PREFIX}/studio"}
    page.set_input_files("#files", [str(file) for file in photographs[:3]])
    page.wait_for_selector("#uploading[data-done=yes]")
    page.get_by_role("link", name="Rate them").click()
    page.wait_for_selector("#stage[data-ready=yes] > img")
    with page.expect_response(lambda response: response.url.endswith("/rate/answers")) as sent:
        page.keyboard.press("4")
    assert sent.value.status == 200
    page.wait_for_function("() => document.querySelector('#learning-text').textContent.includes('1 of 10')")
    wait_until("the stream is open", lambda: (200, f"{outside.url}/studio/news") in answers)
    page.get_by_role("link", name="My order").first.click()
    wait_until("photos have scores", lambda: len(person.ask(f"{PREFIX}/studio/order/ranking")["items"]) == 3, 240)
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('.tile img').length === 3")
    page.goto(f"{outside.url}/studio/order?lang=zh")
    assert "我的排序" in page.inner_text("h1")
    page.goto(f"{outside.url}/studio/order?lang=en")
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_selector("#key")
    assert person.context.cookies(f"{outside.url}/studio/")[0]["name"] == "paaplus_language"
    assert [each for each in answers if each[0] >= 400] == []

    admin = open_screen()
    page = admin.page
    page.goto(through(outside, studio.admin_link()))
    page.locator("header nav").get_by_role("link", name="Watch").click()
    page.locator("#find").fill(name)
    page.wait_for_function("() => document.querySelectorAll('#people tbody a').length === 1")
    page.get_by_role("link", name=name).click()
    page.get_by_role("button", name="Make a link for them").click()
    link = page.locator("#link").input_value()
    assert link.startswith(f"{outside.url}/studio/enter?code=")
    for section in page.locator(".tabs a").evaluate_all("all => all.map(each => each.href)"):
        assert page.goto(section).status == 200, section  # type: ignore[union-attr]
    page.goto(link)
    page.wait_for_url(f"{outside.url}/studio/rate")
    assert outside.strays == []
