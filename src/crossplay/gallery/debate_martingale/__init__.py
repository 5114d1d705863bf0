"""Debate as a martingale: believers whose belief others' answers move, with and without confidence."""
