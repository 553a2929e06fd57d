"""Floor 2: neural networks; they know nothing of diffusion or of physics."""
