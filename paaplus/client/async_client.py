"""`AsyncClient`: the API for asyncio; the same methods as `Client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx2

from paaplus.client import operations, ranking, transport
from paaplus.client.answers import (
    Audience,
    Delivery,
    Feedback,
    FeedbackBatch,
    HistoryEntry,
    Image,
    Job,
    NewKey,
    NewWebhook,
    PointerChange,
    Prediction,
    Preference,
    Ranking,
    ScoreColumns,
    User,
    UserEvent,
    Version,
    Webhook,
)
from paaplus.client.calls import AGAIN, Answer, Call, Lost, NotReached, Pause, RequestFailed, Retries, Steps, failure
from paaplus.client.event_stream import EventReader
from paaplus.client.operations import TIMEOUT_S, Progress, user_path
from paaplus.client.ranking import Place

T = TypeVar("T")
Refused = Callable[[Path, RequestFailed], None]


class AsyncClient:
    """Calls with one API key. Tasks may share it. Use it as an asynchronous context, or `close` it.

    Every act is safe to repeat, and is repeated by itself when no answer comes. A refusal raises `RequestFailed` with
    the platform's code; no answer at all raises `NotReached`; what is waited for in vain raises `NotInTime`.

    Args:
        url: of the server, for example http://127.0.0.1:8000.
        key: of an application, a user or an admin; its scope says what it may do.
        timeout_s: of one request.
        retries: how often a request is sent again.
        http_transport: another way to send requests, for tests.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = transport.TIMEOUT_S,
        retries: Retries | None = None,
        http_transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout_s, self._retries = timeout_s, retries or Retries()
        self._http = httpx2.AsyncClient(**transport.options(url, key, timeout_s), transport=http_transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _run(self, steps: Steps[T]) -> T:
        """Carry out the steps of an act."""
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._do(step))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: Call | Pause) -> Answer | Lost:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return Lost("a pause")
        try:
            response = await self._http.request(step.method, step.path, **transport.arguments(step, self._timeout_s))
        except httpx2.HTTPError as error:
            return transport.lost(error)
        return transport.answered(response)

    # --- users

    async def make_user(
        self, external_id: str, *, policy: Mapping[str, Any] | None = None, application: str | None = None
    ) -> User:
        """Create a user. An existing user is returned unchanged. `application` is needed with an admin key only."""
        return await self._run(operations.make_user(external_id, policy, application, self._retries))

    async def user(self, user: str) -> User:
        """One user, by external id or by the platform's id."""
        return await self._run(operations.get(User, user_path(user), self._retries))

    def users(self) -> AsyncIterator[User]:
        """All users of the key, newest first, read page by page."""
        return self._pages(User, "/v1/users")

    async def set_policy(self, user: str, policy: Mapping[str, Any]) -> User:
        """Replace the user's overrides of the training policy."""
        return await self._run(operations.change(User, "PUT", user_path(user, "/policy"), dict(policy), self._retries))

    async def erase_user(self, user: str) -> None:
        """Erase a user with everything that was learned. This cannot be undone."""
        await self._run(operations.remove(user_path(user), self._retries))

    async def wait_until_trained(self, user: str, sequence: int | None = None, *, timeout_s: float = TIMEOUT_S) -> User:
        """Wait until a training has read the user's events up to `sequence`; None: up to the last one of now.

        Raises:
            NotInTime: it has not. A user with too few new events is not due yet: see `due_reason`.
        """
        return await self._run(operations.wait_until_trained(user, sequence, timeout_s, self._retries))

    async def events(self, user: str, *, after: str | None = None) -> AsyncIterator[UserEvent]:
        """What happens to the user, as it happens, without end. A broken connection goes on where it ended.

        Args:
            user: whose events.
            after: id of the last event that was seen; None: from now on.
        """
        reader, tries = EventReader(after), 0
        call = Call("GET", user_path(user, "/events"))
        while True:
            try:
                async with self._http.stream(call.method, call.path, headers=reader.start()) as response:
                    if response.status_code >= 400:
                        await response.aread()
                    else:
                        async for line in response.aiter_lines():
                            tries = 0
                            if (event := reader.take(line)) is not None:
                                yield event
                answer: Answer | Lost = transport.answered(response) if response.status_code >= 400 else Lost("ended")
            except httpx2.HTTPError as error:
                answer = transport.lost(error)
            pause_s = self._retries.pause_s(tries, answer)
            if isinstance(answer, Answer) and (pause_s is None or answer.status not in AGAIN):
                raise failure(call, answer)
            if pause_s is None:
                raise NotReached(f"events of {user!r}: no stream after {tries} tries")
            await asyncio.sleep(pause_s)
            tries += 1

    # --- images

    async def upload(
        self,
        file: Path | str | bytes,
        *,
        name: str | None = None,
        user: str | None = None,
        theme: str | None = None,
        application: str | None = None,
        external_id: str | None = None,
    ) -> Image:
        """Upload one image: a path, or the bytes of a file. Without `user` it is shared by the application's users.

        `name` may be a path; None: the name of the file. `external_id` is the application's own id of the image.
        """
        data = file if isinstance(file, bytes) else await asyncio.to_thread(Path(file).read_bytes)
        name = name or ("image" if isinstance(file, bytes) else Path(file).name)
        return await self._run(operations.upload(name, data, user, theme, application, external_id, self._retries))

    async def upload_folder(
        self,
        folder: Path | str,
        *,
        user: str | None = None,
        application: str | None = None,
        on_progress: Progress | None = None,
        on_refused: Refused | None = None,
    ) -> dict[Path, Image]:
        """Upload the images of a folder, with those in folders below; several at once.

        Args:
            folder: where the files are.
            user: who owns the images; None: the application.
            application: needed with an admin key only.
            on_progress: called with the numbers of files that are done, and of all.
            on_refused: called for a file that the server refuses; None: that raises `RequestFailed`.

        Returns:
            Images by path, in order of the paths.
        """
        files = await asyncio.to_thread(ranking.image_files, Path(folder))
        name_of = partial(ranking.name_in, Path(folder))
        turns = asyncio.Semaphore(transport.UPLOADS_AT_ONCE)
        num_done = 0

        async def one(file: Path) -> Image | None:
            nonlocal num_done
            async with turns:
                image: Image | None = None
                try:
                    image = await self.upload(file, name=name_of(file), user=user, application=application)
                except RequestFailed as error:
                    if on_refused is None or error.status not in (400, 413, 415, 422):
                        raise
                    on_refused(file, error)
            num_done += 1
            if on_progress is not None:
                on_progress(num_done, len(files))
            return image

        tasks = [asyncio.create_task(one(file)) for file in files]
        try:
            images = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return {file: image for file, image in zip(files, images, strict=True) if image is not None}

    async def image(self, image: str) -> Image:
        """One image, without its bytes."""
        return await self._run(operations.get(Image, operations.path_of("images", image), self._retries))

    def images(self, *, theme: str | None = None) -> AsyncIterator[Image]:
        """Images that the key may see, newest first, read page by page."""
        return self._pages(Image, "/v1/images", theme=theme)

    async def content(self, image: str) -> bytes:
        """The picture as it is stored."""
        return await self._run(operations.content(operations.path_of("images", image, "/content"), self._retries))

    async def thumbnail(self, image: str, *, size: int = 256) -> bytes:
        """A small picture, as JPEG."""
        path = operations.path_of("images", image, "/thumbnail")
        return await self._run(operations.content(path, self._retries, size=size))

    async def remove_image(self, image: str) -> None:
        """Delete an image about which no feedback is."""
        await self._run(operations.remove(operations.path_of("images", image), self._retries))

    # --- feedback

    async def rate(
        self,
        user: str,
        image: str,
        value: float | Mapping[str, float],
        *,
        scale: tuple[float, float] = (0, 10),
        event_id: str | None = None,
    ) -> Feedback:
        """Post a rating: one number (of aspect `beauty`), or a number by aspect, on the person's own scale."""
        return await self._run(
            operations.post_event(operations.rating(user, image, value, scale, event_id), self._retries)
        )

    async def compare(
        self,
        user: str,
        first: str,
        second: str,
        preference: Preference,
        *,
        aspect: str = "beauty",
        event_id: str | None = None,
    ) -> Feedback:
        """Post which of two images the user prefers."""
        answer = {"image": first, "other_image": second, "preference": {aspect: preference}}
        return await self._run(
            operations.post_event(operations.event(user, "comparison", event_id, **answer), self._retries)
        )

    async def like(self, user: str, image: str, liked: bool = True, *, event_id: str | None = None) -> Feedback:
        """Post that the user likes an image, or dislikes it."""
        event = operations.event(user, "binary", event_id, image=image, liked=liked)
        return await self._run(operations.post_event(event, self._retries))

    async def retract(self, user: str, retracts: str, *, event_id: str | None = None) -> Feedback:
        """Take an earlier event back, named by its `event_id`."""
        event = operations.event(user, "retraction", event_id, retracts=retracts)
        return await self._run(operations.post_event(event, self._retries))

    async def post_events(
        self, events: Iterable[Mapping[str, Any]], *, on_progress: Progress | None = None
    ) -> FeedbackBatch:
        """Post many events, as the API names their fields. Each is accepted or rejected alone: see `items`."""
        return await self._run(operations.post_events(events, on_progress, self._retries))

    # --- predictions

    async def predict(
        self,
        user: str,
        images: Sequence[str],
        *,
        wait_s: float = 0.0,
        confidence: bool = False,
        receipts: bool = True,
    ) -> list[Prediction]:
        """Scores of images for the user, in their order. What has no features yet is pending."""
        return await self._run(operations.predict(user, images, wait_s, confidence, receipts, self._retries))

    async def score_columns(
        self, users: Sequence[str], images: Sequence[str], *, receipts: bool = True
    ) -> ScoreColumns:
        """Scores of every user for every image, as columns: for many images, a twentieth of the bytes. One call."""
        return await self._run(operations.score_columns(users, images, receipts, self._retries))

    async def rank(
        self,
        user: str,
        images: Path | str | Iterable[str],
        *,
        top: int | None = None,
        aspect: str | None = None,
        owner: str | None = None,
        timeout_s: float = TIMEOUT_S,
        on_progress: Progress | None = None,
        on_refused: Refused | None = None,
    ) -> list[Place]:
        """Images in the user's order, the best first, each with its place in everybody's order.

        Args:
            user: whose order.
            images: a folder, whose images are uploaded (the server knows files that it has); or ids of images.
            top: the first so many; None: all.
            aspect: by which they are ordered; None: the base model's first one.
            owner: who owns the uploaded images; None: `user`.
            timeout_s: longest wait for features.
            on_progress: called with the numbers of what is done and of all: first of files, then of images scored.
            on_refused: called for a file that the server refuses; None: that raises `RequestFailed`.

        Raises:
            NotInTime: images were pending after `timeout_s`.
        """
        files: dict[str, Path] = {}
        if isinstance(images, Path | str):
            uploaded = await self.upload_folder(
                images, user=owner or user, on_progress=on_progress, on_refused=on_refused
            )
            files = {image.id: file for file, image in reversed(uploaded.items())}
            images = [image.id for image in uploaded.values()]
        wanted = list(dict.fromkeys(images))
        found = await self._run(operations.predict_all(user, wanted, timeout_s, on_progress, self._retries))
        return ranking.places(found, files, aspect, top)

    async def ranking(
        self,
        user: str,
        images: Sequence[str] | None = None,
        *,
        theme: str | None = None,
        name_prefix: str | None = None,
        aspect: str | None = None,
        top: int = 20,
        only_unrated: bool = False,
        diverse: bool = False,
    ) -> Ranking:
        """The first images of the user's order among those that the server has; None: all that the user may see.

        Args:
            user: whose order.
            images: ids, of the platform or the application's own.
            theme: only images with this tag; not together with `images`.
            name_prefix: only images whose name begins so; not together with `images`.
            aspect: by which they are ordered; None: the base model's first one.
            top: how many.
            only_unrated: leave out what the user has rated or liked.
            diverse: choose images that are also unlike each other.
        """
        body = {
            "user": user,
            "images": list(images) if images is not None else None,
            "theme": theme,
            "name_prefix": name_prefix,
            "aspect": aspect,
            "top": top,
            "only_unrated": only_unrated,
            "diverse": diverse,
        }
        return await self._run(operations.ranking(body, self._retries))

    async def audience(
        self,
        image: str,
        users: Sequence[str] | None = None,
        *,
        top: int | None = None,
        aspect: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Audience:
        """Scores of one image by users of its application; None: by all, page by page (`next_cursor`). Needs an
        application or admin key.

        Args:
            image: its id.
            users: only these, in this order.
            top: only the users with the highest scores, so many, the highest first.
            aspect: what `top` goes by; None: the base model's first one.
            limit: users of a page; None: as many as the server allows.
            cursor: `next_cursor` of the page before.
        """
        body = {
            "image": image,
            "users": list(users) if users is not None else None,
            "top": top,
            "aspect": aspect,
            "limit": limit,
            "cursor": cursor,
        }
        return await self._run(operations.audience(body, self._retries))

    # --- versions

    async def versions(self, user: str) -> list[Version]:
        """All versions of the user's adapter, newest first."""
        return await self._run(operations.versions(user, self._retries))

    async def version(self, user: str, number: int) -> Version:
        """One version, with its metrics and the gate's report."""
        return await self._run(operations.get(Version, user_path(user, f"/adapters/{number}"), self._retries))

    async def history(self, user: str) -> list[HistoryEntry]:
        """Every change of the active version, newest first."""
        return await self._run(operations.history(user, self._retries))

    async def rollback(
        self,
        user: str,
        *,
        reason: str,
        to: int | Literal["base"] | None = None,
        active: int | None = None,
        feedback: Literal["exclude", "keep"] = "exclude",
        idempotency_key: str | None = None,
    ) -> PointerChange:
        """Serve an earlier version again; `base`: the base model; None: the version before. Needs an admin key."""
        steps = operations.rollback(user, to, reason, active, feedback, idempotency_key, self._retries)
        return await self._run(steps)

    # --- jobs, keys, webhooks

    def jobs(self, *, user: str | None = None, state: str | None = None) -> AsyncIterator[Job]:
        """Jobs, newest first, read page by page."""
        return self._pages(Job, "/v1/jobs", user=user, state=state)

    async def wait_for_job(self, job_id: str, *, timeout_s: float = TIMEOUT_S) -> Job:
        """Wait until a job has succeeded, or was given up (`dead`) or cancelled.

        Raises:
            NotInTime: it has not ended.
        """
        return await self._run(operations.wait_for_job(job_id, timeout_s, self._retries))

    async def make_key(
        self, name: str, scope: str, *, application: str | None = None, user: str | None = None
    ) -> NewKey:
        """Create an API key. Needs an admin key. If its answer is lost, it raises a conflict: the secret is gone."""
        return await self._run(operations.make_key(name, scope, application, user, self._retries))

    async def make_webhook(
        self, url: str, *, kinds: Sequence[str] | None = None, application: str | None = None
    ) -> NewWebhook:
        """Have an address told of events; None: of all kinds. `secret` is for `paaplus.client.verify`."""
        return await self._run(operations.make_webhook(url, kinds, application, self._retries))

    def webhooks(self) -> AsyncIterator[Webhook]:
        """The webhooks of the key's application, newest first."""
        return self._pages(Webhook, "/v1/webhooks")

    async def enable_webhook(self, webhook: str) -> Webhook:
        """Enable a webhook that was disabled after too many failures."""
        path = operations.path_of("webhooks", webhook, "/enable")
        return await self._run(operations.change(Webhook, "POST", path, None, self._retries))

    async def disable_webhook(self, webhook: str) -> Webhook:
        """Send nothing to a webhook until it is enabled."""
        path = operations.path_of("webhooks", webhook, "/disable")
        return await self._run(operations.change(Webhook, "POST", path, None, self._retries))

    def deliveries(self, webhook: str) -> AsyncIterator[Delivery]:
        """What was posted to a webhook, and what waits, with the errors; newest first."""
        return self._pages(Delivery, operations.path_of("webhooks", webhook, "/deliveries"))

    async def remove_webhook(self, webhook: str) -> None:
        """Delete a webhook. What was not delivered is dropped."""
        await self._run(operations.remove(operations.path_of("webhooks", webhook), self._retries))

    # --- everything else

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """A request that has no method here, for example `call("GET", "/v1/surveys")`; returns the answer's JSON.

        One that changes something is sent with an `Idempotency-Key`, so it is safe to be sent again, too.

        Args:
            method: of HTTP.
            path: begins with `/v1/`.
            body: JSON.
            query: of the address; what is None is left out.
        """
        return await self._run(operations.call(method, path, body, query, self._retries))

    async def _pages(self, kind: type[T], path: str, **query: Any) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            found, cursor = await self._run(operations.page(kind, path, cursor, self._retries, **query))
            for item in found:
                yield item
            if cursor is None:
                return
