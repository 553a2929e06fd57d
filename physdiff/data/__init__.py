"""Floor 5: from files to windows and back; the only room besides FieldSpec that crosses the xarray border."""
