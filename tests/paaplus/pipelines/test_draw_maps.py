"""Maps of images: drawn once by a worker, kept by version, seen by whom the image concerns."""

from __future__ import annotations

import io
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from PIL import Image

from paaplus.db.engine import Database
from paaplus.db.tables import ImageMapRow, ImageRow, JobRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.errors import InvalidInput, NotFound
from paaplus.models.siblings import load
from paaplus.models.siblings.exposure_net import ExposureNet
from paaplus.services.images import maps, uploads
from paaplus.services.operations import erasures
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings
from paaplus.tools.maps import ToolMap, to_npy, to_png
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION, make_user
from tests.support.siblings import with_weights

TOOL = "exposure_map"


@pytest.fixture
def deployment(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """With a small network's file in the folder of weights."""

    def small() -> ExposureNet:
        return ExposureNet(channels=4, hidden=2)

    monkeypatch.setitem(load.RECIPES, TOOL, load.Recipe(small))
    folder = settings.home / "weights"
    folder.mkdir(parents=True)
    torch.save(with_weights(small()).state_dict(), folder / "exposure_map.pth")
    return Deployment(database, settings, num_images=0)


def upload(deployment: Deployment, shade: int, size: tuple[int, int] = (32, 24), **options: object) -> ImageRow:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 255 - shade)).save(file, "PNG")
    return uploads.add(
        deployment.database,
        deployment.blobs,
        deployment.settings,
        application=APPLICATION,
        data=file.getvalue(),
        **options,  # type: ignore[arg-type]
    ).row


def ask(deployment: Deployment, image_id: UUID, tool: str = TOOL) -> ToolMap | UUID:
    return maps.get_or_request(deployment.database, OPERATOR, image_id, tool, deployment.settings)


def forget_features(deployment: Deployment) -> None:
    with deployment.database.session() as session:
        session.execute(sa.delete(JobRow).where(JobRow.kind == JobKind.EXTRACT_FEATURES))


def test_map_is_drawn_once_and_is_the_same_bytes_every_time(deployment: Deployment) -> None:
    image = upload(deployment, 100)
    forget_features(deployment)
    job_id = ask(deployment, image.id)
    assert ask(deployment, image.id) == job_id  # who asks twice waits for the same job
    assert deployment.work() == 1
    first, again = ask(deployment, image.id), ask(deployment, image.id)
    assert isinstance(first, ToolMap)
    assert isinstance(again, ToolMap)
    assert (to_npy(first), to_png(first)) == (to_npy(again), to_png(again))
    assert first.values_HW.shape == (256, 256)
    assert (first.low, first.high) == (-0.5, 0.5)
    picture = Image.open(io.BytesIO(to_png(first)))
    assert picture.size == (256, 256)
    assert "too dark" in picture.info["Description"]
    tool = load.load_tool(deployment.settings.home, TOOL)
    with deployment.database.read_session() as session:
        [row] = session.execute(sa.select(ImageMapRow)).scalars()
    assert (row.tool, row.tool_version) == (TOOL, tool.version)


def test_delivered_twice_it_is_drawn_once(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    image = upload(deployment, 100)
    forget_features(deployment)
    ask(deployment, image.id)
    deployment.work()
    with deployment.database.session() as session:
        session.execute(sa.update(JobRow).values(state=JobState.QUEUED, lease_token=None, finished_at=None))
    monkeypatch.setattr("paaplus.pipelines.draw_maps._draw", None)  # would be called, and fail
    assert deployment.work() == 1
    with deployment.database.read_session() as session:
        assert session.execute(sa.select(JobRow.state)).scalars().all() == [JobState.SUCCEEDED]


def test_image_that_the_tool_refuses_has_that_for_an_answer(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = upload(deployment, 100)
    forget_features(deployment)

    def broken(*_: object) -> torch.Tensor:
        return torch.full((1, 1, 256, 256), float("nan"))

    monkeypatch.setattr(ExposureNet, "forward", broken)
    ask(deployment, image.id)
    deployment.work()
    with pytest.raises(InvalidInput, match=r"has no map of image .* not finite"):
        ask(deployment, image.id)


def test_what_cannot_be_drawn_is_refused_at_once(deployment: Deployment) -> None:
    image = upload(deployment, 100)
    with pytest.raises(InvalidInput, match="draws no maps; those that do: exposure_map"):
        ask(deployment, image.id, "generic")
    with pytest.raises(NotFound):
        ask(deployment, UUID(int=1))
    (deployment.settings.home / "weights" / "exposure_map.pth").unlink()
    with pytest.raises(InvalidInput, match="needs wavelet_epoch_2"):
        ask(deployment, image.id)


def test_another_file_is_another_version_with_maps_of_its_own(deployment: Deployment) -> None:
    image = upload(deployment, 100)
    forget_features(deployment)
    ask(deployment, image.id)
    deployment.work()
    before = ask(deployment, image.id)
    file = deployment.settings.home / "weights" / "exposure_map.pth"
    torch.save(with_weights(ExposureNet(channels=4, hidden=2), seed=1).state_dict(), file)
    assert isinstance(ask(deployment, image.id), UUID)
    deployment.work()
    after = ask(deployment, image.id)
    assert isinstance(before, ToolMap)
    assert isinstance(after, ToolMap)
    assert not np.array_equal(before.values_HW, after.values_HW)


def test_maps_go_with_their_owner(deployment: Deployment) -> None:
    with deployment.database.session() as session:
        owner = make_user(session).id
    image = upload(deployment, 100, owner_id=owner)
    forget_features(deployment)
    ask(deployment, image.id)
    deployment.work()
    with deployment.database.session() as session:
        url = deployment.settings.resolved_erasures_url
        erasures.erase(session, deployment.blobs, owner, actor="test", erasures_url=url)
    with deployment.database.read_session() as session:
        assert session.execute(sa.select(ImageMapRow)).first() is None
