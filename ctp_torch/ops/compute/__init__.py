"""Memory and processors: how much at a time, and how many at once."""
