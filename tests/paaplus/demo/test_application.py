"""What the demo adds to the client, against a server of a few lines that answers as the API is documented."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from paaplus.client import NotReached, RequestFailed, Retries
from paaplus.demo import application as application_module
from paaplus.demo.application import Application
from paaplus.demo.failure import DemoFailed
from tests.support.answers import event_item, image_of, job_of, prediction_of, user_of


def application_of(answer: Callable[[httpx2.Request], Any], limit: int = 6) -> Application:
    def handle(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == "Bearer paa_key"
        result = answer(request)
        return result if isinstance(result, httpx2.Response) else httpx2.Response(200, json=result)

    retries = Retries(limit=limit, base_s=0.001)
    return Application("http://platform", "paa_key", retries=retries, http_transport=httpx2.MockTransport(handle))


def test_upload_gives_the_ids_by_file_name(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(name.encode())

    def answer(request):
        assert request.url.path == "/v1/images"
        return image_of("id-of-a" if b'filename="a.jpg"' in request.read() else "id-of-b")

    done: list[int] = []
    ids = application_of(answer).upload_files([tmp_path / "a.jpg", tmp_path / "b.jpg"], on_done=lambda: done.append(1))
    assert ids == {"a.jpg": "id-of-a", "b.jpg": "id-of-b"}
    assert len(done) == 2


def test_waiting_for_features_asks_again_about_what_is_pending_only():
    asked: list[list[str]] = []

    def answer(request):
        images = json.loads(request.read())["images"]
        asked.append(images)
        return {"items": [prediction_of(i, "pending" if i == "b" and len(asked) < 3 else "scored") for i in images]}

    progress: list[int] = []
    application_of(answer).wait_for_features("ada", ["a", "b", "c"], on_progress=progress.append)
    assert asked == [["a", "b", "c"], ["b"], ["b"]]
    assert progress == [2, 2, 3]


def test_an_image_that_can_never_be_scored_ends_the_wait():
    with pytest.raises(DemoFailed, match="1 of 2 images have no scores"):
        application_of(
            lambda _: {"items": [prediction_of("a", "scored"), prediction_of("b", "failed")]}
        ).wait_for_features("ada", ["a", "b"], on_progress=lambda _: None)


def test_a_prediction_without_scores_is_a_failure_even_when_only_pending():
    with pytest.raises(DemoFailed, match="without scores"):
        application_of(lambda _: {"items": [prediction_of("a", "pending")]}).scores("ada", ["a"])


def test_every_event_must_be_accepted():
    bad = {"accepted": 0, "duplicates": 0, "rejected": 1, "items": [event_item("rejected", "no such image")]}
    with pytest.raises(DemoFailed, match=r"1 of 1 events were not accepted, the first: .*no such image"):
        application_of(lambda _: bad).post_all([{"event_id": "e"}])
    good = {"accepted": 1, "duplicates": 0, "rejected": 0, "items": [event_item("accepted")]}
    application_of(lambda _: good).post_all([{"event_id": "e"}])


def test_waiting_for_trainings_ends_when_nothing_is_pending_and_checks_in_between(monkeypatch):
    monkeypatch.setattr(application_module, "_TURN_S", 0.0)
    trained_up_to = {"ada": [0, 0, 40], "bob": [0, 40]}
    trained: list[str] = []
    checks: list[int] = []

    def answer(request):
        user = request.url.path.split("/")[-1]
        return user_of(user, feedback=40, trained=trained_up_to[user].pop(0))

    application_of(answer).wait_until_all_trained(["ada", "bob"], trained.append, lambda: checks.append(1))
    assert trained == ["ada", "bob"]
    assert len(checks) == 3


def test_trainings_that_never_come_tell_the_last_errors_of_the_jobs(monkeypatch):
    monkeypatch.setattr(application_module, "MAX_WAIT_S", 0)
    monkeypatch.setattr(application_module, "_TURN_S", 0.0)

    def answer(request):
        if request.url.path == "/v1/jobs":
            return {"items": [{"kind": "adapt", "state": "dead", "last_error": "out of luck"}]}
        return user_of("ada", feedback=40, trained=0)

    with pytest.raises(DemoFailed, match=r"(?s)not trained within 0 s: ada\nadapt dead: out of luck"):
        application_of(answer).wait_until_all_trained(["ada"], lambda _: None, lambda: None)


def test_a_job_that_was_given_up_is_a_failure_with_its_error():
    with pytest.raises(DemoFailed, match="job j is dead: out of luck"):
        application_of(lambda _: job_of("j", "dead", "out of luck")).wait_for_success("j", lambda: None)
    application_of(lambda _: job_of("j", "succeeded")).wait_for_success("j", lambda: None)


def test_refusals_and_silence_are_errors_of_the_client():
    missing = httpx2.Response(404, json={"error": {"code": "not_found", "message": "ada does not exist"}})
    with pytest.raises(RequestFailed, match="ada does not exist"):
        application_of(lambda _: missing).user("ada")

    def refuse(_request):
        raise httpx2.ConnectError("refused")

    with pytest.raises(NotReached, match="ConnectError: refused"):
        application_of(refuse, limit=1).user("ada")
