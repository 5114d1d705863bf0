"""Metrics and all statistics: pure functions from columns of outcomes to estimates and verdicts.

Here live `stats` (intervals, tests, power, verdicts) and `metrics` (what a table counts per cell).
Nothing here plays an episode, reads a run folder or draws from a generator that has no address;
a number leaves this package with its interval, its n and its marks, or with the reason why not.
Numpy at import; scipy where it is needed. Siblings (agents, society) are never imported.
"""
