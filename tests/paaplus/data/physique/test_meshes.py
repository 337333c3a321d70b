from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paaplus.data.physique import meshes
from paaplus.data.physique.meshes import CachedBody, MeshStore, convert_cache, write_meshes
from paaplus.errors import InvalidInput


class _Explodes:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('the pickle was run')",)


def _body(seed: int = 0) -> CachedBody:
    rng = np.random.default_rng(seed)
    return CachedBody(rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 224, (15, 2)).astype(np.float32))


def _tuple(kind: type = np.float32) -> tuple[Any, ...]:
    """mesh, pose, shape, camera, box, 25 joints, volume"""
    joints = np.stack([np.arange(25) + 0.75, 100 - np.arange(25) - 0.25], axis=1).astype(kind)
    mesh = np.arange(30, dtype=kind).reshape(10, 3)
    return mesh, np.zeros(63, kind), np.zeros(10, kind), np.zeros(3, kind), [0, 0, 9, 9], joints, np.float64(1.5)


def test_bodies_come_back_when_written_over_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshes, "_SHARD_IMAGES", 2)
    bodies = {f"{n}/picture.jpg": _body(n) for n in range(5)}
    assert write_meshes(tmp_path, bodies.items()) == 5
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    with MeshStore(tmp_path) as store:
        assert len(store) == 5
        for image, body in bodies.items():
            found = store.get(image)
            assert found is not None
            np.testing.assert_array_equal(found.vertices_V3, body.vertices_V3)
            np.testing.assert_array_equal(found.joints_K2, body.joints_K2)
        assert store.get("other.jpg") is None


def test_cache_of_the_release_is_converted_without_running_it(tmp_path: Path) -> None:
    torch.save({"a.jpg": _tuple(), "b.jpg": _tuple(np.float64)}, tmp_path / "cache.pt")
    assert convert_cache(tmp_path / "cache.pt", tmp_path / "meshes") == 2
    with MeshStore(tmp_path / "meshes") as store:
        body = store.get("b.jpg")
    assert body is not None
    np.testing.assert_array_equal(body.vertices_V3, np.arange(30).reshape(10, 3))
    assert body.joints_K2[13].tolist() == [13, 86]  # 13.75 and 86.75, cut
    assert body.joints_K2[14].tolist() == [23, 77]  # between (22.75, 77.75) and (23.75, 76.75)
    assert body.vertices_V3.dtype == np.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a.jpg": _Explodes()}, "cannot be read as plain arrays"),
        ({"a.jpg": tuple(_Explodes() for _ in range(7))}, "cannot be read as plain arrays"),
        ({"a.jpg": (1, 2)}, "not a tuple of 7"),
        ({"a.jpg": (*_tuple()[:5], np.zeros((3, 2)), 0)}, "3 joints, not 25"),
        ({"a.jpg": (np.full((4, 3), np.nan), *_tuple()[1:])}, "not finite"),
        ({"a.jpg": ("mesh", *_tuple()[1:])}, "str where numbers are expected"),
        ([1, 2], "not a dict of image names"),
    ],
)
def test_cache_is_refused_when_it_is_hostile_or_something_else(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "cache.pt")
    with pytest.raises(InvalidInput, match=message):
        convert_cache(tmp_path / "cache.pt", tmp_path / "meshes")
    assert not (tmp_path / "meshes" / "index.json").exists()


def test_store_is_refused_when_damaged_or_leading_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not an index of meshes"):
        MeshStore(tmp_path)
    write_meshes(tmp_path, [("a.jpg", _body())])
    shard = tmp_path / "meshes-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:40])
    with MeshStore(tmp_path) as store, pytest.raises(InvalidInput, match=r"a\.jpg cannot be read"):
        store.get("a.jpg")
    (tmp_path / "index.json").write_text(json.dumps({"shards": {"a.jpg": "../secret.safetensors"}}))
    with pytest.raises(InvalidInput, match="outside its folder"):
        MeshStore(tmp_path)
