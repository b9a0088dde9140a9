"""How far a decoder's pixels, logits and top-1 classes are from Pillow's.

    cargo build --release -p quantlens-data --example decode [--features turbojpeg]
    python tools/decoder_report.py --program target/release/examples/decode --weights mobilenet_v2-qnnpack.pth \
        pure turbojpeg zune --images FOLDER_OR_IMAGE...

The weights are torchvision's quantized MobileNetV2 (a state dict); without --weights only pixels are compared.
Figures in the documentation: 977 ImageNet validation images, Pillow 13.0.0 (libjpeg-turbo 3.2.0), torch 2.5.1, engine qnnpack.
"""

import argparse
import collections
import pathlib
import subprocess
import tempfile
import warnings

import numpy as np
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png"}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="the built example `decode`")
    parser.add_argument("--weights", help="state dict of torchvision's quantized MobileNetV2")
    parser.add_argument("decoders", nargs="+", help="pure, turbojpeg, zune")
    parser.add_argument("--images", nargs="+", required=True, type=pathlib.Path, help="folders or image files")
    return parser.parse_args()


def list_images(paths):
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        else:
            yield path


def load_network(weights):
    """A function from a PIL image to int8 MobileNetV2's logits, with torchvision's preprocessing."""
    import torch
    import torchvision
    from torchvision import transforms

    warnings.filterwarnings("ignore", category=UserWarning)
    torch.backends.quantized.engine = "qnnpack"
    model = torchvision.models.quantization.mobilenet_v2(weights=None, quantize=True).eval()
    model.load_state_dict(torch.load(weights, weights_only=False))
    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )

    def logits(image):
        with torch.no_grad():
            return model(transform(image)[None]).numpy()[0]

    return logits


def sampling(image):
    """The JPEG sampling factors of an image file, such as 2x2,1x1,1x1."""
    layers = getattr(image, "layer", None)
    return ",".join(f"{h}x{v}" for _, h, v, _ in layers) if layers else image.format


def read_pixels(path):
    data = path.read_bytes()
    width, height = np.frombuffer(data[:8], "<u4")
    return np.frombuffer(data[8:], np.uint8).reshape(height, width, 3)


class Figures:
    """Sums over images."""

    def __init__(self):
        self.images = self.bytes = self.differing = self.largest = 0

    def add(self, difference):
        self.images += 1
        self.bytes += difference.size
        self.differing += int(np.count_nonzero(difference))
        self.largest = max(self.largest, int(difference.max()))


def report(decoder, program, files, reference, logits):
    groups = collections.defaultdict(Figures)
    changed, largest_logit, failed = 0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        names = "\n".join(map(str, files))
        subprocess.run([program, decoder, folder], input=names, text=True, check=True)
        for n, file in enumerate(files):
            raw = pathlib.Path(folder, f"{n}.rgb")
            if not raw.exists():
                failed += 1
                print(f"{decoder}: {pathlib.Path(folder, f'{n}.error').read_text()}")
                continue
            with Image.open(file) as image:
                group, expected = sampling(image), np.asarray(image.convert("RGB")).astype(np.int16)
            pixels = read_pixels(raw)
            difference = np.abs(expected - pixels)
            groups[group].add(difference)
            groups["all"].add(difference)
            if logits and difference.any():
                ours = logits(Image.fromarray(pixels))
                changed += int(ours.argmax() != reference[n].argmax())
                largest_logit = max(largest_logit, float(np.abs(ours - reference[n]).max()))
    for group, f in sorted(groups.items()):
        share = 100 * f.differing / max(f.bytes, 1)
        print(f"{decoder:10} {group:14} images {f.images:5}  bytes differing {share:7.3f} %  largest {f.largest}")
    print(f"{decoder:10} failed {failed} of {len(files)}")
    if logits:
        print(f"{decoder:10} top-1 changed {changed} of {len(files)}, largest logit difference {largest_logit:.4f}")


def main():
    arguments = parse_arguments()
    files = list(list_images(arguments.images))
    logits = load_network(arguments.weights) if arguments.weights else None
    reference = []
    if logits:
        for file in files:
            with Image.open(file) as image:
                reference.append(logits(image.convert("RGB")))
    for decoder in arguments.decoders:
        report(decoder, arguments.program, files, reference, logits)


if __name__ == "__main__":
    main()
