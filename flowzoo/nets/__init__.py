"""The networks inside conditioners."""
