"""Rendered scenes in their raw form, as `quantlens render --raw` writes it (docs/data.md)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import torch

from .errors import ToolError
from .modelfile import IMAGENET_PREPROCESS

SIDE = 224
CLASS_NAMES = [
    f"{surface} {shape}"
    for shape in ("star", "heart", "fish", "mug", "key", "mushroom")
    for surface in ("striped", "dotted", "checked", "zigzag")
]
_HEADER = np.dtype([("magic", "S8"), ("width", "<u4"), ("height", "<u4"), ("start", "<u8"), ("count", "<u8")])
_RECORD = np.dtype([("class", "<u4"), ("box", "<u2", 4), ("visible", "<u4"), ("rgb", "u1", (SIDE, SIDE, 3))])


def render(quantlens: Path, split: str, start: int, count: int, path: Path) -> None:
    """Renders scenes into a file, written beside `path` and renamed."""
    part = path.with_suffix(".part")
    command = [quantlens, "render", "--split", split, "--start", str(start), "--count", str(count)]
    with open(part, "wb") as file:
        done = subprocess.run([*command, "--raw", "--threads", "1"], stdout=file, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise ToolError(f"{quantlens} render failed: {done.stderr.strip()}")
    part.replace(path)


def records(path: Path) -> np.ndarray:
    """The scenes of a file, mapped: fields `class`, `box` (x0, y0, x1, y1), `visible` (millionths), `rgb` [224, 224, 3]."""
    header = np.fromfile(path, _HEADER, count=1)
    if len(header) != 1 or header[0]["magic"] != b"QLSCENE1" or header[0]["width"] != SIDE or header[0]["height"] != SIDE:
        raise ToolError(f"{path}: no raw scenes of {SIDE}x{SIDE} pixels")
    return np.memmap(path, _RECORD, mode="r", offset=_HEADER.itemsize, shape=(int(header[0]["count"]),))


def normalized(pictures: torch.Tensor) -> torch.Tensor:
    """u8 or f32 [n, 3, h, w] from 0 to 255 to a network's input, as torchvision's ToTensor and Normalize."""
    mean = torch.tensor(IMAGENET_PREPROCESS["mean"]).view(3, 1, 1)
    std = torch.tensor(IMAGENET_PREPROCESS["std"]).view(3, 1, 1)
    return pictures.float().div(255).sub_(mean).div_(std)
