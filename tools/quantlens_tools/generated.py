"""Seeded networks with generated weights: calibrated batch norm, and a real conversion to int8.

The weights mean nothing, but activations have the scales of a trained network's, so that quantization is exercised in
its whole range.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.ao import quantization as tq

from .collect import Tensors, converted_tensors, float_tensors
from .images import structured
from .modelfile import Description, tensors_sha256
from .networks import build_float, network, prepare_qat, prepare_static

_BATCH = 32


@dataclass(frozen=True)
class Recipe:
    """What makes a pair: the same recipe gives the same weights on the same machine and torch."""

    network: str
    arguments: dict[str, Any]
    seed: int
    calibration_size: int = 96  # pixels a side
    batches: int = 8  # of 32 images


@dataclass
class Pair:
    """A float network and its converted int8 twin."""

    recipe: Recipe
    f32: nn.Module
    int8: nn.Module

    def tensors(self, precision: str) -> Tensors:
        """The tensors of the model file of `precision`."""
        return float_tensors(self.f32) if precision == "f32" else converted_tensors(self.int8)

    def description(self, precision: str) -> Description:
        """What the model file of `precision` says about itself."""
        ids = {p: tensors_sha256(self.tensors(p)) for p in ("f32", "int8")}
        return Description(
            network=self.recipe.network,
            precision=precision,
            classes=[f"untrained class {i}" for i in range(self.recipe.arguments.get("num_classes", 1000))],
            source=f"generated weights, untrained, seed {self.recipe.seed}",
            source_sha256=ids[precision],
            arguments=self.recipe.arguments,
            twin=ids["int8" if precision == "f32" else "f32"],
            licence="MIT OR Apache-2.0",
            extra={"trained": "false"},
        )


def make_pair(recipe: Recipe) -> Pair:
    """Builds, calibrates and converts; torch runs on one thread so that sums have one order."""
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    model = build_float(recipe.network, recipe.arguments)
    _generate(model)
    batches = [
        structured(_BATCH, recipe.calibration_size, recipe.seed * 1000 + index) for index in range(recipe.batches)
    ]
    _calibrate_batch_norm(model, batches)
    return Pair(recipe, model, _convert(copy.deepcopy(model), network(recipe.network).engine, batches))


def _generate(model: nn.Module) -> None:
    """Batch norms that differ between channels, and a last layer whose logits spread."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 2.0 / module.in_features**0.5)
            nn.init.normal_(module.bias, 0.0, 0.5)


def _calibrate_batch_norm(model: nn.Module, batches: list[torch.Tensor]) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain average over batches
    model.train()
    with torch.no_grad():
        for batch in batches:
            model(batch)
    model.eval()


def _convert(model: nn.Module, engine: str, batches: list[torch.Tensor]) -> nn.Module:
    """The flow torchvision used for each engine: quantization-aware training for qnnpack, static for fbgemm.

    Observers and fake quantization run on the calibration images; no step changes a weight, so the twins share them.
    """
    prepared = prepare_qat(model, engine) if engine == "qnnpack" else prepare_static(model, engine)
    prepared.eval()
    with torch.no_grad():
        for batch in batches:
            prepared(batch)
    return tq.convert(prepared, inplace=False).eval()
