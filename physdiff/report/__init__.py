"""Floor 7: one self-contained HTML page of a run."""
