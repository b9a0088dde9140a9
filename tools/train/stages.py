"""One network from nothing to its two model files: train, quantize, export, measure. Each stage is skipped where its result is."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from loop import Training, accuracy, save
from quantize import half_model, int8_model, quantize, taught, trained_float
from quantlens_tools import modelfile
from quantlens_tools.errors import ToolError
from quantlens_tools.networks import build_float, network
from quantlens_tools.rendered import CLASS_NAMES
from quantlens_tools.sources import model_from_file
from recipe import CLASSES, Recipe
from scenes import Scenes

LICENCE = "MIT OR Apache-2.0"


def train_one(recipe: Recipe, folder: Path, scenes: Scenes, held_out: Scenes, card: Scenes) -> None:
    """All stages of one network."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = recipe.settings() | {"torch": torch.__version__.split("+")[0]}
    _check_settings(folder / "settings.json", settings)
    if not (folder / "float.pth").exists():
        _train_float(recipe, folder, scenes, held_out)
    if not (folder / "int8.pth").exists():
        quantize(recipe, folder, scenes, held_out)
    export(recipe, folder)
    if not (folder / "results.json").exists():
        _measure(recipe, folder, card)


def _check_settings(path: Path, settings: dict) -> None:
    """Refuses to go on with other settings than the folder's."""
    text = json.dumps(settings, indent=2) + "\n"
    if path.exists() and path.read_text() != text:
        raise ToolError(f"{path} has other settings: remove the folder, or use another one")
    path.write_text(text)


def _train_float(recipe: Recipe, folder: Path, scenes: Scenes, held_out: Scenes) -> None:
    torch.manual_seed(recipe.seed)
    model = build_float(recipe.network, recipe.arguments | {"num_classes": CLASSES})
    model = model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # narrow networks and augmented scenes: they underfit
        if getattr(module, "inplace", False):
            module.inplace = False  # its gradient needs a copy of what it overwrites
        if isinstance(module, torch.nn.Conv2d) and module.groups > 1 and recipe.teacher:
            # torchvision's initial weights of depthwise convolutions are those of dense ones: short, and a step turns them by much.
            module.weight.data *= module.out_channels**0.5
    _keep_layout(model, recipe.network)
    lesson = taught(recipe, folder, model, maps=True)
    for index, round_ in enumerate(recipe.rounds):
        seed = recipe.seed + 2 * index  # odd steps are quantization's
        Training(f"float{index or ''}", model, round_, scenes, held_out, folder, seed, recipe.weight_decay, lesson).run()
    save(model.state_dict(), folder / "float.pth")


def _keep_layout(model: torch.nn.Module, name: str) -> None:
    """The mean over positions gives its gradient a layout that the last convolution is slow with; this puts it right."""

    def hook(_module: torch.nn.Module, _given: tuple, made: torch.Tensor) -> None:
        if made.requires_grad:
            made.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))

    model.get_submodule(network(name).cam_layer).register_forward_hook(hook)


def export(recipe: Recipe, folder: Path) -> None:
    """Writes the two model files: float weights as f16, and int8."""
    sources = {"f32": folder / "float.pth", "int8": folder / "int8.pth"}
    digests = {precision: modelfile.file_sha256(path) for precision, path in sources.items()}
    arguments = recipe.arguments | {"num_classes": CLASSES}
    for precision, twin in (("f32", "int8"), ("int8", "f32")):
        loaded = model_from_file(sources[precision], recipe.network, arguments)
        source = loaded.source(precision == "f32")
        source.preprocess["resize"] = None  # scenes have the input's size
        description = source.description(CLASS_NAMES, digests[twin])
        description.licence = LICENCE
        description.source = f"tools/train, {recipe.network}, seed {recipe.seed}"
        path = folder / f"{recipe.network}-{precision}.safetensors"
        print(modelfile.write_model(path, source.tensors, description), flush=True)


def _measure(recipe: Recipe, folder: Path, card: Scenes) -> None:
    """PyTorch's accuracy in each precision on the scenes for the model card."""
    model = trained_float(recipe, folder).to(memory_format=torch.channels_last)
    results = {
        "scenes": card.count,
        "f32": accuracy(model, card),
        "f32, weights as f16": accuracy(half_model(model), card),
        "int8": accuracy(int8_model(recipe, folder), card),
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(recipe.network, results, flush=True)
