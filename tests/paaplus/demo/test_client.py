"""The application's calls against a server of a few lines that answers as the API is documented."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from paaplus.demo import client as client_module
from paaplus.demo.client import Client
from paaplus.demo.failure import DemoFailed


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch) -> None:
    monkeypatch.setattr(client_module.time, "sleep", lambda _: None)


def client_of(answer: Callable[[httpx2.Request], Any]) -> Client:
    def handle(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == "Bearer paa_key"
        result = answer(request)
        return result if isinstance(result, httpx2.Response) else httpx2.Response(200, json=result)

    return Client("http://platform", "paa_key", transport=httpx2.MockTransport(handle))


def item(image: str, status: str) -> dict[str, Any]:
    return {"image_id": image, "status": status, "retry_after_s": 1 if status == "pending" else None}


def test_upload_gives_the_ids_by_file_name(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(name.encode())

    def answer(request):
        assert request.url.path == "/v1/images"
        return {"id": "id-of-a" if b'filename="a.jpg"' in request.read() else "id-of-b"}

    done: list[int] = []
    ids = client_of(answer).upload([tmp_path / "a.jpg", tmp_path / "b.jpg"], on_done=lambda: done.append(1))
    assert ids == {"a.jpg": "id-of-a", "b.jpg": "id-of-b"}
    assert len(done) == 2


def test_waiting_for_features_asks_again_about_what_is_pending_only():
    asked: list[list[str]] = []

    def answer(request):
        images = json.loads(request.read())["images"]
        asked.append(images)
        return {"items": [item(i, "pending" if i == "b" and len(asked) < 3 else "scored") for i in images]}

    progress: list[int] = []
    client_of(answer).wait_for_features("ada", ["a", "b", "c"], on_progress=progress.append)
    assert asked == [["a", "b", "c"], ["b"], ["b"]]
    assert progress == [2, 2, 3]


def test_an_image_that_can_never_be_scored_ends_the_wait():
    with pytest.raises(DemoFailed, match="1 of 2 predictions without scores"):
        client_of(lambda _: {"items": [item("a", "scored"), item("b", "failed")]}).wait_for_features(
            "ada", ["a", "b"], on_progress=lambda _: None
        )


def test_a_prediction_without_scores_is_a_failure_even_when_only_pending():
    with pytest.raises(DemoFailed, match="without scores"):
        client_of(lambda _: {"items": [item("a", "pending")]}).predict([("ada", "a")])


def test_feedback_goes_in_batches_and_every_event_must_be_accepted():
    sizes: list[int] = []

    def accept(request):
        sizes.append(len(json.loads(request.read())["events"]))
        return {"accepted": sizes[-1], "items": []}

    client_of(accept).post_feedback([{"event_id": str(n)} for n in range(2100)])
    assert sizes == [1000, 1000, 100]

    bad = {"accepted": 0, "items": [{"status": "rejected", "error": {"message": "no such image"}}]}
    with pytest.raises(DemoFailed, match=r"1 of 1 events were not accepted, the first: .*no such image"):
        client_of(lambda _: bad).post_feedback([{}])


def test_waiting_for_trainings_ends_when_nothing_is_pending_and_checks_in_between():
    pending = {"ada": [40, 40, 0], "bob": [40, 0]}
    trained: list[str] = []
    checks: list[int] = []

    def answer(request):
        return {"pending_feedback": pending[request.url.path.split("/")[-1]].pop(0)}

    client_of(answer).wait_until_trained(["ada", "bob"], trained.append, lambda: checks.append(1))
    assert trained == ["bob", "ada"]
    assert len(checks) == 3


def test_trainings_that_never_come_tell_the_last_errors_of_the_jobs(monkeypatch):
    monkeypatch.setattr(client_module, "MAX_WAIT_S", 0)

    def answer(request):
        if request.url.path == "/v1/jobs":
            return {"items": [{"kind": "adapt", "state": "dead", "last_error": "out of luck"}]}
        return {"pending_feedback": 40}

    with pytest.raises(DemoFailed, match=r"(?s)not trained within 0 s: ada\nadapt dead: out of luck"):
        client_of(answer).wait_until_trained(["ada"], lambda _: None, lambda: None)


def test_an_error_answer_is_told_with_request_and_body():
    with pytest.raises(DemoFailed, match=r"GET /v1/users/ada: 404 .*does not exist"):
        client_of(lambda _: httpx2.Response(404, json={"error": {"message": "ada does not exist"}})).get(
            "/v1/users/ada"
        )


@pytest.mark.parametrize(("num_busy", "goes_well"), [(3, True), (9, False)])
def test_an_unavailable_server_is_asked_again_for_a_while(num_busy, goes_well):
    answers = [httpx2.Response(503, text="busy")] * num_busy + [{"id": "ada"}]
    client = client_of(lambda _: answers.pop(0))
    if goes_well:
        assert client.get("/v1/users/ada") == {"id": "ada"}
    else:
        with pytest.raises(DemoFailed, match="503 busy"):
            client.get("/v1/users/ada")


def test_a_server_that_is_away_is_a_failure():
    def refuse(request):
        raise httpx2.ConnectError("refused")

    with pytest.raises(DemoFailed, match="ConnectError: refused"):
        client_of(refuse).get("/v1/users/ada")


def test_many_predictions_are_asked_for_in_batches_and_come_back_in_order(monkeypatch):
    monkeypatch.setattr(client_module, "MAX_ITEMS", 2)

    def answer(request):
        return {"items": [item(asked["image"], "scored") for asked in json.loads(request.read())["items"]]}

    wanted = [("ada", image) for image in "abcde"]
    assert [i["image_id"] for i in client_of(answer).predict(wanted)] == list("abcde")
