"""Rendered scenes as training data: a cache of shards that `quantlens render --raw` fills, and batches out of it."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Iterator

import numpy as np
import torch
from torch.nn import functional

from quantlens_tools import rendered
from quantlens_tools.errors import ToolError
from quantlens_tools.rendered import SIDE
from recipe import Phase

SHARD = 1000  # scenes in a file
_CROPS = 8  # sizes of crops in a batch


_PARENT = os.getppid()


def check_parent() -> None:
    """Ends a job whose parent, which renders and starts jobs, is gone: the next run must find nothing at work."""
    if os.getppid() != _PARENT:
        raise ToolError("the process that started this job is gone")


@dataclass(frozen=True)
class Cache:
    """A folder of rendered shards."""

    folder: Path
    quantlens: Path  # the command that renders

    def path(self, split: str, shard: int) -> Path:
        """The file of a split's shard."""
        return self.folder / f"{split}-{shard * SHARD:08}.raw"

    def render(self, split: str, shard: int) -> None:
        """Renders a shard unless it is there; written beside and renamed."""
        path = self.path(split, shard)
        if path.exists():
            return
        rendered.render(self.quantlens, split, shard * SHARD, SHARD, path)

    def fill(self, wanted: dict[str, int]) -> threading.Thread:
        """Renders, in a thread of its own, the first scenes of splits: as many as `wanted` says."""
        self.folder.mkdir(parents=True, exist_ok=True)

        def work() -> None:
            try:
                for split, count in wanted.items():
                    for shard in range(-(-count // SHARD)):
                        self.render(split, shard)
            except (ToolError, OSError) as error:
                # The jobs wait for scenes that will not come: they end when this process does.
                print(f"error: {error}", file=sys.stderr, flush=True)
                os._exit(1)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread


class Scenes:
    """The first `count` scenes of a split; waits for those that are still being rendered."""

    def __init__(self, cache: Cache, split: str, count: int) -> None:
        self.count = count
        self._shard = lru_cache(maxsize=None)(lambda shard: _open(cache.path(split, shard)))

    def take(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pictures [n, 224, 224, 3] u8, classes [n] and boxes [n, 4] of scenes by their numbers."""
        records = [self._shard(int(n) // SHARD)[int(n) % SHARD] for n in numbers]
        pictures = np.stack([r["rgb"] for r in records])
        classes = np.array([r["class"] for r in records], dtype=np.int64)
        return pictures, classes, np.stack([r["box"] for r in records]).astype(np.int64)


def _open(path: Path) -> np.ndarray:
    while not path.exists():
        check_parent()
        time.sleep(0.5)
    return rendered.records(path)


def _input(pictures: torch.Tensor) -> torch.Tensor:
    """Normalized, in the layout that torch's convolutions are fastest in."""
    return rendered.normalized(pictures).contiguous(memory_format=torch.channels_last)


def training_batch(
    scenes: Scenes, numbers: np.ndarray, phase: Phase, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch, augmented: cut out around the objects, resized, turned, mirrored, its colour channels exchanged.

    Pictures with boxes of about the same size are cut to squares of one size, from the largest of their boxes to the whole picture.
    Close views teach what an object is, whole scenes to find it.
    """
    pictures, classes, boxes = scenes.take(numbers)
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    groups = np.array_split(np.argsort(longest, kind="stable"), _CROPS)
    parts = []
    for group in groups:
        least = min(SIDE, max(phase.smallest_crop, int(longest[group].max())))
        most = min(SIDE, int(least * phase.widest))
        crop = int(random.integers(least, most + 1))
        cut = np.stack([_cut(pictures[i], boxes[i], crop, random) for i in group])
        part = torch.from_numpy(cut).permute(0, 3, 1, 2).float()
        if crop != phase.size:
            part = functional.interpolate(part, (phase.size, phase.size), mode="bilinear", antialias=crop > phase.size)
        parts.append(_turned(part, random))
    return _input(torch.cat(parts)), torch.from_numpy(classes[np.concatenate(groups)])


def _turned(part: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """One of the square's eight symmetries, and one order of the colour channels."""
    part = torch.rot90(part, int(random.integers(4)), (2, 3))
    if random.integers(2):
        part = part.flip(3)
    return part[:, torch.from_numpy(random.permutation(3))]


def _cut(picture: np.ndarray, box: np.ndarray, crop: int, random: np.random.Generator) -> np.ndarray:
    """A square of `crop` pixels a side, anywhere that keeps the box whole; it is no longer than that."""
    x, y = (
        int(random.integers(max(0, high - crop), min(SIDE - crop, low) + 1))
        for low, high in ((box[0], box[2]), (box[1], box[3]))
    )
    return picture[y : y + crop, x : x + crop]


def plain_batches(scenes: Scenes, batch: int = 50) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """All scenes in order, as a network sees them after training."""
    for start in range(0, scenes.count, batch):
        pictures, classes, _ = scenes.take(np.arange(start, min(start + batch, scenes.count)))
        yield _input(torch.from_numpy(pictures).permute(0, 3, 1, 2)), torch.from_numpy(classes)
