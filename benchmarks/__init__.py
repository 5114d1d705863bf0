"""Benchmarks: `python -m benchmarks` prints every row and writes build/bench.json.

Each row is measured beside its own baseline in the same run, the two interleaved: speeds of shared
machines drift by a factor of two, ratios much less. Minima are quoted for costs, medians for rates.
"""
