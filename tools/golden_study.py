"""Golden results of a study of the demo pair from torch, pytorch-grad-cam and OpenCV.

    python tools/golden_study.py              writes crates/study/tests/reference.txt

24 pictures made from integers by a formula that the Rust test repeats, through the stages of reference_study.py at an input
of 64x64: predictions, RMSE of the maps, areas of deletion and insertion, boxes and their IoU with one true box.
"""

import pathlib
import warnings

import cv2
import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision import transforms

from quantlens_tools import images, study, torchmodel
from quantlens_tools.explain import top_left_negative

COUNT, RESIZE, SIZE, LAYER = 24, 73, 64, "features.18"
TRUTH = (20, 10, 60, 50)  # in every picture's own pixels
ROOT = pathlib.Path(__file__).parent.parent


def picture(i: int) -> Image.Image:
    """Stripes, blocks and a ramp, differing from picture to picture."""
    w, h = 80 + 5 * i, 70 + 3 * (i * 7 % 24)
    y, x = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    blocks = 97 * ((x // (5 + i % 9) + y // (4 + i % 7)) % 2)
    disc = 120 * ((x - 30 - i) ** 2 + (y - 25 - i) ** 2 < (200 + 40 * i))
    channels = [(blocks + disc + (c + 1) * x * 60 // w + (3 - c) * y * (i % 5) * 10 // h) % 256 for c in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    models = [torchmodel.from_model_file(ROOT / f"weights/demo/mobilenet_v2-{p}.safetensors") for p in ("f32", "int8")]
    runners = [study.Runner(m, LAYER, p, SIZE, batches=(8,)) for m, p in zip(models, ("f32", "int8"))]
    steps = [transforms.Resize(RESIZE), transforms.CenterCrop(SIZE), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize(images.MEAN, images.STD)])
    with open(ROOT / "crates/study/tests/reference.txt", "w", newline="\n") as f:
        versions = f"torch {torch.__version__.split('+')[0]}, torchvision {torchvision.__version__.split('+')[0]}"
        print(f"# tools/golden_study.py: {versions}, pytorch-grad-cam 1.5.7, OpenCV {cv2.__version__}", file=f)
        print("# RMSE, then of f32 and of int8: class, deletion %, insertion %, box, IoU", file=f)
        for i in range(COUNT):
            image = picture(i)
            x = transform(image).unsqueeze(0)
            truth = study.mapped_box(TRUTH, image.size, RESIZE, SIZE)
            print(*line(runners, x, truth), file=f)


def line(runners: list, x: torch.Tensor, truth: tuple) -> list:
    fields, greys = [], []
    for runner in runners:
        logits, activation, _ = runner.observe(x)
        cam = study.cam_map(top_left_negative(study.projections(activation)[0]), SIZE)
        grey, target = study.grey(cam), int(logits[0].argmax())
        deletion, insertion = study.curves(runner, x, cam, target)
        box = study.box(grey, int(0.2 * grey.max()))
        greys.append(grey)
        fields += [target, f"{study.area(deletion):.7g}", f"{study.area(insertion):.7g}", *box]
        fields.append(f"{study.iou(box, truth):.7g}")
    return [f"{study.rmse(*greys):.7g}", *fields]


if __name__ == "__main__":
    main()
