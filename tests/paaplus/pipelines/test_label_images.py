"""The labelling job: every image once per tool and version, with broken images and interruptions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image
from safetensors.numpy import save_file
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import ImageRow, JobRow, PseudoLabelRow
from paaplus.db.tables.jobs import JobState
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.pipelines import context, label_images
from paaplus.pipelines.run_jobs import run_next
from paaplus.services.images import uploads
from paaplus.services.reviews import pseudo_labels
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from paaplus.tools import registry
from paaplus.tools.pixels import PixelTool
from paaplus.tools.tool import Judgement, ToolImage
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION, make_features, make_image, make_user
from tests.support.tiny import FEATURE_DIM


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings.model_copy(update={"features_batch_size": 4}), num_images=0)


def upload(deployment: Deployment, shade: int, **options: object) -> ImageRow:
    """An image that has features."""
    file = io.BytesIO()
    Image.new("RGB", (32, 24), (shade, 0, 255 - shade)).save(file, "PNG")
    row = uploads.add(
        deployment.database,
        deployment.blobs,
        deployment.settings,
        application=APPLICATION,
        data=file.getvalue(),
        **options,  # type: ignore[arg-type]
    ).row
    give_features(deployment, row.id, np.full(FEATURE_DIM, shade / 255, np.float16).tobytes())
    with deployment.database.session() as session:
        session.execute(sa.delete(JobRow))
    return row


def give_features(deployment: Deployment, image_id: UUID, data: bytes | None, error: str | None = None) -> None:
    with deployment.database.session() as session:
        make_features(
            session,
            image_id=image_id,
            extractor_digest=deployment.base.extractor_digest,
            data=data,
            error=error,
        )


def ask(deployment: Deployment, *tools: str, image_ids: list[UUID] | None = None) -> UUID:
    with deployment.database.session() as session:
        return pseudo_labels.request(
            session, application=APPLICATION, tools=tools, image_ids=image_ids, settings=deployment.settings
        )


def labels(deployment: Deployment) -> dict[tuple[UUID, str], PseudoLabelRow]:
    with deployment.database.read_session() as session:
        return {(row.image_id, row.tool): row for row in session.execute(sa.select(PseudoLabelRow)).scalars()}


def job(deployment: Deployment, job_id: UUID) -> JobRow:
    with deployment.database.read_session() as session:
        return session.get_one(JobRow, job_id)


def test_every_image_is_labelled_once_by_every_tool(deployment: Deployment) -> None:
    rows = [upload(deployment, shade) for shade in range(0, 250, 40)]
    job_id = ask(deployment, "generic", "exposure")
    assert deployment.work() == 1
    found = labels(deployment)
    assert set(found) == {(row.id, tool) for row in rows for tool in ("generic", "exposure")}
    generic = deployment.base.generic(deployment.base.project(np.full((1, FEATURE_DIM), 80 / 255, np.float16)))
    assert found[rows[2].id, "generic"].scores == {"beauty": pytest.approx(float(generic[0, 0]))}
    assert found[rows[0].id, "exposure"].tool_version == "1"
    done = job(deployment, job_id)
    assert (done.state, done.progress_done, done.progress_total) == (JobState.SUCCEEDED, 14, 14)
    ids = {row.id for row in found.values()}
    upload(deployment, 7)
    ask(deployment, "generic", "exposure")
    deployment.work()
    assert len(labels(deployment)) == 16
    assert ids < {row.id for row in labels(deployment).values()}  # earlier labels are still there


def test_same_request_is_one_job_and_another_request_is_another(deployment: Deployment) -> None:
    row = upload(deployment, 1)
    first = ask(deployment, "exposure", "contrast")
    assert ask(deployment, "contrast", "exposure") == first
    assert ask(deployment, "contrast") != first
    assert ask(deployment, "contrast", "exposure", image_ids=[row.id]) != first


def test_only_images_asked_about_are_labelled_and_those_of_one_user_only_by_name(deployment: Deployment) -> None:
    with deployment.database.session() as session:
        user_id = make_user(session).id
        foreign = make_image(session, application="other").id
    mine, other = upload(deployment, 1, owner_id=user_id), upload(deployment, 2)
    ask(deployment, "contrast")
    deployment.work()
    assert {image_id for image_id, _ in labels(deployment)} == {other.id}
    ask(deployment, "contrast", image_ids=[mine.id])
    deployment.work()
    assert {image_id for image_id, _ in labels(deployment)} == {other.id, mine.id}
    with pytest.raises(NotFound, match=str(foreign)):
        ask(deployment, "contrast", image_ids=[foreign, mine.id])


def test_broken_images_have_an_error_each_and_the_others_are_labelled(deployment: Deployment) -> None:
    good, damaged, bad_features = (upload(deployment, shade) for shade in (1, 60, 120))
    (deployment.settings.home / "blobs" / damaged.sha256[:2] / damaged.sha256).write_bytes(b"rotten")
    with deployment.database.session() as session:
        lost = make_image(session).id  # a row whose blob is gone
        session.execute(
            sa.text("update features set data = NULL, error = 'no person' where image_id = :i").bindparams(
                sa.bindparam("i", bad_features.id, sa.Uuid)
            )
        )
    give_features(deployment, lost, np.zeros(FEATURE_DIM, np.float16).tobytes())
    job_id = ask(deployment, "exposure", "generic")
    deployment.work()
    assert set(labels(deployment)) == {
        (good.id, "exposure"), (bad_features.id, "exposure"),
        (good.id, "generic"), (damaged.id, "generic"), (lost, "generic"),
    }  # fmt: skip
    done = job(deployment, job_id)
    assert done.state == JobState.SUCCEEDED
    errors = done.payload["errors"]
    assert set(errors) == {f"exposure {damaged.id}", f"exposure {lost}", f"generic {bad_features.id}"}
    assert "no person" in errors[f"generic {bad_features.id}"]
    assert "NotFound" in errors[f"exposure {lost}"]


def test_image_that_a_tool_refuses_affects_no_other_in_its_batch(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [upload(deployment, shade) for shade in (1, 60, 120)]

    class Picky(PixelTool):
        def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
            if any(one.image is not None and one.image.getpixel((0, 0))[0] == 60 for one in images):
                raise InvalidInput("not this one")
            return super().score(images)

    monkeypatch.setitem(registry.AI_TOOLS, "picky", lambda _: Picky("picky", "1", lambda _: (5.0, 1.0)))
    job_id = ask(deployment, "picky")
    deployment.work()
    assert {image_id for image_id, _ in labels(deployment)} == {rows[0].id, rows[2].id}
    assert job(deployment, job_id).payload["errors"] == {f"picky {rows[1].id}": "InvalidInput: not this one"}


def test_tools_wait_for_features_without_counting_the_attempt(deployment: Deployment) -> None:
    early = upload(deployment, 1)
    with deployment.database.session() as session:
        late = make_image(session).id
    job_id = ask(deployment, "generic")
    assert run_next(deployment.context, ["cpu"])
    waiting = job(deployment, job_id)
    assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 0)
    assert "1 labels wait for features" in (waiting.last_error or "")
    assert set(labels(deployment)) == {(early.id, "generic")}
    with deployment.database.read_session() as session:
        kinds = set(session.execute(sa.select(JobRow.kind)).scalars())
    assert "extract_features" in kinds
    give_features(deployment, late, np.zeros(FEATURE_DIM, np.float16).tobytes())
    with deployment.database.session() as session:
        session.execute(sa.update(JobRow).where(JobRow.id == job_id).values(run_after=sa.func.now()))
        session.execute(sa.delete(JobRow).where(JobRow.id != job_id))
    run_next(deployment.context, ["cpu"])
    assert set(labels(deployment)) == {(early.id, "generic"), (late, "generic")}
    assert job(deployment, job_id).state == JobState.SUCCEEDED


def test_worker_told_to_stop_keeps_what_is_done_and_gives_the_rest_back(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shade in range(6):
        upload(deployment, 20 * shade)
    store = pseudo_labels.store

    def store_then_stop(*args: object) -> object:
        deployment.context.stopping.set()
        return store(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(label_images.pseudo_labels, "store", store_then_stop)
    job_id = ask(deployment, "contrast")
    run_next(deployment.context, ["cpu"])
    assert len(labels(deployment)) == 4
    assert (job(deployment, job_id).state, job(deployment, job_id).attempts) == (JobState.QUEUED, 0)
    deployment.context.stopping.clear()
    deployment.work()
    assert len(labels(deployment)) == 6


def test_long_labelling_returns_to_the_queue_between_rounds(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MIN_ROUND_S", 0.0)
    monkeypatch.setattr(context, "ROUND_SCAN_INTERVALS", 0)
    for shade in range(10):
        upload(deployment, 20 * shade)
    job_id = ask(deployment, "contrast")
    progress = []
    while run_next(deployment.context, ["cpu"]):
        progress.append((job(deployment, job_id).progress_done, job(deployment, job_id).attempts))
    assert progress == [(4, 0), (8, 0), (10, 1)]


def test_storage_outage_gives_no_image_an_error(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_store: BlobStore, sha256: str) -> bytes:
        raise Unavailable(f"storage cannot read blob {sha256}: connection refused")

    upload(deployment, 1)
    job_id = ask(deployment, "exposure")
    with monkeypatch.context() as outage:
        outage.setattr(BlobStore, "get", away)
        run_next(deployment.context, ["cpu"])
    failed = job(deployment, job_id)
    assert (failed.state, failed.attempts) == (JobState.QUEUED, 1)
    assert "errors" not in failed.payload
    assert labels(deployment) == {}


def test_nima_head_on_the_base_models_features_labels_its_own_aspect(deployment: Deployment) -> None:
    row = upload(deployment, 90)
    file = deployment.settings.home / "head.safetensors"
    weight_ND = np.random.default_rng(0).normal(size=(10, FEATURE_DIM)).astype(np.float32)
    save_file({"weight": weight_ND, "bias": np.zeros(10, np.float32)}, file)
    settings = deployment.settings.model_copy(update={"nima_file": file})
    deployment.settings = deployment.context.settings = settings
    ask(deployment, "nima")
    deployment.work()
    label = labels(deployment)[row.id, "nima"]
    logit_N = weight_ND.astype(float) @ np.full(FEATURE_DIM, 90 / 255, np.float16).astype(float)
    share_N = np.exp(logit_N) / np.exp(logit_N).sum()
    assert label.scores["aesthetics"] == pytest.approx((share_N @ np.arange(1, 11) - 1) * 10 / 9)


def test_tools_that_cannot_run_here_are_refused_at_once(deployment: Deployment) -> None:
    for tools, message in (
        (("nonsense",), "'nonsense' does not exist; known: generic"),
        (("nima",), "PAAPLUS_NIMA_FILE"),
        (("precomputed",), "cannot be run"),
        ((), "one or more, none twice"),
        (("contrast", "contrast"), "none twice"),
    ):
        with pytest.raises(InvalidInput, match=message):
            ask(deployment, *tools)


def test_label_that_another_worker_stored_first_stays(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    row = upload(deployment, 90)
    store = pseudo_labels.store

    def store_after_another(session: Session, tool: str, version: str, labels: dict[UUID, Judgement]) -> object:
        store(session, tool, version, {row.id: Judgement({"contrast": 1.25}, {"contrast": 1.0})})
        return store(session, tool, version, labels)

    monkeypatch.setattr(label_images.pseudo_labels, "store", store_after_another)
    job_id = ask(deployment, "contrast")
    deployment.work()
    assert job(deployment, job_id).state == JobState.SUCCEEDED
    assert labels(deployment)[row.id, "contrast"].scores == {"contrast": 1.25}
