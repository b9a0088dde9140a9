"""Golden deletion and insertion curves for quantlens-xai from torch, torchvision, OpenCV and NumPy.

    python tools/golden_perturbation.py              writes crates/xai/tests/perturbation.txt

The "network" is a fixed linear layer with a softmax, in double precision. Image, map and weights are made from integers
by a generator that the Rust test repeats. The int8 curves blend images that torch.quantize_per_tensor has quantized.
"""
import pathlib

import cv2
import numpy as np
import torch
import torchvision
from torchvision.transforms.functional import gaussian_blur, normalize

H, W, CLASSES = 13, 11, 4
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SCALE, ZERO_POINT = 0.0375, 57
NOISE_SEED, IMAGE_ID = 5, "val/cat 1.jpg"
PAIRS = [("dataset-mean", "blur"), ("black", "image-mean"), (f"noise:{NOISE_SEED}", f"noise:{NOISE_SEED}")]
MASK = 2**64 - 1


def numbers(seed, count):
    """24-bit numbers of a linear congruential generator."""
    state, out = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        out.append(state >> 40)
    return np.array(out, np.int64)


def splitmix64(state, count):
    out = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out.append(z ^ (z >> 31))
    return out


def fnv1a(text):
    h = 0xCBF29CE484222325
    for b in text.encode():
        h = ((h ^ b) * 0x100000001B3) & MASK
    return h


def to_input(bytes_hwc):
    planes = torch.from_numpy(bytes_hwc.astype(np.float32)).permute(2, 0, 1) / 255
    return normalize(planes, MEAN, STD)


def baseline(name, image):
    if name == "dataset-mean":
        return torch.zeros_like(image)
    if name == "black":
        return to_input(np.zeros((H, W, 3)))
    if name == "image-mean":
        return image.double().mean((1, 2), keepdim=True).float().expand_as(image).contiguous()
    if name == "blur":
        blurred = gaussian_blur(image, [11, 11], [5.0, 5.0])
        opencv = cv2.GaussianBlur(image.permute(1, 2, 0).numpy(), (11, 11), 5.0)
        assert np.abs(opencv - blurred.permute(1, 2, 0).numpy()).max() < 2e-6
        return blurred
    drawn = splitmix64(fnv1a(IMAGE_ID) ^ NOISE_SEED, 3 * H * W)
    return to_input(np.array([z >> 56 for z in drawn]).reshape(H, W, 3))


def curve(start, end, order, score):
    """Scores while the first round(k * H * W / 100) pixels are those of the end, k = 0..100."""
    scores = []
    for k in range(101):
        image = start.clone().reshape(3, -1)
        changed = torch.from_numpy(order[: round(k * H * W / 100)].copy())
        image[:, changed] = end.reshape(3, -1)[:, changed]
        scores.append(score(image))
    return np.array(scores, np.float32)


def quantized(image):
    return torch.quantize_per_tensor(image, SCALE, ZERO_POINT, torch.quint8).int_repr()


def main():
    image = to_input((numbers(11, 3 * H * W) % 256).reshape(H, W, 3))
    weights = torch.from_numpy((numbers(12, CLASSES * 3 * H * W) % 2001 - 1000) / 10000).reshape(CLASSES, -1)
    # Few values, so that most of the order is a matter of ties.
    saliency = (numbers(13, H * W) % 20 / 16).astype(np.float32)
    order = np.argsort(-saliency, kind="stable")

    def real(x):
        return torch.softmax(weights @ x.double().reshape(-1), 0)

    def integer(q):
        return real((q.double() - ZERO_POINT) * SCALE)

    path = pathlib.Path(__file__).parent.parent / "crates/xai/tests/perturbation.txt"
    with open(path, "w", newline="\n") as f:
        versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, OpenCV {cv2.__version__}"
        print(f"# tools/golden_perturbation.py: {versions}, NumPy {np.__version__}", file=f)
        print("size", H, W, CLASSES, file=f)
        print("quant", SCALE, ZERO_POINT, file=f)
        print("order", *order, file=f)
        for name in dict.fromkeys(name for pair in PAIRS for name in pair):
            print("baseline", name, *(f"{x:.9g}" for x in baseline(name, image).reshape(-1)), file=f)
        curves = []
        for delete_to, insert_on in PAIRS:
            a, b = baseline(delete_to, image), baseline(insert_on, image)
            for kind, to_net, scores in (("f32", lambda x: x, real), ("int8", quantized, integer)):
                target = int(scores(to_net(image)).argmax())
                for start, end in ((image, a), (b, image)):
                    c = curve(to_net(start), to_net(end), order, lambda x: float(scores(x)[target]))
                    curves.append(c)
                    area = np.trapezoid(c.astype(np.float64)) / 100
                    print("curve", kind, delete_to, insert_on, target, f"{area:.12g}", *(f"{x:.8g}" for x in c), file=f)
        all_curves = np.stack(curves).astype(np.float64)
        print("mean", *(f"{x:.12g}" for x in all_curves.mean(0)), file=f)
        print("error", *(f"{x:.12g}" for x in all_curves.std(0, ddof=1) / np.sqrt(len(curves))), file=f)
        for q in (0.1, 0.75):
            print("quantile", q, *(f"{x:.12g}" for x in np.quantile(all_curves, q, axis=0)), file=f)


if __name__ == "__main__":
    main()
