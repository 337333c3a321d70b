"""Compare gradients, an optimiser step and batch statistics with the reference: the `training.json` of a fixture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from paaplus.models.physiqueframe.network.config import ASPECTS, Compatibility
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.network.loss import AspectLoss
from paaplus.models.physiqueframe.parity.whole_model import Case, Fixture, Measures, network_inputs
from paaplus.models.physiqueframe.weights.official_names import is_unused, own_name

_TOLERANCE = 1e-4  # relative; in training mode, the number of threads changes the reference by 5e-5
_ADAM = {"lr": 1e-4, "eps": 1e-5}


def training_parity(network: PhysiqueFrame, fixture: Fixture) -> Measures:
    """Relative differences of all numbers in `training.json`; trains the network by one step in place."""
    want = fixture.json("training.json")
    case = Case("base", fixture.verify.inputs("base"), Compatibility(rounded_neighbours=True))
    network.config = replace(network.config, compatibility=case.compatibility)
    network.freeze_image_encoder()
    inputs = network_inputs(case)
    # computed once: the neighbours are the same in all passes
    inputs = (*inputs[:3], replace(inputs[3], grouping=network.group(inputs[3].point_BV3)))
    truth_BA = torch.from_numpy(fixture.recipe.truth())
    loss = AspectLoss(len(ASPECTS))

    _set_dropout(network, 0.0)
    measures = _train_mode(network, inputs, truth_BA, loss, want)
    network.eval()
    score_BA = network(*inputs).score_BA
    measures |= _loss_measures(score_BA.detach(), truth_BA, torch.from_numpy(fixture.recipe.log_vars()), want)
    loss(score_BA, truth_BA).backward()
    measures |= _gradient_measures(network, fixture, want)
    torch.optim.Adam([p for p in network.parameters() if p.requires_grad], **_ADAM).step()
    with torch.no_grad():
        score_BA = network(*inputs).score_BA
        measures["loss_after_one_adam_step"] = _relative(loss(score_BA, truth_BA), want["loss_after_one_adam_step"])
    measures["scores_after_one_adam_step"] = _relative(score_BA, want["scores_after_one_adam_step"])
    return measures


def _train_mode(network: PhysiqueFrame, inputs: Any, truth_BA: Tensor, loss: AspectLoss, want: Any) -> Measures:
    """Scores with the batch's own statistics, and the running statistics afterwards; the buffers are restored."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    before = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    network.train()
    with torch.no_grad():
        score_BA = network(*inputs).score_BA
        measures = {
            "train_nodrop_scores": _relative(score_BA, want["train_nodrop_scores"]),
            "train_nodrop_loss": _relative(loss(score_BA, truth_BA), want["train_nodrop_loss"]),
        }
    buffers = dict(network.named_buffers())
    for official, sum_and_deviation in want["train_nodrop_running"].items():
        buffer = buffers[own_name(official)].double()
        measures[f"train_nodrop {official}"] = _relative([buffer.sum(), buffer.std()], sum_and_deviation)
    steps = {int(n.num_batches_tracked - b["num_batches_tracked"]) for n, b in zip(norms, before, strict=True)}
    measures["train_nodrop_batches_delta"] = _relative(list(steps), [want["train_nodrop_batches_delta"]])
    for norm, saved in zip(norms, before, strict=True):
        norm.load_state_dict(saved, strict=False)
    return measures


def _loss_measures(score_BA: Tensor, truth_BA: Tensor, log_variance_A: Tensor, want: Any) -> Measures:
    plain, weighted = AspectLoss(len(ASPECTS), weighted=False), AspectLoss(len(ASPECTS))
    weighted.log_variance_A = parameter = nn.Parameter(log_variance_A)
    value = weighted(score_BA, truth_BA)
    value.backward()
    return {
        "loss_zero_logvars": _relative(plain(score_BA, truth_BA), want["loss_zero_logvars"]),
        "loss_recipe_logvars": _relative(value, want["loss_recipe_logvars"]),
        "grad_log_vars": _relative(parameter.grad, want["grad_log_vars"]),
    }


def _gradient_measures(network: PhysiqueFrame, fixture: Fixture, want: Any) -> Measures:
    official = {own_name(name): name for name in fixture.keys}
    gradients = {official[name]: p.grad for name, p in network.named_parameters() if p.requires_grad}
    seen = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    without = {name for name, gradient in gradients.items() if gradient is None}
    without |= {name for name in fixture.keys if is_unused(name)}
    groups: dict[str, list[Tensor]] = {name: [] for name in want["grad_norms"]}
    for name, gradient in seen.items():
        group = max((group for group in groups if name.startswith(f"{group}.")), key=len)
        groups[group].append(gradient)
    measures: Measures = {}
    for wanted, tensors in ((want["grad_norms"], groups), (want["grad_probe"], {n: [g] for n, g in seen.items()})):
        for name, norm in wanted.items():
            measures[f"grad_norm {name}"] = _relative(_norm(tensors[name]), norm)
    measures["grad_norm_total"] = _relative(_norm(seen.values()), want["grad_norm_total"])
    measures["no_grad_params"] = _relative(float(len(without ^ set(want["no_grad_params"]))), 0.0)
    return measures


def _norm(tensors: Iterable[Tensor]) -> float:
    return sum(float(tensor.double().square().sum()) for tensor in tensors) ** 0.5


def _set_dropout(network: nn.Module, rate: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = rate
        elif hasattr(module, "rate"):
            module.rate = rate


def _relative(value: Any, want: Any, tolerance: float = _TOLERANCE) -> dict[str, float]:
    """The largest difference relative to the largest wanted number."""
    value, want = (torch.as_tensor(x, dtype=torch.float64).detach() for x in (value, want))
    difference = float((value - want).abs().max() / max(float(want.abs().max()), 1e-12))
    return {"max_abs_diff": difference, "tolerance": tolerance, "ok": float(difference <= tolerance)}
