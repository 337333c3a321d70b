"""Scrapes of the metrics: shared, paced, and right over several processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from paaplus import pauses
from paaplus.api import metrics, scrapes
from paaplus.api.metrics import Metrics
from paaplus.api.scrapes import Scrapes
from paaplus.db.engine import Database
from paaplus.db.tables.jobs import JobState
from paaplus.errors import TooMany
from paaplus.settings import Settings
from tests.api.conftest import World
from tests.api.test_health import values
from tests.support.factories import make_job


class Texts:
    """Makes texts `0`, `1`, ..., each when it is let."""

    def __init__(self) -> None:
        self.num_begun, self.go_on = 0, threading.Event()

    def render(self) -> bytes:
        number = self.num_begun
        self.num_begun += 1
        assert self.go_on.wait(60)
        return b"%d" % number


async def begun(count: Callable[[], int], wanted: int) -> None:
    """Let the loop run until so many have begun."""
    while count() < wanted:
        await asyncio.sleep(0.001)


def run(test: Callable[[Texts, Scrapes], Awaitable[None]]) -> None:
    async def limited() -> None:
        texts = Texts()
        async with asyncio.timeout(60):
            await test(texts, Scrapes(texts.render))

    asyncio.run(limited())


def test_scrapes_that_come_while_a_text_is_made_share_it() -> None:
    async def test(texts: Texts, scrapes: Scrapes) -> None:
        asked = [asyncio.ensure_future(scrapes.text("a")) for _ in range(5)]
        await begun(lambda: texts.num_begun, 1)
        asked += [asyncio.ensure_future(scrapes.text("a")) for _ in range(3)]
        texts.go_on.set()
        assert await asyncio.gather(*asked) == [b"0"] * 8
        assert texts.num_begun == 1

    run(test)


def test_text_is_made_anew_when_it_is_no_longer_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(texts: Texts, scrapes: Scrapes) -> None:
        texts.go_on.set()
        assert [await scrapes.text("a"), await scrapes.text("a")] == [b"0", b"0"]
        monkeypatch.setattr("paaplus.api.scrapes.FRESH_S", -1.0)
        assert [await scrapes.text("a"), await scrapes.text("a")] == [b"1", b"2"]

    run(test)


def test_whoever_hangs_up_does_not_end_the_text_of_the_others() -> None:
    async def test(texts: Texts, scrapes: Scrapes) -> None:
        first, other = asyncio.ensure_future(scrapes.text("a")), asyncio.ensure_future(scrapes.text("a"))
        await begun(lambda: texts.num_begun, 1)
        first.cancel()
        await asyncio.sleep(0)
        texts.go_on.set()
        assert await other == b"0"
        assert first.cancelled()

    run(test)


def test_text_that_could_not_be_made_is_tried_again_by_the_next_scrape() -> None:
    is_broken = True

    def render() -> bytes:
        if is_broken:
            raise ValueError("broken")
        return b"whole"

    async def ask() -> None:
        nonlocal is_broken
        answered = Scrapes(render)
        found = await asyncio.gather(answered.text("a"), answered.text("a"), return_exceptions=True)
        assert [str(error) for error in found] == ["broken", "broken"]
        is_broken = False
        assert await answered.text("a") == b"whole"

    asyncio.run(ask())


def test_more_scrapes_than_any_monitoring_makes_wait_and_are_refused_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scrapes, "FRESH_S", 10_000.0)
    monkeypatch.setattr(scrapes, "PACE_S", 1_000.0)
    monkeypatch.setattr(scrapes, "MAX_WAIT_S", 2_500.0)

    async def test(texts: Texts, answered: Scrapes) -> None:
        texts.go_on.set()
        assert {await answered.text("a") for _ in range(scrapes.AT_ONCE)} == {b"0"}
        later = [asyncio.ensure_future(answered.text("a")) for _ in range(2)]
        done, _ = await asyncio.wait(later, timeout=0.01)
        assert not done
        with pytest.raises(TooMany, match="scrapes wait") as refused:
            await answered.text("a")
        assert refused.value.retry_after_s == pytest.approx(3_000, abs=60)
        assert await answered.text("b") == b"0", "another address does not wait for the first one's scrapes"
        for each in later:
            each.cancel()

    run(test)


def test_scrape_that_waits_for_its_time_gets_a_text_of_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrapes, "AT_ONCE", 1)
    monkeypatch.setattr(scrapes, "FRESH_S", -1.0)

    async def test(texts: Texts, answered: Scrapes) -> None:
        texts.go_on.set()
        assert [await answered.text("a") for _ in range(4)] == [b"0", b"1", b"2", b"3"]

    run(test)


def test_scrapes_of_a_second_are_answered_with_one_text(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[bytes] = []
    render = world.context.metrics.render
    monkeypatch.setattr(world.context.scrapes, "_render", lambda: texts.append(render()) or texts[-1])
    monkeypatch.setattr(scrapes, "FRESH_S", 100.0)
    answers = {world.nobody.get("/metrics").text for _ in range(scrapes.AT_ONCE)}
    assert len(texts) == len(answers) == 1
    assert values(*answers)
    monkeypatch.setattr(scrapes, "FRESH_S", -1.0)
    assert world.nobody.get("/metrics").text not in answers
    assert len(texts) == 2


def test_scrape_that_waits_holds_no_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.context.scrapes, "_render", (texts := Texts()).render)
    asked = [threading.Thread(target=world.nobody.get, args=("/metrics",)) for _ in range(6)]  # more than places
    for each in asked:
        each.start()
    ticks = threading.Event()
    while not texts.num_begun:
        ticks.wait(0.01)
    assert world.application.get("/v1/users").status_code == 200
    assert world.context.places.num_free == world.context.settings.requests_at_once
    texts.go_on.set()
    for each in asked:
        each.join()
    assert texts.num_begun == 1


def test_counts_of_the_database_are_used_again_for_some_seconds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def queued() -> float:
        return values(world.context.metrics.render().decode())['paaplus_jobs{state="queued"}']

    assert queued() == 0
    with world.database.session() as session:
        make_job(session, state=JobState.QUEUED)
    monkeypatch.setattr(metrics, "COUNTS_FRESH_S", 1_000.0)
    assert queued() == 0
    monkeypatch.setattr(metrics, "COUNTS_FRESH_S", -1.0)
    assert queued() == 1


def test_others_go_first_again_and_again_while_a_text_is_made(database: Database, settings: Settings) -> None:
    class Counted:
        num = 0

        def pause(self) -> None:
            self.num += 1

        def others_are_active(self) -> bool:
            return True

    made, counted = Metrics(database, settings), Counted()
    for number in range(60):
        made.count_request("GET", f"/v1/{number}", 200, 0.01)
    plain = made.render()
    token = pauses._SURROUNDINGS.set(counted)
    try:
        text = made.render()
    finally:
        pauses._SURROUNDINGS.reset(token)
    assert counted.num > len(text.splitlines()) / metrics.LINES_AT_ONCE

    def of_requests(text: bytes) -> list[bytes]:
        return [line for line in text.splitlines() if b"paaplus_request" in line]

    assert of_requests(text) == of_requests(plain)
    assert len(of_requests(plain)) > 60 * 17


PROCESS = """
import sys
from paaplus.api.metrics import Metrics
from paaplus.db.engine import Database
from paaplus.settings import Settings
settings = Settings()
made = Metrics(Database(settings.resolved_database_url), settings)
for _ in range(int(sys.argv[1])):
    made.count_request("GET", "/v1/users", 200, 0.01)
print(made.render().decode())
"""


def test_process_answers_with_the_sums_over_all_processes(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "counted"  # every file there whose name ends in .db is taken for one of numbers
    folder.mkdir()
    environment = {
        **os.environ,
        metrics.MULTIPROC_DIR: str(folder),
        "PAAPLUS_HOME": str(settings.home),
        "PAAPLUS_DATABASE_URL": settings.resolved_database_url,
    }

    def counted(num_requests: int) -> dict[str, float]:
        command = [sys.executable, "-c", PROCESS, str(num_requests)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        return values(done.stdout)

    of_route = '{method="GET",route="/v1/users",status="200"}'
    assert counted(2)[f"paaplus_requests_total{of_route}"] == 2
    both = counted(3)
    assert both[f"paaplus_requests_total{of_route}"] == 5
    assert both['paaplus_request_seconds_bucket{le="+Inf",method="GET",route="/v1/users"}'] == 5
    assert both['paaplus_jobs{state="queued"}'] == 0
    assert not any(name.startswith("process_") for name in both)  # they would be of one process only


def test_addresses_that_asked_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrapes, "MAX_ADDRESSES", 3)

    async def test(texts: Texts, answered: Scrapes) -> None:
        texts.go_on.set()
        for address in "abcad":
            await answered.text(address)
        assert list(answered._paced_until) == ["c", "a", "d"]

    run(test)
