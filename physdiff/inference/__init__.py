"""Floor 5: observations, posteriors and the samplers that draw from them."""
