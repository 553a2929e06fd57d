"""Floor 6: pictures; every function takes and returns axes."""
