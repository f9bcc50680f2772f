"""Flows inside other libraries."""
