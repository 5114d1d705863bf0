"""Joining runs (being built)."""
