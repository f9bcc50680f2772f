"""Numerics that more than one room needs: pure functions on arrays, each once."""
