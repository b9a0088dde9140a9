"""What quantlens' Python tools share: the networks, the model file, taps into torch models and checks against them."""
