"""What the page and the REST API offer, as plain functions: `f(desk, path parts, query or body) -> data`.

Lives here: reading runs, episodes, teams, the gallery, models and workers; forms, and starting studies.
Does not: a web framework (no request, no response), HTML, or state that is not in `Desk`.
"""
