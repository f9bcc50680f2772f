"""Maps between the real line and bounded domains."""
