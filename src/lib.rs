//! Runs torchvision's CNNs in f32 and int8 and shows where quantization changes what they look at.
