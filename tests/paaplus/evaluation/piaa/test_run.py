"""The field's protocols on simulated people: nobody's test rating reaches the base model, draws, published rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.evaluation.piaa.division import divide, joined
from paaplus.evaluation.piaa.protocols import PROTOCOLS, protocol_of
from paaplus.evaluation.piaa.report import notes, table, write_report
from paaplus.evaluation.piaa.run import OF_A_PERSON, OF_MEANS, published_rows, run_generic, run_piaa
from paaplus.evaluation.train_side import EvaluationData

pytestmark = pytest.mark.filterwarnings("ignore::paaplus.models.base_fit.SmallDataWarning")
QUICK = replace(PROTOCOLS["flickr-aes"], num_people=4, least=1, most=None, shots=(5, 20), draws=2)


@pytest.fixture(scope="module")
def document(data: EvaluationData) -> dict[str, object]:
    return run_piaa("flickr-aes", data, QUICK)


def test_test_people_and_their_images_are_kept_from_the_base_model(data: EvaluationData) -> None:
    some = data.folder.only(images=data.folder.images)
    division = divide(some, QUICK, 0)
    assert len(division.split.test_people) == 4
    assert not set(division.split.test_people) & set(division.split.train_people)
    assert not division.split.test_images & division.split.train_images
    for user_id in division.split.test_people:
        rated = {some.images[i] for i in division.rated[user_id]}
        assert rated <= division.split.test_images


def test_released_test_images_and_listed_people_come_first(data: EvaluationData) -> None:
    listed = set(data.folder.images[:60])
    folder = replace(
        data.folder,
        image_columns={image: {"split": "test" if image in listed else "train"} for image in data.folder.images},
        user_columns={user_id: {"split": "test"} for user_id in data.folder.people[:3]},
    )
    division = divide(folder, replace(QUICK, held_out="split", shots=(5,)), 0)
    assert division.listed
    assert set(division.split.test_people) <= set(data.folder.people[:3])
    assert division.split.test_images == listed


def test_rows_and_gain(document: dict[str, object]) -> None:
    ours = document["ours"]
    assert [entry["k"] for entry in ours] == [5, 20]  # type: ignore[attr-defined,union-attr,index]
    last = ours[1]  # type: ignore[index]
    assert last["num_people"] == 4
    assert last["gain"]["mean"] == pytest.approx(last["srcc"] - last["generic"], abs=0.02)
    assert json.loads(json.dumps(document)) == document
    methods = {row[0] for row in table(document)}  # type: ignore[arg-type]
    assert {"BLG-PIAA", "ours, this base model"} <= methods
    assert any("Backbones" in note for note in notes(document))  # type: ignore[arg-type]


def test_same_seed_same_document(data: EvaluationData, document: dict[str, object]) -> None:
    assert run_piaa("flickr-aes", data, QUICK) == document


def test_report(document: dict[str, object], tmp_path: Path) -> None:
    files = write_report(document, tmp_path)
    text = files[1].read_text()
    assert "read from a public survey note" in text
    assert "Where ratings are rare" in text


def test_base_model_of_another_folder(data: EvaluationData) -> None:
    album = replace(PROTOCOLS["real-cur"], shots=(5,), draws=1)
    with pytest.raises(InvalidInput, match="--train DIR"):
        run_piaa("real-cur", data, album)
    few = data.folder.people[:3]
    own = replace(data, folder=data.folder.only(few))
    others = replace(data, folder=data.folder.only(data.folder.people[3:]))
    both = joined(own, others)
    assert len(both.folder.people) == len(data.folder.people)
    np.testing.assert_allclose(np.sort(both.folder.rating_NA, axis=0), np.sort(data.folder.score_NA, axis=0))
    found = run_piaa("real-cur", own, album, train=others)
    assert found["config"]["num_people"] == 3
    assert found["config"]["num_train_people"] == len(data.folder.people) - 3


def test_generic_protocol_on_mean_ratings(data: EvaluationData) -> None:
    folder = data.folder
    mean_I = np.array([folder.rating_NA[folder.image_N == i].mean() for i in np.unique(folder.image_N)])
    one = replace(
        folder,
        people=("everybody",),
        person_N=np.zeros(len(mean_I), int),
        image_N=np.unique(folder.image_N),
        rating_NA=mean_I[:, None],
    )
    found = run_generic("ava", replace(data, folder=one), PROTOCOLS["generic"])
    assert found["ours"][0]["srcc"] > 0.3
    assert table(found)[-1][0] == "ours, this base model"
    assert ("AGREE (with EAT)", "0.789") in {(row[0], row[3]) for row in table(found)}
    # people's own ratings: the base model learns from each, and SRCC is still that with their mean
    people = run_generic("oasis", data, PROTOCOLS["generic"])
    assert people["config"]["num_test_images"] == found["config"]["num_test_images"]
    assert people["ours"][0]["srcc"] == pytest.approx(found["ours"][0]["srcc"], abs=0.15)
    assert people["published"] == []


def test_nobody_eligible_is_refused(data: EvaluationData) -> None:
    with pytest.raises(InvalidInput, match="nobody rated"):
        divide(data.folder, replace(QUICK, least=10_000), 0)


def test_protocols_by_name() -> None:
    assert protocol_of("ava", None).name == "generic"
    assert protocol_of("oasis", "flickr-aes").most is None
    assert protocol_of("flickr-aes", None).changed((3,), None, None).name == "flickr-aes (changed)"
    with pytest.raises(InvalidInput, match="not known"):
        protocol_of("oasis", None)


def test_published_rows_have_source_year_and_where_they_were_read() -> None:
    of_people = [row for dataset in ("flickr-aes", "real-cur") for row in published_rows(dataset, OF_A_PERSON)]
    of_means = [
        row for dataset in ("ava", "tad66k", "para", "aadb", "lapis") for row in published_rows(dataset, OF_MEANS)
    ]
    for row in of_people + of_means:
        assert all(row[name] for name in ("source", "year", "protocol", "read_from"))
    assert {k for row in of_people for k in row["srcc"]} == {"10", "100"}
    assert {k for row in of_means for k in row["srcc"]} == {"0"}
    assert published_rows("para", OF_A_PERSON) == []
    assert published_rows("eva", OF_MEANS) == []
