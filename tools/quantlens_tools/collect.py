"""Tensors of a model file, from a torch model.

A converted model is walked module by module: a converted `Hardswish` keeps its scale and zero point as plain attributes,
and linear layers hide their weights, so that neither is complete in a state dict.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.ao.nn import quantized as nnq

from .errors import ToolError

Tensors = dict[str, torch.Tensor]


def float_tensors(model: nn.Module, half: bool = False) -> Tensors:
    """The state dict of a float model; `half` stores the weights of convolutions and linear layers as f16."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name.endswith(".num_batches_tracked"):
            continue
        kind = torch.float16 if half and tensor.dim() >= 2 else torch.float32
        tensors[name] = tensor.detach().to(kind).contiguous()
    return tensors


def converted_tensors(model: nn.Module) -> Tensors:
    """The tensors of a converted int8 model, by walking its modules."""
    tensors: Tensors = {}
    unused = _unused_functionals(model)
    for path, module in model.named_modules():
        if isinstance(module, (nnq.Conv2d, nnq.Linear)):
            add_weights(tensors, path, module.weight(), module.bias())
            add_quant(tensors, path, module.scale, module.zero_point)
        elif isinstance(module, (nnq.Quantize, nnq.Hardswish, nnq.QFunctional)) and path not in unused:
            add_quant(tensors, path, module.scale, module.zero_point)
        elif isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            raise ToolError(f"{path} is still a float {type(module).__name__}: the model is not (wholly) converted")
    if "quant.scale" not in tensors:
        raise ToolError("the model has no converted input stub `quant`: it is not a converted torchvision model")
    return tensors


def add_weights(tensors: Tensors, path: str, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Adds a quantized layer's integer weights, their scales and the float bias."""
    if weight.dtype != torch.qint8:
        raise ToolError(f"{path}.weight is {weight.dtype}, expected qint8")
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        if weight.q_per_channel_axis() != 0:
            raise ToolError(f"{path}.weight is quantized along axis {weight.q_per_channel_axis()}, expected 0")
        scale, zero_points = weight.q_per_channel_scales(), weight.q_per_channel_zero_points()
    else:
        scale, zero_points = torch.tensor([weight.q_scale()]), torch.tensor([weight.q_zero_point()])
    if bool((zero_points != 0).any()):
        raise ToolError(f"{path}.weight has weight zero points other than 0")
    tensors[f"{path}.weight"] = weight.int_repr().contiguous()
    tensors[f"{path}.weight_scale"] = scale.to(torch.float32).contiguous()
    bias = torch.zeros(weight.shape[0]) if bias is None else bias
    tensors[f"{path}.bias"] = bias.detach().to(torch.float32).contiguous()


def add_quant(tensors: Tensors, path: str, scale: float | torch.Tensor, zero_point: int | torch.Tensor) -> None:
    """Adds an output's scale and zero point."""
    tensors[f"{path}.scale"] = torch.tensor([float(scale)], dtype=torch.float32)
    tensors[f"{path}.zero_point"] = torch.tensor([int(zero_point)], dtype=torch.int32)


def _unused_functionals(model: nn.Module) -> set[str]:
    """`skip_add` of MobileNet blocks without a residual: present as modules, never called, never calibrated."""
    blocks = model.named_modules()
    return {f"{path}.skip_add" for path, block in blocks if getattr(block, "use_res_connect", True) is False}
