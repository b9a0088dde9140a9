"""A torch model out of a model file, to run what quantlens runs."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.ao.nn import quantized as nnq

from . import modelfile
from .collect import Tensors
from .errors import ToolError
from .networks import build_converted, build_float, network, use_engine


def from_model_file(path: Path) -> nn.Module:
    """The network of a model file with metadata, float or int8; torch's quantized engine is set to the file's."""
    metadata, tensors = modelfile.read_metadata(path), load_file(path)
    if "network" not in metadata:
        raise ToolError(f"{path}: no metadata says which network this is")
    name, arguments = metadata["network"], json.loads(metadata.get("arguments", "{}"))
    if "numerics" not in metadata:
        return _float(path, build_float(name, arguments), tensors)
    use_engine(network(name).engine)
    return _int8(path, build_converted(name, arguments), tensors)


def _float(path: Path, model: nn.Module, tensors: Tensors) -> nn.Module:
    found = model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith(".num_batches_tracked")]
    if missing or found.unexpected_keys:
        raise ToolError(f"{path}: tensors do not fit: missing {missing[:3]}, unexpected {found.unexpected_keys[:3]}")
    return model.eval()


def _int8(path: Path, model: nn.Module, tensors: Tensors) -> nn.Module:
    try:
        for place, module in model.named_modules():
            if isinstance(module, (nnq.Conv2d, nnq.Linear)):
                module.set_weight_bias(_weight(place, tensors), tensors[f"{place}.bias"])
            if isinstance(module, nnq.Quantize):
                module.scale.copy_(tensors[f"{place}.scale"])
                module.zero_point.copy_(tensors[f"{place}.zero_point"])
            elif isinstance(module, (nnq.Conv2d, nnq.Linear, nnq.Hardswish, nnq.QFunctional)):
                if f"{place}.scale" in tensors:  # a block's unused sum has none
                    _set(module, "scale", float(tensors[f"{place}.scale"]))
                    _set(module, "zero_point", int(tensors[f"{place}.zero_point"]))
    except KeyError as error:
        raise ToolError(f"{path}: there is no tensor {error}") from error
    return model.eval()


def _set(module: nn.Module, name: str, value: float | int) -> None:
    """An attribute, which Hardswish has as a buffer."""
    if isinstance(getattr(module, name), torch.Tensor):
        getattr(module, name).fill_(value)
    else:
        setattr(module, name, value)


def _weight(place: str, tensors: Tensors) -> torch.Tensor:
    values, scale = tensors[f"{place}.weight"], tensors[f"{place}.weight_scale"]
    if len(scale) == 1 and len(values) > 1:
        return torch._make_per_tensor_quantized_tensor(values, float(scale), 0)
    zero_points = torch.zeros(len(scale), dtype=torch.long)
    return torch._make_per_channel_quantized_tensor(values, scale.double(), zero_points, 0)
