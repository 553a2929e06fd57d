"""Floor 2: how a derivative is taken."""
