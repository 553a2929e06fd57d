"""Floor 8: the command line, one typed function per verb."""
