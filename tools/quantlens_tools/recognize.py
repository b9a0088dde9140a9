"""Which network, with which arguments, a set of weights belongs to: by the shapes of its convolutions."""

from __future__ import annotations

import functools
from typing import Any

import torch

from .errors import ToolError
from .networks import NETWORKS, build_float

Shapes = dict[str, tuple[int, ...]]


def conv_shapes(state: dict[str, Any]) -> Shapes:
    """Path to weight shape of every convolution in a float, QAT or converted state dict."""
    weights = {key: value for key, value in state.items() if key.endswith(".weight") and torch.is_tensor(value)}
    return {key.removesuffix(".weight"): tuple(value.shape) for key, value in weights.items() if value.dim() == 4}


@functools.cache
def known_shapes(name: str) -> Shapes:
    """Path to weight shape of every convolution of torchvision's network of this name."""
    with torch.device("meta"):
        return conv_shapes(build_float(name, {}).state_dict())


def recognize(shapes: Shapes) -> str:
    """The one network whose convolutions have these paths and shapes."""
    if not shapes:
        raise ToolError("no convolution weights found: this is no state dict of a network")
    for name in NETWORKS:
        if known_shapes(name) == shapes:
            return name
    alike = [name for name in NETWORKS if known_shapes(name).keys() == shapes.keys()]
    if alike:
        raise ToolError(
            f"the convolutions are named like {' or '.join(alike)} but have another width: "
            "say which with --network and its constructor arguments with --arguments"
        )
    raise ToolError(f"the convolutions are named like none of {', '.join(NETWORKS)}")


def classes_of(state: dict[str, Any]) -> int:
    """Outputs of the last linear layer of a float, QAT or converted state dict."""
    for path in ("fc", "classifier.3", "classifier.1"):
        weight = state.get(f"{path}.weight")
        if torch.is_tensor(weight):
            return weight.shape[0]
        packed = state.get(f"{path}._packed_params._packed_params")
        if packed is not None:
            return packed[0].shape[0]
    raise ToolError("no last linear layer found (fc, classifier.1 or classifier.3)")
