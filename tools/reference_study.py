#!/usr/bin/env python3
"""A pair's study with torch, pytorch-grad-cam and OpenCV: the same stages as `quantlens study`, and how long each takes.

reference_study.py F32 INT8 --images INDEX.csv --out DIR [--limit N] [--threads N]

F32 and INT8 are state dicts or quantlens model files. inference_mode, channels_last, frozen TorchScript for f32, the best
batch of 1, 8 and 32 a network. Into the folder: maps.npz (projections), images.csv (predictions, RMSE, boxes and their
IoU), curves.npz (deletion and insertion of the 5 % with the largest RMSE), times.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from quantlens_tools import errors, images, modelfile, sources, study, torchmodel
from quantlens_tools.errors import ToolError
from quantlens_tools.explain import statistics, top_left_negative
from quantlens_tools.networks import network, use_engine

SIZE = 224
PRECISIONS = ("f32", "int8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("f32", type=Path)
    parser.add_argument("int8", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="a folder or a CSV manifest")
    parser.add_argument("--out", type=Path, required=True, help="folder; made if absent")
    parser.add_argument("--limit", type=int, help="only the first images")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (default 2)")
    parser.add_argument("--threshold", type=float, default=0.2, help="of the boxes, share of the map's maximum")
    return parser.parse_args()


def load(path: Path) -> tuple[nn.Module, str, int | None]:
    """A network, its name, and what the shorter side of its pictures is resized to, if they are."""
    if path.suffix == ".safetensors":
        metadata = modelfile.read_metadata(path)
        stated = json.loads(metadata["preprocess"]) if metadata.get("preprocess") else modelfile.IMAGENET_PREPROCESS
        return torchmodel.from_model_file(path), metadata["network"], stated["resize"]
    loaded = sources.model_from_file(path)
    return loaded.model, loaded.network, 256


def scan(
    chosen: list[images.Listed], resize: int | None, runners: list[study.Runner], clock: study.Clock
) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """Projections of both networks [n, h, w], and a row an image."""
    transform = images.imagenet_transform(resize)
    rows: list[dict[str, Any]] = [{"image_id": image.id} for image in chosen]
    found: list[list[np.ndarray]] = [[], []]
    step = max(study.BATCHES)
    for start in range(0, len(chosen), step):
        with clock.stage("scan: images"):
            x = torch.cat([images.load(image, transform) for image in chosen[start : start + step]])
        for which, (runner, precision) in enumerate(zip(runners, PRECISIONS)):
            for first in range(0, len(x), runner.batch):
                with clock.stage("scan: forward passes"):
                    logits, raw, (scale, zero) = runner.observe(x[first : first + runner.batch])
                with clock.stage("scan: EigenCAM"):
                    found[which].append(study.projections(raw))
                with clock.stage("scan: statistics"):
                    for offset, one in enumerate(raw):
                        row = rows[start + first + offset]
                        row[f"{precision}_top1"] = int(logits[offset].argmax())
                        add_statistics(row, precision, one.transpose(1, 2, 0), scale, zero)
    return [np.concatenate(parts) for parts in found], rows


def add_statistics(row: dict[str, Any], precision: str, values: np.ndarray, scale: float, zero: int) -> None:
    """Of the stored integers and of the real values."""
    if precision == "int8":
        row |= {f"int8_{name}_raw": value for name, value in statistics(values).items()}
        values = (values.astype(np.float64) - zero) * scale
    row |= {f"{precision}_{name}": value for name, value in statistics(values).items()}


def localize(
    rows: list[dict[str, Any]], greys: np.ndarray, truths: list[list[tuple]], threshold: float
) -> None:
    """Boxes of both networks, and IoU with the best of the true ones."""
    for row, pair, boxes in zip(rows, greys, truths):
        for precision, grey in zip(PRECISIONS, pair):
            found = study.box(grey, int(threshold * grey.max()))
            row[f"{precision}_box"] = "" if found is None else " ".join(map(str, found))
            best = max((study.iou(found, b) for b in boxes), default=0.0) if found else 0.0
            row[f"{precision}_iou"] = best if boxes else ""


def true_boxes(manifest: Path, chosen: list[images.Listed], resize: int | None) -> list[list[tuple]]:
    """In the input's pixels; a manifest's boxes are of the original picture, whose size it may say."""
    if not manifest.is_file():
        return [[] for _ in chosen]
    with open(manifest, newline="") as file:
        listed = {"/".join(p for p in (row.get("set"), row["file"]) if p): row for row in csv.DictReader(file)}
    out = []
    for image in chosen:
        row = listed[image.id]
        text = row.get("boxes_xyxy_in_original_pixels") or row.get("boxes") or "[]"
        size = (int(row["orig_w"]), int(row["orig_h"])) if row.get("orig_w") else None
        if row.get("geometry", "").startswith("cropped"):
            size = None  # cut at the right and bottom, not scaled: pixels stay where they were
        out.append(boxes_of(image.path, json.loads(text), size, resize))
    return out


def boxes_of(path: Path, boxes: list, original: tuple[int, int] | None, resize: int | None) -> list[tuple]:
    from PIL import Image

    with Image.open(path) as file:
        w, h = file.size
    ow, oh = original or (w, h)
    scaled = ((x0 * w / ow, y0 * h / oh, min(x1 * w / ow, w), min(y1 * h / oh, h)) for x0, y0, x1, y1 in boxes)
    mapped = (study.mapped_box(b, (w, h), resize, SIZE) for b in scaled)
    return [b for b in mapped if b is not None]


def perturb(
    inputs: list[torch.Tensor], subset: np.ndarray, maps: np.ndarray, rows: list[dict[str, Any]], runners: list
) -> np.ndarray:
    """Curves [subset, network, deletion or insertion, 101] of the subset's inputs."""
    found = []
    for index, x in zip(subset, inputs):
        targets = [rows[index][f"{precision}_top1"] for precision in PRECISIONS]
        found.append([study.curves(r, x, maps[index, i], targets[i]) for i, r in enumerate(runners)])
    return np.array(found, np.float32)


def write(out: Path, rows: list[dict[str, Any]], times: dict[str, Any], arrays: dict[str, np.ndarray], curves: dict) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "images.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    np.savez_compressed(out / "maps.npz", **arrays)
    np.savez_compressed(out / "curves.npz", **curves)
    (out / "times.json").write_text(json.dumps(times, indent=1) + "\n")


def main() -> None:
    warnings.filterwarnings("ignore")
    args = parse()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    (float_model, name, resize), (int8_model, other, _) = load(args.f32), load(args.int8)
    if name != other:
        raise ToolError(f"no twins: {name} and {other}")
    use_engine(network(name).engine)
    layer, clock = network(name).cam_layer, study.Clock()
    with clock.stage("loading and choice of batches"):
        runners = [study.Runner(m, layer, p, SIZE) for m, p in zip((float_model, int8_model), PRECISIONS)]
    chosen = sorted(images.listed(args.images), key=lambda image: image.id)[: args.limit]  # quantlens' order
    p, rows = scan(chosen, resize, runners, clock)
    with clock.stage("maps and RMSE"):
        signed = [np.stack([top_left_negative(one) for one in of]) for of in p]
        maps = np.stack([[study.cam_map(one, SIZE) for one in pair] for pair in zip(*signed)])
        greys = study.grey(maps)
        for row, (a, b) in zip(rows, greys):
            row["rmse"] = study.rmse(a, b)
    with clock.stage("localization"):
        localize(rows, greys, true_boxes(args.images, chosen, resize), args.threshold)
    ranked = np.argsort([-row["rmse"] for row in rows], kind="stable")
    subset = np.sort(ranked[: math.ceil(len(rows) / 20)])
    with clock.stage("deletion and insertion"):
        transform = images.imagenet_transform(resize)
        inputs = [images.load(chosen[index], transform) for index in subset]
        curves = perturb(inputs, subset, maps, rows, runners)
    seconds = {stage: round(value, 3) for stage, value in clock.seconds.items()}
    batches = {precision: runner.batch for precision, runner in zip(PRECISIONS, runners)}
    forwards = int(curves.size)
    times = {"images": len(rows), "threads": args.threads, "batches": batches, "seconds": seconds, "forwards": forwards}
    write(args.out, rows, times, {"p_f32": p[0], "p_int8": p[1]}, {"places": subset, "curves": curves})
    print(json.dumps(times, indent=1))


if __name__ == "__main__":
    errors.run(main)
