"""Golden boxes for quantlens-xai from OpenCV, NumPy and SciPy.

    python tools/golden_localization.py              writes crates/xai/tests/localization.txt

Each map is made from integers by a generator that the Rust test repeats, so that only results are stored. At every
threshold, as wsolevaluation has it: cv2.threshold at int(t * max), the contour of largest cv2.contourArea by Python's
max, its cv2.boundingRect; all contours of cv2.RETR_TREE; the IoU of the box with the best of two true ones. Otsu's
level is cv2.THRESH_OTSU's, the component with the most pixels scipy.ndimage.label's.
"""
import pathlib

import cv2
import numpy as np
import scipy
import scipy.ndimage

KINDS = ["noise", "smooth", "sparse", "dense", "rings", "constant", "point", "checkers", "frame", "blocks", "diagonals", "steps"]
SIZES = [(1, 1), (1, 9), (9, 1), (2, 2), (5, 7), (13, 11), (24, 31), (40, 40)]
SEEDS = [1, 2, 3]
LARGE = [("smooth", 224, 224, 4), ("steps", 224, 224, 5), ("dense", 224, 160, 6)]
THRESHOLDS = [0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 0.9, 1.0]


def numbers(seed, count):
    """24-bit numbers of a linear congruential generator."""
    state, out = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(state >> 40)
    return np.array(out, np.int64)


def smooth(h, w, seed):
    """A 4x5 grid of grey values between which the map is bilinear, in 64ths of a grid step, rounded down."""
    grid = (numbers(seed, 20) % 256).reshape(4, 5)
    y, x = np.meshgrid(np.arange(h) * 192 // max(h - 1, 1), np.arange(w) * 256 // max(w - 1, 1), indexing="ij")
    i, j = np.minimum(y // 64, 2), np.minimum(x // 64, 3)
    v, u = y - 64 * i, x - 64 * j
    top = grid[i, j] * (64 - u) + grid[i, j + 1] * u
    bottom = grid[i + 1, j] * (64 - u) + grid[i + 1, j + 1] * u
    return (top * (64 - v) + bottom * v) // 4096


def grey_map(kind, h, w, seed):
    y, x = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    noise = numbers(seed, h * w).reshape(h, w)
    grey = {
        "noise": lambda: noise % 256,
        "smooth": lambda: smooth(h, w, seed),
        "sparse": lambda: 255 * (noise % 5 == 0),
        "dense": lambda: 250 * (noise % 3 != 0),
        "rings": lambda: 200 * (np.maximum(abs(2 * y - h + 1), abs(2 * x - w + 1)) // 2 % 3 == seed % 3),
        "constant": lambda: 0 * y + (seed - 1) * 127,
        "point": lambda: 255 * ((y == seed % h) & (x == seed * 7 % w)),
        "checkers": lambda: 255 * ((x + y + seed) % 2),
        "frame": lambda: 90 + 100 * ((y == 0) | (x == 0) | (y == h - 1) | (x == w - 1)) - 45 * (noise % seed == 0),
        "blocks": lambda: 180 * ((y % 5 > 0) & (y % 5 < 4) & (x % 5 > 0) & (x % 5 < 3 + seed % 2)),
        "diagonals": lambda: 240 * ((x - y + seed + 600) % 6 == 0),
        "steps": lambda: smooth(h, w, seed) // 64 * 64,
    }[kind]()
    return grey.astype(np.uint8)


def truths(h, w, seed):
    """Two boxes inside the map, x0 y0 x1 y1."""
    r = numbers(seed + 100, 8)
    boxes = []
    for a, b, c, d in r.reshape(2, 4):
        x0, y0 = a % w, b % h
        boxes.append((x0, y0, x0 + c % (w - x0), y0 + d % (h - y0)))
    return boxes


def size(x0, y0, x1, y1):
    return max(0, x1 - x0 + 1) * max(0, y1 - y0 + 1)


def iou(a, b):
    common = size(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    return common / (size(*a) + size(*b) - common)


def wsol_box(contour, h, w):
    x, y, bw, bh = cv2.boundingRect(contour)
    return x, y, min(x + bw, w - 1), min(y + bh, h - 1)


def component(binary):
    labels, count = scipy.ndimage.label(binary, np.ones((3, 3)))
    if count == 0:
        return []
    best = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    ys, xs = np.nonzero(labels == best)
    return [xs.min(), ys.min(), xs.max(), ys.max()]


def write_case(f, kind, h, w, seed):
    grey, boxes = grey_map(kind, h, w, seed), truths(h, w, seed)
    otsu = int(cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])
    print("case", kind, h, w, seed, int(grey.astype(np.int64).sum()), otsu, *(v for b in boxes for v in b), file=f)
    for t in THRESHOLDS:
        binary = cv2.threshold(grey, int(t * np.max(grey)), 255, cv2.THRESH_BINARY)[1]
        contours = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        tree = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        fields = [[], [], component(binary), ["0"]]
        if contours:
            largest = max(contours, key=cv2.contourArea)
            assert cv2.contourArea(largest) == cv2.contourArea(max(tree, key=cv2.contourArea))
            box = wsol_box(largest, h, w)
            x, y, bw, bh = cv2.boundingRect(largest)
            fields[0] = [x, y, x + bw - 1, y + bh - 1]
            fields[1] = [len(tree), f"{max(iou(wsol_box(c, h, w), b) for c in tree for b in boxes):.9g}"]
            fields[3] = [f"{max(iou(box, b) for b in boxes):.9g}"]
        print(t, *("|" + " ".join(map(str, part)) for part in fields), file=f)


def main():
    path = pathlib.Path(__file__).parent.parent / "crates/xai/tests/localization.txt"
    with open(path, "w", newline="\n") as f:
        versions = f"OpenCV {cv2.__version__}, NumPy {np.__version__}, SciPy {scipy.__version__}"
        print(f"# tools/golden_localization.py: {versions}", file=f)
        print("# case: kind h w seed, sum of greys, Otsu's level, two true boxes", file=f)
        print("# threshold |box of the largest contour |contours, best IoU of any |largest component |IoU", file=f)
        for kind in KINDS:
            for h, w in SIZES:
                for seed in SEEDS:
                    write_case(f, kind, h, w, seed)
        for case in LARGE:
            write_case(f, *case)


if __name__ == "__main__":
    main()
