"""Floor 1: orthonormal filters and periodized wavelet transforms as pure functions."""
