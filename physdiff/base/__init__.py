"""Floor 0: errors, checks, randomness as a value, saving, Gaussian transitions, linear solvers."""
