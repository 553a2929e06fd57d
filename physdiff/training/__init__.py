"""Floor 7: Lightning modules, data modules and `fit`."""
