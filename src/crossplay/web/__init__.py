"""Floor 8, the page: a face in the browser, over a REST API that can do all the page can.

Lives here: `service/` (plain functions and data, no framework), `play/` (rooms where people take seats), `api.py`
(functions as routes, and their OpenAPI), `app.py` (the ASGI application), `static/` (ES modules, no build step).
Does not: rules, statistics, recording, or anything that another face would need as well.
"""
