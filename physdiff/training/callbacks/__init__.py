"""Floor 7: Lightning callbacks."""
