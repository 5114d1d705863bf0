"""Floor 3, societies: columnar populations of many agents. Not built yet.

Will live here: populations as columns, the verbs on them, networks, spreading and opinion models,
and the few sampled seats through which a society is an environment.
Will not: agents that fill seats (agents), statistics (measure), one Python object per member.
"""
