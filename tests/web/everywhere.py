"""All pages of the page, for the tests that look at each of them: their names, and addresses under which they show something."""

from __future__ import annotations

import httpx

__all__ = ["PAGES", "places_of", "unfold"]

PAGES = [
    "runs", "study", "episodes", "episode", "team", "compare", "runs_compare", "gallery", "gallery_entry", "models",
    "workers", "new_study", "rooms", "play", "people", "take_part", "error",
]  # fmt: skip
"""The names under which pages say that they are ready."""


def places_of(base: str) -> dict[str, str]:
    """Addresses of all pages by name; makes a room, and a session of a study with people."""
    api = httpx.Client(base_url=f"{base}/api/v1", timeout=60)
    row = api.get("/runs/kitchen/episodes").json()["rows"][0]["episode"]
    team = next(r for r in api.get("/runs/team/episodes").json()["rows"] if r["lineup"] == "debate")["episode"]
    kitchen = {"environment": "kitchen/cramped_room", "options": {"horizon": 40}, "seats": {"p0": "person"}}
    room = api.post("/rooms", json=kitchen).json()
    assert api.post("/people/partners.toml/open").status_code == 200
    invited = api.post("/people/partners.toml/invite", json={"count": 1}).json()
    return {
        "runs": "/",
        "study": "/runs/kitchen",
        "episodes": "/runs/kitchen/episodes",
        "episode": f"/runs/kitchen/episodes/{row}?step=5",
        "team": f"/runs/team/episodes/{team}/team",
        "compare": "/runs/kitchen/compare",
        "runs_compare": "/compare?runs=kitchen&runs=team",
        "gallery": "/gallery",
        "gallery_entry": "/gallery/oneflow",
        "models": "/models",
        "workers": "/workers",
        "new_study": "/new",
        "rooms": "/play",
        "play": room["invites"][0]["link"],
        "people": "/people/partners.toml",
        "take_part": invited["sessions"][0]["link"],
        "error": "/no/such/page",
    }


def unfold(page) -> None:
    """Open all that is folded away."""
    page.evaluate("for (const d of document.querySelectorAll('main details')) d.open = true")
