#!/usr/bin/env python3
"""Writes PyTorch's logits of the default pack's model files for 16 rendered scenes: golden values of tests/pack.rs.

golden_pack.py --quantlens target/release/quantlens [--weights weights/pack] [--out tests/pack.safetensors]

The scenes are card:0..16. Each runs by itself on one thread, and int8 files on the engine that they were made for; every layer of
theirs must equal its exact integer sums, or torch itself saturated and nothing is written.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from quantlens_tools import errors, modelfile, rendered
from quantlens_tools.errors import ToolError
from quantlens_tools.exact import check_layers
from quantlens_tools.torchmodel import from_model_file

SCENES = 16


def inputs(quantlens: Path) -> list[torch.Tensor]:
    """The scenes as inputs [1, 3, 224, 224]."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.raw"
        rendered.render(quantlens, "card", 0, SCENES, path)
        pictures = np.stack([record["rgb"] for record in rendered.records(path)])
    return list(rendered.normalized(torch.from_numpy(pictures).permute(0, 3, 1, 2)).contiguous().split(1))


def logits(path: Path, scenes: list[torch.Tensor]) -> torch.Tensor:
    """A model file's logits [16, classes] by torch."""
    model = from_model_file(path)
    if "numerics" in modelfile.read_metadata(path):
        for number, x in enumerate(scenes):
            wrong = [check.name for check in check_layers(model, x) if check.wrong]
            if wrong:
                raise ToolError(f"{path}, scene {number}: torch is not exact in {', '.join(wrong)}")
    with torch.no_grad():
        return torch.cat([model(x) for x in scenes])


def main() -> None:
    warnings.filterwarnings("ignore", category=UserWarning)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantlens", type=Path, required=True, help="the quantlens command, which renders the scenes")
    parser.add_argument("--weights", type=Path, default=Path("weights/pack"), help="folder of the model files")
    parser.add_argument("--out", type=Path, default=Path("tests/pack.safetensors"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    scenes = inputs(args.quantlens.resolve())
    found = {path.stem: logits(path, scenes) for path in sorted(args.weights.glob("*.safetensors"))}
    if not found:
        raise ToolError(f"{args.weights}: no model files")
    modelfile.write_tensors(args.out, found, {"torch": torch.__version__.split("+")[0], "scenes": f"card:0..{SCENES}"})
    print(f"{args.out}: {', '.join(found)}")


if __name__ == "__main__":
    errors.run(main)
