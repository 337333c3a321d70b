"""Review, match, surveys, research and what an admin watches of them: in a real browser, with a real server."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paaplus.services.adapters import matches
from paaplus.services.feedback import feedback_log
from paaplus.services.reviews import pace, reviews
from paaplus.services.surveys import answers as survey_answers
from paaplus.services.users import users
from paaplus.services.users.keys import OPERATOR
from paaplus.studio import tour
from tests.studio.browsers import Screen
from tests.studio.clinic import SURVEY, Clinic
from tests.studio.conftest import Studio
from tests.support.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

HOSTILE = "<img src=y onerror=window.hostile=1>"  # not the name of another file: all share a platform
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def clinic(studio: Studio, browser: Any) -> Iterator[Clinic]:
    made = Clinic(studio)
    made.wait_for_features()
    made.wait_for_experts()
    made.ask()
    return made


def reviewed(clinic: Clinic, name: str) -> pace.Pace:
    with clinic.studio.database.read_session() as session:
        return pace.of_expert(session, clinic.experts[name])


def shown_review(screen: Screen) -> str:
    """The address of the picture that is shown now."""
    screen.page.wait_for_selector("#stage[data-ready=yes] > img")
    return screen.page.locator("#stage > img").get_attribute("src") or ""


def next_review(screen: Screen, key: str) -> None:
    """Press a key that decides, and wait for the next picture or the end."""
    before = shown_review(screen)
    screen.page.keyboard.press(key)
    screen.page.wait_for_function(
        "old => document.querySelector('#stage > img')?.getAttribute('src') !== old", arg=before, timeout=WAIT_MS
    )


def test_an_expert_reviews_a_queue_with_the_keyboard_alone(clinic: Clinic, screen: Screen) -> None:
    clinic.send_to_review("dr-night", "dr-land", number=6)
    page = screen.page
    page.goto(clinic.expert_link("dr-night"))
    page.wait_for_url("**/studio/review")
    shown_review(screen)
    assert "6 open" in page.inner_text("#pace")
    screen.shoot("review-1280-light")
    next_review(screen, "Enter")  # the label is right
    page.keyboard.press("8")
    assert page.inner_text(".slider output") == "8.0"
    assert page.inner_text("#accept") == "Save my score"
    next_review(screen, "Enter")
    next_review(screen, "x")
    next_review(screen, "s")
    wait_until("four verdicts are stored", lambda: reviewed(clinic, "dr-night").num_open == 2, 60)
    found = reviewed(clinic, "dr-night")
    assert (found.num_done, found.num_cannot_say, found.num_skipped) == (2, 1, 1)
    assert found.share_accepted == 0.5
    page.keyboard.press("u")  # the skipped one again
    page.wait_for_function("() => document.querySelector('#toast').textContent.includes('decide anew')")
    page.keyboard.press("ArrowRight")
    next_review(screen, "Enter")
    next_review(screen, "Enter")
    shown_review(screen)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=All reviewed")
    wait_until("the queue is empty", lambda: reviewed(clinic, "dr-night").num_open == 0, 60)
    assert reviewed(clinic, "dr-night").num_done == 5
    with clinic.studio.database.read_session() as session:
        user = users.resolve(session, OPERATOR, str(clinic.experts["dr-night"]))
        scores = [rating.scores["beauty"] for rating in feedback_log.read(session, user, None).latest_ratings()]
        assert 8.0 in scores
        left = reviews.queue(session, user.id, skipped=True, limit=5)
        assert [row.state for row in left] == []


def test_reviewing_fits_on_a_phone_and_the_touch_buttons_decide(
    clinic: Clinic, open_screen: Callable[..., Screen]
) -> None:
    screen = open_screen(width=390, height=844, scheme="dark")
    page = screen.page
    page.goto(clinic.expert_link("dr-land"))
    if reviewed(clinic, "dr-land").num_open == 0:
        clinic.send_to_review("dr-land", number=6)
        page.reload()
    before = shown_review(screen)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    buttons = ("#accept", "#skip", "#cannot", "#undo")
    boxes = [page.locator(each).bounding_box() for each in buttons]
    assert all(box is not None and box["y"] + box["height"] <= 844 for box in boxes), boxes
    screen.shoot("review-390-dark")
    num_open = reviewed(clinic, "dr-land").num_open
    page.locator("#accept").tap()
    page.wait_for_function("old => document.querySelector('#stage > img')?.getAttribute('src') !== old", arg=before)
    wait_until("the verdict is stored", lambda: reviewed(clinic, "dr-land").num_open == num_open - 1, 60)
    page.reload()
    shown_review(screen)
    page.locator("#going summary").tap()
    assert "You moved the label by 0.0 points" in page.inner_text("#agreement")
    assert "Another expert has reviewed" in page.inner_text("#agreement")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screen.shoot("review-going-390-dark")


def test_verdicts_wait_while_there_is_no_connection(clinic: Clinic, screen: Screen) -> None:
    clinic.send_to_review("dr-land", number=4, batch="offline")
    page = screen.page
    page.goto(clinic.expert_link("dr-land"))
    shown_review(screen)
    num_open = reviewed(clinic, "dr-land").num_open
    screen.settle()
    screen.context.set_offline(True)
    page.keyboard.press("Enter")
    page.wait_for_selector("#offline:not([hidden])")
    screen.shoot("review-offline-1280-light")
    screen.context.set_offline(False)
    wait_until("the verdict is stored", lambda: reviewed(clinic, "dr-land").num_open == num_open - 1, 60)
    page.wait_for_selector("#offline", state="hidden", timeout=WAIT_MS)


def test_a_user_takes_the_quiz_and_is_told_with_whom_and_why(clinic: Clinic, screen: Screen) -> None:
    user_id = clinic.user("quizzed")
    likes = tour.LIKES["nora-night"]
    worth = {
        f"{picture.name}.jpg": sum(likes.get(kind, 0.0) for kind in picture.contents) for picture in clinic.pictures
    }
    page = screen.page
    page.goto(clinic.studio.user_link(user_id))
    page.get_by_role("link", name="Match").click()
    page.get_by_role("button", name="Begin").click()
    for place in range(13):
        page.wait_for_selector("#stage[data-ready=yes] .pair img, .match-card", timeout=WAIT_MS)
        if page.locator(".match-card").count():
            break
        if place == 0:
            page.wait_for_function("() => [...document.querySelectorAll('.pair img')].every(image => image.complete)")
            screen.shoot("match-pair-1280-light")
        first, second = (
            (page.locator(".pair").nth(side).get_attribute("aria-label") or "").split(": ", 1)[1] for side in (0, 1)
        )
        before = (
            page.locator(".pair img").first.get_attribute("src"),
            page.locator(".pair img").nth(1).get_attribute("src"),
        )
        page.keyboard.press("ArrowLeft" if worth[first] >= worth[second] else "ArrowRight")
        page.wait_for_function(
            "([a, b]) => { const all = [...document.querySelectorAll('.pair img')]; "
            "return all[0]?.getAttribute('src') !== a || all[1]?.getAttribute('src') !== b; }",
            arg=list(before),
            timeout=WAIT_MS,
        )
    page.wait_for_selector(".match-card", timeout=WAIT_MS)
    text = page.inner_text(".match-card")
    assert "Dr-Night" in text
    assert "pairs" in text
    screen.shoot("match-1280-light")
    with clinic.studio.database.read_session() as session:
        row = matches.in_force(session, user_id)
        assert row is not None
        assert row.evidence["num_comparisons"] >= 4
    page.reload()
    page.wait_for_selector(".match-card")


def test_where_nothing_can_be_asked_the_page_says_so(clinic: Clinic, screen: Screen) -> None:
    page = screen.page
    page.goto(clinic.studio.user_link(clinic.studio.user("alone", "nobody-else")))
    page.get_by_role("link", name="Match").click()
    page.get_by_role("button", name="Begin").click()
    page.wait_for_selector("text=there are no two of them left")
    screen.shoot("match-none-1280-light")
    page.get_by_role("link", name="Rate my photos").click()
    page.wait_for_url("**/studio/rate")
    page.goto(f"{clinic.studio.url}/studio/surveys")
    assert "Nobody asks anything" in page.inner_text("main")


def test_a_survey_tells_what_is_wrong_in_place_and_stores_what_is_right(
    clinic: Clinic, open_screen: Callable[..., Screen]
) -> None:
    screen = open_screen(width=390, height=844)
    user_id = clinic.user(HOSTILE)
    page = screen.page
    page.goto(clinic.studio.user_link(user_id))
    page.goto(f"{clinic.studio.url}/studio/surveys")
    page.get_by_role("link", name="What do you like to look at?").click()
    page.get_by_label("6", exact=True).check()
    page.locator("input[name=years]").fill("900")
    for place in range(3):
        page.locator(f"select[name='order:{place}']").select_option("the sea")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("#wrong")
    assert page.locator(".problem").all_inner_texts() == [
        "Please answer this.",
        "Between 0 and 80, please.",
        "Every option once, the best first.",
        "Please answer this.",
    ]
    assert page.get_by_label("6", exact=True).is_checked()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screen.shoot("survey-wrong-390-light")
    page.get_by_label("colour", exact=True).check()
    page.locator("input[name=years]").fill("9")
    for place, option in enumerate(("a wood", "the sea", "the city")):
        page.locator(f"select[name='order:{place}']").select_option(option)
    page.get_by_label("The left one").check()
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("text=Your answers are stored")
    with clinic.studio.database.read_session() as session:
        row, _ = survey_answers.answers_of(session, users.resolve(session, OPERATOR, str(user_id)), SURVEY)
    assert row.answers == {
        "people": 6, "colour": "colour", "years": 9, "order": ["a wood", "the sea", "the city"], "pair": "first",
    }  # fmt: skip
    page.goto(f"{clinic.studio.url}/studio/surveys")
    assert "answered" in page.inner_text("main")
    page.goto(f"{clinic.studio.url}/studio/surveys/{SURVEY}")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.survey-pair img')].every(image => image.naturalWidth)"
    )


def test_an_admin_watches_reviews_schedules_and_quotas_and_makes_an_experts_link(
    clinic: Clinic, screen: Screen, open_screen: Callable[..., Screen]
) -> None:
    clinic.send_to_review("dr-night", number=3, batch=HOSTILE)
    clinic.user("waits")
    page, url = screen.page, clinic.studio.url
    page.goto(clinic.studio.admin_link())
    for name in ("reviews", "schedule", "quotas", "quotas?of=people"):
        page.goto(f"{url}/studio/watch/{name}")
        page.wait_for_selector("h1")
        assert page.evaluate("window.hostile") is None
        screen.shoot(f"watch-{name.replace('?of=', '-')}-1280-light")
    page.goto(f"{url}/studio/watch/reviews")
    batch = page.locator(".batch").filter(has_text=HOSTILE)
    assert "0 of 3" in batch.inner_text()
    batch.get_by_role("button", name="Close it").click()
    page.wait_for_selector(".batch:has-text('closed')")
    page.goto(f"{url}/studio/watch/people/{clinic.experts['dr-night']}")
    page.get_by_role("button", name="Make a link to review").click()
    other = open_screen()
    other.page.goto(page.locator("#link").input_value())
    other.page.wait_for_url("**/studio/review")
    assert other.status("/studio/order/ranking") == 403
    assert other.status("/studio/watch") == 403


def test_research_draws_the_recorded_runs(clinic: Clinic, screen: Screen, open_screen: Callable[..., Screen]) -> None:
    page, url = screen.page, clinic.studio.url
    page.goto(clinic.studio.admin_link())
    page.get_by_role("link", name="Research").click()
    page.wait_for_selector(".plot .dot circle")
    assert page.locator(".plot .interval").count() > 5
    page.get_by_label("Run").select_option("2026-11-23-kshot-oasis_beauty")
    page.wait_for_selector(".plot .curve polygon")
    page.locator(".numbers summary").first.click()
    assert "taste_vector:bayes+prior" in page.inner_text(".numbers table")
    screen.shoot("research-kshot-1280-light")
    assert page.goto(f"{url}/studio/research?run=../../etc").status == 404  # type: ignore[union-attr]
    phone = open_screen(width=390, height=844, scheme="dark")
    phone.page.goto(clinic.studio.admin_link())
    phone.page.goto(f"{url}/studio/research?run=2026-11-28-stream-oasis_beauty")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    phone.shoot("research-390-dark")


def test_the_best_of_a_burst_and_stars_for_other_programs(clinic: Clinic, screen: Screen, tmp_path: Path) -> None:
    user_id = clinic.studio.user("bursts", "bursts")
    files = []
    for number, picture in enumerate((*tour.pictures()[:3], *[tour.pictures()[4]] * 3)):
        image = picture.load(480)
        moved = max(0, number - 3)
        files.append(tmp_path / f"IMG_{number}.jpg")
        image.crop((moved * 3, moved * 2, image.width - 8 + moved, image.height - 6)).save(files[-1], "JPEG")
    page = screen.page
    page.goto(clinic.studio.user_link(user_id))
    page.set_input_files("#files", [str(file) for file in files])
    page.wait_for_selector("#uploading[data-done=yes]")

    def num_scored() -> int:
        return len(screen.ask("/studio/order/ranking")["items"])

    wait_until("all have scores", lambda: num_scored() == len(files), 120)
    page.goto(f"{clinic.studio.url}/studio/order")
    page.wait_for_selector(".tile")
    page.get_by_label("Only the best of a burst").check()
    page.wait_for_selector(".tile .burst")
    assert page.locator(".tile").count() == 4
    assert page.inner_text(".tile .burst") == "best of 3"
    screen.shoot("bursts-1280-light")
    with page.expect_download() as download:
        page.get_by_role("link", name="Stars (XMP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        assert sorted(names) == [f"IMG_{number}.xmp" for number in range(len(files))]
        assert all(b'xmp:Rating="' in archive.read(name) for name in names)
    page.locator("#changes summary").click()
    for name in ("Since last week", "Since the beginning"):
        page.get_by_role("button", name=name).click()
        page.wait_for_selector("#changes-body[aria-busy=false] p")


def rate_three(screen: Screen) -> None:
    for _ in range(3):
        source = screen.page.wait_for_selector("#stage[data-ready=yes] > img").get_attribute("src")
        screen.page.keyboard.press("4")
        screen.page.wait_for_function("old => !document.querySelector(`#stage > img[src='${old}']`)", arg=source)


@pytest.mark.parametrize("refused", ["state", "news"])
def test_lessons_are_told_by_a_stream_and_without_one_by_asking(clinic: Clinic, screen: Screen, refused: str) -> None:
    user_id = clinic.studio.user(f"told-{refused}", "clinic", min_new_feedback=3)
    page = screen.page
    page.goto(clinic.studio.user_link(user_id))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[1]))
    page.goto(f"{clinic.studio.url}/studio/rate")
    page.wait_for_function("() => document.querySelector('#learning-text').textContent.includes('0 of 3')")
    page.route(f"**/studio/{refused}", lambda route: route.fulfill(status=429, body="no"))
    page.reload()
    rate_three(screen)
    page.wait_for_function(
        "() => document.querySelector('#learning-text').textContent.includes('0 of 3')", timeout=120_000
    )  # the training has read the three answers, and the page knows
    assert ("state" if refused == "news" else "news") in asked


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation_on_the_new_pages(
    clinic: Clinic, open_screen: Callable[..., Screen], scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    clinic.send_to_review("dr-night", number=2, batch=f"axe {scheme}")
    url = clinic.studio.url
    paths: dict[str, tuple[str, dict[str, str]]] = {
        "expert": (
            clinic.expert_link("dr-night"),
            {"review": "#stage > img", "surveys": "h1", f"surveys/{SURVEY}": "h1"},
        ),
        "user": (clinic.studio.user_link(clinic.user(f"axe-{scheme}")), {"match": ".empty h2", "order": ".tile"}),
        "admin": (
            clinic.studio.admin_link(),
            {"research": ".plot", "watch/reviews": ".batch", "watch/schedule": "h1", "watch/quotas": ".quotas"},
        ),
    }  # fmt: skip
    problems = []
    for who, (link, pages) in paths.items():
        screen = open_screen(scheme=scheme)
        screen.page.goto(link)
        for path, awaited in pages.items():
            screen.page.goto(f"{url}/studio/{path}")
            screen.page.wait_for_selector(awaited)
            if path == "research":
                screen.shoot(f"research-1280-{scheme}")
            problems += [
                f"{who} {path}: {each['id']} {each['help']}: {each['nodes'][0]['html'][:160]}"
                for each in axe.run(screen.page).response["violations"]
                if each["impact"] in ("serious", "critical")
            ]
    assert problems == []
