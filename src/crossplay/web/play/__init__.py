"""Rooms where people play: who sits where, whose turn it is, what is recorded.

Lives here: rooms, their seats and tokens, clocks, handing over, studies with people.
Does not: rules and recording of episodes (kernel, study), pictures (`web/pictures.py`).
"""
