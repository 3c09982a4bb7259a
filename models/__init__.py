"""One file per network or weight-free algorithm: images in, plain results out. No pipeline code."""
