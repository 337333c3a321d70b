"""Deleted images: their files go, feedback about them stays as events, and nothing learns from those any more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import Conflict, NotFound, Unavailable
from paaplus.image_files import decode_image
from paaplus.services.feedback import feedback_log, intake
from paaplus.services.feedback.counted_events import trained_up_to
from paaplus.services.images import deletions, thumbnails, uploads
from paaplus.services.operations import erasures
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings
from tests.api.conftest import jpeg
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings, num_images=60)


def delete(deployment: Deployment, image: int, *, with_feedback: bool = True) -> int:
    with deployment.database.session() as session:
        return deletions.delete(
            session, deployment.blobs, OPERATOR, deployment.images[image], with_feedback=with_feedback, actor="test"
        )


def log_of(deployment: Deployment, user_id: object) -> feedback_log.FeedbackLog:
    with deployment.database.read_session() as session:
        return feedback_log.read(session, session.get_one(UserRow, user_id), "key")


@pytest.mark.slow
def test_version_that_was_trained_on_a_deleted_image_is_trained_again_without_it(deployment: Deployment) -> None:
    anna, ben, cleo = (deployment.add_user(name) for name in ("anna", "ben", "cleo"))
    for user in (anna, ben):
        deployment.rate(user, range(40))
    deployment.rate(cleo, range(1, 41))
    deployment.work()
    assert deployment.active(anna).number == 1
    deployment.retract(ben, "r0")
    assert delete(deployment, 0) == 1, "ben's event was retracted before, cleo has none"
    log = log_of(deployment, anna)
    assert (log.deleted, log.retractions, log.head) == (frozenset({1}), {1: 41}, 41)
    assert log.is_tainted(trained_up_to(deployment.active(anna)))
    assert deployment.user(anna).due_reason == "taken_back"
    assert deployment.user(cleo).due_reason is None
    before = deployment.active(cleo).digest
    deployment.work()
    assert deployment.active(anna).number == 2
    assert not log_of(deployment, anna).is_tainted(trained_up_to(deployment.active(anna)))
    assert deployment.user(anna).due_reason is None
    assert deployment.active(cleo).digest == before
    for user in (anna, ben):  # whatever else they say, goes on
        deployment.rate(user, range(40, 60))
    deployment.work()
    assert 1 not in log_of(deployment, anna).trained(trained_up_to(deployment.active(anna)))


def test_image_that_somebody_has_rated_is_not_deleted_by_the_way(deployment: Deployment) -> None:
    anna, ben = deployment.add_user("anna"), deployment.add_user("ben")
    deployment.rate(anna, range(3))
    deployment.rate(ben, range(1))
    with pytest.raises(Conflict, match=r"2 events of feedback by 2 user\(s\)"):
        delete(deployment, 0, with_feedback=False)
    assert log_of(deployment, anna).retractions == {}
    assert delete(deployment, 59, with_feedback=False) == 0
    with pytest.raises(NotFound):
        delete(deployment, 59)


def test_comparison_with_a_deleted_image_counts_no_more(deployment: Deployment) -> None:
    anna = deployment.add_user("anna", min_new_feedback=1)
    for n, (first, second) in enumerate(((0, 1), (2, 0), (1, 2))):
        event = intake.NewEvent(
            index=0,
            user_id=anna,
            event_id=f"c{n}",
            kind=FeedbackKind.COMPARISON,
            image_id=deployment.images[first],
            other_image_id=deployment.images[second],
            payload={"preference": {deployment.base.aspects[0]: "first"}},
        )
        deployment.post(event)
    assert delete(deployment, 0) == 2
    log = log_of(deployment, anna)
    assert (log.deleted, [each.sequence for each in log.latest_comparisons()]) == (frozenset({1, 2}), [3])
    assert log.image_ids() == {deployment.images[1], deployment.images[2]}
    deployment.work()  # drift and training read the log too


def test_rating_and_deleting_at_once_leave_a_whole_log(deployment: Deployment) -> None:
    """Every rating was taken and retracted, or refused; no transaction waits for ever."""
    people = [deployment.add_user(f"user-{n}") for n in range(4)]

    def rate(user_id: object) -> None:
        for image in range(4):
            events = [
                deployment.rating(user_id, f"r{image}", image, 5.0),
                deployment.rating(user_id, f"x{image}", 50, 5.0),
            ]
            try:
                with deployment.database.session() as session:
                    intake.append(session, APPLICATION, events, source="test", settings=deployment.settings)
            except sa.exc.IntegrityError:
                continue  # the image went between the check and the insert: the writer tries again, one by one

    def delete_all() -> None:
        for image in range(4):
            while True:
                try:
                    delete(deployment, image)
                    break
                except Unavailable:
                    continue

    with ThreadPoolExecutor(5) as threads:
        for result in [threads.submit(delete_all), *(threads.submit(rate, user) for user in people)]:
            result.result(timeout=60)
    with deployment.database.read_session() as session:
        rows = (
            session.execute(sa.select(FeedbackRow).order_by(FeedbackRow.user_id, FeedbackRow.sequence)).scalars().all()
        )
        users = {row.id: row.feedback_sequence for row in session.execute(sa.select(UserRow)).scalars()}
    for user_id, head in users.items():
        own = [row for row in rows if row.user_id == user_id]
        assert [row.sequence for row in own] == list(range(1, head + 1))
        retracted = [row.retracts_sequence for row in own if row.kind == FeedbackKind.RETRACTION]
        assert sorted(retracted) == [row.sequence for row in own if row.event_id.startswith("r")]


def test_deleting_and_uploading_the_same_picture_at_once_never_loses_its_file(deployment: Deployment) -> None:
    def add(owner: object = None) -> ImageRow:
        return uploads.add(
            deployment.database,
            deployment.blobs,
            deployment.settings,
            application=APPLICATION,
            data=jpeg(20),
            owner_id=owner,
        ).row

    for n in range(6):
        first, user = add(), deployment.add_user(f"user-{n}")

        def remove(image: ImageRow = first) -> None:
            with deployment.database.session() as session:
                deletions.delete(session, deployment.blobs, OPERATOR, image.id, with_feedback=False, actor="test")

        with ThreadPoolExecutor(2) as threads:
            removed, added = threads.submit(remove), threads.submit(add, user)
            removed.result()
            assert deployment.blobs.exists(added.result().sha256)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_thumbnail_is_made_once_shows_the_image_and_goes_with_its_user(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = deployment.add_user("anna")
    store = deployment.database, deployment.blobs, deployment.settings
    row = uploads.add(*store, application=APPLICATION, data=jpeg(200, (500, 250)), owner_id=anna).row
    made = thumbnails.get(*store, row, 128)
    picture = decode_image(made.data)
    assert (picture.size, made.media_type) == ((128, 64), "image/jpeg")
    assert np.abs(np.asarray(picture, int).mean((0, 1)) - (200, 100, 100)).max() < 4
    monkeypatch.setattr(thumbnails, "decode_image", None)
    assert thumbnails.get(*store, row, 128) == made, "kept"
    assert thumbnails.find(deployment.blobs, row, 256) is None
    with deployment.database.session() as session:
        erasures.erase(session, deployment.blobs, anna, actor="test", erasures_url=(tmp_path / "erasures").as_uri())
    assert thumbnails.find(deployment.blobs, row, 128) is None
    monkeypatch.undo()
    monkeypatch.setattr(deployment.blobs, "get", lambda _sha256: jpeg(200, (500, 250)))
    with pytest.raises(NotFound):  # the user was erased while it was decoded: nothing of the picture is kept
        thumbnails.get(*store, row, 128)
    assert thumbnails.find(deployment.blobs, row, 128) is None
