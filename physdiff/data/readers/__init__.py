"""One file for each kind of file: from a path to a data set as it stands there, with named dimensions; `detect` finds the right one."""
