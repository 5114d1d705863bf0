"""Draws the pictures of docs/environments/pitch.md: `python tests/envs/pitch_pictures.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossplay.envs.pitch import PitchBatch
from crossplay.kernel.seeds import key

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"


def _soccer(observe: str) -> PitchBatch:
    env = PitchBatch("soccer-2v2", 1, observe=observe, view_size=5)
    env.reset([0], [key("picture")])
    f = env.f
    f.x[0], f.y[0], f.face[0] = (5, 9, 8, 12), (5, 3, 6, 5), (0, 0, 3, 2)
    f.bx[0], f.by[0], f.carrier[0] = 0, 0, 2
    return env


def pictures() -> dict[str, np.ndarray]:
    """Name -> pixels."""
    out = {}
    for game in ("basketball-1v1", "football-3v3", "collect-solo"):
        env = PitchBatch(game, 1)
        env.reset([0], [key("picture")])
        out[game.split("-")[0]] = env.picture(0)
    soccer = _soccer("own")
    out["soccer"] = soccer.picture(0)
    out["own"] = soccer.view_image(soccer.data(0, 2))
    team = _soccer("team")
    out["team"] = team.view_image(team.data(0, 2))
    return out


if __name__ == "__main__":
    from PIL import Image

    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, pixels in pictures().items():
        Image.fromarray(pixels).save(FOLDER / f"pitch-{name}.png", optimize=True)
