"""The gate's optional rule: a candidate that ordinary filters fool more easily than its parent is refused."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from paaplus.db.engine import Database
from paaplus.errors import Unavailable
from paaplus.pipelines import robustness
from paaplus.services.images import uploads
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION, make_features
from tests.support.tiny import FEATURE_DIM

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


class MeanColour:
    """An extractor: an image's mean colour, as the features of the tests' base model."""

    name = "mean colour"
    digest = "e" * 64

    def __init__(self) -> None:
        self.num_images = 0

    def extract(self, pictures: list[Image.Image]) -> np.ndarray:
        self.num_images += len(pictures)
        colours = [np.asarray(one, np.float64).mean((0, 1)) / 25.5 - 5.0 for one in pictures]
        return np.stack([np.tile(one, FEATURE_DIM // 3) for one in colours]).astype(np.float16)


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def add_photographs(deployment: Deployment, count: int) -> None:
    for seed in range(count):
        pixels, file = np.random.default_rng(seed).integers(60, 190, (24, 24, 3), np.uint8), BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        added = uploads.add(
            deployment.database, deployment.blobs, deployment.settings, application=APPLICATION, data=file.getvalue()
        )
        with deployment.database.session() as session:
            digest, data = deployment.base.extractor_digest, bytes(2 * FEATURE_DIM)
            make_features(session, image_id=added.row.id, extractor_digest=digest, data=data)


def gate_of(deployment: Deployment, name: str, **gate: float) -> tuple[bool, dict[str, dict[str, object]]]:
    """Whether the first version of a user with this policy went live, and its checks of robustness."""
    user = deployment.add_user(name, gate=gate)
    deployment.rate(user, range(40))
    deployment.work()
    [version] = deployment.versions(user)
    checks = {each["name"]: each for each in version.gate_report["checks"] if each["name"].startswith("robustness")}
    return deployment.active(user) is not None, checks


def test_a_candidate_that_is_fooled_more_is_refused_where_the_policy_says_so(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = MeanColour()
    monkeypatch.setattr(robustness, "cached_extractor", lambda *_: extractor)
    monkeypatch.setattr(robustness, "NUM_IMAGES", 1000)  # those without a file, too, which are left out
    add_photographs(deployment, 3)
    assert gate_of(deployment, "off") == (True, {})
    assert not extractor.num_images
    live, checks = gate_of(deployment, "loose", robustness_budget=0.05, max_rasr_rise=100.0, max_msi_rise=10.0)
    assert live
    assert set(checks) == {"robustness_rasr", "robustness_msi"}
    assert checks["robustness_msi"]["value"] > 0.1
    scored = extractor.num_images
    assert 3 * 5 < scored <= 3 * 13  # an image and its edits
    live, checks = gate_of(deployment, "strict", robustness_budget=0.05, max_rasr_rise=100.0, max_msi_rise=0.1)
    assert not live
    assert not checks["robustness_msi"]["passed"]
    assert "points more than before (allowed: 0.1 more)" in checks["robustness_msi"]["detail"]
    assert extractor.num_images == scored  # edited once for all users


def test_without_an_image_or_an_extractor_the_rule_refuses_nobody(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_extractor(*_: object) -> MeanColour:
        raise Unavailable("no weights")

    for name, load in (("no image", lambda *_: MeanColour()), ("no extractor", no_extractor)):
        monkeypatch.setattr(robustness, "cached_extractor", load)
        live, checks = gate_of(deployment, name, robustness_budget=0.05, max_msi_rise=0.0)
        assert live
        assert checks["robustness"]["value"] is None
        assert "not tested" in checks["robustness"]["detail"]
