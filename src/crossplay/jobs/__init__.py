"""Floor 7, jobs: long-running training and its supervision. Not built yet.

Will live here: the registry of jobs, heartbeats, GPU slots, restarts, and the server that offers
our environments on the wire to trainers in other interpreters.
Will not: learning algorithms (train), the page that shows jobs (web).
"""
