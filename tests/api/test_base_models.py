"""Base models over HTTP."""

from __future__ import annotations

from paaplus.services.registry import base_models
from tests.api.conftest import World
from tests.support.tiny import tiny_base


def test_base_models_are_listed_newest_first(world: World) -> None:
    with world.database.session() as session:
        base_models.register(session, world.context.blobs, tiny_base(seed=1), {}, {"srcc": 0.5})
    listed = world.user.get("/v1/base-models").json()["items"]
    assert [(item["name"], item["version"], item["digest"]) for item in listed] == [
        ("tiny", 2, tiny_base(seed=1).digest),
        ("tiny", 1, world.base.digest),
    ]
    assert (listed[0]["aspects"], listed[0]["metrics"], listed[0]["feature_dim"]) == (["beauty"], {"srcc": 0.5}, 12)
