#!/usr/bin/env python3
"""Golden outputs of PyTorch, to test quantlens against.

golden.py --small [--out tests/golden]    narrow networks, checksums of every layer; committed
golden.py --full [--out local/golden]     torchvision's sizes, generated weights, every layer in full
golden.py --real F32 INT8 --images INDEX.csv [--out local/real]   torch's logits of real images for a MobileNetV2 pair
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import torch

from quantlens_tools import errors, images, modelfile, sources
from quantlens_tools.classes import class_list
from quantlens_tools.errors import ToolError
from quantlens_tools.exact import check_layers
from quantlens_tools.generated import Pair, Recipe, make_pair
from quantlens_tools.networks import network, use_engine
from quantlens_tools.taps import Tap, run_with_taps

# Narrow variants. The channels that are averaged last are a multiple of 64 where torch's order of summation depends on
# whether channels fill its vectors (ShuffleNet's mean).
SMALL = [
    Recipe("mobilenet_v2", {"width_mult": 0.1, "num_classes": 10}, 1),
    Recipe("mobilenet_v3_large", {"width_mult": 0.1, "num_classes": 10}, 2),
    Recipe("resnet18", {"base_width": 5, "num_classes": 10}, 3),
    Recipe("shufflenet_v2_x0_5", {"stages_out_channels": [24, 24, 48, 96, 256], "num_classes": 10}, 4),
]
# Maps odd throughout, ending at 3x3; even throughout, ending at 2x2; and ending at 6x6, where roundings of the mean show.
SMALL_SIZES = {"f32": [65, 64], "int8": [65, 64, 161]}
FULL = [
    Recipe("mobilenet_v2", {}, 11, 128, 4),
    Recipe("mobilenet_v3_large", {}, 12, 128, 4),
    Recipe("resnet18", {}, 13, 128, 4),
    Recipe("shufflenet_v2_x0_5", {}, 14, 128, 4),
]
FULL_SIZES = {"f32": [224], "int8": [224, 192]}
IMAGES_A_FILE = 50
# Seeds of inputs tried until one is found on which torch itself does not saturate.
INPUT_SEEDS = range(100, 140)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--small", action="store_true", help="the committed dumps")
    what.add_argument("--full", action="store_true", help="full-size dumps with every layer's values")
    what.add_argument("--real", nargs=2, type=Path, metavar=("F32", "INT8"), help="checkpoints of a MobileNetV2 pair")
    parser.add_argument("--images", type=Path, help="with --real: a folder or a CSV manifest")
    parser.add_argument("--limit", type=int, help="with --real: only the first images")
    parser.add_argument("--networks", nargs="+", help="only these networks")
    parser.add_argument("--out", type=Path, help="folder to write to")
    return parser.parse_args()


def write_pair(recipe: Recipe, sizes: dict[str, list[int]], out: Path, full: bool) -> None:
    """Weights and dumps of one network in both precisions."""
    pair = make_pair(recipe)
    for precision in ("f32", "int8"):
        path = out / f"{recipe.network}-{precision}.safetensors"
        print(modelfile.write_model(path, pair.tensors(precision), pair.description(precision)))
        for size in sizes[precision]:
            write_dump(pair, precision, size, out, full)


def write_dump(pair: Pair, precision: str, size: int, out: Path, full: bool) -> None:
    """One input, its logits, and every tensor between them."""
    seed, x, note = choose_input(pair, precision, size)
    logits, taps = run_with_taps(pair.f32 if precision == "f32" else pair.int8, x)
    tensors = {"input": x, "logits": logits}
    if full:
        tensors |= {tap.name: tap.values for tap in taps}
    metadata = {
        "network": pair.recipe.network,
        "precision": precision,
        "torch": torch.__version__.split("+")[0],
        "input_seed": str(seed),
        "layers": json.dumps(summaries(taps)),
    }
    path = out / f"{pair.recipe.network}-{precision}-{size}.safetensors"
    modelfile.write_tensors(path, tensors, metadata)
    print(f"{path}: {len(taps)} tensors, {path.stat().st_size} bytes, input seed {seed}{note}")


def choose_input(pair: Pair, precision: str, size: int) -> tuple[int, torch.Tensor, str]:
    """The first seeded input on which every layer of torch's int8 network equals its exact integer sums."""
    if precision == "f32":
        return INPUT_SEEDS[0], images.structured(1, size, INPUT_SEEDS[0]), ""
    use_engine(network(pair.recipe.network).engine)
    rejected = []
    for seed in INPUT_SEEDS:
        x = images.structured(1, size, seed)
        checks = check_layers(pair.int8, x)
        wrong = sum(check.wrong for check in checks)
        if wrong == 0:
            values = sum(check.values for check in checks)
            above = sum(check.above_127 for check in checks)
            note = f"; {values} layer outputs exact, {above} layer inputs above 127"
            return seed, x, note + (f"; inputs rejected because torch was inexact: {rejected}" if rejected else "")
        rejected.append(f"seed {seed}: {wrong} values in {sum(check.wrong > 0 for check in checks)} layers")
    raise ToolError(f"{pair.recipe.network} at {size}: torch saturates on every input tried: {rejected}")


def summaries(taps: list[Tap]) -> list[dict]:
    """Name, type, shape and checksum of each tensor; a name twice would be a mistake here."""
    names = [tap.name for tap in taps]
    if len(set(names)) != len(names):
        raise ToolError(f"tensors named twice: {sorted({n for n in names if names.count(n) > 1})}")
    return [tap.summary() for tap in taps]


def write_real(args: argparse.Namespace, out: Path) -> None:
    """The pair as model files, and `logits/NNNN.safetensors` with 50 images each."""
    if not args.images:
        raise ToolError("--real needs --images: a folder or a CSV manifest")
    torch.set_num_threads(1)
    pair = [sources.model_from_file(path) for path in args.real]
    if [loaded.precision for loaded in pair] != ["f32", "int8"]:
        raise ToolError("--real takes the float checkpoint first, then the int8 one")
    for loaded, twin in zip(pair, reversed(pair)):
        source = loaded.source()
        description = source.description(class_list(modelfile.class_count(source.tensors), None), twin.sha256)
        path = out / f"{source.network}-{source.precision}.safetensors"
        print(modelfile.write_model(path, source.tensors, description))
    chosen = images.listed(args.images, args.limit)
    use_engine(network(pair[1].network).engine)
    for start in range(0, len(chosen), IMAGES_A_FILE):
        part = chosen[start : start + IMAGES_A_FILE]
        path = out / "logits" / f"{start // IMAGES_A_FILE:04}.safetensors"
        write_logits(path, part, pair)
        print(f"{path}: images {start} to {start + len(part) - 1} of {len(chosen)}", flush=True)


def write_logits(path: Path, part: list[images.Listed], pair: list[sources.Loaded]) -> None:
    """Inputs and both networks' logits of some images, each run by itself: a batch may take other float kernels."""
    transform = images.imagenet_transform()
    inputs = [images.load(image, transform) for image in part]
    tensors = {"input": torch.cat(inputs)}
    with torch.no_grad():
        for loaded in pair:
            tensors[f"logits_{loaded.precision}"] = torch.cat([loaded.model(x) for x in inputs])
    metadata = {"images": json.dumps([image.id for image in part]), "torch": torch.__version__.split("+")[0]}
    modelfile.write_tensors(path, tensors, metadata)


def main() -> None:
    warnings.filterwarnings("ignore", category=UserWarning)
    args = parse()
    if args.real:
        return write_real(args, args.out or Path("local/real"))
    recipes, sizes = (FULL, FULL_SIZES) if args.full else (SMALL, SMALL_SIZES)
    out = args.out or Path("local/golden" if args.full else "tests/golden")
    for recipe in recipes:
        if not args.networks or recipe.network in args.networks:
            write_pair(recipe, sizes, out, args.full)


if __name__ == "__main__":
    errors.run(main)
