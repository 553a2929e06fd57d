"""Floor 2: numbers that judge a forecast; functions of members, truth and weights."""
