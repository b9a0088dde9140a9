"""Every tensor of a running torch model, under quantlens' names, in the order in which they are made.

A tensor is named after the innermost module whose output it is; the result of a `FloatFunctional` after that; a
tensor that only functions make has a name of its own (`avgpool`, `mean`, `stage2.1.chunk.0`). What changes nothing
(identities left by fusion, dropout, stubs of a float model) and what quantlens folds away (a float convolution before
its batch norm) is not a tensor.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.ao.nn import quantized as nnq
from torchvision.models.shufflenetv2 import InvertedResidual

_TAPPED = (
    nnq.Quantize,
    nnq.DeQuantize,
    nnq.Conv2d,
    nnq.Linear,
    nnq.Hardswish,
    nn.BatchNorm2d,
    nn.Linear,
    nn.ReLU,
    nn.ReLU6,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.MaxPool2d,
    nn.AdaptiveAvgPool2d,
)
_FUNCTIONALS = (nnq.FloatFunctional, nnq.QFunctional)


@dataclass
class Tap:
    """A tensor of a run: u8 where torch's is quantized, otherwise f32; shape [1, h, w, c]."""

    name: str
    values: torch.Tensor

    def summary(self) -> dict[str, Any]:
        """Name, type, shape and SHA-256 of the little-endian bytes."""
        dtype = "u8" if self.values.dtype == torch.uint8 else "f32"
        digest = hashlib.sha256(self.values.numpy().tobytes()).hexdigest()
        return {"name": self.name, "dtype": dtype, "shape": list(self.values.shape), "sha256": digest}


def run_with_taps(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[Tap]]:
    """The model's output for `x` [1, 3, h, w], and every tensor on the way."""
    taps: list[Tap] = []
    hooks = []

    def note(name: str, tensor: torch.Tensor) -> None:
        taps.append(Tap(name, _nhwc(tensor)))  # a copy: an activation may overwrite its input

    for path, module in model.named_modules():
        if isinstance(module, _TAPPED) or _conv_without_batch_norm(module):
            hooks.append(module.register_forward_hook(lambda _m, _i, out, path=path: note(path, out)))
        elif isinstance(module, _FUNCTIONALS):
            # Its methods are called directly, and each hands its result to this submodule.
            inner = module.activation_post_process
            hooks.append(inner.register_forward_hook(lambda _m, _i, out, path=path: note(path, out)))
        elif isinstance(module, InvertedResidual):
            hooks += _shuffle_block(path, module, note)
    hooks += _pooling_without_module(model, note)
    with torch.no_grad():
        output = model(x)
    for hook in hooks:
        hook.remove()
    return output, taps


def _shuffle_block(path: str, block: InvertedResidual, note: Any) -> list[Any]:
    """ShuffleNet's block: the two chunks of its input, and its output, which is the channel shuffle's."""

    def chunks(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        for index, chunk in enumerate(inputs[0].chunk(2, dim=1)):
            note(f"{path}.chunk.{index}", chunk)

    hooks = [block.register_forward_hook(lambda _m, _i, out: note(path, out))]
    if block.stride == 1:
        hooks.append(block.register_forward_pre_hook(chunks))
    return hooks


def _pooling_without_module(model: nn.Module, note: Any) -> list[Any]:
    if hasattr(model, "avgpool"):
        return []
    name, after = ("avgpool", model.classifier) if hasattr(model, "classifier") else ("mean", model.fc)
    return [after.register_forward_pre_hook(lambda _m, inputs: note(name, inputs[0]))]


def _conv_without_batch_norm(module: nn.Module) -> bool:
    """In torchvision's networks a float convolution has a bias where no batch norm follows."""
    return isinstance(module, nn.Conv2d) and module.bias is not None


def _nhwc(tensor: torch.Tensor) -> torch.Tensor:
    values = tensor.detach()
    values = values.int_repr() if values.is_quantized else values
    values = values.reshape(*values.shape, 1, 1) if values.dim() == 2 else values
    return values.permute(0, 2, 3, 1).contiguous().clone()
