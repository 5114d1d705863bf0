"""Small runs that the tests of report, frames and export share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from crossplay.study.runner import run_study
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage

NASTY = '<script>alert("x")</script>'
"""An agent's name that must never reach a page as it is."""


def play(tables: dict, folder: Path) -> Path:
    """Play a study given as tables; the run folder."""
    stage = Stage(parse_study(tables), folder)
    stage.check()
    run_study(stage, folder)
    return folder


@cache
def kitchen() -> Path:
    """Chefs, random players and a scripted double of a language model, 4 blocks of 30 ticks."""
    return play(
        {
            "study": {
                "name": "doubles & <b>more</b>",
                "blocks": 4,
                "margin": 10,
                "baseline": "chef+chef",
                "description": "A </style><img src=x> description.",
            },
            "environments": {"kitchen": {"name": "kitchen/cramped_room", "options": {"horizon": 30}}},
            "models": {"double": {"backend": "scripted", "malformed_rate": 0.3}},
            "agents": {"chef": "chef", NASTY: "random", "talker": {"type": "llm:double", "skills": True}},
            "lineups": {
                "chef+chef": ["chef", "chef"],
                "chef+nasty": {"seats": ["chef", NASTY], "orders": "all"},
                "chef+talker": ["chef", "talker"],
            },
            "questions": [{"candidate": "chef+talker", "baseline": "chef+nasty", "ask": "Do words <help>?"}],
        },
        Path(mkdtemp(prefix="crossplay-test-")) / "kitchen",
    )


@cache
def dilemma() -> Path:
    """Three strategies against each other; most pairs play one and the same episode."""
    return play(
        {
            "study": {"name": "dilemma", "blocks": 3, "margin": 0.5, "template": "crossplay", "metric": "payoff_row"},
            "environments": {"game": {"name": "matrix/prisoners_dilemma", "options": {"rounds": 8}}},
            "agents": {"tft": "strategy:tit_for_tat", "bad": "strategy:always_defect", "coin": "strategy:random"},
        },
        Path(mkdtemp(prefix="crossplay-test-")) / "dilemma",
    )
