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
    batch: int = BATCH


@dataclass(frozen=True)
class Round:
    """Phases with one learning rate schedule: up over the first 5 % of the steps, then down to 0 along a cosine."""

    phases: tuple[Phase, ...]
    learning_rate: float  # AdamW's, at its peak
    turning: float | None = None  # Muon's, for the weights of dense convolutions; None: AdamW trains them too
    maps: float = 30.0  # the weight of a teacher's feature maps at the start; towards the end it goes to 1

    @property
    def images(self) -> int:
        """Of all phases."""
        return sum(phase.images for phase in self.phases)


@dataclass(frozen=True)
class Recipe:
    """All settings of one network's training."""

    network: str
    arguments: dict[str, Any]
    rounds: tuple[Round, ...]  # each goes on with the weights of the one before
    quantize: str  # "qat" or "static"
    weight_decay: float = 0.05
    quantized: Round | None = None  # quantization-aware training
    teacher: str | None = None  # a recipe's network whose outputs and feature maps this one learns besides the classes
    scenes: int = 64_000  # different ones, numbers 0 and up of the split `train`
    seed: int = 2023

    def settings(self) -> dict[str, Any]:
        """For settings.json."""
        return asdict(self) | {"batch": BATCH}


# From close views of objects to whole scenes. A class is a shape and a surface: whole scenes, where other things have either, teach nothing
# for a long while to a network that knows neither. Objects keep about the same size in pixels throughout.
_DENSE = Round(
    (
        Phase(600_000, 64, 24, widest=1.25),
        Phase(300_000, 96, 32, widest=2.0),
        Phase(200_000, 128, 64),
        Phase(64_000, 192, 128),
        Phase(48_000, 224, 224),
    ),
    2e-3,
)
# Depthwise convolutions learn surfaces more slowly (at 64 pixels next to nothing in 64,000 images), hence larger views.
_LONG_CLOSE = Round(
    (
        Phase(400_000, 96, 24, widest=1.25),
        Phase(160_000, 128, 32, widest=2.0),
        Phase(96_000, 160, 64),
        Phase(40_000, 224, 192),
    ),
    3e-3,
)
# That came to whole scenes with nearly no learning rate left (71 %), hence a second round of them.
_WHOLE = Round((Phase(160_000, 128, 64), Phase(96_000, 160, 64), Phase(40_000, 224, 192)), 1.5e-3)
# The MobileNets learn from ResNet18, whose feature maps say what is where: no views without distraction are needed. Objects have their size in
# whole scenes from the start, in cuts that grow to them. Small batches: more steps bring more than better gradients, and fit the caches.
_TAUGHT = Round(
    (
        Phase(64_000, 64, 64, widest=1.3, batch=32),
        Phase(128_000, 96, 96, widest=1.3, batch=32),
        Phase(40_000, 128, 128, widest=1.3, batch=32),
        Phase(8_000, 224, 224, batch=16),
    ),
    3e-3,
    turning=0.03,
)
_TAUGHT_BRIEFLY = Round(
    (
        Phase(40_000, 64, 64, widest=1.3, batch=32),
        Phase(72_000, 96, 96, widest=1.3, batch=32),
        Phase(16_000, 128, 128, widest=1.3, batch=32),
    ),
    3e-3,
    turning=0.03,
)
# Both came to whole scenes with little learning rate left (71 and 67 % of `calibration`), hence a second round here too.
_TAUGHT_WHOLE = Round((Phase(48_000, 128, 128, widest=1.3, batch=32), Phase(32_000, 224, 224, batch=16)), 2e-3, turning=0.02, maps=3.0)
# Quantization-aware training. Slow: int8 networks are to be their float ones' twins, not better trained ones.
_QAT = Round((Phase(4_000, 224, 224, batch=16),), 2e-4)
_ALL = [
    Recipe("resnet18", {"base_width": 16}, (_DENSE,), "static"),
    Recipe("shufflenet_v2_x0_5", {}, (_LONG_CLOSE, _WHOLE), "static", 0.02),
    Recipe("mobilenet_v2", {"width_mult": 0.35}, (_TAUGHT, _TAUGHT_WHOLE), "qat", 0.02, _QAT, teacher="resnet18"),
    Recipe("mobilenet_v3_large", {"width_mult": 0.35}, (_TAUGHT_BRIEFLY, _TAUGHT_WHOLE), "qat", 0.02, _QAT, teacher="resnet18"),
]
RECIPES = {recipe.network: recipe for recipe in _ALL}


def shortened(recipe: Recipe, share: float) -> Recipe:
    """The recipe with this share of its images, at least four batches a phase; to try the whole way out."""
    if share == 1.0:
        return recipe

    def short(round_: Round) -> Round:
        phases = (replace(phase, images=max(4 * phase.batch, int(phase.images * share))) for phase in round_.phases)
        return replace(round_, phases=tuple(phases))

    return replace(
        recipe,
        rounds=tuple(map(short, recipe.rounds)),
        quantized=recipe.quantized and short(recipe.quantized),
        scenes=max(1000, int(recipe.scenes * share)),
    )
