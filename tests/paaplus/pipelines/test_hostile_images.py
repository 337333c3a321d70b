"""Hostile files in the storage: each fails alone, the job ends, and other images get features."""

from __future__ import annotations

import pytest

from paaplus.db.tables.jobs import JobState
from paaplus.pipelines import context
from paaplus.pipelines.run_jobs import run_next
from paaplus.services.images import images
from tests.paaplus.pipelines.test_extract_features import ColourExtractor, deployment, extractor, features, jobs_of
from tests.support.deployment import Deployment
from tests.support.factories import make_image
from tests.support.hostile import encoded, hostile_images, noise

__all__ = ["deployment", "extractor"]  # fixtures

HARMLESS = {"too_small", "animated_png", "animated_webp"}  # the upload refuses them too


def test_hostile_files_in_storage_fail_alone(
    deployment: Deployment, extractor: ColourExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MIN_ROUND_S", 600.0)
    files = hostile_images() | {"good": encoded(noise(), "PNG")}
    with deployment.database.session() as session:
        ids = {
            name: make_image(session, sha256=deployment.blobs.put(data)).id
            for name, data in files.items()
            if data  # nothing has no blob
        }
        images.request_features(session, None, deployment.settings)
    assert run_next(deployment.context, ["cpu"])
    assert [job.state for job in jobs_of(deployment)] == [JobState.SUCCEEDED]
    found = features(deployment)
    assert found.keys() == set(ids.values())
    readable = {name for name, image_id in ids.items() if found[image_id].error is None}
    # the one decoder refuses animations, as uploads do: what is stored is always one still image
    assert readable == (HARMLESS - {"animated_png", "animated_webp"}) | {"good"}
    errors = [found[image_id].error or "" for name, image_id in ids.items() if name not in readable]
    assert all(error.startswith("InvalidInput: ") and len(error) < 1_000 for error in errors)
