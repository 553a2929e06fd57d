"""Floor 4: how noise is turned into a sample; one file per method family."""
