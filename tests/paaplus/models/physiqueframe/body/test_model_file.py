from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.body import model_file as module
from paaplus.models.physiqueframe.body.model_file import BodyModelData, read_model_file, write_clean_file


class _Explodes:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('the pickle was run')",)


def test_numbers_are_those_of_the_file_when_read(body_data: BodyModelData, arrays: dict[str, np.ndarray]) -> None:
    assert body_data.num_vertices == 10_475
    np.testing.assert_array_equal(body_data.shape_directions_V3S, arrays["shapedirs"][..., :10])
    np.testing.assert_array_equal(body_data.expression_directions_V3S, arrays["shapedirs"][..., 10:])
    assert body_data.parent_J[:5].tolist() == [-1, 0, 0, 0, 1]
    assert body_data.mean_hands_J3[14].tolist() == pytest.approx([0.1] * 3)
    assert body_data.mean_hands_J3[15].tolist() == pytest.approx([-0.1] * 3)


def test_expression_begins_at_300_when_the_file_has_400_directions(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    wide = np.zeros((10_475, 3, 400), np.float16)
    wide[0, 0, 300:310] = np.arange(1, 11)
    np.savez_compressed(tmp_path / "wide.npz", **{**arrays, "shapedirs": wide, "posedirs": arrays["posedirs"] * 0})
    data = read_model_file(tmp_path / "wide.npz")
    assert data.expression_directions_V3S[0, 0].tolist() == list(range(1, 11))


def test_a_pickled_member_is_never_run_when_it_is_not_needed_or_needed(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    hostile = np.array([_Explodes()], object)
    np.savez(tmp_path / "beside.npz", **arrays, names=hostile)
    read_model_file(tmp_path / "beside.npz")
    np.savez(tmp_path / "inside.npz", **{**arrays, "v_template": hostile})
    with pytest.raises(InvalidInput, match="plain arrays"):
        read_model_file(tmp_path / "inside.npz")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weights", None, "has no weights"),
        ("v_template", np.zeros((6_890, 3)), r"v_template has shape \(6890, 3\)"),
        ("v_template", np.full((10_475, 3), np.nan), "not finite"),
        ("weights", np.zeros((10_475, 55)), "do not sum to 1"),
        ("shapedirs", np.zeros((10_475, 3, 16)), "16 shape directions"),
        ("kintree_table", np.array([[0, *range(1, 55)], range(55)]), "joint 1 has parent 1"),
        ("f", np.array([[0, 1, 10_475]]), "faces name vertices 0 to 10475"),
        ("hands_meanl", np.zeros(45, complex), "holds complex128"),
    ],
)
def test_file_is_refused_when_something_is_wrong(
    name: str, change: np.ndarray | None, message: str, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    small = {key: value for key, value in arrays.items() if key != name}
    np.savez(tmp_path / "wrong.npz", **(small if change is None else {**small, name: change}))
    with pytest.raises(InvalidInput, match=message):
        read_model_file(tmp_path / "wrong.npz")


def test_file_is_refused_when_it_is_no_archive_or_absent_or_cut(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("not a zip file")
    (tmp_path / "cut.npz").write_bytes(model_file.read_bytes()[:1_000_000])
    for name in ("text.npz", "cut.npz"):
        with pytest.raises(InvalidInput, match="cannot be read"):
            read_model_file(tmp_path / name)
    with pytest.raises(InvalidInput, match="does not exist"):
        read_model_file(tmp_path / "absent.npz")


def test_file_is_refused_before_it_is_unpacked_when_a_member_is_huge(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_MEMBER_BYTES", 10_000_000)
    with pytest.raises(InvalidInput, match="posedirs has 61"):
        read_model_file(model_file)


def test_clean_file_holds_numbers_only_when_written(model_file: Path, body_data: BodyModelData, tmp_path: Path) -> None:
    write_clean_file(model_file, tmp_path / "clean.npz")
    with np.load(tmp_path / "clean.npz", allow_pickle=False) as content:
        assert "joint2num" not in content.files
        assert all(np.issubdtype(content[name].dtype, np.number) for name in content.files)
    assert read_model_file(tmp_path / "clean.npz").digest == body_data.digest
    assert [path.name for path in tmp_path.iterdir()] == ["clean.npz"]
