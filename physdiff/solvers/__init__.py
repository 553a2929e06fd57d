"""Floor 4: how a law is advanced in time."""
