//! EigenCAM, pair difference and activation statistics of quantlens.
