"""The admin's list of people when there are many: it scrolls, it finds, it never jumps; and when the API is away."""

from __future__ import annotations

import pytest

from paaplus.services.operations import seed
from paaplus.services.operations.seed import SeedPlan
from tests.studio.browsers import Screen
from tests.studio.conftest import Studio

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

NUM_PEOPLE = 1_500
SHIFTS = """() => { window.shift = 0; new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) window.shift += each.value;
}).observe({ type: 'layout-shift', buffered: true }); }"""
IN_SIGHT = """() => [...document.querySelectorAll('#people tbody a')].filter((each) => {
  const box = each.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}).map((each) => each.textContent)"""


@pytest.fixture(scope="module")
def crowd(studio: Studio) -> str:
    """The beginning of the names of many people."""
    return seed.seed(studio.database, SeedPlan("crowd", NUM_PEOPLE)).prefix


def test_many_people_scroll_with_few_rows_in_the_document(studio: Studio, screen: Screen, crowd: str) -> None:
    page = screen.page
    page.add_init_script(f"({SHIFTS})()")
    page.goto(studio.admin_link())
    page.goto(f"{studio.url}/studio/watch?name={crowd}")
    page.wait_for_selector("#people tbody tr")
    seen = set(page.evaluate(IN_SIGHT))
    for _ in range(400):
        is_whole = page.locator("#people").get_attribute("aria-rowcount") != "-1"
        if is_whole and page.evaluate("scrollY + innerHeight + 2 >= document.body.scrollHeight"):
            break
        page.evaluate("window.scrollBy(0, innerHeight - 160)")
        page.wait_for_timeout(30)
        seen |= set(page.evaluate(IN_SIGHT))
        assert page.locator("#people tbody tr").count() < 120
    assert len(seen) == NUM_PEOPLE
    assert page.locator("#people").get_attribute("aria-rowcount") == str(NUM_PEOPLE + 1)
    assert page.locator("#people tbody tr:last-child").get_attribute("aria-rowindex") == str(NUM_PEOPLE + 1)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight / 2)")
    page.wait_for_timeout(200)
    in_sight = page.evaluate(IN_SIGHT)
    assert len(in_sight) > 10
    page.locator("#people a", has_text=in_sight[3]).focus()  # the keyboard goes on from row to row
    for _ in range(20):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") in page.evaluate(IN_SIGHT)
    assert page.evaluate("window.shift") == 0


def test_a_person_is_found_while_the_name_is_typed(studio: Studio, screen: Screen, crowd: str) -> None:
    page = screen.page
    studio.user("Zoë & 100%_sure", "crowd")
    page.goto(studio.admin_link())
    page.goto(f"{studio.url}/studio/watch")
    page.locator("#find").press_sequentially("100%_")
    page.wait_for_function("() => document.querySelectorAll('#people tbody a').length === 1")
    assert page.inner_text("#people tbody a") == "Zoë & 100%_sure"
    assert page.url.endswith("/studio/watch?name=100%25_")
    page.reload()
    assert page.locator("#people tbody a").all_inner_texts() == ["Zoë & 100%_sure"]
    page.locator("#find").fill("nobody has this name")
    page.get_by_text("Nobody is named like “nobody has this name”.").wait_for()
    screen.context.set_offline(True)
    page.locator("#find").fill(crowd)
    page.get_by_text("No connection to the platform.").wait_for()
    screen.context.set_offline(False)
    page.locator("#find").press("Enter")
    page.wait_for_function("() => document.querySelectorAll('#people tbody a').length >= 30")
    assert all(name.startswith(crowd) for name in page.locator("#people tbody a").all_inner_texts())


def test_a_name_that_was_typed_before_the_script_is_there_is_found(studio: Studio, screen: Screen, crowd: str) -> None:
    page = screen.page
    page.goto(studio.admin_link())
    page.route("**/static/people.js*", lambda route: (page.locator("#find").fill(f"{crowd}-nobody"), route.continue_()))
    page.goto(f"{studio.url}/studio/watch")
    page.wait_for_selector("#nobody:not([hidden])")
