"""Floor 1, the wire: frames and messages for agents and trainers in other processes, languages and machines.

Lives here: `protocol.toml` (the one source), the messages made from it, frames, arrays inline and in shared
memory, one connection as the engine holds it, and the check of workers (`check/`).
Does not: starting or watching processes (agents.remote, jobs), seats served to the outside (serve).
`frames.py` and `arrays.py` are copied into the worker kit by `generate.py`: numpy, msgspec, Python 3.9.
"""
