"""Floor 4: schedules, denoisers, the training objective, samplers and the prior."""
