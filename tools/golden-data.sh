#!/usr/bin/env bash
# The golden data that is not committed, for the gate: full-size dumps (local/golden), and PyTorch's logits of real
# images for the real MobileNetV2 pair (local/real). Makes a CPU-only PyTorch in local/venv where there is none; leaves
# alone what is up to date.
# usage: golden-data.sh DATA [IMAGES]     DATA holds models/, imagenet/ and recipes/ (the folder of QUANTLENS_TEST_DATA)
set -euo pipefail
data=$(realpath "$1")
images=${2:-100}
cd "$(dirname "$0")/.."
python=local/venv/bin/python
made=local/golden-data-for
wanted="$images images, $(cat tools/golden.py tools/quantlens_tools/*.py tools/requirements.txt | sha256sum | cut -c1-16)"
if [ -f "$made" ] && [ "$(cat "$made")" = "$wanted" ]; then
    echo "local/golden and local/real are up to date ($wanted)"
    exit 0
fi
if ! $python -c 'import torch, torchvision, safetensors' 2>/dev/null; then
    rm -rf local/venv
    mkdir -p local
    bash "$data/recipes/slim-torch.sh" local/venv
    # The recipe has put torch itself in place; these are the other pins.
    grep -vE '^(#|torch)' tools/requirements.txt | local/venv/bin/pip install -q -r /dev/stdin
fi
rm -rf local/golden local/real "$made"
$python tools/golden.py --full &
full=$!
$python tools/golden.py --real "$data/models/mobilenet_v2-f32.pth" "$data/models/mobilenet_v2-qnnpack.pth" \
    --images "$data/imagenet/index.csv" --limit "$images"
wait $full
echo "$wanted" >"$made"
