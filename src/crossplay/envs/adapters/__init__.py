"""Adapters: other libraries' worlds as Crossplay environments, and the way back.

`gym`, `pettingzoo`, `minigrid` and `openspiel` each have a `family`; `export` makes PettingZoo
environments of ours. No rules of games live here. The libraries are imported when an environment
is made, never before; a missing one is an error that names the extra `families`.
Their chance is sequential (`paired = "start"`), but for OpenSpiel, whose chance is addressed.
"""
