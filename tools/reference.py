#!/usr/bin/env python3
"""What torch, Pillow, NumPy and OpenCV say of a float network and its int8 twin on the images of a data set.

reference.py F32 INT8 --images INDEX.csv --out reference.csv [--npz reference.npz] [--limit N]

One row an image: predictions of both networks, statistics of the target layer's activation, RMSE of the EigenCAM maps.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from quantlens_tools import errors, images, sources
from quantlens_tools.errors import ToolError
from quantlens_tools.explain import pair_difference, projection, statistics, top_left_negative
from quantlens_tools.networks import network, use_engine


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("f32", type=Path, help="state dict of the float network")
    parser.add_argument("int8", type=Path, help="state dict of its int8 twin, converted or QAT")
    parser.add_argument("--images", type=Path, required=True, help="a folder or a CSV manifest")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    parser.add_argument("--npz", type=Path, help="logits and projections of both networks, for compare.py")
    parser.add_argument("--limit", type=int, help="only the first images")
    return parser.parse_args()


class Watched:
    """A network and the last activation of its target layer."""

    def __init__(self, loaded: sources.Loaded) -> None:
        self.model, self.precision = loaded.model, loaded.precision
        layer = self.model.get_submodule(network(loaded.network).cam_layer)
        layer.register_forward_hook(lambda _m, _i, out: setattr(self, "activation", out.detach().clone()))
        self.activation = torch.empty(0)

    def run(self, x: torch.Tensor) -> dict[str, Any]:
        """Logits, projection and the columns of this network for one image."""
        with torch.no_grad():
            logits = self.model(x)[0]
        activation = self.activation
        quantized = activation.is_quantized
        raw = _hwc(activation.int_repr() if quantized else activation)
        columns = predictions(logits)
        columns |= {f"{name}_raw": value for name, value in statistics(raw).items()} if quantized else {}
        columns |= _real_statistics(activation, raw)
        columns = {f"{self.precision}_{name}": value for name, value in columns.items()}
        return {"logits": logits.numpy(), "p": projection(raw), "columns": columns}


def predictions(logits: torch.Tensor) -> dict[str, Any]:
    """The five best classes. Quantized logits are often equal; of equal ones the smaller class comes first, as in argmax."""
    top = torch.sort(logits, descending=True, stable=True).indices[:5].tolist()
    share = torch.softmax(logits.double(), 0)
    return {"top1": top[0], "top5": " ".join(map(str, top)), "prob": float(share[top[0]])}


def _hwc(tensor: torch.Tensor) -> np.ndarray:
    return tensor[0].permute(1, 2, 0).contiguous().numpy()


def _real_statistics(activation: torch.Tensor, raw: np.ndarray) -> dict[str, float]:
    """Statistics of the real values; for integers in f64, since rounding each value to f32 is not part of the idea."""
    if not activation.is_quantized:
        return statistics(raw)
    scale, zero = float(np.float32(activation.q_scale())), activation.q_zero_point()
    real = statistics((raw.astype(np.float64) - zero) * scale)
    real["entropy_hist"] = statistics(raw)["entropy_hist"]  # the same integers under other names
    return real


def row(image: images.Listed, f32: dict[str, Any], int8: dict[str, Any], size: int) -> dict[str, Any]:
    """The CSV row of an image."""
    head = {"image_id": image.id, "true_class": "" if image.class_index is None else image.class_index}
    return head | f32["columns"] | int8["columns"] | map_columns(f32["p"], int8["p"], size)


def map_columns(f32: np.ndarray, int8: np.ndarray, size: int) -> dict[str, float]:
    """The pair's difference with the signs that NumPy left, and (`_rule`) with both made negative at the top left."""
    rule = pair_difference(top_left_negative(f32), top_left_negative(int8), size)
    return pair_difference(f32, int8, size) | {f"{name}_rule": value for name, value in rule.items()}


def scan(args: argparse.Namespace, pair: list[Watched]) -> tuple[list[dict], dict[str, np.ndarray]]:
    """All rows, and the arrays of the npz file."""
    transform = images.imagenet_transform()
    chosen = images.listed(args.images, args.limit)
    rows, kept, started = [], [], time.monotonic()
    for index, image in enumerate(chosen):
        x = images.load(image, transform)
        results = [watched.run(x) for watched in pair]
        rows.append(row(image, *results, size=x.shape[-1]))
        kept.append([r[key] for key in ("logits", "p") for r in results])
        if (index + 1) % 50 == 0:
            print(f"{index + 1} of {len(chosen)} images, {time.monotonic() - started:.0f} s", flush=True)
    names = ["logits_f32", "logits_int8", "p_f32", "p_int8"]
    arrays = {name: np.stack([k[i] for k in kept]) for i, name in enumerate(names)}
    return rows, arrays | {"image_id": np.array([image.id for image in chosen])}


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes beside the target, then renames."""
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    with open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)


def summarize(rows: list[dict[str, Any]]) -> None:
    """Means over all images."""
    for name in rows[0]:
        if isinstance(rows[0][name], (int, float)) and not name.endswith(("top1", "true_class")):
            print(f"{name:28} {np.mean([r[name] for r in rows]):.6f}")
    known = [r for r in rows if r["true_class"] != ""]
    for precision in ("f32", "int8"):
        right = sum(r[f"{precision}_top1"] == r["true_class"] for r in known)
        print(f"{precision} top-1 {right} of {len(known)}")


def main() -> None:
    warnings.filterwarnings("ignore", category=UserWarning)
    args = parse()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    loaded = [sources.model_from_file(path) for path in (args.f32, args.int8)]
    if [one.precision for one in loaded] != ["f32", "int8"] or loaded[0].network != loaded[1].network:
        raise ToolError("expected the float checkpoint and then the int8 one of one network")
    use_engine(network(loaded[1].network).engine)
    rows, arrays = scan(args, [Watched(one) for one in loaded])
    write_csv(args.out, rows)
    if args.npz:
        np.savez_compressed(args.npz, **arrays)
    summarize(rows)


if __name__ == "__main__":
    errors.run(main)
