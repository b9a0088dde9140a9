#!/usr/bin/env python3
"""Compares what quantlens computed with what torch did; exit code 1 where a limit is exceeded.

compare.py logits local/real/logits/0000.safetensors OURS.safetensors   (OURS: quantlens infer --tensors ... --out OURS)
compare.py study reference.csv RECORDS                                  (RECORDS: a study's folder; from reference.py)
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pyarrow.parquet as parquet
from safetensors import safe_open

from quantlens_tools import errors
from quantlens_tools.errors import ToolError
from quantlens_tools.explain import pair_difference, top_left_negative

F32_LOGITS = 1e-4  # of the largest logit: float sums run in another order than torch's
RELATIVE = 1e-5  # sigma and sparsity
RMSE = 0.5  # grey levels
# A float sum beside ReLU's threshold may round to either side of it: torch with and without oneDNN differ so as well.
F32_ZEROS = 2
# Statistics of the records and of reference.csv, and how far they may differ relative to torch's; none: shown only.
STATISTICS: dict[str, list[tuple[str, float | None]]] = {
    "f32": [("sigma", RELATIVE), ("sparsity", None), ("entropy_softmax", None), ("entropy_hist", None)],
    "int8": [
        ("sigma_raw", RELATIVE),
        ("sigma", RELATIVE),
        ("sparsity_raw", 0.0),
        ("sparsity", RELATIVE),
        ("entropy_softmax_raw", None),
        ("entropy_softmax", None),
        ("entropy_hist_raw", None),
        ("entropy_hist", None),
    ],
}


class Report:
    """Lines of name, found, limit; remembers whether one was over."""

    def __init__(self) -> None:
        self.failed = False

    def line(self, name: str, found: float, limit: float | None, where: str = "") -> None:
        """One figure; `limit` none is for information."""
        over = limit is not None and not found <= limit
        self.failed |= over
        allowed = "" if limit is None else f"limit {limit:g}"
        print(f"{name:34} {found:12.6g}  {allowed:14} {'OVER' if over else '':5} {where}".rstrip())


def compare_logits(args: argparse.Namespace, report: Report) -> None:
    """int8 must be equal; f32 within a share of the largest logit of its image."""
    with safe_open(args.ours, "np") as file:
        ours = file.get_tensor("logits")
        precision = json.loads((file.metadata() or {}).get("quantlens", "{}")).get("precision", "")
    precision = args.precision or precision.split(" ")[0]  # "int8 (qnnpack)"
    if precision not in ("f32", "int8"):
        raise ToolError(f"{args.ours} does not say its precision: give --precision")
    with safe_open(args.reference, "np") as file:
        torch_logits = file.get_tensor(f"logits_{precision}")
    if ours.shape != torch_logits.shape:
        raise ToolError(f"{args.ours} has logits {ours.shape}, {args.reference} {torch_logits.shape}")
    relative = np.abs(ours - torch_logits).max(axis=1) / np.abs(torch_logits).max(axis=1)
    print(f"{precision}: {len(ours)} images of {ours.shape[1]} classes")
    report.line("images with any other logit", int((ours != torch_logits).any(axis=1).sum()), 0 if precision == "int8" else None)
    report.line("largest difference / largest logit", float(relative.max()), F32_LOGITS if precision == "f32" else None)
    changed = int((ours.argmax(axis=1) != torch_logits.argmax(axis=1)).sum())
    report.line("top-1 changed", changed, 0)


def compare_study(args: argparse.Namespace, report: Report) -> None:
    """Row by row: predictions, statistics, and RMSE of the maps that the recorded projections give."""
    with open(args.reference, newline="") as file:
        reference = {row["image_id"]: row for row in csv.DictReader(file)}
    records = read_records(args.records, args.network)
    joined = [image for image in reference if image in records]
    print(f"{len(joined)} images in both; {len(reference)} in the reference, {len(records)} in the records")
    if not joined:
        raise ToolError(f"no image id of {args.reference} is in {args.records}")
    for precision, columns in STATISTICS.items():
        pairs = [(image, records[image][precision], reference[image]) for image in joined]
        compare_predictions(report, precision, pairs, args.top1_changed)
        for column, limit in columns:
            difference = lambda ours, torch: relative(ours[column], float(torch[f"{precision}_{column}"]))
            largest(report, f"{precision} {column}, relative", pairs, difference, limit)
    pairs = [(image, records[image]["f32"], reference[image]) for image in joined]
    largest(report, "f32 sparsity, values", pairs, zeros, F32_ZEROS)
    compare_maps(report, [(image, records[image], reference[image]) for image in joined], args.size)


def compare_predictions(report: Report, precision: str, pairs: list[tuple], allowed: int) -> None:
    """Counts images whose classes differ."""
    top1 = [image for image, ours, torch in pairs if ours["top5_class"][0] != int(torch[f"{precision}_top1"])]
    limit = allowed if precision == "int8" else None
    report.line(f"{precision} top-1 changed", len(top1), limit, ", ".join(top1[:3]))
    top5 = sum(" ".join(map(str, ours["top5_class"])) != torch[f"{precision}_top5"] for _, ours, torch in pairs)
    report.line(f"{precision} top-5 changed (with order)", top5, None)


def compare_maps(report: Report, triples: list[tuple], size: int) -> None:
    """RMSE of each pair from the recorded projections, with the sign policy `lapack`, against torch's and NumPy's."""
    found = {image: pair_difference(signed(ours["f32"]), signed(ours["int8"]), size) for image, ours, _ in triples}
    for name, limit in (("rmse", RMSE), ("rmse_aligned", RMSE), ("flipped", 0)):
        pairs = [(image, found[image], torch) for image, _, torch in triples]
        largest(report, f"{name}, absolute", pairs, lambda o, t: abs(o[name] - float(t[f"{name}_rule"])), limit)
    other = [image for image, _, torch in triples if torch["flipped"] != torch["flipped_rule"]]
    report.line("NumPy's sign not as the rule's", len(other), None, ", ".join(other[:4]))
    for name in ("rmse", "rmse_aligned", "flipped"):
        ours = np.mean([found[image][name] for image, _, _ in triples])
        rule, numpy = (np.mean([float(t[name + suffix]) for _, _, t in triples]) for suffix in ("_rule", ""))
        print(f"mean {name:14} ours {ours:.4f} torch {rule:.4f} (signs as NumPy leaves them {numpy:.4f})")


def largest(
    report: Report, name: str, pairs: list[tuple], difference: Callable[[Any, Any], float], limit: float | None
) -> None:
    """The largest difference over all images, at which it is, and how many are over the limit."""
    differences = [(difference(ours, torch), image) for image, ours, torch in pairs]
    worst, image = max(differences)
    over = 0 if limit is None else sum(not found <= limit for found, _ in differences)
    report.line(name, worst, limit, (image if worst > 0 else "") + (f" ({over} images over)" if over else ""))


def relative(ours: float, torch: float) -> float:
    """Difference as a share of torch's value."""
    return 0.0 if ours == torch else abs(ours - torch) / max(abs(torch), 1e-300)


def zeros(ours: dict[str, Any], torch: dict[str, str]) -> int:
    """By how many values the two counts of zeros differ."""
    values = ours["map_height"] * ours["map_width"] * ours["map_channels"]
    return round(abs(ours["sparsity"] - float(torch["f32_sparsity"])) * values)


def signed(record: dict[str, Any]) -> np.ndarray:
    """The recorded projection, which has no sign of its own, with that of the policy `lapack`."""
    return top_left_negative(np.array(record["p"], np.float32).reshape(record["map_height"], record["map_width"]))


def read_records(folder: Path, network: str | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Image id -> precision -> row, from all Parquet files below a folder."""
    files = sorted(folder.rglob("part-*.parquet")) if folder.is_dir() else [folder]
    rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
    if not rows:
        raise ToolError(f"{folder}: no records")
    networks = sorted({row["network"] for row in rows})
    if network is None and len(networks) > 1:
        raise ToolError(f"{folder} holds {', '.join(networks)}: choose one with --network")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["network"] == (network or networks[0]):
            if row["error"]:
                raise ToolError(f"{row['image_id']} {row['precision']}: the record says {row['error']}")
            found.setdefault(row["image_id"], {})[row["precision"]] = row
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    logits = commands.add_parser("logits", help="quantlens infer against golden.py --real")
    logits.add_argument("reference", type=Path, help="file of golden.py --real")
    logits.add_argument("ours", type=Path, help="what infer wrote for its inputs")
    logits.add_argument("--precision", choices=["f32", "int8"], help="where the file does not say it")
    logits.set_defaults(run=compare_logits)
    study = commands.add_parser("study", help="quantlens study against reference.py")
    study.add_argument("reference", type=Path, help="CSV of reference.py")
    study.add_argument("records", type=Path, help="a study's folder, or one Parquet file")
    study.add_argument("--network", help="which pair of a study with several")
    study.add_argument("--size", type=int, default=224, help="side of the maps (default: %(default)s)")
    study.add_argument("--top1-changed", type=int, default=0, help="int8 images that may change class (default: 0)")
    study.set_defaults(run=compare_study)
    return parser.parse_args()


def main() -> None:
    args = parse()
    report = Report()
    args.run(args, report)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    errors.run(main)
