"""Which networks are trained, and with what settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

CLASSES = 24
BATCH = 64


@dataclass(frozen=True)
class Phase:
    """A stretch of training at one input size."""

    images: int
    size: int  # input, in pixels a side
    smallest_crop: int  # the pictures are cut to squares between this (or the object's box) and 224 pixels


@dataclass(frozen=True)
class Recipe:
    """All settings of one network's training."""

    network: str
    arguments: dict[str, Any]
    phases: tuple[Phase, ...]
    quantize: str  # "qat" or "static"
    learning_rate: float = 2e-3  # AdamW's peak; up over the first 5 %, then down to 0 along a cosine
    weight_decay: float = 0.05
    quantized_phase: Phase | None = None  # of quantization-aware training
    quantized_learning_rate: float = 2e-4
    scenes: int = 96_000  # different ones, numbers 0 and up of the split `train`
    seed: int = 2023

    def settings(self) -> dict[str, Any]:
        """For settings.json."""
        return asdict(self) | {"batch": BATCH}


def _phases(first: int, second: int, third: int) -> tuple[Phase, ...]:
    return Phase(first, 112, 64), Phase(second, 160, 128), Phase(third, 224, 224)


_QAT = Phase(24_000, 224, 224)
# In this order, so that two at a time end at about the same time.
_ALL = [
    Recipe("resnet18", {"base_width": 16}, _phases(480_000, 96_000, 64_000), "static"),
    Recipe("mobilenet_v2", {"width_mult": 0.35}, _phases(400_000, 64_000, 48_000), "qat", quantized_phase=_QAT),
    Recipe("shufflenet_v2_x0_5", {}, _phases(480_000, 96_000, 64_000), "static"),
    Recipe("mobilenet_v3_large", {"width_mult": 0.35}, _phases(480_000, 96_000, 64_000), "qat", quantized_phase=_QAT),
]
RECIPES = {recipe.network: recipe for recipe in _ALL}


def shortened(recipe: Recipe, share: float) -> Recipe:
    """The recipe with this share of its images, at least four batches a phase; to try the whole way out."""
    if share == 1.0:
        return recipe

    def short(phase: Phase) -> Phase:
        return replace(phase, images=max(4 * BATCH, int(phase.images * share)))

    phases = tuple(short(phase) for phase in recipe.phases)
    quantized = short(recipe.quantized_phase) if recipe.quantized_phase else None
    scenes = max(1000, int(recipe.scenes * share))
    return replace(recipe, phases=phases, quantized_phase=quantized, scenes=scenes)
