"""Floor 6: ensembles over time."""
