"""Test images of crates/data and what Pillow and torchvision make of them.

    python tools/golden_images.py            # writes crates/data/tests/images/ and crates/data/tests/*.txt
    python tools/golden_images.py --real IMAGENET   # writes crates/data/tests/real.txt, a checksum of the real images' pixels

Made with Pillow 13.0.0 (libjpeg-turbo 3.2.0), torchvision 0.20.1 and, for sampling ratios and scan scripts that Pillow does not
write, libjpeg-turbo's `cjpeg` (any version: only the encoded file depends on it). Checksums are 64-bit FNV-1a.
"""

import argparse
import pathlib
import struct
import subprocess
import tempfile
import zlib

import numpy as np
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

TESTS = pathlib.Path(__file__).resolve().parent.parent / "crates/data/tests"
IMAGES = TESTS / "images"
FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
ORIENTATION_TAG = 0x0112


def fnv(data, state=0xCBF29CE484222325):
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state


def picture(width, height, seed=0):
    """Smooth colours with noise: every path of a decoder has something to do."""
    rng = np.random.default_rng(seed + 1000 * width + height)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 7 + c) * 70 + np.cos(y / 5 - c) * 50 + 128 for c in range(3)]
    noise = rng.normal(0, 14, (height, width, 3))
    return Image.fromarray((np.stack(waves, -1) + noise).clip(0, 255).astype(np.uint8))


def generated(width, height):
    """The picture that the Rust tests generate for resizing, in integer arithmetic."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint32)
    channels = [(x * (7 + c) + y * 13 + (x * y) % 251 + ((x * 40503 + y * 30011 + c * 977) >> 4)) & 255 for c in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def save(name, image, **options):
    image.save(IMAGES / name, **options)


def patch(source, name, change):
    data = bytearray((IMAGES / source).read_bytes())
    change(data)
    (IMAGES / name).write_bytes(data)


def cjpeg(name, image, *options, scans=None):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "in.ppm")
        image.save(source)
        command = ["cjpeg", "-quality", "80", *options]
        if scans:
            script = pathlib.Path(folder, "scans.txt")
            script.write_text(scans)
            command += ["-scans", str(script)]
        (IMAGES / name).write_bytes(subprocess.run([*command, str(source)], capture_output=True, check=True).stdout)


def make_jpegs():
    for subsampling, tag in (("4:4:4", "444"), ("4:2:2", "422"), ("4:2:0", "420")):
        for progressive in (False, True):
            kind = "progressive" if progressive else "baseline"
            save(f"{kind}-{tag}.jpg", picture(45, 37), quality=80, subsampling=subsampling, progressive=progressive)
    for width, height in ((1, 1), (2, 3), (3, 2), (4, 40), (5, 1), (16, 16), (17, 33)):
        save(f"size-{width}x{height}.jpg", picture(width, height), quality=85, subsampling="4:2:0")
    save("quality-5.jpg", picture(40, 30), quality=5)
    save("quality-100.jpg", picture(40, 30), quality=100)
    save("restart.jpg", picture(70, 50), quality=75, restart_marker_blocks=2)
    save("restart-progressive.jpg", picture(70, 50), quality=75, progressive=True, restart_marker_blocks=3)
    save("grey.jpg", picture(41, 23).convert("L"), quality=80)
    save("rgb.jpg", picture(33, 20), quality=80, keep_rgb=True)
    save("cmyk.jpg", picture(37, 21).convert("CMYK"), quality=80, subsampling="4:4:4")
    save("cmyk-420.jpg", picture(37, 21).convert("CMYK"), quality=80, subsampling="4:2:0")

    def to_ycck(data):
        # The transform byte of Adobe's segment: what was encoded as CMYK is read as YCCK, other colours but a valid file.
        at = data.index(b"Adobe") + 11
        assert data[at] == 0
        data[at] = 2

    patch("cmyk.jpg", "ycck.jpg", to_ycck)
    patch("cmyk-420.jpg", "ycck-420.jpg", to_ycck)
    # Pillow writes neither of these.
    cjpeg("sampling-440.jpg", picture(45, 37), "-sample", "1x2,1x1,1x1")
    cjpeg("sampling-411.jpg", picture(45, 37), "-sample", "4x1,1x1,1x1")
    cjpeg("sampling-410.jpg", picture(45, 37), "-sample", "4x2,1x1,1x1")
    cjpeg("sampling-mixed.jpg", picture(45, 37), "-sample", "2x2,2x1,1x2")
    cjpeg("not-interleaved.jpg", picture(45, 37), "-baseline", scans="0;1;2;")
    cjpeg("arithmetic.jpg", picture(20, 20), "-arithmetic")
    cjpeg("first-scans-only.jpg", picture(20, 20), scans="0,1,2: 0-0, 0, 1; 0: 1-5, 0, 2;")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        save(f"orientation-{orientation}.jpg", picture(20, 12), quality=90, exif=exif)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(name, width, height, depth, colour, rows, extra=b""):
    """A PNG of ready rows (bytes without filter byte): for kinds that Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    (IMAGES / name).write_bytes(b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def make_pngs():
    colour = picture(23, 17)
    alpha = picture(23, 17, 1).convert("L")
    save("rgb.png", colour)
    save("rgba.png", Image.merge("RGBA", [*colour.split(), alpha]))
    save("grey.png", colour.convert("L"))
    save("grey-alpha.png", Image.merge("LA", [colour.convert("L"), alpha]))
    save("bilevel.png", colour.convert("1"))
    save("palette.png", colour.quantize(50))
    save("palette-4-bit.png", colour.quantize(11))
    save("palette-transparency.png", colour.quantize(50), transparency=bytes(range(50)))
    save("grey-transparency.png", colour.convert("L"), transparency=128)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    save("orientation-6.png", colour, exif=exif)
    rng = np.random.default_rng(5)
    wide = rng.integers(0, 65536, (9, 7, 4)).astype(">u2")
    small = rng.integers(0, 600, (9, 7)).astype(">u2")
    raw_png("grey-16.png", 7, 9, 16, 0, [row.tobytes() for row in small])
    raw_png("grey-alpha-16.png", 7, 9, 16, 4, [row[:, :2].tobytes() for row in wide])
    raw_png("rgb-16.png", 7, 9, 16, 2, [row[:, :3].tobytes() for row in wide])
    raw_png("rgba-16.png", 7, 9, 16, 6, [row.tobytes() for row in wide])
    bits = [bytes(rng.integers(0, 256, 4).astype(np.uint8)) for _ in range(5)]
    raw_png("grey-2-bit.png", 13, 5, 2, 0, bits)
    raw_png("grey-4-bit.png", 7, 5, 4, 0, bits)
    # Index 200 is beyond the palette: black.
    palette = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    raw_png("palette-short.png", 4, 1, 8, 3, [bytes([0, 1, 2, 200])], palette)


def upright(image):
    """As PIL.ImageOps.exif_transpose."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def write_expected_pixels():
    lines = []
    for path in sorted(IMAGES.iterdir()):
        if path.name in ("arithmetic.jpg", "first-scans-only.jpg"):
            continue  # not read here: an error is expected
        with Image.open(path) as image:
            turned = upright(image).convert("RGB")
            plain = image.convert("RGB")
        for image, how in ((plain, "as-is"), (turned, "upright")):
            lines.append(f"{path.name} {how} {image.width} {image.height} {fnv(image.tobytes()):016x}")
    (TESTS / "pixels.txt").write_text("\n".join(lines) + "\n")


def write_expected_resizes():
    sizes = [(61, 47), (1, 1), (1, 29), (30, 1), (2, 2), (200, 3)]
    targets = [(1, 1), (61, 1), (1, 47), (122, 94), (200, 31), (30, 20), (61, 30), (30, 47), (62, 48), (60, 46), (7, 150), (3, 3)]
    pairs = [(size, target) for size in sizes for target in targets]
    # Random sizes, half of them near the point where Pillow 13 starts with the other pass.
    rng = np.random.default_rng(8)
    for n in range(200):
        width, height, to_width, to_height = (int(v) for v in rng.integers(1, 90, 4))
        if n % 2 and height > 2:
            to_width = max(1, width - int(rng.integers(0, max(2, height // 2))))
            to_height = max(1, height - 2 * (width - to_width) + int(rng.integers(-2, 3)))
        pairs.append(((width, height), (to_width, to_height)))
    lines = []
    for (width, height), (to_width, to_height) in pairs:
        for name, resample in FILTERS.items():
            image = generated(width, height).resize((to_width, to_height), resample)
            lines.append(f"{width} {height} {to_width} {to_height} {name} {fnv(image.tobytes()):016x}")
    (TESTS / "resizes.txt").write_text("\n".join(lines) + "\n")


def write_expected_inputs():
    """Lines: source size, resize (0: none), crop height and width, checksums of the u8 picture and of the f32 tensor."""
    cases = [
        (500, 375, 256, 224, 224), (375, 500, 256, 224, 224), (227, 227, 256, 224, 224), (256, 256, 256, 224, 224),
        (333, 257, 256, 224, 224), (499, 334, 256, 224, 224), (100, 31, 256, 224, 224), (1, 40, 256, 224, 224),
        (700, 2, 64, 56, 56), (90, 70, 61, 50, 48), (90, 70, 63, 50, 48), (90, 70, 60, 57, 43), (90, 70, 20, 33, 47), (300, 700, 256, 224, 224), (333, 500, 256, 224, 224),
        (90, 70, 40, 64, 33), (90, 70, 40, 33, 64), (30, 20, 0, 41, 50), (30, 20, 0, 15, 50), (90, 70, 0, 33, 48),
        (30, 20, 0, 20, 30), (5, 4, 1, 1, 1),
    ]  # fmt: skip
    normalize = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    lines = []
    for width, height, resize, crop_height, crop_width in cases:
        steps = [transforms.Resize(resize)] if resize else []
        image = transforms.Compose([*steps, transforms.CenterCrop((crop_height, crop_width))])(generated(width, height))
        tensor = transforms.Compose(normalize)(image)
        values = fnv(tensor.contiguous().numpy().astype("<f4").tobytes())
        numbers = f"{width} {height} {resize} {crop_height} {crop_width}"
        lines.append(f"crop {numbers} {fnv(image.tobytes()):016x} {values:016x}")
        stretch = transforms.Resize((crop_height, crop_width), InterpolationMode.BILINEAR)(generated(width, height))
        tensor = transforms.Compose(normalize)(stretch)
        values = fnv(tensor.contiguous().numpy().astype("<f4").tobytes())
        lines.append(f"stretch {numbers} {fnv(stretch.tobytes()):016x} {values:016x}")
    (TESTS / "inputs.txt").write_text("\n".join(lines) + "\n")


def write_real(folder):
    """One checksum over the decoded pixels of each folder's images, in order of their names: a CRC-32 of all of them."""
    lines = []
    for name in ("train", "val", "val227"):
        files = sorted(p for p in (folder / name).iterdir() if p.suffix == ".JPEG")
        checksum = 0
        for path in files:
            with Image.open(path) as image:
                rgb = image.convert("RGB")
                checksum = zlib.crc32(struct.pack("<II", *rgb.size) + rgb.tobytes(), checksum)
        lines.append(f"{name} {len(files)} {checksum:08x}")
    (TESTS / "real.txt").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=pathlib.Path, help="folder with train, val and val227 of ImageNet images")
    arguments = parser.parse_args()
    if arguments.real:
        write_real(arguments.real)
        return
    IMAGES.mkdir(parents=True, exist_ok=True)
    make_jpegs()
    make_pngs()
    write_expected_pixels()
    write_expected_resizes()
    write_expected_inputs()


if __name__ == "__main__":
    main()
