"""Floor 1, the wire: frames and messages for agents and trainers in other processes. Not built yet.

Will live here: framing, the message schema and its versions, arrays inline and in shared memory,
the state machine of a connection. One schema file, from which pages, tests and the kit are made.
Will not: starting or watching processes (agents, jobs), seats served to the outside (serve).
"""
