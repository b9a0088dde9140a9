#!/usr/bin/env bash
# PyTorch's logits of real images for the real MobileNetV2 pair, into local/real; used by the gate.
# Makes a CPU-only PyTorch in local/venv where there is none; leaves alone what exists already.
# usage: golden-real.sh DATA [IMAGES]     DATA holds models/, imagenet/ and recipes/ (the folder of QUANTLENS_TEST_DATA)
set -euo pipefail
data=$(realpath "$1")
images=${2:-100}
cd "$(dirname "$0")/.."
out=local/real
made=$out/made-for
wanted="$images images, $(cat tools/*.py tools/quantlens_tools/*.py tools/requirements.txt | sha256sum | cut -c1-16)"
if [ -f "$made" ] && [ "$(cat "$made")" = "$wanted" ]; then
    echo "$out is up to date ($wanted)"
    exit 0
fi
if ! local/venv/bin/python -c 'import torch, torchvision, safetensors' 2>/dev/null; then
    rm -rf local/venv
    bash "$data/recipes/slim-torch.sh" local/venv
    # The recipe has torch itself in place; these are the other pins.
    grep -vE '^(#|torch)' tools/requirements.txt | local/venv/bin/pip install -q -r /dev/stdin
fi
rm -rf "$out"
local/venv/bin/python tools/golden.py --real "$data/models/mobilenet_v2-f32.pth" "$data/models/mobilenet_v2-qnnpack.pth" \
    --images "$data/imagenet/index.csv" --limit "$images" --out "$out"
echo "$wanted" >"$made"
