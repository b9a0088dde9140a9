"""A model from each form torchvision distributes: by name, as a state dict (float, converted or QAT), as TorchScript."""

from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch.ao import quantization as tq
from torchvision import models

from . import modelfile, torchscript
from .collect import Tensors, converted_tensors, float_tensors
from .errors import ToolError
from .networks import build_converted, build_float, network, prepare_qat, use_engine
from .recognize import classes_of, conv_shapes, recognize


@dataclass
class Source:
    """Weights read from somewhere, ready to be written."""

    network: str
    precision: str
    arguments: dict[str, Any]
    tensors: Tensors
    name: str
    sha256: str
    preprocess: dict[str, Any] = field(default_factory=lambda: dict(modelfile.IMAGENET_PREPROCESS))
    licence: str = "not stated"

    def description(self, classes: list[str], twin: str | None) -> modelfile.Description:
        """What the model file will say."""
        return modelfile.Description(
            network=self.network,
            precision=self.precision,
            classes=classes,
            source=self.name,
            source_sha256=self.sha256,
            arguments=self.arguments,
            preprocess=self.preprocess,
            twin=twin,
            licence=self.licence,
        )


@dataclass
class Loaded:
    """A torch model rebuilt from a state dict, ready to run."""

    network: str
    precision: str
    arguments: dict[str, Any]
    model: torch.nn.Module
    name: str = ""
    sha256: str = ""

    def source(self, half: bool = False) -> Source:
        """Its tensors; `half` stores float weights as f16."""
        tensors = float_tensors(self.model, half) if self.precision == "f32" else converted_tensors(self.model)
        return Source(self.network, self.precision, self.arguments, tensors, self.name, self.sha256)


def from_torchvision(name: str, precision: str, weights: str, half: bool) -> Source:
    """torchvision's own weights; downloads them unless torch's cache has them."""
    registered = f"quantized_{name}" if precision == "int8" else name
    try:
        entry = models.get_model_weights(registered)[weights]
    except (ValueError, KeyError) as error:
        raise ToolError(f"torchvision has no weights {weights!r} for {registered}: {error}") from error
    try:
        state = entry.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError) as error:
        raise ToolError(f"cannot download {entry.url}: {error}; fetch it elsewhere and use --checkpoint") from error
    cached = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(entry.url)
    source = from_state_dict(state, name, {}).source(half)
    source.name = f"torchvision {entry}"
    source.sha256 = modelfile.file_sha256(cached)
    source.preprocess = _preprocess(entry.transforms())
    source.licence = "BSD-3-Clause (torchvision); trained on ImageNet, whose images have terms of their own"
    return source


def from_file(path: Path, name: str | None, arguments: dict[str, Any], half: bool) -> Source:
    """A checkpoint or a TorchScript file; the network is recognized by its shapes unless named."""
    if path.suffix == ".safetensors":
        raise ToolError(f"{path}: quantlens reads a float state dict saved with safetensors as it is; export a .pth file")
    if not _is_torchscript(path):
        return model_from_file(path, name, arguments).source(half)
    found = torchscript.read(path, name, arguments, half)
    digest = modelfile.file_sha256(path)
    return Source(found.network, found.precision, found.arguments, found.tensors, path.name, digest)


def model_from_file(path: Path, name: str | None = None, arguments: dict[str, Any] | None = None) -> Loaded:
    """The torch model of a checkpoint file."""
    loaded = from_state_dict(_load_state_dict(path, name), name, arguments or {})
    loaded.name, loaded.sha256 = path.name, modelfile.file_sha256(path)
    return loaded


def from_state_dict(state: dict[str, Any], name: str | None, arguments: dict[str, Any]) -> Loaded:
    """The model of a float, converted or QAT state dict; which of them it is shows in its keys."""
    name = name or recognize(conv_shapes(state))
    arguments = {"num_classes": classes_of(state)} | arguments
    if any(key.endswith("_packed_params") for key in state):
        return Loaded(name, "int8", arguments, _converted(state, name, arguments))
    if any(key.endswith(".fake_quant_enabled") for key in state):
        return Loaded(name, "int8", arguments, _from_qat(state, name, arguments))
    return Loaded(name, "f32", arguments, _load(build_float(name, arguments), state, name))


def _converted(state: dict[str, Any], name: str, arguments: dict[str, Any]) -> torch.nn.Module:
    if name.startswith("mobilenet_v3"):
        raise ToolError(
            f"this is the state dict of a converted {name}, which cannot be exported: a converted Hardswish keeps its scale and "
            "zero point as attributes outside the state dict, so they are lost (torchvision issue 5890). Export the unconverted "
            "QAT state dict (the form torchvision distributes) or a TorchScript file of the converted model"
        )
    return _load(build_converted(name, arguments), state, name)


def _from_qat(state: dict[str, Any], name: str, arguments: dict[str, Any]) -> torch.nn.Module:
    engine = network(name).engine
    model = _load(prepare_qat(build_float(name, arguments), engine), state, name)
    return tq.convert(model.eval(), inplace=False).eval()


def _load(model: torch.nn.Module, state: dict[str, Any], name: str) -> torch.nn.Module:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = [line if len(line) <= 200 else f"{line[:200]} ..." for line in str(error).splitlines()]
        shown = "\n".join(lines[:6] + ([f"... and {len(lines) - 6} more"] if len(lines) > 6 else []))
        raise ToolError(f"the state dict does not fit {name}: {shown}") from error
    return model.eval()


def _load_state_dict(path: Path, name: str | None) -> dict[str, Any]:
    if not path.is_file():
        raise ToolError(f"{path}: there is no such file")
    # Unpacking a quantized linear layer's packed weights needs an engine that can hold them.
    use_engine(network(name).engine if name else "fbgemm")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on arbitrary bytes torch raises nearly anything
        kind = type(error).__name__
        raise ToolError(
            f"{path}: not a state dict that loads without running code ({kind}); save model.state_dict(), not the model"
        ) from error
    for key in ("state_dict", "model"):  # training scripts wrap the weights with the optimizer's state
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ToolError(f"{path}: expected a state dict, found {type(state).__name__}")
    return _without_prefix(state, "module.")


def _without_prefix(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The state dict without `DataParallel`'s prefix; its metadata (layout versions of quantized layers) goes along."""
    if not any(key.startswith(prefix) for key in state):
        return state
    bare = OrderedDict((key.removeprefix(prefix), value) for key, value in state.items())
    versions = getattr(state, "_metadata", {})
    bare._metadata = {key.removeprefix(prefix): value for key, value in versions.items()}  # type: ignore[attr-defined]
    return bare


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _preprocess(transforms: Any) -> dict[str, Any]:
    return {
        "resize": transforms.resize_size[0],
        "crop": transforms.crop_size[0],
        "interpolation": transforms.interpolation.value,
        "mean": list(transforms.mean),
        "std": list(transforms.std),
    }
