from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.inputs import MISREAD_BONES, adjacency, heatmaps
from paaplus.models.physiqueframe.network.config import Compatibility, FrameConfig, GraphConfig, tiny_config
from paaplus.models.physiqueframe.network.frame import Mesh, PhysiqueFrame, Posture
from tests.paaplus.models.physiqueframe.tiny_inputs import tiny_inputs


@pytest.fixture(scope="module")
def network() -> PhysiqueFrame:
    torch.manual_seed(0)
    return PhysiqueFrame(tiny_config()).eval()


def test_scores_are_in_range_and_name_their_branches(network):
    image, preference, posture, mesh = tiny_inputs(3)
    with torch.no_grad():
        output = network(image, preference, posture, mesh)
    assert output.score_BA.shape == (3, 3)
    assert ((output.score_BA > 0) & (output.score_BA < 10)).all()
    assert output.feature_BD.shape == (3, network.config.feature_dim)
    assert output.branches == (("image", "posture", "mesh"),) * 3


def test_official_sizes_are_the_defaults():
    assert FrameConfig().feature_dim == 1280


def test_features_and_preference_give_the_scores(network):
    image, preference, posture, mesh = tiny_inputs(2)
    with torch.no_grad():
        output = network(image, preference, posture, mesh)
        assert torch.equal(network.score(network.features(image, posture, mesh), preference), output.score_BA)
        other = network.score(output.feature_BD, 1 - preference)
    assert not torch.allclose(other, output.score_BA)


def test_scores_are_the_same_in_any_batch_order(network):
    image, preference, posture, mesh = tiny_inputs(3)
    posture.weight_BJ[0, 3] = 0
    order = [1, 2, 0]
    turned = Posture(posture.heatmap_BJMM[order], posture.weight_BJ[order], posture.adjacency_BJJ)
    with torch.no_grad():
        straight = network(image, preference, posture, mesh).score_BA
        other = network(image[order], preference[order], turned, Mesh(mesh.point_BV3[order])).score_BA
    torch.testing.assert_close(other, straight[order], atol=1e-5, rtol=0)


def test_first_images_mask_leaks_only_with_its_switch(network):
    image, preference, posture, mesh = tiny_inputs(2)
    with torch.no_grad():
        before = network(image, preference, posture, mesh).score_BA
        posture.weight_BJ[0, 3] = 0
        after = network(image, preference, posture, mesh).score_BA
        assert torch.equal(before[1], after[1])
        leaked = switched(network, leak_first_sample_mask=True)(image, preference, posture, mesh).score_BA
        both = replace(posture, weight_BJ=posture.weight_BJ * posture.weight_BJ[:1])
        by_hand = network(image, preference, both, mesh).score_BA
    assert not torch.allclose(leaked[1], after[1], atol=1e-5)
    torch.testing.assert_close(leaked, by_hand, atol=1e-6, rtol=0)


def switched(network: PhysiqueFrame, **switches: bool) -> PhysiqueFrame:
    """The same weights with compatibility switches on."""
    other = PhysiqueFrame(replace(network.config, compatibility=Compatibility(**switches))).eval()
    other.load_state_dict(network.state_dict())
    return other


def test_skeleton_is_misread_only_with_its_switch(network):
    image, preference, posture, mesh = tiny_inputs(2)
    misread = replace(posture, adjacency_BJJ=adjacency(MISREAD_BONES))
    with torch.no_grad():
        right = network(image, preference, posture, mesh).score_BA
        wrong = network(image, preference, misread, mesh).score_BA
        by_switch = switched(network, misread_skeleton=True)(image, preference, posture, mesh).score_BA
    assert not torch.allclose(wrong, right, atol=1e-5)
    assert torch.equal(by_switch, wrong)


def test_missing_person_is_scored_as_one_at_the_origin_only_with_its_switch(network):
    image, preference, posture, mesh = tiny_inputs(2)
    config = network.config
    heat, weight = heatmaps(np.zeros((15, 2)), config.image_size, config.heatmap_size)
    nobody = Posture(torch.from_numpy(heat).repeat(2, 1, 1, 1), torch.from_numpy(weight).repeat(2, 1), adjacency())
    published = switched(network, zero_missing_body=True)
    here = torch.tensor([True, False])
    with torch.no_grad():
        expected = network(image, preference, nobody, Mesh(torch.zeros_like(mesh.point_BV3))).score_BA
        found = published(image, preference)
        mixed = published(image, preference, replace(posture, present_B=here), replace(mesh, present_B=here))
        full = network(image, preference, posture, mesh).score_BA
        honest = network(image, preference).score_BA
    torch.testing.assert_close(found.score_BA, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed.score_BA[1], expected[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed.score_BA[0], full[0], atol=1e-5, rtol=0)
    assert found.branches == (("image",),) * 2  # the account stays honest
    assert not torch.allclose(honest, expected, atol=1e-4)


def test_missing_branches_are_neutral_and_declared(network):
    image, preference, posture, mesh = tiny_inputs(2)
    with torch.no_grad():
        full = network(image, preference, posture, mesh)
        image_only = network(image, preference)
        without_mesh = network(image, preference, posture)
    assert image_only.branches == (("image",),) * 2
    assert without_mesh.branches == (("image", "posture"),) * 2
    dims = (network.config.vit.out_dim, network.config.graph.dim, network.config.points.out_dim)
    seen, posture_D, mesh_D = image_only.feature_BD.split(dims, 1)
    assert torch.equal(seen, full.feature_BD[:, : dims[0]])
    assert torch.equal(posture_D[0], network.posture_norm.bias)
    assert torch.equal(mesh_D[0], network.mesh_norm.bias)
    assert torch.equal(without_mesh.feature_BD[:, : -dims[2]], full.feature_BD[:, : -dims[2]])


def test_people_may_be_missing_in_some_images_of_a_batch(network):
    image, preference, posture, mesh = tiny_inputs(2)
    present = torch.tensor([True, False])
    with torch.no_grad():
        full = network(image, preference, posture, mesh)
        mixed = network(image, preference, replace(posture, present_B=present), Mesh(mesh.point_BV3, present_B=present))
        alone = network(image, preference)
    assert mixed.branches == (("image", "posture", "mesh"), ("image",))
    assert torch.equal(mixed.feature_BD[0], full.feature_BD[0])
    assert torch.equal(mixed.feature_BD[1], alone.feature_BD[1])


def test_neighbours_given_or_found_are_the_same(network):
    image, preference, posture, mesh = tiny_inputs(2)
    with torch.no_grad():
        found = network(image, preference, posture, mesh).score_BA
        given = network(image, preference, posture, Mesh(mesh.point_BV3, network.group(mesh.point_BV3))).score_BA
    assert torch.equal(found, given)


def test_wrong_shapes_are_refused(network):
    image, preference, posture, mesh = tiny_inputs(2)
    with pytest.raises(InvalidInput, match="image of shape"):
        network(image[:, :, :28], preference, posture, mesh)
    with pytest.raises(InvalidInput, match="joint weights"):
        network(image, preference, replace(posture, weight_BJ=posture.weight_BJ[:, :5]), mesh)
    with pytest.raises(InvalidInput, match="mesh of shape"):
        network(image, preference, posture, Mesh(mesh.point_BV3[:1]))


def test_packing_for_cpu_keeps_the_scores():
    torch.manual_seed(0)
    wide = tiny_config()
    wide = replace(wide, vit=replace(wide.vit, width=128), swin=replace(wide.swin, width=64))
    network = PhysiqueFrame(wide).eval()
    image, preference, posture, mesh = tiny_inputs(2)
    with torch.no_grad():
        before = network(image, preference, posture, mesh).score_BA
        after = network.pack_for_cpu()(image, preference, posture, mesh).score_BA
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


def test_training_reaches_every_parameter_but_the_last_points_and_clip():
    torch.manual_seed(0)
    network = PhysiqueFrame(tiny_config()).freeze_image_encoder().train()
    network(*tiny_inputs(3)).score_BA.sum().backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert {name.split(".")[0] for name in without} == {"image_encoder", "posture_graph"}
    assert all(name.startswith(("image_encoder.", "posture_graph.point_heads.")) for name in without)


def test_dropout_acts_in_training_unless_it_is_switched_off():
    torch.manual_seed(0)
    config = tiny_config(graph=GraphConfig(dim=32, num_heads=4, num_layers=2, hidden_dim=48, dropout=0.5))
    noisy = PhysiqueFrame(config).train()
    given = tiny_inputs(3)
    with torch.no_grad():
        assert not torch.equal(noisy(*given).score_BA, noisy(*given).score_BA)
        quiet = PhysiqueFrame(config.without_dropout()).train()
        torch.testing.assert_close(quiet(*given).score_BA, quiet(*given).score_BA, atol=0, rtol=0)


def test_configuration_survives_json():
    config = tiny_config(compatibility=Compatibility(rounded_neighbours=True))
    assert FrameConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInput, match=r"vit.width by vit.num_heads"):
        tiny_config(vit=replace(tiny_config().vit, num_heads=3))
    with pytest.raises(InvalidInput, match="dropout rates"):
        tiny_config(head_dropout=1.0)
    with pytest.raises(InvalidInput, match="not a configuration"):
        FrameConfig.from_dict({"vit": {"depth": 3}})
