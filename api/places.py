"""Places for requests that work, given to callers in turns: nobody waits behind all the requests of somebody else.

Python runs one thread at a time, so that more requests at once only make each of them slower. A process has a few
places. A request without one waits in the queue of its caller, and free places go to one caller after the other. While
several callers are active, each has its share of the places; a caller who is alone may have all of them. A caller who
keeps a queue beside active callers rests after each request for as long as it took, and so does one whose request was
refused: half of the process is left.

Long work is done in parts, with pauses. A request that has paused is long: at each pause it lets short requests of
other callers end first, for a while.

A place is for work. A request that waits (for features, for the rest of a body, for its reader) gives its place back,
and asks again. A request that holds one for `LONG_S` waits for something that this module does not know of, most
likely a lock: it goes on without one, so that nothing can stand still. All of this is in the event loop, without locks.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from enum import Enum, auto
from typing import Final

from paaplus.errors import TooMany, Unavailable

ACTIVE_S: Final = 1.0  # after its last request a caller counts as active
LONG_S: Final = 0.25
MAX_LONG: Final = 8  # requests of one caller that go on without a place: half of the connections to PostgreSQL
MAX_QUEUED: Final = 5_000  # requests of all callers
PAUSE_S: Final = 2.0  # a thread that waits for a place goes on after this time, whatever happens
YIELD_S: Final = 0.05  # one that lets short requests end goes on with its next part after this time
SLEEP_S: Final = 0.02
LONG_RESTS: Final = 2  # times as long does one rest whose request was refused, or who has no known key
ADDRESS: Final = "address "  # begins the name of a caller without a known key
REST_MAX_S: Final = 0.1  # longest rest of a caller who keeps a queue
HTTP_S: Final = 0.001  # what a request takes outside of its place: the server's own work
HTTP_S_PER_BYTE: Final = 1e-8  # of its body


class State(Enum):
    """Whether a request has a place. `LONG`: it works without one, because it takes long. `SERVED`: a thread that
    serves all requests works for it."""

    WAITING = auto()
    WORKING = auto()
    SERVED = auto()
    LONG = auto()


class _Caller:
    """One caller: how many of its requests work, and those that wait, in order."""

    __slots__ = ("name", "num_long", "num_short", "num_working", "rests_until", "seen_at", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.num_working = self.num_long = self.num_short = 0
        self.seen_at = self.rests_until = 0.0
        self.waiting: OrderedDict[Place, asyncio.Future[None]] = OrderedDict()

    @property
    def is_unknown(self) -> bool:
        """Whether an address is all that is known of the caller."""
        return self.name.startswith(ADDRESS)

    @property
    def is_idle(self) -> bool:
        return not (self.num_working or self.num_long or self.waiting)


class Place:
    """The place of one request, if it has one at the moment. In the event loop only, except for `pause`."""

    __slots__ = ("_loop", "_places", "_went_on_at", "began_at", "caller", "has_paused", "is_closed", "name",
                 "num_bytes", "state")  # fmt: skip

    def __init__(self, places: Places, name: str, num_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        self._places, self._loop, self.name, self.num_bytes = places, loop, name, num_bytes
        self.state: State = State.WAITING
        self.began_at = 0.0
        self._went_on_at = time.monotonic()
        self.caller: _Caller
        self.is_closed = self.has_paused = False

    def release(self, *, is_served: bool = False) -> None:
        """Give the place back for as long as the request waits for something.

        Args:
            is_served: a thread of this process works for the request meanwhile.
        """
        self._places.give_back(self)
        if is_served and not self.is_closed:
            self._places.serve(self)

    async def take(self) -> None:
        """Take a place again, before the others of this caller that wait."""
        if not self.is_closed and self.state in (State.WAITING, State.SERVED):
            await self._places.wait(self, first=True)

    def close(self, *, refused: bool = False) -> None:
        """Give the place back for good: the answer begins, or there will be none.

        Args:
            refused: the answer is an error; many of them at once never wait for each other, and cost all the same.
        """
        self.is_closed = True
        self._places.give_back(self, refused=refused)

    def pause(self) -> None:
        """Let other callers go first. For a thread that works for the request.

        If they wait for a place, they get this one. Their short requests end first. If they work on long ones, the
        thread sleeps as long as its last part took.
        """
        if not self.has_paused:
            self.has_paused = True
            self._loop.call_soon_threadsafe(self._places.count_as_long, self)
        if self._places.others_wait(self.caller):
            has_place = threading.Event()
            self._loop.call_soon_threadsafe(self._begin_pause, has_place)
            has_place.wait(PAUSE_S)
        elif self._places.others_are_short(self.caller):
            others_ended = threading.Event()
            self._loop.call_soon_threadsafe(self._places.wait_for_short, self, others_ended)
            others_ended.wait(YIELD_S)
        elif self._places.others_work(self.caller):
            time.sleep(min(max(0.0, time.monotonic() - self._went_on_at), SLEEP_S))
        self._went_on_at = time.monotonic()

    def others_are_active(self) -> bool:
        """Whether another caller is active, or was lately. From any thread."""
        return self._places.num_callers > 1

    def _begin_pause(self, has_place: threading.Event) -> None:
        if self.is_closed:
            has_place.set()
            return
        self._places.give_back(self)
        self._places.queue(self, first=True).add_done_callback(lambda _: has_place.set())


class Places:
    """The places of one process.

    Args:
        num_places: requests that work at once.
        max_queued: requests of one caller that wait for a place.
        max_queued_s: how long one waits at most.
    """

    def __init__(self, num_places: int, max_queued: int, max_queued_s: float) -> None:
        self.num_free = self._num_places = num_places
        self.num_queued = 0
        self._max_queued, self._max_queued_s = max_queued, max_queued_s
        self._callers: OrderedDict[str, _Caller] = OrderedDict()  # the one that was seen last is the last
        self._turns: deque[_Caller] = deque()  # those with waiting requests, the next one first
        self._working: dict[Place, None] = {}  # in the order in which they began
        self._short: dict[Place, float] = {}  # those that have not paused and work or are served, and since when
        self._yielding: dict[Place, threading.Event] = {}  # those that wait for short ones
        self._watch: asyncio.TimerHandle | None = None
        self._rest_ends: asyncio.TimerHandle | None = None

    @property
    def num_callers(self) -> int:
        """Callers that are active, or were lately."""
        return len(self._callers)

    def others_wait(self, caller: _Caller) -> bool:
        """Whether another caller waits for a place. From any thread."""
        return self.num_queued > len(caller.waiting)

    def others_work(self, caller: _Caller) -> bool:
        """Whether a request of another caller works. From any thread."""
        return len(self._working) > caller.num_working

    def others_are_short(self, caller: _Caller) -> bool:
        """Whether a short request of another caller works. From any thread."""
        return len(self._short) > caller.num_short

    def wait_for_short(self, place: Place, others_ended: threading.Event) -> None:
        """Set the event as soon as no short request of another caller works. What takes `LONG_S` is not short."""
        oldest = asyncio.get_running_loop().time() - LONG_S
        for other in [other for other, since in self._short.items() if since < oldest]:
            self.count_as_long(other)
        self._yielding[place] = others_ended
        self._wake_yielding()

    def serve(self, place: Place) -> None:
        """Note that a thread of this process works for the request, which has no place."""
        place.state = State.SERVED
        self._count_as_short(place)

    def _count_as_short(self, place: Place) -> None:
        if not place.has_paused and place not in self._short:
            self._short[place] = asyncio.get_running_loop().time()
            place.caller.num_short += 1

    def count_as_long(self, place: Place) -> None:
        """No longer count the request as short. Repeating it changes nothing."""
        if self._short.pop(place, None) is not None:
            place.caller.num_short -= 1
            if self._yielding:
                self._wake_yielding()

    def _wake_yielding(self) -> None:
        for place, others_ended in [*self._yielding.items()]:
            if place.is_closed or not self.others_are_short(place.caller):
                del self._yielding[place]
                others_ended.set()

    def ask(self, name: str, num_bytes: int = 0) -> Place:
        """The place of a new request of this caller. It works at once, or its state is still `WAITING`.

        Args:
            name: of the caller.
            num_bytes: of the body, as far as it is known.

        Raises:
            TooMany: too many requests of this caller wait.
            Unavailable: too many requests of all callers wait.
        """
        loop = asyncio.get_running_loop()
        place, now = Place(self, name, num_bytes, loop), loop.time()
        caller = place.caller = self._seen(name, now)
        if self.num_free and not caller.waiting and self._has_share(caller, now):
            self._begin(place, now)
        elif len(caller.waiting) >= self._max_queued:
            raise TooMany(f"{len(caller.waiting)} requests of this caller wait already", 1.0)
        elif self.num_queued >= MAX_QUEUED:
            raise Unavailable("too many requests wait; try again")
        return place

    async def take(self, place: Place) -> None:
        """Wait for the place of a new request.

        Raises:
            TooMany: it has waited too long.
        """
        if place.state is not State.WAITING:
            return
        try:
            async with asyncio.timeout(self._max_queued_s):
                await self.wait(place)
        except TimeoutError:
            place.close()
            raise TooMany(f"waited {self._max_queued_s:g} s behind other requests of this caller", 5.0) from None

    async def wait(self, place: Place, *, first: bool = False) -> None:
        """Wait until it is this request's turn.

        Args:
            first: before the other requests of the caller.
        """
        try:
            await self.queue(place, first=first)
        except asyncio.CancelledError:  # perhaps in the moment when it was given the place
            self.give_back(place)
            raise

    def queue(self, place: Place, *, first: bool = False) -> asyncio.Future[None]:
        """Let a request wait for its turn. The future is done when it has a place, cancelled if it is given back."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        caller = self._seen(place.name, now)
        if place in self._short:  # it was served until now; the caller may have been forgotten meanwhile
            place.caller.num_short -= 1
            caller.num_short += 1
        place.caller = caller
        future: asyncio.Future[None] = loop.create_future()
        if not caller.waiting:
            self._turns.append(caller)
        caller.waiting[place] = future
        if first:
            caller.waiting.move_to_end(place, last=False)
        self.num_queued += 1
        self._hand_out(now)
        if self.num_queued and self._watch is None:
            self._watch = loop.call_later(LONG_S, self._look_for_long)
        return future

    def give_back(self, place: Place, *, refused: bool = False) -> None:
        """Give a place back, or wait for it no longer. Repeating it changes nothing."""
        caller, state, now = place.caller, place.state, asyncio.get_running_loop().time()
        place.state = State.WAITING
        self.count_as_long(place)
        if state in (State.WORKING, State.LONG) and (caller.waiting or refused) and len(self._callers) > 1:
            took_s = now - place.began_at + HTTP_S + HTTP_S_PER_BYTE * place.num_bytes
            caller.rests_until = now + min(took_s * (LONG_RESTS if refused or caller.is_unknown else 1), REST_MAX_S)
        if state is State.WORKING:
            del self._working[place]
            caller.num_working -= 1
            self.num_free += 1
        elif state is State.LONG:
            caller.num_long -= 1
        elif (future := caller.waiting.pop(place, None)) is not None:
            self.num_queued -= 1
            if not caller.waiting:
                self._turns.remove(caller)
            future.cancel()
        if self._turns:
            self._hand_out(now)

    def _seen(self, name: str, now: float) -> _Caller:
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = _Caller(name)
        elif len(self._callers) > 1:
            self._callers.move_to_end(name)
        caller.seen_at = now
        self._forget_old(now)
        return caller

    def _forget_old(self, now: float) -> None:
        while len(self._callers) > 1:
            first = next(iter(self._callers.values()))
            if first.seen_at > now - ACTIVE_S:
                return
            if first.is_idle:
                del self._callers[first.name]
            else:
                first.seen_at = now
                self._callers.move_to_end(first.name)

    def _has_share(self, caller: _Caller, now: float) -> bool:
        num_active = len(self._callers)
        if caller.num_long >= MAX_LONG or (num_active > 1 and now < caller.rests_until):
            return False
        if num_active > 1:  # one share more than callers: whoever comes finds a place
            return caller.num_working < max(1, self._num_places // (num_active + 1))
        return caller.num_working < self._num_places

    def _begin(self, place: Place, now: float) -> None:
        place.state, place.began_at = State.WORKING, now
        place.caller.num_working += 1
        self.num_free -= 1
        self._working[place] = None
        self._count_as_short(place)

    def _hand_out(self, now: float) -> None:
        """Give free places to those whose turn it is, one caller after the other."""
        if not self.num_free:
            return
        self._forget_old(now)
        num_passed, rests_until = 0, math.inf
        while self.num_free and num_passed < len(self._turns):
            caller = self._turns.popleft()
            if not self._has_share(caller, now):
                self._turns.append(caller)
                rests_until = min(rests_until, caller.rests_until) if caller.rests_until > now else rests_until
                num_passed += 1
                continue
            num_passed = 0
            place, future = caller.waiting.popitem(last=False)
            self.num_queued -= 1
            if caller.waiting:
                self._turns.append(caller)
            self._begin(place, now)
            if not future.done():  # cancelled a moment ago: who waited for it gives the place back when it runs
                future.set_result(None)
        if self._rest_ends is None and rests_until < math.inf:
            self._rest_ends = asyncio.get_running_loop().call_at(rests_until, self._end_rest)

    def _end_rest(self) -> None:
        self._rest_ends = None
        self._hand_out(asyncio.get_running_loop().time())

    def _look_for_long(self) -> None:
        """While others wait, count no longer who has held a place for long."""
        loop = asyncio.get_running_loop()
        now, self._watch = loop.time(), None
        while self._working and (first := next(iter(self._working))).began_at <= now - LONG_S:
            del self._working[first]
            first.state = State.LONG
            self.count_as_long(first)
            first.caller.num_working -= 1
            first.caller.num_long += 1
            self.num_free += 1
        self._hand_out(now)
        if self.num_queued:
            self._watch = loop.call_later(LONG_S, self._look_for_long)


CURRENT: Final[ContextVar[Place | None]] = ContextVar("place", default=None)


def release(*, is_served: bool = False) -> None:
    """Give the place of this request back: it waits for something. In the event loop. See `Place.release`."""
    if (place := CURRENT.get()) is not None:
        place.release(is_served=is_served)


async def resume() -> None:
    """Take the place again, if this request gave it back and has not begun to answer."""
    if (place := CURRENT.get()) is not None:
        await place.take()


@asynccontextmanager
async def waiting(*, is_served: bool = False) -> AsyncIterator[None]:
    """In this block the request waits for something, and holds no place. See `Place.release`."""
    release(is_served=is_served)
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException:
        await resume()
        raise
    await resume()
