"""What every HTTP server of the project has in common: who may talk to it, how much, and a thread to live in.

Lives here: `Guard` (token, Host, Origin), limits of bodies, `House` (an ASGI application on a socket of its own).
Does not: what is served (serve, web). Both faces import from here, because a face never imports another.
"""
