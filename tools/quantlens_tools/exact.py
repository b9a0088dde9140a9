"""Checks torch's quantized layers against exact integer sums.

Without VNNI, fbgemm adds pairs of u8*s8 products in saturating 16 bits, so that torch itself can be wrong where an
activation is above 127. A dump of such a run would ask for the same error from exact kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.ao.nn import quantized as nnq


@dataclass
class Check:
    """How a layer's output compares with the exact one."""

    name: str
    values: int
    wrong: int
    largest: int  # difference, in steps of the output's scale
    above_127: int  # input activations in the range where fbgemm can saturate


def check_layers(model: nn.Module, x: torch.Tensor) -> list[Check]:
    """Runs a converted model and recomputes each convolution and linear layer from torch's own input to it."""
    checks: list[Check] = []
    hooks = []
    for path, module in model.named_modules():
        if isinstance(module, (nnq.Conv2d, nnq.Linear)):
            hooks.append(
                module.register_forward_hook(
                    lambda module, inputs, out, path=path: checks.append(_check(path, module, inputs[0], out))
                )
            )
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return checks


def _check(path: str, module: nn.Module, x: torch.Tensor, out: torch.Tensor) -> Check:
    expected = _requantize(module, x, _sums(module, x))
    difference = np.abs(out.int_repr().numpy().astype(np.int64) - expected)
    above = int((x.int_repr() > 127).sum())
    return Check(path, difference.size, int((difference > 0).sum()), int(difference.max()), above)


def _sums(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    """Sums of (q_x - zero_point) * q_w; every f64 on the way is an integer below 2^53, so they are exact."""
    centred = x.int_repr().double() - x.q_zero_point()
    weight = module.weight().int_repr().double()
    if isinstance(module, nnq.Linear):
        sums = torch.nn.functional.linear(centred, weight)
    else:
        sums = torch.nn.functional.conv2d(
            centred, weight, None, module.stride, module.padding, module.dilation, module.groups
        )
    return sums.to(torch.int64).numpy()


def _requantize(module: nn.Module, x: torch.Tensor, sums: np.ndarray) -> np.ndarray:
    """The engine's own float arithmetic, in f32, on exact sums (formulas: kernels' documentation of `Requantize`)."""
    weight = module.weight()
    per_channel = weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
    scales = weight.q_per_channel_scales() if per_channel else torch.tensor([weight.q_scale()])
    by_channel = [1, -1] + [1] * (sums.ndim - 2)
    sw = scales.to(torch.float32).numpy().reshape(by_channel)
    bias = module.bias().detach().numpy().reshape(by_channel)
    sx, so, one = np.float32(x.q_scale()), np.float32(module.scale), np.float32(1)
    if torch.backends.quantized.engine == "qnnpack":
        sums = sums + np.rint(bias * (one / (sx * sw))).astype(np.int64)
        real = sums.astype(np.float32) * ((sw * sx) * (one / so))
    else:
        real_bias = bias / (sx * sw) if per_channel else bias * (one / (sx * sw))
        real = (sums.astype(np.float32) + real_bias) * ((sx * sw) / so)
    q = np.rint(real).astype(np.int64) + module.zero_point
    relu = "ReLU" in type(module).__name__
    return np.clip(q, module.zero_point if relu else 0, 255)
