//! torchvision's networks built from safetensors, for quantlens.
