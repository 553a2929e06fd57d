"""Floor 3: invertible maps between physical windows and the representation a model learns."""
