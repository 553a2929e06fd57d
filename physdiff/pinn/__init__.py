"""Floor 4: networks of coordinates trained on the residual of a law (PINNs) and what they need: points, weights, optimisers."""
