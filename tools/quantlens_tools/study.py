"""A study's stages as PyTorch, pytorch-grad-cam and OpenCV have them: forward passes, maps, curves, boxes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Iterator

import cv2
import numpy as np
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from torchvision.transforms.functional import gaussian_blur

STEPS = 100
BATCHES = (1, 8, 32)


class Clock:
    """Wall-clock seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


class _Pair(nn.Module):
    """Logits and activation as a tuple, which can be traced."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        last = get_graph_node_names(model)[1][-1]
        self.extract = create_feature_extractor(model, {layer: "activation", last: "logits"})

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.extract(x)
        return found["logits"], found["activation"]


class Runner:
    """A network as fast as torch runs it here: channels last, frozen TorchScript for f32, the best of three batch sizes."""

    def __init__(self, model: nn.Module, layer: str, precision: str, size: int, batches: tuple = BATCHES) -> None:
        self.precision = precision
        example = torch.rand(1, 3, size, size)
        both, alone = _Pair(model, layer).eval(), model.eval()
        if precision == "f32":
            both, alone = (m.to(memory_format=torch.channels_last) for m in (both, alone))
            both, alone = (torch.jit.freeze(torch.jit.trace(m, self._prepare(example))) for m in (both, alone))
        self._both, self._alone = both, alone
        self.batch = max(batches, key=lambda n: self._rate(example.repeat(n, 1, 1, 1)))

    def _prepare(self, x: torch.Tensor) -> torch.Tensor:
        return x.contiguous(memory_format=torch.channels_last)

    def _rate(self, x: torch.Tensor) -> float:
        """Images a second, the better of two runs after two (TorchScript compiles in its first)."""
        seconds = []
        for _ in range(4):
            started = time.perf_counter()
            self.scores(x)
            seconds.append(time.perf_counter() - started)
        return len(x) / min(seconds[2:])

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Softmax probabilities of a batch."""
        with torch.inference_mode():
            return torch.softmax(self._alone(self._prepare(x)), 1)

    def observe(self, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray, tuple[float, int]]:
        """Logits, activation [n, c, h, w] (stored integers of an int8 network), and its scale and zero point."""
        with torch.inference_mode():
            logits, activation = self._both(self._prepare(x))
            if activation.is_quantized:
                quant = (activation.q_scale(), activation.q_zero_point())
                return logits.numpy(), activation.int_repr().numpy(), quant
            return logits.numpy(), activation.numpy(), (1.0, 0)


def projections(activations: np.ndarray) -> np.ndarray:
    """pytorch-grad-cam's EigenCAM before its map, [n, h, w]; integers serve as well as real values."""
    return get_2d_projection(activations.astype(np.float32))


def cam_map(p: np.ndarray, size: int) -> np.ndarray:
    """pytorch-grad-cam's map of a projection, 0 to 1."""
    scaled = scale_cam_image(np.maximum(p, 0)[None], (size, size))
    return scale_cam_image(np.maximum(scaled, 0))[0]


def grey(cam: np.ndarray) -> np.ndarray:
    """The map in 8 bits."""
    return (255 * cam).astype(np.uint8)


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    """Of two grey maps."""
    return float(np.sqrt(((a.astype(np.float64) - b) ** 2).mean()))


def curves(runner: Runner, x: torch.Tensor, cam: np.ndarray, target: int) -> np.ndarray:
    """Deletion to the data set's mean and insertion on the blurred image, [2, 101] probabilities of the class."""
    size = cam.size
    rank = np.empty(size, np.int64)
    rank[np.argsort(-cam.ravel(), kind="stable")] = np.arange(size)
    rank = torch.from_numpy(rank).reshape(1, 1, *cam.shape)
    counts = torch.tensor([round(k * size / STEPS) for k in range(STEPS + 1)]).reshape(-1, 1, 1, 1)
    blurred = gaussian_blur(x, [11, 11], [5.0, 5.0])
    walks = ((x, torch.zeros_like(x)), (blurred, x))
    found = [
        [
            runner.scores(torch.where(rank < part, after, before))[:, target]
            for part in counts.split(runner.batch)
        ]
        for before, after in walks
    ]
    return np.stack([torch.cat(parts).numpy() for parts in found])


def area(curve: np.ndarray) -> float:
    """By the trapezoid rule, percent."""
    return float(100 * np.trapezoid(curve.astype(np.float64)) / STEPS)


def box(grey_map: np.ndarray, level: int) -> tuple[int, int, int, int] | None:
    """wsolevaluation's box of the largest contour above a level; none where nothing lies above."""
    h, w = grey_map.shape
    binary = cv2.threshold(grey_map, level, 255, cv2.THRESH_BINARY)[1]
    contours = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not contours:
        return None
    left, top, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
    return left, top, min(left + width, w - 1), min(top + height, h - 1)


def iou(a: tuple, b: tuple) -> float:
    """Of two boxes whose last pixels belong to them."""

    def pixels(x0: float, y0: float, x1: float, y1: float) -> float:
        return max(x1 - x0 + 1, 0) * max(y1 - y0 + 1, 0)

    common = pixels(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    return common / (pixels(*a) + pixels(*b) - common)


def mapped_box(truth: tuple, picture: tuple[int, int], resize: int | None, crop: int) -> tuple | None:
    """A true box [x0, y0, x1, y1] of a picture of this width and height after Resize (if any) and CenterCrop; none if cropped away."""
    w, h = picture
    if resize is None:
        resized = picture
    else:
        resized = (resize, int(resize * h / w)) if w <= h else (int(resize * w / h), resize)
    moved = []
    for i, v in enumerate(truth):
        side = i % 2
        offset = int(round((resized[side] - crop) / 2.0))
        moved.append(min(max(v * resized[side] / picture[side] - offset, 0), crop))
    return tuple(moved) if moved[0] < moved[2] and moved[1] < moved[3] else None
