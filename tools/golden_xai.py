"""Golden values for quantlens-xai from NumPy's SVD, OpenCV's resize and torch.

    python tools/golden_xai.py                       writes crates/xai/tests/golden.txt

EigenCAM and its map follow pytorch-grad-cam's definitions (numpy.linalg.svd in f32, cv2.resize), written out here so
that the script needs numpy, opencv-python-headless and torch alone. The activations are made from integers by a
generator that the Rust test repeats, so that only results are stored.
"""
import pathlib

import cv2
import numpy as np
import torch

# name, h, w, channels, seed, scale, zero point; scale 0 stands for float activations.
CASES = [
    ("float 7x7x1280", 7, 7, 1280, 1, 0.0, 0),
    ("float 7x7x512", 7, 7, 512, 2, 0.0, 0),
    ("float 7x7x90", 7, 7, 90, 3, 0.0, 0),
    ("float 5x9x120", 5, 9, 120, 4, 0.0, 0),
    ("float 14x14x64", 14, 14, 64, 5, 0.0, 0),
    ("int8 7x7x1280", 7, 7, 1280, 6, 0.0605, 0),
    ("int8 7x7x960 zero point 14", 7, 7, 960, 7, 0.0372, 14),
    ("int8 1x1x32", 1, 1, 32, 8, 0.5, 3),
]
OUT = (45, 52)


def integers(h, w, channels, seed):
    """u8 blocks with two smooth components, noise and many zeros; [h, w, channels]."""
    state = np.uint64(seed)
    noise = np.empty(h * w * channels, np.int64)
    with np.errstate(over="ignore"):
        for i in range(noise.size):
            state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
            noise[i] = int(state >> np.uint64(40)) % 97
    noise = noise.reshape(h, w, channels)
    y, x, c = np.meshgrid(np.arange(h), np.arange(w), np.arange(channels), indexing="ij")
    first = (y * 5 + x * 3 + seed) % 23 * ((c * 7 + seed) % 5)
    second = 2 * (abs(2 * y - h) + abs(2 * x - w)) * ((c * 3) % 4)
    return np.clip(first + second + noise - 60, 0, 255).astype(np.uint8)


def projection(a):
    """a: f32 [h, w, c]; one value a position, sign as LAPACK leaves it; and the first two squared singular values."""
    m = a.reshape(-1, a.shape[2])
    m = m - m.mean(axis=0)
    _, s, vt = np.linalg.svd(m, full_matrices=True)
    s = np.append(s, 0)
    return m @ vt[0], s[0] ** 2, s[1] ** 2


def normalize(x):
    x = x - x.min()
    return x / (np.float32(1e-7) + x.max())


def cam_map(p, h, w, out):
    small = normalize(np.maximum(p.reshape(h, w), 0).astype(np.float32))
    return normalize(np.maximum(cv2.resize(small, (out[1], out[0])), 0))


def entropy_softmax(a):
    x = torch.from_numpy(a.astype(np.float64))
    p = torch.softmax(x, dim=2)
    return float(-(p * torch.log2(p + 1e-10)).sum(dim=2).mean())


def entropy_histogram(counts):
    p = counts / counts.sum()
    return float(-(p[p > 0] * np.log2(p[p > 0] + 1e-10)).sum())


def statistics(raw, real, quantized):
    hist_raw = np.bincount(raw.astype(np.int64).ravel(), minlength=256) if quantized else np.histogram(raw, 256)[0]
    return [
        float(torch.from_numpy(raw.astype(np.float64)).std(unbiased=False)),
        float(torch.from_numpy(real.astype(np.float64)).std(unbiased=False)),
        float((raw == 0).mean()),
        float((real == 0).mean()),
        entropy_softmax(raw),
        entropy_softmax(real),
        entropy_histogram(hist_raw),
        entropy_histogram(np.histogram(real, 256)[0]),
    ]


def write_case(f, name, h, w, channels, seed, scale, zero_point):
    q = integers(h, w, channels, seed)
    if scale:
        real = (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        raw = q.astype(np.float32)
    else:
        real = raw = (q.astype(np.float32) - np.float32(20)) * np.float32(1 / 64) * (q > 25)
    p, first, second = projection(real)
    means = real.astype(np.float64).mean(axis=2).astype(np.float32)
    span = means.max() - means.min()
    scaled = (means - means.min()) / (span if span > 0 else 1)
    print(f"case {name}", file=f)
    print(f"shape {h} {w} {channels} {seed} {scale} {zero_point}", file=f)
    print("sum", int(q.astype(np.int64).sum()), file=f)
    print("eigenvalues", float(first), float(second), file=f)
    print("p", *(f"{x:.8g}" for x in p), file=f)
    print("stats", *(f"{x:.12g}" for x in statistics(raw, real, scale > 0)), file=f)
    print("histogram", *np.repeat(np.arange(256), np.histogram(scaled, 256, (0, 1))[0]), file=f)
    print("map", (np.float32(255) * cam_map(p, h, w, OUT)).astype(np.uint8).tobytes().hex(), file=f)


def main():
    path = pathlib.Path(__file__).parent.parent / "crates/xai/tests/golden.txt"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="\n") as f:
        print(f"# tools/golden_xai.py: numpy {np.__version__}, OpenCV {cv2.__version__}, torch {torch.__version__}", file=f)
        print(f"out {OUT[0]} {OUT[1]}", file=f)
        for case in CASES:
            write_case(f, *case)


if __name__ == "__main__":
    main()
