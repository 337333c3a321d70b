"""Jobs over HTTP: everybody sees their own."""

from __future__ import annotations

from uuid import uuid4

from paaplus.db.tables.jobs import JobKind, JobState
from tests.api.conftest import World
from tests.support.factories import APPLICATION, make_job, make_run


def test_each_key_lists_what_concerns_it(world: World) -> None:
    with world.database.session() as session:
        of = {
            name: make_job(session, user_id=user_id, state=JobState.SUCCEEDED).id
            for name, user_id in [("ada", world.ada), ("bob", world.bob), ("eve", world.eve), ("nobody", None)]
        }
    expected = {"admin": set(of), "application": {"ada", "bob"}, "other": {"eve"}, "user": {"ada"}}
    for caller, names in expected.items():
        listed = world.callers[caller].get("/v1/jobs").json()["items"]
        assert {job["id"] for job in listed} == {str(of[name]) for name in names}
    filtered = world.application.get("/v1/jobs", user="bob").json()["items"]
    assert [job["id"] for job in filtered] == [str(of["bob"])]
    assert world.user.get("/v1/jobs", user="bob").status_code == 404
    assert world.admin.get("/v1/jobs", user="other-app/eve").json()["items"][0]["id"] == str(of["eve"])


def test_jobs_are_filtered_by_state_and_come_in_pages(world: World) -> None:
    with world.database.session() as session:
        dead = [make_job(session, user_id=world.ada, state=JobState.DEAD).id for _ in range(3)]
        make_job(session, user_id=world.ada, state=JobState.QUEUED)
    page = world.user.get("/v1/jobs", state="dead", limit=2).json()
    rest = world.user.get("/v1/jobs", state="dead", limit=2, cursor=page["next_cursor"]).json()
    assert [job["id"] for job in page["items"] + rest["items"]] == [str(job_id) for job_id in reversed(dead)]
    assert rest["next_cursor"] is None
    assert world.user.get("/v1/jobs", state="asleep").status_code == 422


def test_job_tells_its_progress_its_error_and_what_came_of_it(world: World) -> None:
    with world.database.session() as session:
        job = make_job(
            session, user_id=world.ada, state=JobState.RUNNING, progress_done=3, progress_total=9, last_error="slow"
        ).id
        make_run(session, user_id=world.ada, base_model_id=world.base_row.id, job_id=job)
    body = world.user.get(f"/v1/jobs/{job}").json()
    assert (body["progress"], body["last_error"]) == ({"done": 3, "total": 9}, "slow")
    assert (body["run"]["outcome"], body["run"]["job_id"]) == ("promoted", str(job))


def test_extraction_concerns_everybody_but_its_errors_do_not(world: World) -> None:
    """It works on images of all applications: how far it is may be seen, whose image broke may not."""
    with world.database.session() as session:
        job = make_job(session, kind=JobKind.EXTRACT_FEATURES, state=JobState.DEAD, last_error="image 17 of eve").id
    for caller, error in [("admin", "image 17 of eve"), ("application", None), ("user", None), ("other", None)]:
        assert world.callers[caller].get(f"/v1/jobs/{job}").json()["last_error"] == error


def test_images_that_could_not_be_labelled_are_told_to_the_application_that_asked(world: World) -> None:
    image = str(world.images[0])
    payload = {"application": APPLICATION, "tools": ["sharpness"], "image_ids": None, "num_errors": 3,
               "errors": {f"sharpness {image}": "NotFound: no such file"}}  # fmt: skip
    with world.database.session() as session:
        job = make_job(session, kind=JobKind.LABEL_IMAGES, payload=payload, state=JobState.DEAD, last_error="broken").id
    told = [{"tool": "sharpness", "image_id": image, "error": "NotFound: no such file"}]
    for caller in ("admin", "application"):
        body = world.callers[caller].get(f"/v1/jobs/{job}").json()
        assert (body["image_errors"], body["num_image_errors"], body["last_error"]) == (told, 3, "broken")
    for caller in ("user", "other"):
        body = world.callers[caller].get(f"/v1/jobs/{job}").json()
        assert (body["image_errors"], body["num_image_errors"], body["last_error"]) == ([], 0, None)


def test_job_of_somebody_else_does_not_exist(world: World) -> None:
    with world.database.session() as session:
        job = make_job(session, user_id=world.bob).id
    assert world.user.get(f"/v1/jobs/{job}").status_code == 404
    assert world.other.get(f"/v1/jobs/{job}").status_code == 404
    assert world.application.get(f"/v1/jobs/{job}").status_code == 200
    assert world.admin.get(f"/v1/jobs/{uuid4()}").status_code == 404
