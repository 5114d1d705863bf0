"""Protocols: who is asked what, and when; generators without I/O over a `Room`.

Each is a frozen value whose fields are its settings, registered in the entry-point group
`crossplay.teams`. Asking, recording and memory are the team's; decision rules are in measure.
"""
