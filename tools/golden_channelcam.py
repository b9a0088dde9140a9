"""Golden ScoreCAM and AblationCAM for quantlens-xai from pytorch-grad-cam.

    python tools/golden_channelcam.py                writes crates/xai/tests/channelcam.txt

Needs grad-cam (1.5.7) besides requirements.txt. The network is tiny; its input and weights are made from integers by a
generator that the Rust test repeats, and the Rust test runs the network by itself.
"""
import importlib.metadata
import pathlib

import numpy as np
import torch
from pytorch_grad_cam import AblationCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

# name, input height, width, seed, class (none: the most probable), stride of the first layer
CASES = [("17x19", 17, 19, 1, None, 2), ("16x8", 16, 8, 2, 1, 2), ("24x24", 24, 24, 3, 3, 2), ("5x12 unstrided", 5, 12, 4, None, 1)]
CHANNELS = [3, 6, 10]
CLASSES = 5


def numbers(seed, count, low, high, divisor):
    """(low..high) / divisor, of a linear congruential generator."""
    state, out = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(low + (state >> 40) % (high - low))
    return torch.tensor(out, dtype=torch.float32) / divisor


class Net(torch.nn.Module):
    """Two 3x3 convolutions, ReLU and ReLU6 after them, the mean over positions, one linear layer."""

    def __init__(self, seed, stride):
        super().__init__()
        a, b, c = CHANNELS
        self.first = torch.nn.Conv2d(a, b, 3, stride=stride, padding=1)
        self.second = torch.nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.target = torch.nn.ReLU6()
        self.fc = torch.nn.Linear(c, CLASSES)
        with torch.no_grad():
            for i, layer in enumerate((self.first, self.second, self.fc)):
                w = numbers(10 * seed + i, layer.weight.numel(), -100, 101, 128 if i < 2 else 64)
                layer.weight.copy_(w.reshape(layer.weight.shape))
                layer.bias.copy_(numbers(10 * seed + i + 5, layer.bias.numel(), -50, 51, 64))
            # One channel is dead.
            self.second.bias[4] = -1000

    def forward(self, x):
        x = self.target(self.second(torch.relu(self.first(x))))
        return self.fc(x.mean((2, 3)))


def write_case(f, name, h, w, seed, target, stride):
    net = Net(seed, stride).eval()
    image = numbers(seed, 3 * h * w, -128, 129, 64).reshape(1, 3, h, w)
    with torch.inference_mode():
        logits = net(image)[0]
    target = int(logits.argmax()) if target is None else target
    print("case", name, h, w, seed, target, stride, file=f)
    print("logits", *(f"{x:.8g}" for x in logits), file=f)
    for method, kind in (("score", ScoreCAM), ("ablation", AblationCAM)):
        cam = kind(model=net, target_layers=[net.target])
        kept, original = [], cam.get_cam_weights

        def keep(*args):
            kept.append(original(*args))
            return kept[-1]

        cam.get_cam_weights = keep
        grey = cam(input_tensor=image.clone(), targets=[ClassifierOutputTarget(target)])[0]
        print(method, "weights", *(f"{x:.8g}" for x in kept[0][0]), file=f)
        print(method, "map", *(f"{x:.6g}" for x in grey.reshape(-1)), file=f)


def main():
    path = pathlib.Path(__file__).parent.parent / "crates/xai/tests/channelcam.txt"
    with open(path, "w", newline="\n") as f:
        version = importlib.metadata.version("grad-cam")
        print(f"# tools/golden_channelcam.py: grad-cam {version}, torch {torch.__version__}, numpy {np.__version__}", file=f)
        for case in CASES:
            write_case(f, *case)


if __name__ == "__main__":
    main()
