"""Floor 6: forecasts against truth and baselines."""
