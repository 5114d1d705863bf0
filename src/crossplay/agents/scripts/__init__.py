"""Scripted experts, one module per environment family: the ceilings and partners of experiments.

Each module imports numpy and the kernel alone, and reads views, never an environment's inside.
An entry is a function `make(rest, options, context) -> Agent`, registered in `crossplay.agents`.
Agents hold no state: what they remember goes through the memo. No environment imports them.
"""
