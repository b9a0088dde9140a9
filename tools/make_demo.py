#!/usr/bin/env python3
"""Makes the demo pair in weights/demo: a narrow, untrained MobileNetV2 in both precisions.

make_demo.py [--out weights/demo]

It shows that everything runs where no real weights are at hand; its predictions and maps mean nothing, and every file
says so.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from quantlens_tools import errors, modelfile
from quantlens_tools.generated import Recipe, make_pair

DEMO = Recipe("mobilenet_v2", {"width_mult": 0.1, "num_classes": 10}, seed=2024, calibration_size=128)


def main() -> None:
    warnings.filterwarnings("ignore", category=UserWarning)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("weights/demo"), help="folder to write to")
    out = parser.parse_args().out
    pair = make_pair(DEMO)
    for precision in ("f32", "int8"):
        path = out / f"{DEMO.network}-{precision}.safetensors"
        print(modelfile.write_model(path, pair.tensors(precision), pair.description(precision)))


if __name__ == "__main__":
    errors.run(main)
