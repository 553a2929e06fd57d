"""Recipes: the data sets of the literature by name, one file per family."""
