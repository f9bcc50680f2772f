"""Linear maps of a whole vector."""
