"""Environments: worlds with seats, written on the kernel's `Env` and `BatchEnv`.

One module or package per family (`kitchen`, `pitch`, `spread`, `matrix`), and `adapters` for other
libraries' worlds and the way back. Each module has a `family` object, found by its entry point.
Here live rules, views and scores; no agents, no files, no network, no recording.
Modules import numpy and msgspec alone; whatever else they need is imported where it is used.
"""
