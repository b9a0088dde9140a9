#!/usr/bin/env python3
"""Writes kernels/tests/golden/ops.bin: single int8 ops computed by PyTorch, which kernels/tests/golden_ops.rs compares.

    python tools/golden_ops.py [output file]

The file is a row of cases. A case is one line of text, `op key=value ... name:type:count ...`, followed by the arrays
that the line names, little-endian, in order. Scales are written as the bits of their f32 in hexadecimal. Activations are
NHWC, weights OIHW.

Made with one thread, on a CPU with AVX2 and without AVX-512: how PyTorch splits a tensor into vectors and remainder
depends on both, and decides some ties. fbgemm gets activations up to 127 in convolutions, as its reduced range
promises: beyond that its own AVX2 kernels saturate.
"""

import sys
from pathlib import Path

import numpy as np
import torch

F = np.float32
ENGINES = ("fbgemm", "qnnpack")
rng = np.random.default_rng(20240711)


class Writer:
    """Collects cases."""

    def __init__(self):
        self.data = bytearray()
        self.cases = 0

    def case(self, op, arrays, **keys):
        kinds = {"uint8": "u8", "int8": "i8", "float32": "f32"}
        words = [op] + [f"{key}={text(value)}" for key, value in keys.items()]
        words += [f"{name}:{kinds[str(array.dtype)]}:{array.size}" for name, array in arrays.items()]
        self.data += (" ".join(words) + "\n").encode()
        for array in arrays.values():
            self.data += np.ascontiguousarray(array).tobytes()
        self.cases += 1


def text(value):
    if isinstance(value, np.float32):
        return f"{value.view(np.uint32):08x}"
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return str(int(value)) if isinstance(value, (bool, np.integer)) else str(value)


def scale(low=0.005, high=0.2):
    return F(np.exp(rng.uniform(np.log(low), np.log(high))))


def zero_point(high=255):
    return int(rng.choice([0, high, rng.integers(1, high), rng.integers(1, high)]))


def codes(shape, high=255):
    """Random integers with both ends well represented."""
    values = rng.integers(0, high + 1, shape).astype(np.uint8)
    values[rng.random(shape) < 0.03] = 0
    values[rng.random(shape) < 0.03] = high
    return values


def quantized(values, s, z):
    return torch._make_per_tensor_quantized_tensor(torch.from_numpy(np.ascontiguousarray(values)), float(s), int(z))


def nhwc(values, s, z):
    """A quantized channels-last tensor of an [h, w, c] array."""
    return quantized(values.transpose(2, 0, 1)[None], s, z).contiguous(memory_format=torch.channels_last)


def to_hwc(tensor):
    return tensor.int_repr().numpy()[0].transpose(1, 2, 0)


def plain(q, s, z):
    return (q.astype(np.int32) - z).astype(F) * s


def fused(q, s, z):
    """A fused multiply-add: f64 holds the product and the sum exactly."""
    return (q.astype(np.float64) * np.float64(s) + np.float64(F(-(s * F(z))))).astype(F)


def rounded(x, z):
    return np.clip(np.rint(x).astype(np.float64) + z, 0, 255).astype(np.uint8)


def conv_cases(out):
    """Geometry: channels in and out, kernel, stride, padding, groups, height, width."""
    shapes = [
        (8, 16, 3, 1, 1, 1, 5, 6), (3, 17, 3, 2, 1, 1, 9, 8), (24, 9, 1, 1, 0, 1, 5, 5), (33, 40, 1, 1, 0, 1, 3, 7),
        (16, 16, 3, 1, 1, 16, 7, 6), (24, 24, 3, 2, 1, 24, 7, 7), (8, 8, 5, 1, 2, 8, 7, 6), (40, 40, 5, 2, 2, 40, 6, 6),
        (16, 32, 3, 1, 1, 4, 4, 5), (3, 8, 7, 2, 3, 1, 11, 10), (16, 8, 1, 2, 0, 1, 5, 5), (64, 10, 1, 1, 0, 1, 1, 1),
    ]  # fmt: skip
    for engine in ENGINES:
        torch.backends.quantized.engine = engine
        for index, shape in enumerate(shapes * 2):
            conv_case(out, engine, index, shape, linear=index % len(shapes) == 11)


def conv_case(out, engine, index, shape, linear):
    c, o, k, stride, padding, groups, h, w = shape
    per_channel = engine == "fbgemm" and index % 3 != 0
    high = 127 if engine == "fbgemm" else 255
    x, wt = codes((h, w, c), high), rng.integers(-128, 128, (o, c // groups, k, k)).astype(np.int8)
    if engine == "fbgemm" and groups > 1:
        wt //= 2  # its depthwise kernels add pairs of products in i16
    sx, zx, zo = scale(), zero_point(high), zero_point()
    sw = np.array([scale(1e-3, 1e-2) for _ in range(o if per_channel else 1)], F)
    spread = sx * sw.mean() * np.sqrt(wt[0].size) * 4000
    so = F(spread / rng.uniform(20, 80))
    if index % 4 == 3:  # powers of two make ties
        sx, so, sw = (F(2) ** np.round(np.log2(v)).astype(F) for v in (sx, so, sw))
    bias = (rng.normal(0, 1, o) * spread).astype(F)
    relu = bool(index % 2) and zo < 255  # QNNPACK refuses an empty range
    if per_channel:
        scales, zeros = torch.from_numpy(sw.astype(np.float64)), torch.zeros(o, dtype=torch.int64)
        weight = torch._make_per_channel_quantized_tensor(torch.from_numpy(wt), scales, zeros, 0)
    else:
        weight = quantized(wt, sw[0], 0)
    q = torch.ops.quantized
    if linear:
        packed = q.linear_prepack(weight.reshape(o, c) if not per_channel else relinear(wt, sw), torch.from_numpy(bias))
        y = (q.linear_relu if relu else q.linear)(quantized(x.reshape(1, c), sx, zx), packed, float(so), zo)
        y = y.int_repr().numpy().reshape(1, 1, o)
    else:
        packed = q.conv2d_prepack(weight, torch.from_numpy(bias), [stride] * 2, [padding] * 2, [1, 1], groups)
        y = to_hwc((q.conv2d_relu if relu else q.conv2d)(nhwc(x, sx, zx), packed, float(so), zo))
    arrays = {"x": x, "w": wt, "sw": sw, "bias": bias, "y": y}
    out.case("conv", arrays, engine=engine, shape=shape, sx=F(sx), zx=zx, so=F(so), zo=zo, relu=relu)


def formula(engine, per_channel, acc, sx, sw, so, bias, zo, wrong=None):
    """Outputs of a convolution; `wrong` replaces one step by a near miss."""
    product = sx * sw
    inverse = F(1) / product
    if engine == "qnnpack":
        sums = (acc + np.rint(bias * inverse).astype(np.int64)).astype(F)
        return rounded(sums * (product / so if wrong == "multiplier" else product * (F(1) / so)), zo)
    sums = acc.astype(F)
    if per_channel == (wrong != "bias"):
        sums = sums + bias / product
    elif per_channel:
        sums = sums + bias * inverse
    else:  # a fused multiply-add; f64 holds the product exactly, and rounding twice is too rare to matter here
        sums = (sums.astype(np.float64) + bias.astype(np.float64) * inverse.astype(np.float64)).astype(F)
    return rounded(sums * (product * (F(1) / so) if wrong == "multiplier" else product / so), zo)


def close_conv_cases(out):
    """Single pixels where a step done in another order gives another byte; about one in a million does."""
    plan = [("fbgemm", True, "bias"), ("fbgemm", True, "multiplier"), ("fbgemm", False, "bias")]
    plan += [("fbgemm", False, "multiplier"), ("qnnpack", False, "multiplier")]
    c, o = 8, 64
    for engine, per_channel, wrong in plan * 2:
        torch.backends.quantized.engine = engine
        while True:
            sx, zx, zo = scale(), zero_point(127), zero_point()
            sw = np.array([scale(1e-3, 1e-2) for _ in range(o if per_channel else 1)], F)
            x, wt = codes((4000, c), 127), rng.integers(-128, 128, (o, c)).astype(np.int8)
            spread = sx * sw.mean() * np.sqrt(c) * 4000
            so = F(spread / rng.uniform(20, 80))
            bias = (rng.normal(0, 1, o) * spread).astype(F)
            acc = (x.astype(np.int64) - zx) @ wt.astype(np.int64).T
            right, other = (formula(engine, per_channel, acc, sx, sw, so, bias, zo, how) for how in (None, wrong))
            rows = np.nonzero((right != other).any(axis=1))[0]
            if len(rows):
                break
        pixel = x[rows[:1]]
        weight = relinear(wt, sw) if per_channel else quantized(wt, sw[0], 0)
        packed = torch.ops.quantized.linear_prepack(weight, torch.from_numpy(bias))
        y = torch.ops.quantized.linear(quantized(pixel, sx, zx), packed, float(so), zo).int_repr().numpy()
        keys = dict(engine=engine, shape=(c, o, 1, 1, 0, 1, 1, 1), sx=sx, zx=zx, so=so, zo=zo, relu=False)
        out.case("conv", {"x": pixel, "w": wt, "sw": sw, "bias": bias, "y": y}, **keys)


def relinear(wt, sw):
    o = len(wt)
    scales, zeros = torch.from_numpy(sw.astype(np.float64)), torch.zeros(o, dtype=torch.int64)
    return torch._make_per_channel_quantized_tensor(torch.from_numpy(wt.reshape(o, -1)), scales, zeros, 0)


def add_cases(out):
    a, b = (grid.ravel().astype(np.uint8) for grid in np.meshgrid(np.arange(256), np.arange(256)))
    for index in range(12):
        relu = index % 3 == 2
        power = index % 2 == 1
        for attempt in range(10_000):
            sa, sb, so = scale(), scale(), scale(0.01, 0.4)
            if power:
                sa, sb, so = (F(2.0 ** rng.integers(-7, -2)) * F(rng.choice([1, 1, 1.5])) for _ in range(3))
            za, zb, zo = zero_point(), zero_point(), min(zero_point(), 254)
            inverse = F(1) / so
            one = rounded((plain(a, sa, za) + plain(b, sb, zb)) * inverse, zo)
            two = rounded((fused(a, sa, za) + fused(b, sb, zb)) * inverse, zo)
            differ = np.nonzero(one != two)[0]
            if power or len(differ):
                break
        pick = rng.integers(0, 65536, 64 * 7 + 37)
        if len(differ):  # these pairs tell fused from plain: in blocks and in the remainder
            pick[[3, 70, -1, -20]] = rng.choice(differ, 4)
        xa, xb = a[pick], b[pick]
        for engine in ENGINES:
            torch.backends.quantized.engine = engine
            op = torch.ops.quantized.add_relu if relu else torch.ops.quantized.add
            y = op(quantized(xa, sa, za), quantized(xb, sb, zb), float(so), zo).int_repr().numpy()
            keys = dict(engine=engine, sa=sa, za=za, sb=sb, zb=zb, so=so, zo=zo, relu=relu)
            out.case("add", {"a": xa, "b": xb, "y": y}, **keys)


def mul_cases(out):
    for index in range(8):
        sa, sb, so, za, zb, zo = scale(), scale(), scale(0.1, 2), zero_point(), zero_point(), zero_point()
        if index % 2:
            sa, sb, so = (F(2) ** np.round(np.log2(v)).astype(F) for v in (sa, sb, so))
        c = int(rng.choice([8, 24, 33]))
        a, full, one = codes((4, 5, c)), codes((4, 5, c)), codes((1, 1, c))
        for engine in ENGINES:
            torch.backends.quantized.engine = engine
            for b in (full, one):
                y = to_hwc(torch.ops.quantized.mul(nhwc(a, sa, za), nhwc(b, sb, zb), float(so), zo))
                keys = dict(engine=engine, channels=c, sa=sa, za=za, sb=sb, zb=zb, so=so, zo=zo)
                out.case("mul", {"a": a, "b": b, "y": y}, **keys)


def telling_scales(function):
    """Scales and zero points for which a fused and a plain dequantization of some code give different results."""
    every = np.arange(256).astype(np.uint8)
    while True:
        s, so, z, zo = scale(), scale(), zero_point(), zero_point()
        one, two = (function(d(every, s, z), F(1) / so, zo) for d in (plain, fused))
        differ = np.nonzero(one != two)[0]
        if len(differ):
            return s, z, so, zo, every[differ]


def cat_cases(out):
    for c in (4, 12, 23, 24, 33, 48, 58, 116):
        sa, za, so, zo, differ = telling_scales(lambda d, inverse, z: rounded(d * inverse, z))
        sb, zb = (so, zo) if c == 48 else (scale(), zero_point())
        a, b = codes((2, 3, c)), codes((2, 3, c + 8))
        a[..., [0, c // 2, c - 1]] = differ[0]
        for engine in ENGINES:
            torch.backends.quantized.engine = engine
            y = to_hwc(torch.ops.quantized.cat([nhwc(a, sa, za), nhwc(b, sb, zb)], 1, float(so), zo))
            keys = dict(engine=engine, pixels=6, ca=c, cb=c + 8, sa=sa, za=za, sb=sb, zb=zb, so=so, zo=zo)
            out.case("cat", {"a": a, "b": b, "y": y}, **keys)


def relu6(d):
    return np.clip(d + F(3), F(0), F(6))


def table_cases(out):
    """All codes once in blocks of 64 and again in a remainder."""
    functions = {
        "hardswish": lambda d, inverse, z: rounded(d * relu6(d) / F(6) * inverse, z),
        "hardsigmoid": lambda d, inverse, z: rounded(relu6(d) / F(6) * F(256), 0),
    }
    for name, function in functions.items():
        for _ in range(6):
            s, z, so, zo, differ = telling_scales(function)
            x = np.concatenate([np.arange(256), rng.permutation(256)[:40], np.resize(differ, 8)]).astype(np.uint8)
            for engine in ENGINES:
                torch.backends.quantized.engine = engine
                tensor = nhwc(x.reshape(1, 1, -1), s, z)
                if name == "hardswish":
                    y = torch.ops.quantized.hardswish(tensor, float(so), zo)
                else:
                    y = torch.ops.aten.hardsigmoid(tensor)
                    assert (y.q_scale(), y.q_zero_point()) == (1 / 256, 0)
                out.case(name, {"x": x, "y": to_hwc(y).ravel()}, engine=engine, sx=s, zx=z, so=so, zo=zo)


def average_cases(out):
    sizes = [(1, 1, 24), (2, 2, 72), (3, 3, 8), (4, 4, 8), (4, 4, 40), (5, 5, 8), (6, 6, 24), (6, 6, 72)]
    sizes += [(7, 7, 24), (8, 8, 40), (10, 10, 33), (14, 14, 8), (2, 2, 1024), (6, 6, 64), (3, 6, 24), (5, 6, 56)]
    for h, w, c in sizes:
        s, z, x = telling_average(h, w, c)
        for engine in ENGINES:
            torch.backends.quantized.engine = engine
            tensor = nhwc(x, s, z)
            mean, average = tensor.mean([2, 3]), torch.nn.functional.adaptive_avg_pool2d(tensor, 1)
            assert all((F(y.q_scale()), y.q_zero_point()) == (s, z) for y in (mean, average))
            arrays = {"x": x, "mean": mean.int_repr().numpy(), "global": average.int_repr().numpy()}
            out.case("average", arrays, engine=engine, channels=c, sx=s, zx=z)


def cascade(x):
    """torch's sum over rows of whole groups of vectors, up to 256 rows."""
    total, part = np.zeros(x.shape[1], F), np.zeros(x.shape[1], F)
    for index, row in enumerate(x):
        part = part + row
        if index % 16 == 15:
            total, part = total + part, np.zeros(x.shape[1], F)
    return part + total


def interleaved(x):
    """torch's sum over rows of a single vector."""
    rows = len(x) // 4
    sums = [cascade(x[k : rows * 4 : 4]) for k in range(4)]
    for row in x[rows * 4 :]:
        sums[0] = sums[0] + row
    return sums[0] + sums[1] + sums[2] + sums[3]


def telling_average(h, w, c):
    """Scale, zero point and values; with maps from 4x4 on, some channels of each kind tell the orders of sums apart."""
    n, whole = h * w, c // 32 * 32
    for _ in range(2000):
        s, z = telling_mean(n)
        x = rng.integers(0, 256, (h, w, c)).astype(np.uint8)
        real = plain(x.reshape(n, c), s, z)
        one, two = (rounded(order(real) / F(n) * (F(1) / s), z) for order in (cascade, interleaved))
        differ = one != two
        if n % 2 or n < 16 or all(part.any() for part in (differ[:whole], differ[whole:]) if len(part)):
            break
    return s, z, x


def telling_mean(n):
    """A scale for which s / (s * n) is not 1 / n, where there is one."""
    for _ in range(1000):
        s = scale()
        if s / (s * F(n)) != F(1) / F(n):
            break
    return s, zero_point()


def pool_cases(out):
    shapes = [(9, 8, 10, 3, 2, 1), (8, 6, 33, 2, 2, 0), (6, 6, 3, 3, 1, 1), (8, 6, 12, 6, 1, 0)]
    for h, w, c, k, stride, padding in shapes:
        x, s, z = codes((h, w, c)), scale(), zero_point()
        for engine in ENGINES:
            torch.backends.quantized.engine = engine
            keys = dict(engine=engine, shape=(h, w, c, k, stride, padding), sx=s, zx=z)
            y = torch.nn.functional.max_pool2d(nhwc(x, s, z), k, stride, padding)
            out.case("maxpool", {"x": x, "y": to_hwc(y)}, **keys)
            if padding == 0:  # QNNPACK counts padding, whatever it is told
                y = torch.nn.functional.avg_pool2d(nhwc(x, s, z), k, stride)
                out.case("avgpool", {"x": x, "y": to_hwc(y)}, **keys)


def quantize_cases(out):
    for index in range(8):
        s, z = scale(1e-3, 2.0), zero_point()
        if index % 2:
            s = F(2) ** np.round(np.log2(s)).astype(F)
        x = (rng.uniform(-300, 300, 300) * s).astype(F)
        x[::3] = rng.integers(-600, 600, 100).astype(F) / F(2) * s  # halves: ties
        x[:4] = np.array([0, -0.0, 1e6, -1e6], F) * s  # beyond 2^31 steps PyTorch's own integers wrap
        y = torch.quantize_per_tensor(torch.from_numpy(x), float(s), z, torch.quint8)
        out.case("quantize", {"x": x, "y": y.int_repr().numpy(), "d": y.dequantize().numpy()}, sx=s, zx=z)


def main():
    here = Path(__file__).resolve().parent
    default = here.parent / "kernels" / "tests" / "golden" / "ops.bin"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    torch.set_num_threads(1)
    out = Writer()
    makers = (conv_cases, close_conv_cases, add_cases, mul_cases, cat_cases, table_cases, average_cases)
    for add in (*makers, pool_cases, quantize_cases):
        before = (out.cases, len(out.data))
        add(out)
        print(f"{add.__name__:16} {out.cases - before[0]:4} cases {len(out.data) - before[1]:8} bytes")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out.data)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{path}: {out.cases} cases, {len(out.data)} bytes, torch {torch.__version__}, {capability}")


if __name__ == "__main__":
    main()
