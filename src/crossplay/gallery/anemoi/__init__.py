"""Anemoi: a planner that its workers may correct, in threads that everybody reads and nobody has to wait in."""
