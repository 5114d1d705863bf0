"""The conformance kit on spread, matrix and one environment of every adapter."""

from __future__ import annotations

import pytest

from crossplay.envs.check import check

NAMES = {
    "spread": {},
    "matrix/prisoners_dilemma": {},
    "matrix/stag_hunt": {"continuation": 0.7},
    "gym:CartPole-v1": {},
    "gym:Pendulum-v1": {},
    "minigrid:MiniGrid-DoorKey-5x5-v0": {},
    "pettingzoo:classic/connect_four_v3": {},
    "pettingzoo:classic/rps_v2": {},
    "pettingzoo:mpe/simple_speaker_listener_v4": {"continuous_actions": True},
    "openspiel:leduc_poker": {},
    "openspiel:goofspiel": {"num_cards": 5},
    "openspiel:markov_soccer": {},
}

NEEDS = {
    "gym": ("gymnasium",),
    "minigrid": ("minigrid",),
    "pettingzoo": ("pettingzoo", "mpe2"),
    "openspiel": ("pyspiel",),
}


@pytest.mark.parametrize("name", NAMES)
def test_conformance(name: str) -> None:
    for package in NEEDS.get(name.partition(":")[0], ()):
        pytest.importorskip(package)
    report = check(name, options=NAMES[name], blocks=2, ticks=12, processes=False)
    assert report.passed, report.text()
