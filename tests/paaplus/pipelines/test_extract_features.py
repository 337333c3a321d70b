"""The feature extraction job: every image once, in batches, with broken files, deletions and interruptions."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow, ImageRow, JobRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.types import utcnow
from paaplus.errors import Unavailable
from paaplus.pipelines import context, extract_features, extraction_plan
from paaplus.pipelines.extraction_plan import ExtractionPlan, PlannedImage, all_missing
from paaplus.pipelines.run_jobs import run_next
from paaplus.queue import jobs
from paaplus.services.images import images, uploads
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION, make_image, make_user
from tests.support.tiny import FEATURE_DIM


class ColourExtractor:
    """A small extractor: mean colours, repeated. It counts its images."""

    name = "colour"
    feature_dim = FEATURE_DIM

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.batch_sizes: list[int] = []

    def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.batch_sizes.append(len(images))
        means = [np.asarray(image, np.float32).mean((0, 1)) / 255 for image in images]
        return np.tile(np.stack(means), FEATURE_DIM // 3).astype(np.float16)


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings.model_copy(update={"features_batch_size": 4}), num_images=0)


@pytest.fixture
def extractor(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> ColourExtractor:
    extractor = ColourExtractor(deployment.base.extractor_digest)
    monkeypatch.setattr(extract_features, "cached_extractor", lambda *_: extractor)
    return extractor


def upload(deployment: Deployment, shade: int, application: str = APPLICATION) -> ImageRow:
    file = io.BytesIO()
    Image.new("RGB", (32, 24), (shade, 0, 255 - shade)).save(file, "PNG")
    added = uploads.add(
        deployment.database, deployment.blobs, deployment.settings, application=application, data=file.getvalue()
    )
    return added.row


def features(deployment: Deployment) -> dict[object, FeaturesRow]:
    with deployment.database.read_session() as session:
        return {row.image_id: row for row in session.execute(sa.select(FeaturesRow)).scalars()}


def jobs_of(deployment: Deployment) -> list[JobRow]:
    with deployment.database.read_session() as session:
        return list(session.execute(sa.select(JobRow).order_by(JobRow.id)).scalars())


def test_uploads_make_one_job_that_extracts_them_in_batches(deployment: Deployment, extractor: ColourExtractor) -> None:
    rows = [upload(deployment, shade) for shade in range(0, 250, 25)]
    assert len(jobs_of(deployment)) == 1
    assert deployment.work() == 1
    assert extractor.batch_sizes == [4, 4, 2]
    found = features(deployment)
    assert set(found) == {row.id for row in rows}
    first = np.frombuffer(found[rows[2].id].data, np.float16)
    assert np.allclose(first[:3], [50 / 255, 0, 205 / 255], atol=1e-3)
    job = jobs_of(deployment)[0]
    assert (job.state, job.progress_done, job.progress_total) == (JobState.SUCCEEDED, 10, 10)


def test_images_are_extracted_once(deployment: Deployment, extractor: ColourExtractor) -> None:
    upload(deployment, 1)
    deployment.work()
    upload(deployment, 1)  # the same file again
    assert deployment.work() == 0
    upload(deployment, 2)
    deployment.work()
    assert extractor.batch_sizes == [1, 1]


def test_extractors_own_reason_is_stored_when_it_refuses_an_image(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnlyBlue(ColourExtractor):
        def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
            red_B = np.array([image.getpixel((0, 0))[0] > 100 for image in images])
            return np.where(red_B[:, None], np.float16(np.nan), super().extract(images))

        def explain(self, image: Image.Image) -> str:
            return "no_person: 0 people were found"

    refusing = OnlyBlue(extractor.digest)
    monkeypatch.setattr(extract_features, "cached_extractor", lambda *_: refusing)
    blue, red = upload(deployment, 1), upload(deployment, 200)
    deployment.work()
    found = features(deployment)
    assert (found[red.id].data, found[red.id].error) == (None, "no_person: 0 people were found")
    assert found[blue.id].error is None


def test_broken_file_gets_an_error_and_does_not_stop_the_others(
    deployment: Deployment, extractor: ColourExtractor
) -> None:
    good = upload(deployment, 1)
    with deployment.database.session() as session:
        lost = make_image(session).id  # a row whose blob is gone
    deployment.work()
    found = features(deployment)
    assert found[good.id].error is None
    assert found[lost].data is None
    assert "NotFound" in found[lost].error
    with deployment.database.read_session() as session:
        states = images.feature_states(session, [good.id, lost], deployment.settings)
    assert (states[good.id].state, states[lost].state) == ("ready", "failed")


def test_extractor_of_another_digest_is_refused(deployment: Deployment, extractor: ColourExtractor) -> None:
    upload(deployment, 1)
    extractor.digest = "f" * 64
    deployment.work()
    job = jobs_of(deployment)[0]
    assert job.state == JobState.DEAD
    assert "has digest ffff" in job.last_error
    assert features(deployment) == {}


def test_image_deleted_during_the_extraction_is_left_out(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed, kept = upload(deployment, 1), upload(deployment, 2)
    extract = extractor.extract

    def extract_while_deleting(batch: Sequence[Image.Image]) -> np.ndarray:
        with deployment.database.session() as session:
            session.execute(sa.delete(ImageRow).where(ImageRow.id == doomed.id))
        return extract(batch)

    monkeypatch.setattr(extractor, "extract", extract_while_deleting)
    deployment.work()
    assert set(features(deployment)) == {kept.id}


def test_worker_told_to_stop_keeps_what_is_done_and_gives_the_rest_back(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shade in range(6):
        upload(deployment, shade)
    extract = extractor.extract

    def extract_then_stop(batch: Sequence[Image.Image]) -> np.ndarray:
        deployment.context.stopping.set()
        return extract(batch)

    monkeypatch.setattr(extractor, "extract", extract_then_stop)
    run_next(deployment.context, ["cpu"])
    assert len(features(deployment)) == 4
    assert [(j.state, j.attempts) for j in jobs_of(deployment)] == [(JobState.QUEUED, 0)]
    deployment.context.stopping.clear()
    deployment.work()
    assert len(features(deployment)) == 6


def test_damaged_blob_fails_its_image_alone(deployment: Deployment, extractor: ColourExtractor) -> None:
    damaged, *good = [upload(deployment, shade) for shade in range(6)]
    folder = deployment.settings.home / "blobs" / damaged.sha256[:2]
    (folder / damaged.sha256).write_bytes(b"rotten")
    deployment.work()
    found = features(deployment)
    assert (found[damaged.id].data, "hash to" in found[damaged.id].error) == (None, True)
    assert all(found[row.id].data for row in good)
    assert jobs_of(deployment)[0].state == JobState.SUCCEEDED


@pytest.mark.parametrize("application", [APPLICATION, "another-app"])
def test_upload_of_the_same_pixels_repairs_a_damaged_blob_for_every_image(
    deployment: Deployment, extractor: ColourExtractor, application: str
) -> None:
    first = upload(deployment, 1)
    path = deployment.settings.home / "blobs" / first.sha256[:2] / first.sha256
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    deployment.work()
    assert features(deployment)[first.id].error
    again = upload(deployment, 1, application=application)
    assert path.read_bytes() == good
    assert (again.id == first.id) == (application == APPLICATION)
    deployment.work()
    found = features(deployment)
    assert found[first.id].data == found[again.id].data is not None
    assert found[first.id].error is None


def test_lack_of_memory_fails_no_picture_for_good(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [upload(deployment, shade) for shade in range(0, 120, 20)]
    too_large = {0}  # the picture at this place does not fit, alone or in a batch
    extract = extractor.extract

    def extract_within_memory(batch: Sequence[Image.Image]) -> np.ndarray:
        if len(batch) > 2 or (too_large and np.asarray(batch[0])[0, 0, 0] == 0):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory") if len(batch) > 2 else MemoryError
        return extract(batch)

    monkeypatch.setattr(extractor, "extract", extract_within_memory)
    run_next(deployment.context, ["cpu"])
    found = features(deployment)
    assert set(found) == {row.id for row in rows[1:]}, "all others are done"
    assert all(row.data and row.error is None for row in found.values())
    [job] = jobs_of(deployment)
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert "not enough memory for 1 images" in str(job.last_error)
    too_large.clear()
    with deployment.database.session() as session:
        jobs.run_sooner(session, job.id, reason="test", priority=1)
    deployment.work()
    assert features(deployment)[rows[0].id].data


def test_other_errors_of_an_extractor_are_no_lack_of_memory(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Sequence[Image.Image]) -> np.ndarray:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    upload(deployment, 1)
    monkeypatch.setattr(extractor, "extract", broken)
    run_next(deployment.context, ["cpu"])
    assert "shapes cannot be multiplied" in str(jobs_of(deployment)[0].last_error)


def test_extraction_is_fair_between_applications_and_users(deployment: Deployment, extractor: ColourExtractor) -> None:
    """Whoever uploads many pictures waits for them; the next picture of everybody else comes first."""
    with deployment.database.session() as session:
        many = [make_image(session).id for _ in range(20)]
        ada, bob = make_user(session).id, make_user(session).id
        adas = [make_image(session, owner_id=ada).id for _ in range(3)]
        bobs = make_image(session, owner_id=bob).id
        others = make_image(session, application="other-app").id
        order = [image.id for image in all_missing(session, extractor.digest, 10)]
        assert [image.id for image in ExtractionPlan(extractor.digest).next_batch(session, 10, ())] == order
    assert order[:2] == [many[0], others], "one of each application"
    assert order[2:5] == [adas[0], bobs, many[1]], "then one of each owner"
    assert order[5] == adas[1]


def test_a_plan_gives_newcomers_their_turn_and_leaves_out_what_is_done_or_deleted(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction_plan, "NEWCOMERS_S", -1.0)
    looks: list[int] = []

    def look_at_all(*args: Any) -> list[PlannedImage]:
        looks.append(1)
        return all_missing(*args)

    monkeypatch.setattr(extraction_plan, "all_missing", look_at_all)
    with deployment.database.session() as session:
        many = [make_image(session).id for _ in range(6)]
    plan = ExtractionPlan(extractor.digest)

    def next_batch(size: int = 2, without: Collection[UUID] = ()) -> list[UUID]:
        with deployment.database.read_session() as session:
            return [image.id for image in plan.next_batch(session, size, without)]

    assert next_batch() == many[:2]
    with deployment.database.session() as session:
        session.execute(sa.delete(ImageRow).where(ImageRow.id == many[2]))
        for image_id in (many[0], many[1], many[3]):  # the last one by another worker
            session.add(FeaturesRow(extractor_digest=extractor.digest, image_id=image_id, created_at=utcnow()))
        adas = make_image(session, owner_id=make_user(session).id).id
    monkeypatch.setattr(extraction_plan, "NEWCOMERS_S", 1e9)
    assert next_batch(3) == [adas], "what waited is done or deleted"
    assert next_batch(without={many[4]}) == [many[5]]
    assert looks == [1], "newcomers are found without ordering all again"
    assert sorted(next_batch(9)) == [many[4], many[5], adas], "nothing that is still missing is lost"


def test_a_plan_is_made_anew_after_a_while_and_after_a_failure(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deployment.database.session() as session:
        first = [make_image(session).id for _ in range(3)]
        plan = ExtractionPlan(extractor.digest)
        assert [image.id for image in plan.next_batch(session, 1, ())] == first[:1]
        plan.forget()
        assert [image.id for image in plan.next_batch(session, 1, ())] == first[:1]
        monkeypatch.setattr(extraction_plan, "PLAN_S", -1.0)
        plan.forget()
        assert [[image.id for image in plan.next_batch(session, 1, ())] for _ in range(2)] == [first[:1]] * 2


def test_a_failed_batch_comes_again_first(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [upload(deployment, colour) for colour in (1, 90, 200)]
    deployment.context.settings.features_batch_size = 1

    def away(_store: BlobStore, sha256: str) -> bytes:
        raise Unavailable(f"storage cannot read blob {sha256}: connection refused")

    with monkeypatch.context() as outage:
        outage.setattr(BlobStore, "get", away)
        run_next(deployment.context, ["cpu"])
    plan = deployment.context.extraction_plan(extractor.digest)
    with deployment.database.read_session() as session:
        assert [image.id for image in plan.next_batch(session, 1, ())] == [rows[0].id]


def test_storage_outage_gives_no_image_an_error(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_store: BlobStore, sha256: str) -> bytes:
        raise Unavailable(f"storage cannot read blob {sha256}: connection refused")

    upload(deployment, 1)
    with monkeypatch.context() as outage:
        outage.setattr(BlobStore, "get", away)
        run_next(deployment.context, ["cpu"])
    job = jobs_of(deployment)[0]
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert "connection refused" in job.last_error
    assert features(deployment) == {}


def test_image_whose_features_are_not_finite_fails_alone(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = upload(deployment, 1), upload(deployment, 200)
    extract = extractor.extract

    def extract_one_badly(batch: Sequence[Image.Image]) -> np.ndarray:
        features_BD = extract(batch)
        features_BD[1, 3:5] = np.nan, np.inf
        return features_BD

    monkeypatch.setattr(extractor, "extract", extract_one_badly)
    deployment.work()
    found = features(deployment)
    assert found[good.id].data is not None
    assert found[bad.id].data is None
    assert found[bad.id].error == f"2 of its {FEATURE_DIM} features are not finite"


def test_other_jobs_run_between_the_rounds_of_a_long_import(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MIN_ROUND_S", 0.0)
    monkeypatch.setattr(context, "ROUND_SCAN_INTERVALS", 0)
    for shade in range(10):
        upload(deployment, shade)
    import_id = jobs_of(deployment)[0].id
    with deployment.database.session() as session:  # became ready after the import
        other_id = jobs.enqueue(
            session,
            JobKind.EXTRACT_FEATURES,
            "other",
            queue="cpu",
            reason="test",
            max_attempts=1,
            payload=jobs_of(deployment)[0].payload,
            priority=jobs_of(deployment)[0].priority,
        )
    seen = []
    for _ in range(2):
        assert run_next(deployment.context, ["cpu"])
        states = {job.id: job for job in jobs_of(deployment)}
        seen.append([(states[i].state, states[i].attempts, states[i].progress_done) for i in (import_id, other_id)])
    assert seen[0] == [(JobState.QUEUED, 0, 4), (JobState.QUEUED, 0, 0)]
    assert seen[1] == [(JobState.QUEUED, 0, 4), (JobState.QUEUED, 0, 4)]
    deployment.work()
    assert {job.state for job in jobs_of(deployment)} == {JobState.SUCCEEDED}
    assert len(features(deployment)) == 10


def test_progress_continues_from_the_last_round(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MIN_ROUND_S", 0.0)
    monkeypatch.setattr(context, "ROUND_SCAN_INTERVALS", 0)
    for shade in range(10):
        upload(deployment, shade)
    progress = []
    while run_next(deployment.context, ["cpu"]):
        (job,) = jobs_of(deployment)
        progress.append((job.progress_done, job.progress_total))
    assert progress == [(4, 10), (8, 10), (10, 10), (10, 10)]
    assert job.state == JobState.SUCCEEDED
