"""Floor 8, the page: a face in the browser. Not built yet.

Will live here: live views of a run, a seat for a person, side-by-side replay, forms made from JSON
schemas. Loopback and a token by default.
Will not: rules, statistics, recording, or anything that another face would need as well.
"""
