"""Floor 6: how far a forecast can be trusted: bands with a guarantee, corrected ensembles, and draws of networks' weights."""
