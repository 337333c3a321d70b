"""PhysiqueFrame on photographs: scores with an account of what was used, and as a base model's extractor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paaplus.errors import InvalidInput, Unavailable
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.base_models import BASE_MODELS, load_extractor
from paaplus.models.extractor import BringsHeads, Explains, to_half
from paaplus.models.physiqueframe.body.finder import BodyFinder
from paaplus.models.physiqueframe.body.person import Person
from paaplus.models.physiqueframe.extractor import PhysiqueExtractor
from paaplus.models.physiqueframe.files import PhysiqueFiles, build_finder
from paaplus.models.physiqueframe.heads_numpy import export_heads
from paaplus.models.physiqueframe.network.config import ASPECTS, Compatibility, tiny_config
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.sample import Sample, collate_samples
from paaplus.models.physiqueframe.scorer import PhotographScorer, used_branches
from paaplus.models.physiqueframe.weights.checkpoint import save_checkpoint

JOINTS = np.random.default_rng(0).uniform(20, 100, (15, 2)).astype(np.float32)
PERSON = Person((10.0, 10.0, 100.0, 100.0), 1.0, JOINTS)


class _ByBrightness:
    """Finds one person in a bright photo, two in a middling one, nobody in the dark."""

    digest = "by brightness"

    def find(self, photo: Image.Image) -> list[Person]:
        return [[], [PERSON, PERSON], [PERSON]][int(np.asarray(photo).mean() // 86)]


def _noise(low: int, seed: int = 0, size: tuple[int, int] = (120, 90)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(low, low + 80, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


DARK, MIDDLING, BRIGHT = (_noise(low) for low in (0, 90, 175))


@pytest.fixture(scope="module")
def network() -> PhysiqueFrame:
    torch.manual_seed(0)
    return PhysiqueFrame(tiny_config()).eval()


@pytest.fixture(scope="module")
def scorer(network: PhysiqueFrame) -> PhotographScorer:
    return PhotographScorer(network, BodyFinder(_ByBrightness()))


@pytest.fixture(scope="module")
def extractor(network: PhysiqueFrame) -> PhysiqueExtractor:
    return PhysiqueExtractor(network, BodyFinder(_ByBrightness()))


def test_no_score_is_invented_when_there_is_not_one_person(scorer: PhotographScorer) -> None:
    for photo, status, num_people in ((DARK, "no_person", 0), (MIDDLING, "several_people", 2)):
        answer = scorer.score(photo)
        assert (answer.status, answer.num_people, answer.scores, answer.branches) == (status, num_people, None, ())


def test_branches_tell_what_a_score_stands_on(scorer: PhotographScorer, network: PhysiqueFrame) -> None:
    without_mesh = scorer.score(BRIGHT)
    assert without_mesh.branches == ("image", "posture")
    assert without_mesh.is_degraded
    image_only = scorer.score(BRIGHT, [Person((10.0, 10.0, 100.0, 100.0))])
    assert image_only.branches == ("image",)
    vertices = np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32)
    whole = scorer.score_sample(Sample(torch.rand(3, 56, 56), JOINTS / 3, vertices, None), "found")
    assert (whole.branches, whole.is_degraded) == (("image", "posture", "mesh"), False)
    assert without_mesh.scores != image_only.scores
    assert without_mesh.scores is not None
    assert list(without_mesh.scores) == list(ASPECTS)


def test_preference_moves_scores_and_defaults_to_nobodys(scorer: PhotographScorer) -> None:
    neutral, same, other = (
        scorer.score(BRIGHT, preference_P=p) for p in (None, np.full(5, 0.5), np.array([0, 1, 0, 1, 0.0]))
    )
    assert neutral.scores == same.scores
    assert neutral.scores != other.scores
    for wrong in (np.zeros(4), np.full(5, np.nan)):
        with pytest.raises(InvalidInput, match="5 finite numbers"):
            scorer.score(BRIGHT, preference_P=wrong)


def test_cached_features_tell_the_branches(network: PhysiqueFrame, scorer: PhotographScorer) -> None:
    vertices = np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32)
    samples = {
        ("image", "posture", "mesh"): Sample(torch.rand(3, 56, 56), JOINTS / 3, vertices, None),
        ("image", "mesh"): Sample(torch.rand(3, 56, 56), None, vertices, None),
        ("image", "posture"): Sample(torch.rand(3, 56, 56), JOINTS / 3, None, None),
        ("image",): Sample(torch.rand(3, 56, 56), None, None, None),
    }
    heads = export_heads(network)
    for branches, sample in samples.items():
        inputs = collate_samples([sample], network.config)
        with torch.no_grad():
            features_D = network.features(inputs.image, inputs.posture, inputs.mesh)[0].numpy()
        assert heads.used_branches(to_half(features_D)) == used_branches(sample) == branches
    half = PhysiqueExtractor(network, BodyFinder(_ByBrightness()), precision="bfloat16")
    assert half.heads.used_branches(half.extract([BRIGHT])[0]) == ("image", "posture")
    zeros = PhysiqueFrame(replace(tiny_config(), compatibility=Compatibility(zero_missing_body=True))).eval()
    assert export_heads(zeros).used_branches(np.zeros(zeros.config.feature_dim, np.float16)) is None


def test_extractor_gives_features_or_a_reason_and_never_harms_a_neighbour(extractor: PhysiqueExtractor) -> None:
    assert isinstance(extractor, BringsHeads)
    assert isinstance(extractor, Explains)
    thin = _noise(175, size=(2000, 30))
    features_BD = extractor.extract([BRIGHT, DARK, thin, MIDDLING, BRIGHT])
    assert features_BD.dtype == np.float16
    assert np.isfinite(features_BD).all(axis=1).tolist() == [True, False, False, False, True]
    assert np.array_equal(features_BD[:1], extractor.extract([BRIGHT]))
    assert sum(block.size for block in extractor.blocks) == extractor.feature_dim == features_BD.shape[1]
    assert [extractor.explain(image) for image in (BRIGHT, DARK, MIDDLING)] == [
        None,
        "no_person: 0 people were found",
        "several_people: 2 people were found",
    ]
    assert "too long and thin" in (extractor.explain(thin) or "")


def test_batch_gives_what_single_photographs_give(network: PhysiqueFrame) -> None:
    finder = BodyFinder(_ByBrightness())
    alone, together = PhotographScorer(network, finder), PhotographScorer(network, finder, batch_size=3)
    assert alone.batch_size == 1
    photos = [DARK, *(_noise(175, seed) for seed in range(4)), MIDDLING]
    seen = []
    hook = network.image_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    answers = together.features(photos)
    hook.remove()
    assert seen == [3, 1]
    assert [isinstance(answer, str) for answer in answers] == [True, False, False, False, False, True]
    np.testing.assert_allclose(answers[1:5], alone.features(photos)[1:5], atol=1e-5)


def test_other_precision_is_another_extractor_that_scores_nearly_the_same(network: PhysiqueFrame) -> None:
    finder = BodyFinder(_ByBrightness())
    exact, half = (PhotographScorer(network, finder, precision=name) for name in ("float32", "bfloat16"))
    assert (exact.batch_size, half.batch_size) == (1, 4)
    exact_D, half_D = exact.features([BRIGHT])[0], half.features([BRIGHT])[0]
    assert isinstance(exact_D, np.ndarray)
    assert isinstance(half_D, np.ndarray)
    assert half_D.dtype == np.float32
    assert 0 < np.abs(exact_D - half_D).max() < 0.05 * np.abs(exact_D).max()
    extractors = [PhysiqueExtractor(network, finder, precision=name) for name in ("bfloat16", "float32")]
    assert extractors[0].name == "physiqueframe-bfloat16"
    assert extractors[0].digest != extractors[1].digest
    with pytest.raises(InvalidInput, match="'float8'"):
        PhotographScorer(network, finder, precision="float8")
    with pytest.raises(InvalidInput, match="batch size 0"):
        PhotographScorer(network, finder, batch_size=0)


@pytest.mark.gpu
def test_gpu_extracts_in_batches_what_the_cpu_extracts(network: PhysiqueFrame) -> None:
    photos = [_noise(175, seed) for seed in range(5)]
    finder = BodyFinder(_ByBrightness())
    expected = PhotographScorer(network, finder).features(photos)
    on_gpu = PhotographScorer(network, finder, "cuda")
    assert on_gpu.batch_size > 1
    np.testing.assert_allclose(on_gpu.features(photos), expected, atol=1e-3)
    network.to("cpu")


def test_base_model_serves_the_networks_own_scores(extractor: PhysiqueExtractor, scorer: PhotographScorer) -> None:
    """From cached half-precision features, in NumPy, what torch says of the photo."""
    photos = [_noise(175, seed) for seed in range(24)]
    features_ID = extractor.extract(photos)
    rng = np.random.default_rng(0)
    person_N, image_N = (index.ravel() for index in np.indices((8, 24)))
    ratings = Ratings(("posture", "health"), person_N, image_N, rng.uniform(0, 10, (192, 2)))
    with pytest.warns(UserWarning, match="rough"):
        base, metrics = fit_base_scorer(
            "physiqueframe", extractor.digest, features_ID, ratings, blocks=extractor.blocks, heads=extractor.heads
        )
    assert metrics["generic_head"] == "network"
    taste_IR = base.project(features_ID)
    expected = [[scorer.score(photo).scores[aspect] for aspect in base.aspects] for photo in photos]
    np.testing.assert_allclose(base.generic(taste_IR), expected, atol=5e-3)  # float16 features
    again = type(base).from_bytes(base.to_bytes())
    assert again.digest == base.digest
    assert np.array_equal(again.generic(again.project(features_ID[:3])), base.generic(taste_IR[:3]))
    other = Ratings(("beauty",), person_N, image_N, ratings.score_NA[:, :1])
    with pytest.warns(UserWarning, match="rough"):
        _, metrics = fit_base_scorer("m", extractor.digest, features_ID, other, heads=extractor.heads)
    assert metrics["generic_head"] == "linear"


def test_digest_covers_weights_sizes_and_who_is_found(network: PhysiqueFrame, extractor: PhysiqueExtractor) -> None:
    assert PhysiqueExtractor(network, BodyFinder()).digest != extractor.digest
    torch.manual_seed(1)
    assert PhysiqueExtractor(PhysiqueFrame(tiny_config()), BodyFinder(_ByBrightness())).digest != extractor.digest


def test_files_are_found_by_their_names_and_told_when_missing(network: PhysiqueFrame, tmp_path: Path) -> None:
    for name in ("physiqueframe", "physiqueframe-bfloat16"):
        assert name in BASE_MODELS
        with pytest.raises(Unavailable, match=r"no physiqueframe\.safetensors or \.pth"):
            load_extractor(name, tmp_path)
    save_checkpoint(network, tmp_path / "physiqueframe.safetensors")
    (tmp_path / "smpler_x_s32.pth.tar").write_bytes(b"")
    files = PhysiqueFiles.in_folder(tmp_path)
    assert files.checkpoint == tmp_path / "physiqueframe.safetensors"
    with pytest.raises(Unavailable, match=r"SMPLX_NEUTRAL\.npz is not"):
        build_finder(files)
    (tmp_path / "smpler_x_s32.pth.tar").unlink()
    assert build_finder(PhysiqueFiles.in_folder(tmp_path), unchecked=True).find(BRIGHT).status == "unchecked"
