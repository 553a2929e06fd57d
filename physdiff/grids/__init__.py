"""Floor 1: where values are (grids), what they are (FieldSpec), and interpolation between places."""
