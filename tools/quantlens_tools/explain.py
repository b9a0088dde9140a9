"""EigenCAM and the statistics of an activation, as pytorch-grad-cam and the paper define them, in NumPy and OpenCV.

An activation is an f32 or u8 array [h, w, c].
"""

from __future__ import annotations

import cv2
import numpy as np

_EPSILON = 1e-10  # inside every logarithm, the paper's eq. 5


def projection(activation: np.ndarray) -> np.ndarray:
    """One value a position [h, w]: its activation, less the mean over positions, along the first singular vector.

    The sign is LAPACK's. Raw integers serve as well as real values: centring removes the zero point.
    """
    h, w, channels = activation.shape
    rows = np.nan_to_num(activation.astype(np.float32)).reshape(h * w, channels)
    rows = rows - rows.mean(axis=0)
    _, _, vectors = np.linalg.svd(rows, full_matrices=True)
    return (rows @ vectors[0]).reshape(h, w)


def grey_map(p: np.ndarray, size: int) -> np.ndarray:
    """The map as an 8-bit grey image at the input's size."""
    small = _normalize(np.maximum(p, 0).astype(np.float32))
    large = cv2.resize(small, (size, size))
    return (255 * _normalize(np.maximum(large, 0))).astype(np.uint8)


def top_left_negative(p: np.ndarray) -> np.ndarray:
    """The projection with the sign of quantlens' policy `lapack`: negative at the top left.

    NumPy's gesdd nearly always leaves that sign where channels outnumber positions; of 1,954 maps of the real
    MobileNetV2 pair three had the other, each with a second singular value within 4 % of the first.
    """
    return -p if p[0, 0] > 0 else p


def pair_difference(a: np.ndarray, b: np.ndarray, size: int) -> dict[str, float]:
    """RMSE of the two grey maps, the same after turning `b` where it runs against `a`, and whether it does."""
    flipped = float(np.corrcoef(a.ravel().astype(np.float64), b.ravel().astype(np.float64))[0, 1]) < 0
    first = grey_map(a, size)
    raw = _rmse(first, grey_map(b, size))
    return {"rmse": raw, "rmse_aligned": _rmse(first, grey_map(-b, size)) if flipped else raw, "flipped": int(flipped)}


def statistics(values: np.ndarray, zero: int = 0) -> dict[str, float]:
    """Population standard deviation, share of values equal to `zero`, and both entropies in bits.

    `values`: f32 or u8; the softmax runs over the channels of each position, the histogram over all values.
    """
    x = values.astype(np.float64)
    return {
        "sigma": float(x.std()),
        "sparsity": float((values == zero).mean()),
        "entropy_softmax": _softmax_entropy(x),
        "entropy_hist": _histogram_entropy(values),
    }


def _softmax_entropy(x: np.ndarray) -> float:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    share = e / e.sum(axis=-1, keepdims=True)
    return float(-(share * np.log2(share + _EPSILON)).sum(axis=-1).mean())


def _histogram_entropy(values: np.ndarray) -> float:
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
    else:
        counts, _ = np.histogram(values, bins=256)
    share = counts / counts.sum()
    return float(-(share * np.log2(share + _EPSILON)).sum())


def _normalize(x: np.ndarray) -> np.ndarray:
    x = x - x.min()
    return x / (np.float32(1e-7) + x.max())


def _rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean()))
