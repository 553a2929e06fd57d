"""Floor 3: laws, each written once."""
