"""The networks in PyTorch's own forms, quantlens' model files and ONNX: make_torch.py OUT (run by peers.py with torch 2.5.1).

The weights are generated (tools/quantlens_tools/generated.py), those of local/golden: same multiply-adds, no meaning. For each
network: -f32.onnx, -f32.pt, -int8.pt (TorchScript), -f32.safetensors, -int8.safetensors, -logits.f32; and the image and
calibration images that the other converters use.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from golden import FULL  # noqa: E402
from quantlens_tools import modelfile  # noqa: E402
from quantlens_tools.generated import Recipe, make_pair  # noqa: E402
from quantlens_tools.images import structured  # noqa: E402

CALIBRATION_IMAGES = 16


def write(recipe: Recipe, image: torch.Tensor, out: Path) -> None:
    """All files of one network."""
    pair, name = make_pair(recipe), recipe.network
    for precision, model in (("f32", pair.f32), ("int8", pair.int8)):
        tensors = pair.tensors(precision)
        modelfile.write_model(out / f"{name}-{precision}.safetensors", tensors, pair.description(precision))
        with torch.no_grad():
            torch.jit.trace(model, image).save(str(out / f"{name}-{precision}.pt"))
    with torch.no_grad():
        pair.f32(image).numpy().astype("<f4").tofile(out / f"{name}-logits.f32")
    torch.onnx.export(
        pair.f32,
        (image,),
        str(out / f"{name}-f32.onnx"),
        opset_version=17,
        input_names=["input"],
        output_names=["output"],
        dynamo=False,
    )


def main() -> None:
    warnings.filterwarnings("ignore")
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    image = structured(1, 224, 7)
    image.numpy().astype("<f4").tofile(out / "image.f32")
    np.save(out / "calibration.npy", structured(CALIBRATION_IMAGES, 224, 500).numpy())
    for recipe in FULL:
        write(recipe, image, out)
        print(recipe.network, flush=True)


if __name__ == "__main__":
    main()
