"""Seeded traffic: users who rate, correct, retract and repeat events, an application, and an admin.

Each thread has users of its own, so that it knows all that it posted for them. If a call gets no answer, its events are
in doubt and are posted again later. Acknowledged events are also posted again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from paaplus.chaos import world
from paaplus.chaos.client import Answer, Client
from paaplus.chaos.ledger import Ledger, Scored

MAX_BATCH: Final = 12
MAX_SHOWN: Final = 200  # maximum number of images that the application uploads
RETRY_PAUSE_S: Final = 0.4


@dataclass
class Person:
    """One user, as the thread of the user knows it."""

    id: str
    number: int
    rated: list[str] = field(default_factory=list)  # event_ids that were acknowledged and not retracted
    receipts: list[tuple[str, str]] = field(default_factory=list)  # (receipt, image)
    num_events: int = 0


class Album:
    """The uploaded images, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, world.Picture] = {}

    def add(self, image_id: str, picture: world.Picture) -> None:
        with self._lock:
            self._by_id[image_id] = picture

    def ids(self) -> list[str]:
        with self._lock:
            return list(self._by_id)

    def picture(self, image_id: str) -> world.Picture:
        with self._lock:
            return self._by_id[image_id]


class Thread:
    """The traffic of one thread."""

    def __init__(
        self,
        number: int,
        seed: int,
        *,
        application: Client,
        admin: Client,
        ledger: Ledger,
        album: Album,
        num_people: int,
    ) -> None:
        self._number, self._seed, self._ledger, self._album = number, seed, ledger, album
        self._application, self._admin = application, admin
        self._rng = random.Random(f"traffic {seed} {number}")
        self._wanted = num_people
        self._num_created = 0
        self._num_uploaded = 0
        self._people: list[Person] = []

    def begin(self, num_pictures: int) -> None:
        """Create users and images before the faults start."""
        while len(self._people) < self._wanted:
            self._create_person()
        for _ in range(num_pictures):
            self._upload()

    def sees_scores(self) -> bool:
        """True if all uploaded images can be scored."""
        body = {"users": [self._people[0].id], "images": self._album.ids()}
        answer = self.ask("predictions", "POST", "/v1/predictions", body)
        return answer.status == 200 and all(item["status"] == "scored" for item in answer.body["items"])

    def step(self) -> None:
        """Do one random act."""
        if len(self._people) < self._wanted:
            self._create_person()
            return
        acts: list[tuple[int, Callable[[], None]]] = [
            (40, self._give_feedback),
            (10, self._repeat_feedback),
            (25, self._predict),
            (6, self._upload),
            (12, self._act_as_admin),
            (1, self._erase),
        ]
        self._rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]()

    def drive(self, point: str) -> None:
        """Ask for something that leads to this fault point."""
        if not self._people:
            self._create_person()
            return
        if point == "features_stored":
            self._upload()
        elif point == "labels_stored":
            self._upload()
            self.ask("label", "POST", "/v1/pseudo-labels", {"tools": ["sharpness"]})
        elif point == "user_files_deleted":
            self._erase()
        elif point == "pointer_moved":
            self._act_as_admin()
        else:
            self._give_feedback()
            if not point.startswith("feedback"):
                path = f"/v1/users/{self._rng.choice(self._people).id}/retrain"
                self._timed("admin act", lambda: self._admin.call("POST", path, {"reason": "chaos"}))

    def ask(self, what: str, method: str, path: str, body: Any = None) -> Answer:
        """Do one call of the application."""
        return self._timed(what, lambda: self._application.call(method, path, body))

    def repost(self, user_id: str, events: list[dict[str, Any]]) -> None:
        """Post events of a user, and record the answers."""
        answer = self.ask("feedback", "POST", "/v1/feedback", {"events": events})
        if answer.status == 200:
            for item in answer.body["items"]:
                self._ledger.note_item(user_id, item)

    def _timed(self, what: str, call: Callable[[], Answer]) -> Answer:
        start = time.perf_counter()
        answer = call()
        self._ledger.note_answer(what, answer, time.perf_counter() - start)
        if answer.is_in_doubt:
            time.sleep(RETRY_PAUSE_S)
        return answer

    def _create_person(self) -> None:
        number = 1000 * self._number + self._num_created
        policy = world.POLICIES[number % len(world.POLICIES)]
        body = {"external_id": f"person-{number}", "policy": policy}
        answer = self.ask("create user", "POST", "/v1/users", body)
        if answer.status in (200, 201):
            self._num_created += 1
            self._people.append(Person(answer.body["id"], number))

    def _give_feedback(self) -> None:
        images = self._album.ids()
        if not images:
            self._upload()
            return
        person = self._rng.choice(self._people)
        events = [self._new_event(person, images) for _ in range(self._rng.randint(1, MAX_BATCH))]
        self._post(person, events)

    def _new_event(self, person: Person, images: list[str]) -> dict[str, Any]:
        person.num_events += 1
        event: dict[str, Any] = {"event_id": f"e{person.num_events}", "user": person.id}
        lot = self._rng.random()
        if lot < 0.08 and person.rated:
            return event | {"kind": "retraction", "retracts": person.rated.pop(self._rng.randrange(len(person.rated)))}
        if lot < 0.14:
            return event | {"kind": "binary", "image": self._rng.choice(images), "liked": self._rng.random() < 0.5}
        if lot < 0.2 and len(images) > 1:
            first, second = self._rng.sample(images, 2)
            return event | {"kind": "comparison", "image": first, "other_image": second,
                            "preference": {"beauty": self._rng.choice(["first", "second", "tie"])}}  # fmt: skip
        if lot < 0.35 and person.receipts:
            receipt, image = self._rng.choice(person.receipts)
            return event | {"kind": "correction", "receipt": receipt, **self._rated(person, image)}
        image = self._rng.choice(images)
        return event | {"kind": "rating", "image": image, **self._rated(person, image)}

    def _rated(self, person: Person, image: str) -> dict[str, Any]:
        value = world.rating(self._seed, person.number, self._album.picture(image), self._rng.gauss(0, 1))
        return {"ratings": {"beauty": value}, "scale": world.SCALE}

    def _repeat_feedback(self) -> None:
        """Post earlier events again, acknowledged or not, in any order and any batches."""
        person = self._rng.choice(self._people)
        known = [event for (user, _), event in self._ledger.posted.copy().items() if user == person.id]
        if known:
            self._post(person, self._rng.sample(known, min(len(known), self._rng.randint(1, MAX_BATCH))))

    def _post(self, person: Person, events: list[dict[str, Any]]) -> None:
        for event in events:
            self._ledger.note_posted(person.id, event)
        answer = self.ask("feedback", "POST", "/v1/feedback", {"events": events})
        if answer.status != 200:
            return
        for event, item in zip(events, answer.body["items"], strict=True):
            self._ledger.note_item(person.id, item)
            if item["status"] == "accepted" and event["kind"] in ("rating", "correction"):
                person.rated.append(event["event_id"])

    def _predict(self) -> None:
        images = self._album.ids()
        if not images:
            return
        people = self._rng.sample(self._people, min(len(self._people), self._rng.randint(1, 3)))
        shown = self._rng.sample(images, min(len(images), 8))
        answer = self.ask("predictions", "POST", "/v1/predictions", {"users": [p.id for p in people], "images": shown})
        if answer.status != 200:
            return
        for item in answer.body["items"]:
            if item["status"] == "scored":
                scored = read_scored(item)
                self._ledger.note_scored(scored)
                owner = next(p for p in people if p.id == scored.user)
                owner.receipts = [*owner.receipts[-20:], (scored.receipt, scored.image)]

    def _upload(self) -> None:
        if len(self._album.ids()) >= MAX_SHOWN:
            return
        picture = world.picture(self._seed, 1000 * (self._number + 1) + self._num_uploaded)
        answer = self._timed("upload", lambda: self._application.upload(picture.name, picture.data))
        if answer.status in (200, 201):
            self._num_uploaded += 1
            self._album.add(answer.body["id"], picture)

    def _act_as_admin(self) -> None:
        person = self._rng.choice(self._people)
        path, reason = f"/v1/users/{person.id}", {"reason": "chaos"}
        act = self._rng.choice(["rollback", "rollback", "keep", "to", "promote", "pin", "unpin", "release", "retrain"])
        number = self._rng.randint(1, 6)
        asked: dict[str, tuple[str, dict[str, Any]]] = {
            "rollback": (f"{path}/rollback", reason),
            "keep": (f"{path}/rollback", reason | {"feedback": "keep"}),
            "to": (f"{path}/rollback", reason | {"to": number}),
            "promote": (f"{path}/adapters/{number}/promote", reason),
            "pin": (f"{path}/adapters/{number}/pin", reason),
            "unpin": (f"{path}/unpin", reason),
            "release": (f"{path}/exclusions/release", reason),
            "retrain": (f"{path}/retrain", reason),
        }
        self._timed("admin act", lambda: self._admin.call("POST", *asked[act]))

    def _erase(self) -> None:
        person = self._people.pop(self._rng.randrange(len(self._people)))
        self._ledger.note_erasing(person.id, is_done=False)
        erase(self, self._ledger, person.id)


def erase(thread: Thread, ledger: Ledger, user_id: str) -> None:
    """Request an erasure. 404 means that an earlier request without an answer was done."""
    answer = thread.ask("erase user", "DELETE", f"/v1/users/{user_id}")
    if answer.status in (204, 404):
        ledger.note_erasing(user_id, is_done=True)


def read_scored(item: dict[str, Any]) -> Scored:
    """Record a scored prediction."""
    number = item["adapter"]["number"] if item["adapter"] is not None else 0
    return Scored(item["user_id"], item["image_id"], number, item["scores"], item["receipt_id"])


class Traffic:
    """All threads of the traffic."""

    def __init__(self, threads: list[Thread], pause_s: float) -> None:
        self._done = threading.Event()
        self.errors: list[BaseException] = []
        self.pause_s = pause_s  # between two acts of a thread; may be changed at any time
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in threads]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until every call has ended.

        Raises:
            BaseException: an unexpected error of a thread, a defect of the traffic and not of the platform.
        """
        self._done.set()
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _run(self, thread: Thread) -> None:
        try:
            while not self._done.wait(self.pause_s):
                thread.step()
        except BaseException as error:
            self.errors.append(error)
