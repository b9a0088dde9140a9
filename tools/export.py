#!/usr/bin/env python3
"""Exports a PyTorch model to quantlens' model file (safetensors; weights/README.md documents it).

From torchvision by name:       export.py --network mobilenet_v2 --precision int8 --weights DEFAULT --out FILE
From a checkpoint or TorchScript: export.py --checkpoint FILE.pth --out FILE
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

from quantlens_tools import errors, modelfile, sources
from quantlens_tools.classes import class_list
from quantlens_tools.errors import ToolError
from quantlens_tools.networks import NETWORKS

HEX = set("0123456789abcdef")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the model file to write")
    parser.add_argument("--checkpoint", type=Path, help="a state dict (float, converted, QAT) or TorchScript file")
    parser.add_argument("--network", choices=list(NETWORKS), help="recognized from a checkpoint's shapes unless given")
    parser.add_argument("--precision", choices=["f32", "int8"], help="a checkpoint says it itself; by name default f32")
    parser.add_argument("--weights", default="DEFAULT", help="name of torchvision's weights (default: %(default)s)")
    parser.add_argument("--arguments", help='constructor arguments as JSON, for example {"width_mult": 0.5}')
    parser.add_argument("--half", action="store_true", help="store float weights as f16 (biases, batch norm stay f32)")
    parser.add_argument("--classes", type=Path, help="one wnid or name a line (default for 1000: ImageNet's wnids)")
    parser.add_argument("--cam-layer", help="EigenCAM's target layer (default: the network's own)")
    parser.add_argument("--twin", help="the other precision's checkpoint, exported file, or its SHA-256")
    parser.add_argument("--licence", help="licence of the weights, as it should be shown")
    return parser.parse_args()


def arguments_of(text: str | None) -> dict[str, Any]:
    """The JSON object of `--arguments`."""
    try:
        value = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise ToolError(f"--arguments is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ToolError("--arguments must be a JSON object")
    return value


def twin_id(twin: str | None) -> str | None:
    """The id of the other precision's file: the SHA-256 of the source it was exported from."""
    if twin is None or (len(twin) == 64 and set(twin) <= HEX):
        return twin
    path = Path(twin)
    if path.suffix == ".safetensors":
        metadata = modelfile.read_metadata(path)
        return metadata.get("source_sha256") or modelfile.file_sha256(path)
    return modelfile.file_sha256(path)


def read_source(args: argparse.Namespace) -> sources.Source:
    """The weights that the command line asks for."""
    if args.checkpoint:
        source = sources.from_file(args.checkpoint, args.network, arguments_of(args.arguments), args.half)
    elif args.network:
        source = sources.from_torchvision(args.network, args.precision or "f32", args.weights, args.half)
    else:
        raise ToolError("nothing to export: give --checkpoint FILE or --network NAME")
    if args.precision and args.precision != source.precision:
        raise ToolError(f"{source.name} is {source.precision}, but --precision says {args.precision}")
    return source


def main() -> None:
    warnings.filterwarnings("ignore", category=UserWarning)
    args = parse()
    source = read_source(args)
    classes = class_list(modelfile.class_count(source.tensors), args.classes)
    description = source.description(classes, twin_id(args.twin))
    description.cam_layer = args.cam_layer
    description.licence = args.licence or source.licence
    print(modelfile.write_model(args.out, source.tensors, description))


if __name__ == "__main__":
    errors.run(main)
