"""Floor 4, teams: agents made of member agents. Not built yet.

Will live here: protocols (who speaks when), topologies (who hears whom), aggregators (how one
answer comes out), and their equal-cost control.
Will not: models (below), learners (train, a sibling), who plays whom in an experiment (study).
"""
