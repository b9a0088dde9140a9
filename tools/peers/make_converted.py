"""One network in one peer's format: make_converted.py MODELS NETWORK FORMAT (run by peers.py in the peers' environment).

From the files that make_torch.py wrote: ncnn (by pnnx), MNN in both precisions, OpenVINO's own int8 (by NNCF), int8 ONNX (QDQ,
u8 activations, s8 weights a channel), LiteRT in both precisions. One a process, since a converter may crash it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

def ncnn(models: Path, name: str) -> None:
    """pnnx writes several files beside its input under names of its own."""
    import pnnx

    work = models / "pnnx"
    work.mkdir(exist_ok=True)
    shutil.copy(models / f"{name}-f32.onnx", work / "net.onnx")
    command = [pnnx.EXEC_PATH, "net.onnx", "inputshape=[1,3,224,224]", "fp16=0"]
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    shutil.move(work / "net.ncnn.bin", models / f"{name}-f32.bin")
    shutil.move(work / "net.ncnn.param", models / f"{name}-f32.param")
    shutil.rmtree(work)


def mnn(models: Path, name: str) -> None:
    """By the converter's library: its command line installs and runs a usage logger."""
    import MNN  # noqa: F401  (sets the path of _tools)
    import _tools

    source, target = models / f"{name}-f32.onnx", models / f"{name}-f32.mnn"
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target), "--bizCode", "x"])


def mnn_int8(models: Path, name: str) -> None:
    """MNN calibrates on pictures; these are the calibration images, back to bytes."""
    import MNN  # noqa: F401
    import _tools
    from PIL import Image

    pictures = models / "pictures"
    if not pictures.exists():
        pictures.mkdir()
        for index, image in enumerate(np.load(models / "calibration.npy")):
            pixels = np.clip(image.transpose(1, 2, 0) * 58 + 118, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(pictures / f"{index:03}.png")
    config = {
        "format": "RGB",
        "mean": [118.0, 118.0, 118.0],
        "normal": [1 / 58, 1 / 58, 1 / 58],
        "width": 224,
        "height": 224,
        "path": f"{pictures}/",
        "used_image_num": 16,
        "feature_quantize_method": "EMA",
        "weight_quantize_method": "MAX_ABS",
    }
    settings = models / "mnn-int8.json"
    settings.write_text(json.dumps(config))
    _tools.mnnquant(str(models / f"{name}-f32.mnn"), str(models / f"{name}-int8.mnn"), str(settings))


def openvino_int8(models: Path, name: str) -> None:
    import nncf
    import openvino as ov

    images = np.load(models / "calibration.npy")
    preset = nncf.QuantizationPreset.MIXED if "v3" in name else nncf.QuantizationPreset.PERFORMANCE
    data = nncf.Dataset([image[None] for image in images])
    model = ov.Core().read_model(models / f"{name}-f32.onnx")
    quantized = nncf.quantize(model, data, subset_size=len(images), preset=preset)
    ov.save_model(quantized, models / f"{name}-int8.xml", compress_to_fp16=False)


def onnx_int8(models: Path, name: str) -> None:
    from onnxruntime import quantization as q

    class Images(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter([{"input": image[None]} for image in np.load(models / "calibration.npy")])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    prepared = models / f"{name}-prepared.onnx"
    q.quant_pre_process(models / f"{name}-f32.onnx", prepared, skip_symbolic_shape=True)
    q.quantize_static(
        prepared,
        models / f"{name}-int8.onnx",
        Images(),
        quant_format=q.QuantFormat.QDQ,
        per_channel=True,
        activation_type=q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
    )
    prepared.unlink()


def float_network(models: Path, name: str, rewritten: bool) -> Any:
    """torchvision's float network with the generated weights. `rewritten`: hard-swish from ops that LiteRT has in int8."""
    import torch
    import torchvision
    from safetensors.torch import load_file

    class HardSwish(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (torch.nn.functional.relu6(x + 3.0) * (1 / 6))

    network = getattr(torchvision.models, name)(weights=None)
    network.load_state_dict(load_file(models / f"{name}-f32.safetensors"))
    for module in list(network.modules()) if rewritten else []:
        for key, child in module.named_children():
            if isinstance(child, torch.nn.Hardswish):
                setattr(module, key, HardSwish())
    return network.eval()


def litert(models: Path, name: str, target: str = "f32.tflite", rewritten: bool = False) -> None:
    import litert_torch
    import torch

    image = torch.from_numpy(np.fromfile(models / "image.f32", "<f4").reshape(1, 3, 224, 224))
    network = litert_torch.to_channel_last_io(float_network(models, name, rewritten), args=[0]).eval()
    litert_torch.convert(network, (image.permute(0, 2, 3, 1).contiguous(),)).export(str(models / f"{name}-{target}"))


def litert_int8(models: Path, name: str) -> None:
    """Static int8 of the network with its hard-swish rewritten: LiteRT's own runs outside XNNPACK in int8."""
    from ai_edge_quantizer import quantizer, recipe

    litert(models, name, "rewritten.tflite", rewritten=True)
    rewritten = models / f"{name}-rewritten.tflite"
    images = np.load(models / "calibration.npy").transpose(0, 2, 3, 1)
    job = quantizer.Quantizer(str(rewritten), recipe.static_wi8_ai8())
    signature = {"serving_default": [{"args_0": np.ascontiguousarray(image[None])} for image in images]}
    job.quantize(job.calibrate(signature)).export_model(str(models / f"{name}-int8.tflite"), overwrite=True)
    rewritten.unlink()


FORMATS = {
    "f32.param": ncnn,
    "f32.mnn": mnn,
    "f32.tflite": litert,
    "int8.mnn": mnn_int8,
    "int8.onnx": onnx_int8,
    "int8.xml": openvino_int8,
    "int8.tflite": litert_int8,
}


def main() -> None:
    warnings.filterwarnings("ignore")
    models, name, suffix = sys.argv[1:4]
    FORMATS[suffix](Path(models), name)


if __name__ == "__main__":
    main()
