from __future__ import annotations

from pathlib import Path

import pytest

from paaplus.models.physiqueframe.parity.body import smplerx_parity

pytestmark = pytest.mark.parity


def test_regressor_and_mesh_equal_the_reference_when_filled_by_the_recipe(fixture_dir: Path) -> None:
    report = smplerx_parity(fixture_dir)
    for name, row in report.items():
        print(f"{name}: {row['max_abs_diff']:.1e} of {row['tolerance']:.0e}")
    assert len(report) == 16
    assert [name for name, row in report.items() if not row["ok"]] == []
