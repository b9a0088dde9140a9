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
    smallest_crop: int  # the pictures are cut to squares of at least this many pixels, and at least the object's box
    widest: float = 224.0  # and at most this many times that, or the whole picture


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
    scenes: int = 64_000  # different ones, numbers 0 and up of the split `train`
    seed: int = 2023

    def settings(self) -> dict[str, Any]:
        """For settings.json."""
        return asdict(self) | {"batch": BATCH}


# From close views of objects to whole scenes. A class is a shape and a surface: whole scenes, where other things have either, teach nothing
# for a long while to a network that knows neither. Objects keep about the same size in pixels throughout.
_DENSE = (
    Phase(600_000, 64, 24, widest=1.25),
    Phase(300_000, 96, 32, widest=2.0),
    Phase(200_000, 128, 64),
    Phase(64_000, 192, 128),
    Phase(48_000, 224, 224),
)
# Depthwise convolutions learn surfaces more slowly (at 64 pixels next to nothing in 64,000 images), hence larger views.
_DEPTHWISE = (
    Phase(400_000, 96, 24, widest=1.25),
    Phase(160_000, 128, 32, widest=2.0),
    Phase(96_000, 160, 64),
    Phase(40_000, 224, 192),
)
_QAT = Phase(16_000, 224, 224)
# In this order, so that two at a time end at about the same time.
_ALL = [
    Recipe("resnet18", {"base_width": 16}, _DENSE, "static"),
    Recipe("mobilenet_v2", {"width_mult": 0.35}, _DEPTHWISE, "qat", 3e-3, 0.02, _QAT),
    Recipe("shufflenet_v2_x0_5", {}, _DEPTHWISE, "static", 3e-3, 0.02),
    Recipe("mobilenet_v3_large", {"width_mult": 0.35}, _DEPTHWISE, "qat", 3e-3, 0.02, _QAT),
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
