"""The int8 twins, made as torchvision made its own: quantization-aware training (qnnpack), or static calibration (fbgemm)."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import torch
from torch import nn
from torch.ao import quantization as tq
from torch.ao.nn.intrinsic.qat import freeze_bn_stats

from distil import Lesson
from loop import Training, save
from quantlens_tools.networks import build_float, network, prepare_qat, prepare_static, use_engine
from recipe import CLASSES, RECIPES, Recipe
from scenes import Scenes, check_parent, plain_batches

_FREEZE_BATCH_NORM = 0.5  # share of the steps after which batch norm keeps its statistics
_FREEZE_OBSERVERS = 0.75  # and the ranges of activations stay
_CALIBRATION_BATCHES = 40  # of 50 scenes


def trained_float(recipe: Recipe, folder: Path) -> nn.Module:
    """The float network with its trained weights."""
    model = build_float(recipe.network, recipe.arguments | {"num_classes": CLASSES})
    model.load_state_dict(torch.load(folder / "float.pth", weights_only=True))
    return model.eval()


def taught(recipe: Recipe, folder: Path, student: nn.Module, maps: bool) -> Lesson | None:
    """The student beside its trained teacher; waits for one that is still being trained."""
    if recipe.teacher is None:
        return None
    its_folder = folder.parent / recipe.teacher
    while not (its_folder / "float.pth").exists():
        check_parent()
        time.sleep(5)
    teacher = trained_float(RECIPES[recipe.teacher], its_folder).to(memory_format=torch.channels_last)
    return Lesson(student, recipe.network, teacher, recipe.teacher, maps)


def quantize(recipe: Recipe, folder: Path, scenes: Scenes, calibration: Scenes) -> None:
    """Writes `int8.pth`: the QAT state dict, or the converted one."""
    torch.manual_seed(recipe.seed)
    if recipe.quantize == "qat":
        state = _train_quantized(recipe, folder, scenes, calibration)
    else:
        state = _calibrate(recipe, folder, calibration)
    save(state, folder / "int8.pth")


def _train_quantized(recipe: Recipe, folder: Path, scenes: Scenes, calibration: Scenes) -> dict:
    model = prepare_qat(trained_float(recipe, folder), network(recipe.network).engine)
    model = model.to(memory_format=torch.channels_last)
    assert recipe.quantized is not None
    lesson = taught(recipe, folder, model, maps=False)
    training = Training("qat", model, recipe.quantized, scenes, calibration, folder, recipe.seed + 1, 0.0, lesson)

    def freeze(progress: float) -> None:
        # `model.train()` of each step thaws neither: both are switches of the modules themselves.
        if progress >= _FREEZE_BATCH_NORM:
            model.apply(freeze_bn_stats)
        if progress >= _FREEZE_OBSERVERS:
            model.apply(tq.disable_observer)

    training.run(freeze)
    return model.state_dict()


def _calibrate(recipe: Recipe, folder: Path, calibration: Scenes) -> dict:
    model = prepare_static(trained_float(recipe, folder), network(recipe.network).engine)
    with torch.no_grad():
        for index, (x, _) in enumerate(plain_batches(calibration)):
            if index == _CALIBRATION_BATCHES:
                break
            model(x)
    return tq.convert(model, inplace=False).state_dict()


def int8_model(recipe: Recipe, folder: Path) -> nn.Module:
    """The converted network out of `int8.pth`, ready to run on its engine."""
    from quantlens_tools.sources import model_from_file

    use_engine(network(recipe.network).engine)
    arguments = recipe.arguments | {"num_classes": CLASSES}
    return model_from_file(folder / "int8.pth", recipe.network, arguments).model


def half_model(model: nn.Module) -> nn.Module:
    """The float network with its weights rounded to f16, as the exported file has them."""
    rounded = copy.deepcopy(model)
    for parameter in rounded.parameters():
        if parameter.dim() >= 2:
            parameter.data = parameter.data.half().float()
    return rounded
