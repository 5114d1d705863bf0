"""Metrics, decision rules and all statistics: pure functions from columns of outcomes to estimates and verdicts.

Here live `stats` (intervals, tests, power, verdicts), `metrics` (what a table counts per cell), the rules by
which ballots become decisions (`rules`, `rules_ranked`, by name in `rulebook`, compared in `sweep`) and the
measures of teams (`diversity`, `answers`, `agreement`, `calibration`, `profiles`).
Nothing here plays an episode, reads a run folder or draws from a generator that has no address;
a number leaves this package with its interval, its n and its marks, or with the reason why not.
Numpy at import; scipy where it is needed. Siblings (agents, society) are never imported.
"""
