//! Image decoding, Pillow-exact preprocessing and data set readers of quantlens.
