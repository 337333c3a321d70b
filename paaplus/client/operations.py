"""Every act of the clients, as steps: what is sent, what is waited for, and what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote
from uuid import uuid4

from paaplus.client.answers import (
    Audience,
    Feedback,
    FeedbackBatch,
    FeedbackItem,
    HistoryEntry,
    Image,
    Job,
    NewKey,
    NewWebhook,
    PointerChange,
    Prediction,
    Ranking,
    ScoreColumns,
    User,
    Version,
    read,
)
from paaplus.client.calls import KEY, Call, NotInTime, Pause, Retries, Steps, send
from paaplus.errors import InvalidInput

WAIT_S: Final = 20.0  # of one call that waits; servers allow 30 s by default
BATCH_EVENTS: Final = 500
BATCH_ITEMS: Final = 1_000
PAGE: Final = 200
TIMEOUT_S: Final = 600.0

T = TypeVar("T")
Progress = Callable[[int, int], None]  # done, of how many


def get(kind: type[T], path: str, retries: Retries, **query: Any) -> Steps[T]:
    """Read one object."""
    answer = yield from send(Call("GET", path, query=_given(query)), retries)
    return read(kind, answer.json())


def change(
    kind: type[T], method: str, path: str, body: Any, retries: Retries, idempotency_key: str | None = None
) -> Steps[T]:
    """Change something, once, however often the request is sent."""
    headers = {KEY: idempotency_key} if idempotency_key else {}
    answer = yield from send(Call(method, path, json=body, headers=headers, once=True), retries)
    return read(kind, answer.json())


def call(method: str, path: str, body: Any, query: Mapping[str, Any], retries: Retries) -> Steps[Any]:
    """Any other request; returns the JSON of the answer. What changes something carries an idempotency key."""
    if not path.startswith("/") or path.startswith("//"):  # the key would be sent to the host of a whole URL
        raise InvalidInput(f"the path {path!r:.80} must begin with /v1/")
    is_change = method.upper() not in ("GET", "HEAD")
    request = Call(method.upper(), path, query=_given(query), json=body, once=is_change)
    answer = yield from send(request, retries)
    return answer.json()


def remove(path: str, retries: Retries) -> Steps[None]:
    """Delete something."""
    yield from send(Call("DELETE", path, once=True, missing_is_done=True), retries)


def page(
    kind: type[T], path: str, cursor: str | None, retries: Retries, **query: Any
) -> Steps[tuple[list[T], str | None]]:
    """One page of a list, and where the next one begins; None: this is the last."""
    answer = yield from send(Call("GET", path, query=_given({"limit": PAGE, "cursor": cursor, **query})), retries)
    found = answer.json()
    return [read(kind, item) for item in found["items"]], found.get("next_cursor")


def all_pages(kind: type[T], path: str, retries: Retries) -> Steps[list[T]]:
    """A list that is seldom long, whole."""
    found, cursor = yield from page(kind, path, None, retries)
    while cursor is not None:
        more, cursor = yield from page(kind, path, cursor, retries)
        found += more
    return found


# --- users


def path_of(noun: str, one: str, tail: str = "") -> str:
    """The path of one user, image, job or webhook. What names none must not become the path of something else.

    Raises:
        InvalidInput: it is empty, or dots, which mean another folder in a path.
    """
    if one in ("", ".", ".."):
        raise InvalidInput(f"{one!r} names nothing in {noun}")
    return f"/v1/{noun}/{quote(one, safe='')}{tail}"


def user_path(user: str, tail: str = "") -> str:
    return path_of("users", user, tail)


def make_user(
    external_id: str, policy: Mapping[str, Any] | None, application: str | None, retries: Retries
) -> Steps[User]:
    body = _given({"external_id": external_id, "policy": policy, "application": application})
    return change(User, "POST", "/v1/users", body, retries)


def wait_until_trained(user: str, sequence: int | None, timeout_s: float, retries: Retries) -> Steps[User]:
    """Wait until a training has read the user's events up to `sequence`; None: up to the last one of now.

    Raises:
        NotInTime: it has not, after `timeout_s`.
    """
    ends_at = time.monotonic() + timeout_s
    found = yield from get(User, user_path(user), retries)
    wanted = found.feedback_sequence if sequence is None else sequence
    while found.trained_sequence < wanted:
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            due = f"due at {found.next_due_at} ({found.due_reason})" if found.due_reason else "not due"
            raise NotInTime(
                f"user {user!r} is trained up to event {found.trained_sequence}, not {wanted}, after {timeout_s:g} s; "
                f"{found.pending_feedback} events wait, {due}"
            )
        wait_s = round(min(WAIT_S, left_s), 2)
        started = time.monotonic()
        query = {"wait_for": wanted, "wait_s": wait_s}
        answer = yield from send(Call("GET", user_path(user), query=query, waits_s=wait_s), retries)
        found = read(User, answer.json())
        if found.trained_sequence < wanted and time.monotonic() - started < wait_s / 2:
            yield Pause(min(1.0, max(0.0, ends_at - time.monotonic())))  # too many wait with this key
    return found


# --- images


def upload(
    name: str,
    data: bytes,
    user: str | None,
    theme: str | None,
    application: str | None,
    external_id: str | None,
    retries: Retries,
) -> Steps[Image]:
    """Upload a file. The same file again gives the same image."""
    name = name.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # a file's name need not be UTF-8
    form = _given({"name": name, "user": user, "theme": theme, "application": application, "external_id": external_id})
    answer = yield from send(Call("POST", "/v1/images", file=(name, data), form=form), retries)
    return read(Image, answer.json())


# --- feedback


def event(user: str, kind: str, event_id: str | None, **content: Any) -> dict[str, Any]:
    """One event, with an id of its own unless the caller has one."""
    return _given({"event_id": event_id or f"client-{uuid4().hex}", "user": user, "kind": kind, **content})


def rating(
    user: str, image: str, value: float | Mapping[str, float], scale: tuple[float, float], event_id: str | None
) -> dict[str, Any]:
    """A rating; one number is that of aspect `beauty`."""
    ratings = dict(value) if isinstance(value, Mapping) else {"beauty": value}
    low, high = scale
    return event(user, "rating", event_id, image=image, ratings=ratings, scale={"min": low, "max": high})


def post_event(one: Mapping[str, Any], retries: Retries) -> Steps[Feedback]:
    answer = yield from send(Call("POST", "/v1/feedback", json=dict(one)), retries)
    return read(Feedback, answer.json())


def post_events(
    events: Iterable[Mapping[str, Any]], on_progress: Progress | None, retries: Retries
) -> Steps[FeedbackBatch]:
    """Post many events in order. An event without an id gets one, before it is sent for the first time."""
    all_events = [{"event_id": f"client-{uuid4().hex}", **one} for one in events]
    results: list[FeedbackItem] = []
    counts = dict.fromkeys(("accepted", "duplicates", "rejected"), 0)
    for start in range(0, len(all_events), BATCH_EVENTS):
        batch = all_events[start : start + BATCH_EVENTS]
        answer = yield from send(Call("POST", "/v1/feedback", json={"events": batch}), retries)
        found = answer.json()
        for name in counts:
            counts[name] += found[name]
        results += [read(FeedbackItem, {**item, "index": start + item["index"]}) for item in found["items"]]
        if on_progress is not None:
            on_progress(len(results), len(all_events))
    return FeedbackBatch(**counts, items=results)


# --- predictions


def predict(
    user: str, images: Sequence[str], wait_s: float, confidence: bool, receipts: bool, retries: Retries
) -> Steps[list[Prediction]]:
    """The scores of images, in their order; an image without features is pending, or failed."""
    found: list[Prediction] = []
    for start in range(0, len(images), BATCH_ITEMS):
        body = {
            "users": [user],
            "images": list(images[start : start + BATCH_ITEMS]),
            "wait_s": wait_s,
            "confidence": confidence,
            "receipts": receipts,
        }
        answer = yield from send(Call("POST", "/v1/predictions", json=body, waits_s=wait_s), retries)
        found += [read(Prediction, item) for item in answer.json()["items"]]
    return found


def score_columns(users: Sequence[str], images: Sequence[str], receipts: bool, retries: Retries) -> Steps[ScoreColumns]:
    """The scores of every user for every image, in one call of the compact form."""
    body = {"users": list(users), "images": list(images), "receipts": receipts, "compact": True}
    answer = yield from send(Call("POST", "/v1/predictions", json=body), retries)
    return read(ScoreColumns, answer.json())


def predict_all(
    user: str, images: Sequence[str], timeout_s: float, on_progress: Progress | None, retries: Retries
) -> Steps[list[Prediction]]:
    """The scores of images when none is pending any more. An image that cannot be scored is failed.

    Raises:
        NotInTime: some are pending after `timeout_s`.
    """
    ends_at = time.monotonic() + timeout_s
    done: dict[str, Prediction] = {}
    waiting = list(dict.fromkeys(images))
    total = len(waiting)
    while waiting:
        left_s = max(0.0, ends_at - time.monotonic())
        asked = waiting[:BATCH_ITEMS]
        found = yield from predict(user, asked, round(min(WAIT_S, left_s), 2), True, False, retries)
        new = {item.image_id: item for item in found if item.status != "pending"}
        done |= new
        waiting = [image for image in waiting if image not in new]
        if on_progress is not None:
            on_progress(len(done), total)
        if waiting and time.monotonic() >= ends_at:
            raise NotInTime(f"{len(waiting)} of {total} images have no features after {timeout_s:g} s")
        if waiting and not new:
            yield Pause(0.5)
    return [done[image] for image in images]


def ranking(body: Mapping[str, Any], retries: Retries) -> Steps[Ranking]:
    """The first images of a user's order."""
    answer = yield from send(Call("POST", "/v1/rankings", json=_given(body)), retries)
    return read(Ranking, answer.json())


def audience(body: Mapping[str, Any], retries: Retries) -> Steps[Audience]:
    """The scores of one image by many users."""
    answer = yield from send(Call("POST", "/v1/audiences", json=_given(body)), retries)
    return read(Audience, answer.json())


def content(path: str, retries: Retries, **query: Any) -> Steps[bytes]:
    """The bytes of a picture."""
    answer = yield from send(Call("GET", path, query=_given(query)), retries)
    return answer.content


# --- versions


def versions(user: str, retries: Retries) -> Steps[list[Version]]:
    return all_pages(Version, user_path(user, "/adapters"), retries)


def history(user: str, retries: Retries) -> Steps[list[HistoryEntry]]:
    return all_pages(HistoryEntry, user_path(user, "/history"), retries)


def rollback(
    user: str,
    to: int | Literal["base"] | None,
    reason: str,
    active: int | None,
    feedback: Literal["exclude", "keep"],
    idempotency_key: str | None,
    retries: Retries,
) -> Steps[PointerChange]:
    body = _given({"to": to, "active": active, "feedback": feedback, "reason": reason})
    return change(PointerChange, "POST", user_path(user, "/rollback"), body, retries, idempotency_key)


# --- jobs, keys, webhooks


def wait_for_job(job_id: str, timeout_s: float, retries: Retries) -> Steps[Job]:
    """Wait until a job has ended, one way or another.

    Raises:
        NotInTime: it has not, after `timeout_s`.
    """
    ends_at = time.monotonic() + timeout_s
    while True:
        found = yield from get(Job, path_of("jobs", job_id), retries)
        if found.state in ("succeeded", "dead", "cancelled"):
            return found
        if time.monotonic() >= ends_at:
            raise NotInTime(f"job {job_id} is {found.state} after {timeout_s:g} s")
        yield Pause(0.5)


def make_key(name: str, scope: str, application: str | None, user: str | None, retries: Retries) -> Steps[NewKey]:
    body = _given({"name": name, "scope": scope, "application": application, "user": user})
    return change(NewKey, "POST", "/v1/keys", body, retries)


def make_webhook(url: str, kinds: Sequence[str] | None, application: str | None, retries: Retries) -> Steps[NewWebhook]:
    body = _given({"url": url, "kinds": list(kinds) if kinds is not None else None, "application": application})
    return change(NewWebhook, "POST", "/v1/webhooks", body, retries)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that are None."""
    return {name: value for name, value in values.items() if value is not None}
