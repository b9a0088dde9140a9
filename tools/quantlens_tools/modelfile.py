"""Writing quantlens' model file, version 1: safetensors with typed metadata (weights/README.md documents it)."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from .collect import Tensors
from .errors import ToolError
from .networks import network

FORMAT_VERSION = "1"
_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.int32: "I32",
    torch.int8: "I8",
    torch.uint8: "U8",
}
IMAGENET_PREPROCESS = {
    "resize": 256,
    "crop": 224,
    "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


@dataclass
class Description:
    """All a model file says about its weights besides the tensors."""

    network: str
    precision: str  # "f32" or "int8"
    classes: list[str]
    source: str
    source_sha256: str
    arguments: dict[str, Any] = field(default_factory=dict)
    preprocess: dict[str, Any] = field(default_factory=lambda: dict(IMAGENET_PREPROCESS))
    cam_layer: str | None = None
    twin: str | None = None
    licence: str = "not stated"
    extra: dict[str, str] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """The `__metadata__` of the file."""
        known = network(self.network)
        metadata = {
            "format_version": FORMAT_VERSION,
            "network": self.network,
            "arguments": json.dumps(self.arguments),
            "preprocess": json.dumps(self.preprocess),
            "classes": json.dumps(self.classes),
            "cam_layer": self.cam_layer or known.cam_layer,
            "batch_norm_eps": repr(known.batch_norm_eps),
            "source": self.source,
            "source_sha256": self.source_sha256,
            "torch": torch.__version__.split("+")[0],
            "licence": self.licence,
        }
        if self.precision == "int8":
            metadata["numerics"] = known.engine
        if self.twin:
            metadata["twin"] = self.twin
        return metadata | self.extra


def write_tensors(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    """Writes a safetensors file beside `path`, then renames it: a killed run leaves no half file there.

    The safetensors package writes metadata in random order; here the same contents always give the same bytes.
    """
    if path.exists() and not path.is_file():  # renaming would replace a device
        raise ToolError(f"{path}: exists and is no regular file")
    # Wide types first, so that each tensor lies aligned to its type.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        shape, dtype = list(tensors[name].shape), _DTYPES[tensors[name].dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        with open(part, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                file.write(tensors[name].contiguous().numpy().tobytes())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_model(path: Path, tensors: Tensors, description: Description) -> str:
    """Writes a model file and returns one line that says what was written."""
    classes = class_count(tensors)
    if len(description.classes) != classes:
        raise ToolError(f"{path}: {len(description.classes)} class names for a model with {classes} classes")
    write_tensors(path, tensors, description.metadata())
    size = path.stat().st_size
    return (
        f"{path}: {description.network} {description.precision}, {len(tensors)} tensors, {classes} classes, "
        f"{size} bytes, sha256 {file_sha256(path)}"
    )


def class_count(tensors: Tensors) -> int:
    """Outputs of the last linear layer."""
    names = ["fc", "classifier.1", "classifier.3"]
    found = [tensors[f"{name}.weight"].shape[0] for name in names if f"{name}.weight" in tensors]
    if len(found) != 1:
        raise ToolError(f"expected one last linear layer among {', '.join(names)}, found {len(found)}")
    return found[0]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_sha256(tensors: Tensors) -> str:
    """SHA-256 over names and values, for weights that come from no file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """The `__metadata__` of a safetensors file."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}
