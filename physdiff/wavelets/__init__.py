"""Floor 1: filters, wavelet transforms and packing as pure functions."""
