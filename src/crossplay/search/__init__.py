"""Floor 5, search: optimisers over designs by ask and tell. Not built yet.

Will live here: spaces of designs, optimisers, and archives of what was tried. An optimiser is given
an `evaluate` callable.
Will not: runners, run folders, or anything that knows how an evaluation is played (study).
"""
