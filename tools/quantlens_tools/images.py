"""Images: real ones through torchvision's ImageNet transform, and seeded structured ones for calibration."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms

from .errors import ToolError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Listed:
    """An image of a data set."""

    id: str  # path relative to the manifest's folder
    path: Path
    class_index: int | None


def listed(source: Path, limit: int | None = None) -> list[Listed]:
    """The images of a folder, in the order of their paths, or of a CSV manifest (columns file, class_index, set)."""
    images = _manifest(source) if source.is_file() else _folder(source)
    if not images:
        raise ToolError(f"{source}: no images")
    return images[:limit]


def imagenet_transform(resize: int | None = 256) -> transforms.Compose:
    """torchvision's: resize the shorter side (not where that is None), crop 224, normalize."""
    resized = [] if resize is None else [transforms.Resize(resize)]
    return transforms.Compose(
        [*resized, transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )


def load(image: Listed, transform: transforms.Compose) -> torch.Tensor:
    """The network's input [1, 3, 224, 224]; EXIF rotation is ignored, as torchvision's loader does."""
    with Image.open(image.path) as file:
        return transform(file.convert("RGB")).unsqueeze(0)


def structured(count: int, size: int, seed: int) -> torch.Tensor:
    """Seeded images [count, 3, size, size] with coarse and fine structure, normalized as ImageNet's.

    Noise of several grain sizes, the coarser the stronger, and one bright or dark rectangle: enough structure that
    batch norm and observers see activations of natural scale.
    """
    random = torch.Generator().manual_seed(seed)
    pixels = torch.full((count, 3, size, size), 0.5)
    for grain, strength in ((2, 0.25), (5, 0.2), (16, 0.12), (size, 0.05)):
        noise = torch.randn(count, 3, grain, grain, generator=random) * strength
        pixels += torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
    for image in pixels:
        top, left = (int(v) for v in torch.randint(0, size * 3 // 4, (2,), generator=random))
        height, width = (int(v) for v in torch.randint(size // 8, size // 2, (2,), generator=random))
        image[:, top : top + height, left : left + width] += torch.randn(3, 1, 1, generator=random) * 0.4
    pixels = (pixels.clamp(0, 1) * 255).round() / 255
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return (pixels - mean) / std


def _folder(folder: Path) -> list[Listed]:
    if not folder.is_dir():
        raise ToolError(f"{folder}: no such folder or manifest")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    return [Listed(path.relative_to(folder).as_posix(), path, None) for path in paths]


def _manifest(manifest: Path) -> list[Listed]:
    images = []
    with open(manifest, newline="") as file:
        for row in csv.DictReader(file):
            if "file" not in row:
                raise ToolError(f"{manifest}: no column `file` (columns: {', '.join(row)})")
            name = "/".join(part for part in (row.get("set"), row["file"]) if part)
            index = row.get("class_index")
            images.append(Listed(name, manifest.parent / name, int(index) if index else None))
    return images
