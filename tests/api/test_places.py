"""Places: callers in turns, bounded queues, and no place lost, whatever happens to a request. By counts and order."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from paaplus.api import places
from paaplus.api.places import CURRENT, Place, Places, State
from paaplus.errors import TooMany, Unavailable


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 60))


@pytest.fixture(autouse=True)
def _nobody_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order alone: who keeps a queue would else wait for some time after each request."""
    monkeypatch.setattr(places, "REST_MAX_S", 0.0)


class Crowd:
    """Requests that write down their caller when they have a place, and keep it until they are told."""

    def __init__(self, num_places: int, max_queued: int = 100) -> None:
        self.places = Places(num_places, max_queued, 60)
        self.order: list[str] = []
        self.working: list[tuple[Place, asyncio.Event]] = []

    def come(self, caller: str, number: int = 1) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._request(caller)) for _ in range(number)]

    async def _request(self, caller: str) -> None:
        place, done = self.places.ask(caller), asyncio.Event()
        try:
            await self.places.take(place)
            self.order.append(caller)
            self.working.append((place, done))
            await done.wait()
        finally:
            place.close()

    async def end(self, number: int = 1) -> None:
        """The requests that began first end."""
        for _ in range(number):
            self.working.pop(0)[1].set()
            await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_next_place_goes_to_another_caller_however_many_requests_of_one_wait() -> None:
    async def scene() -> None:
        crowd = Crowd(num_places=2)
        tasks = crowd.come("greedy", 20)
        await settle()
        assert crowd.order == ["greedy"] * 2, "a caller who is alone has all places"
        tasks += crowd.come("anna") + crowd.come("ben")
        await settle()
        assert crowd.places.num_free == 0
        await crowd.end(2)
        assert crowd.order[2:] == ["anna", "ben"]
        while crowd.working:
            await crowd.end()
        await asyncio.gather(*tasks)
        assert crowd.order == ["greedy", "greedy", "anna", "ben", *["greedy"] * 18]
        assert (crowd.places.num_free, crowd.places.num_queued) == (2, 0)

    run(scene())


def test_callers_have_their_turn_one_after_the_other() -> None:
    async def scene() -> None:
        crowd = Crowd(num_places=1)
        tasks = [*crowd.come("a", 4), *crowd.come("b", 3), *crowd.come("c", 1)]
        await settle()
        while crowd.working:
            await crowd.end()
        await asyncio.gather(*tasks)
        assert "".join(crowd.order) == "aabcabab", "the first found a free place"

    run(scene())


def test_whoever_comes_finds_a_place_beside_callers_who_have_their_share() -> None:
    async def scene() -> None:
        crowd = Crowd(num_places=6)
        tasks = [*crowd.come("light"), *crowd.come("heavy", 9)]
        await settle()
        assert crowd.order == ["light", "heavy", "heavy"]
        tasks += crowd.come("third")
        await settle()
        assert crowd.order[3:] == ["third"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(scene())


def test_who_keeps_a_queue_beside_others_rests_after_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ACTIVE_S", 1000.0)
    monkeypatch.setattr(places, "LONG_S", 1000.0)
    monkeypatch.setattr(places, "REST_MAX_S", 0.5)

    async def scene() -> None:
        crowd = Crowd(num_places=2)
        tasks = crowd.come("anna")
        await settle()
        await crowd.end()
        tasks += crowd.come("greedy", 3)
        await asyncio.sleep(0.5)
        await crowd.end()
        assert crowd.order == ["anna", "greedy"], "the second one rests"
        tasks += crowd.come("anna")
        await settle()
        assert crowd.order == ["anna", "greedy", "anna"], "there is a place for others meanwhile"
        while len(crowd.order) < 4:  # nobody asks for anything: the rest ends by itself
            await asyncio.sleep(0.01)
        await crowd.end(2)
        while not crowd.working:
            await asyncio.sleep(0.01)
        await crowd.end()
        await asyncio.gather(*tasks)
        assert (crowd.places.num_free, crowd.places.num_queued) == (2, 0)

    run(scene())


def test_a_large_body_counts_as_work_however_quickly_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ACTIVE_S", 1000.0)
    monkeypatch.setattr(places, "REST_MAX_S", 1000.0)
    monkeypatch.setattr(places, "HTTP_S", 0.0)

    async def rest_after(num_bytes: int) -> float:
        queue = Places(2, 10, 60)
        queue.ask("anna").close()
        place, _next = queue.ask("greedy", num_bytes), asyncio.ensure_future(queue.take(queue.ask("greedy")))
        await settle()
        place.close()
        _next.cancel()
        return place.caller.rests_until - asyncio.get_running_loop().time()

    async def scene() -> None:
        assert await rest_after(10**9) - await rest_after(0) == pytest.approx(10, abs=1)

    run(scene())


def test_a_caller_whose_request_was_refused_rests_without_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ACTIVE_S", 1000.0)
    monkeypatch.setattr(places, "REST_MAX_S", 1000.0)
    monkeypatch.setattr(places, "HTTP_S", 1000.0)

    async def scene() -> None:
        crowd = Places(2, 10, 60)
        crowd.ask("anna").close()
        crowd.ask("ben").close()
        assert crowd.ask("ben").state is State.WORKING
        crowd.ask("greedy").close(refused=True)
        assert crowd.ask("greedy").state is State.WAITING
        assert crowd.ask("anna").state is State.WORKING

    run(scene())


@pytest.mark.parametrize(("name", "refused", "times"), [("key", False, 1), ("key", True, 2), ("address ::1", False, 2)])
def test_who_is_refused_or_unknown_rests_twice_as_long(
    monkeypatch: pytest.MonkeyPatch, name: str, refused: bool, times: int
) -> None:
    monkeypatch.setattr(places, "ACTIVE_S", 1000.0)
    monkeypatch.setattr(places, "REST_MAX_S", 10_000.0)
    monkeypatch.setattr(places, "HTTP_S", 1000.0)

    async def scene() -> None:
        queue = Places(2, 10, 60)
        queue.ask("anna").close()
        place, waits = queue.ask(name), asyncio.ensure_future(queue.take(queue.ask(name)))
        await settle()
        place.close(refused=refused)
        waits.cancel()
        rests_s = place.caller.rests_until - asyncio.get_running_loop().time()
        assert rests_s == pytest.approx(times * 1000, abs=60)

    run(scene())


def test_who_is_alone_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "REST_MAX_S", 1000.0)

    async def scene() -> None:
        crowd = Crowd(num_places=1)
        tasks = crowd.come("greedy", 3)
        await asyncio.sleep(0.3)
        await crowd.end()
        assert len(crowd.order) == 2
        await crowd.end(2)
        await asyncio.gather(*tasks)

    run(scene())


def test_queue_of_a_caller_is_bounded_and_those_of_others_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        crowd = Crowd(num_places=1, max_queued=3)
        tasks = crowd.come("greedy", 6)
        await settle()
        refused = [task.exception() for task in tasks if task.done()]
        assert [type(error) for error in refused] == [TooMany, TooMany]
        tasks += crowd.come("other")
        await crowd.end()
        await crowd.end()
        assert "other" in crowd.order
        monkeypatch.setattr(places, "MAX_QUEUED", 0)
        with pytest.raises(Unavailable):
            crowd.places.ask("third")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (crowd.places.num_free, crowd.places.num_queued) == (1, 0)

    run(scene())


def test_cancelled_requests_leave_no_place_taken_in_whichever_moment() -> None:
    async def scene() -> None:
        crowd = Crowd(num_places=2)
        tasks = [*crowd.come("a", 5), *crowd.come("b", 5)]
        await settle()
        tasks[4].cancel()  # it waits
        crowd.working.pop(0)[1].set()
        await asyncio.sleep(0)  # the next one is given the place, and has not gone on
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (crowd.places.num_free, crowd.places.num_queued) == (2, 0)
        again = crowd.places.ask("a")
        assert again.state is State.WORKING

    run(scene())


def test_place_that_becomes_free_in_the_moment_of_a_cancellation_is_not_lost() -> None:
    async def scene() -> None:
        crowd = Crowd(num_places=1)
        [first, cancelled, third] = crowd.come("anna", 3)
        await settle()
        cancelled.cancel()  # it has not run since
        crowd.working[0][0].close()
        await settle()
        assert len(crowd.working) == 2, "the third has the place"
        for _, done in crowd.working:
            done.set()
        await asyncio.gather(first, third)
        assert cancelled.cancelled()
        assert (crowd.places.num_free, crowd.places.num_queued) == (1, 0)

    run(scene())


def test_random_cancellations_keep_the_count() -> None:
    async def scene() -> None:
        rng = random.Random(3)
        crowd = Crowd(num_places=3)
        tasks: list[asyncio.Task[None]] = []
        for _ in range(2000):
            act = rng.random()
            if act < 0.5:
                tasks += crowd.come(rng.choice("abcd"))
            elif act < 0.75 and crowd.working:
                crowd.working.pop(rng.randrange(len(crowd.working)))[1].set()
            elif tasks:
                rng.choice(tasks).cancel()
            if rng.random() < 0.5:
                await asyncio.sleep(0)
            assert 0 <= crowd.places.num_free <= 3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (crowd.places.num_free, crowd.places.num_queued) == (3, 0)
        assert crowd.places._short == {}
        assert all(caller.num_short == 0 for caller in crowd.places._callers.values())

    run(scene())


def test_request_that_waits_for_something_holds_no_place_and_goes_on_before_the_others_of_its_caller() -> None:
    async def scene() -> None:
        crowd, news = Crowd(num_places=1), asyncio.Event()

        async def poll() -> None:
            place = crowd.places.ask("a")
            CURRENT.set(place)
            await crowd.places.take(place)
            async with places.waiting():
                await news.wait()
            crowd.order.append("poll")
            place.close()

        poller = asyncio.create_task(poll())
        await settle()
        assert crowd.places.num_free == 1
        tasks = crowd.come("a", 3)
        await settle()
        news.set()
        await settle()
        assert crowd.order == ["a"], "it needs a place to go on"
        await crowd.end()
        await poller
        assert crowd.order[:2] == ["a", "poll"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert crowd.places.num_free == 1

    run(scene())


def test_request_that_takes_long_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LONG_S", 0.01)

    async def scene() -> None:
        crowd = Crowd(num_places=1)
        stuck = crowd.come("stuck", 30)
        other = crowd.come("other")
        while "other" not in crowd.order:  # nobody ends
            await asyncio.sleep(0.01)
        for task in [*stuck, *other]:
            task.cancel()
        await asyncio.gather(*stuck, *other, return_exceptions=True)
        assert (crowd.places.num_free, crowd.places.num_queued) == (1, 0)
        assert crowd.order.count("stuck") <= places.MAX_LONG + 1

    run(scene())


def test_thread_that_pauses_gives_its_place_to_whoever_waits() -> None:
    async def scene() -> None:
        crowd = Crowd(num_places=1)
        place = crowd.places.ask("long")
        with ThreadPoolExecutor(1) as pool:
            paused = asyncio.wrap_future(pool.submit(place.pause))
            await paused  # nobody waits
            other = crowd.come("other")
            await settle()
            assert crowd.order == []
            paused = asyncio.wrap_future(pool.submit(place.pause))
            while not crowd.order:
                await asyncio.sleep(0.001)
            assert place.state is State.WAITING
            await crowd.end()
            await paused
            assert place.state is State.WORKING
        place.close()
        await asyncio.gather(*other)
        assert crowd.places.num_free == 1

    run(scene())


async def until_it_waits(crowd: Crowd) -> None:
    while not crowd.places._yielding:
        await asyncio.sleep(0.001)


def test_long_request_lets_short_ones_of_others_end_and_only_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "YIELD_S", 3600)
    monkeypatch.setattr(places, "LONG_S", 3600)
    monkeypatch.setattr(places, "SLEEP_S", 0.0)

    async def scene() -> None:
        crowd = Crowd(num_places=9)
        with ThreadPoolExecutor(2) as pool:
            long, own = crowd.places.ask("long"), crowd.places.ask("long")
            await asyncio.wrap_future(pool.submit(long.pause))  # its own requests are no reason
            own.close()
            other_long = crowd.places.ask("other")
            paused = asyncio.wrap_future(pool.submit(long.pause))
            await until_it_waits(crowd)
            await asyncio.wrap_future(pool.submit(other_long.pause))  # from now on it is long too
            await paused
            short = crowd.places.ask("other")
            both = [asyncio.wrap_future(pool.submit(place.pause)) for place in (long, other_long)]
            await until_it_waits(crowd)
            await both[1]  # its caller's own request is short
            assert not both[0].done()
            short.close()
            await asyncio.gather(*both)
            for place in (long, other_long):
                place.close()
        assert (crowd.places.num_free, crowd.places._short) == (9, {})

    run(scene())


def test_request_for_which_another_thread_works_is_short_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "YIELD_S", 3600)
    monkeypatch.setattr(places, "LONG_S", 3600)
    monkeypatch.setattr(places, "ACTIVE_S", 0.0)  # its caller is forgotten meanwhile

    async def scene() -> None:
        crowd = Crowd(num_places=9)
        with ThreadPoolExecutor(1) as pool:
            posting, polling, long = crowd.places.ask("other"), crowd.places.ask("third"), crowd.places.ask("long")
            polling.release()  # it waits for something that nobody does
            posting.release(is_served=True)
            assert crowd.places.num_free == 8
            paused = asyncio.wrap_future(pool.submit(long.pause))
            await until_it_waits(crowd)
            await posting.take()
            await settle()
            assert not paused.done()
            posting.close()
            await paused
            long.close()
        callers = [place.caller for place in (posting, polling, long)]
        assert [caller.num_short for caller in callers] == [0, 0, 0]
        assert (crowd.places.num_free, crowd.places._short) == (9, {})

    run(scene())


@pytest.mark.parametrize(("yield_s", "long_s"), [(0.01, 3600), (3600, 0.01)])
def test_request_that_does_not_end_delays_a_long_one_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, yield_s: float, long_s: float
) -> None:
    monkeypatch.setattr(places, "YIELD_S", yield_s)
    monkeypatch.setattr(places, "LONG_S", long_s)

    async def scene() -> None:
        crowd = Crowd(num_places=9)
        with ThreadPoolExecutor(1) as pool:
            stuck, long = crowd.places.ask("stuck"), crowd.places.ask("long")
            stuck.release(is_served=True)
            await asyncio.sleep(0.02)
            for _ in range(3):
                await asyncio.wrap_future(pool.submit(long.pause))
            stuck.close()
            long.close()
        assert [place.caller.num_short for place in (stuck, long)] == [0, 0]

    run(scene())


def test_thread_of_a_request_that_has_ended_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PAUSE_S", 3600)

    async def scene() -> None:
        crowd = Crowd(num_places=1)
        place = crowd.places.ask("gone")
        place.close()
        tasks = [*crowd.come("other", 2), *crowd.come("third")]
        await settle()
        done = threading.Event()
        place._begin_pause(done)
        assert done.is_set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(scene())


def test_callers_who_were_not_seen_for_long_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ACTIVE_S", 0.0)

    async def scene() -> None:
        crowd = Crowd(num_places=2)
        for number in range(100):
            crowd.places.ask(f"caller {number}").close()
            await asyncio.sleep(0.001)
        assert crowd.places.num_callers == 1

    run(scene())
