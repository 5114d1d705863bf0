"""Floor 7, the gallery: one folder per published system, on the public API only. Not built yet.

Will live here: per entry `study.py`, `claim.py` and `README.md`: what the system is, the
experiment, the claim and its check, with floor and ceiling shown first.
Will not: engine code, private imports, or a reproduction claimed from a mechanism test.
"""
