"""What quantlens' Python tools share: the networks, the model file, taps into torch models and checks against them."""

import importlib.util
import sys

_missing = [name for name in ("numpy", "safetensors", "torch", "torchvision") if importlib.util.find_spec(name) is None]
if _missing:
    sys.exit(f"error: {sys.executable} has no {', '.join(_missing)}; tools/README.md says how to install what this needs")
