"""Invariants 6 and 8, as far as teams and their controls keep them."""

from __future__ import annotations

from crossplay.agents.llm import Llm, Settings
from crossplay.kernel import Block, loop, make_env, play, unpack
from crossplay.models import Door, ScriptedBackend
from crossplay.records import RunFolder
from crossplay.teams import make_team
from properties.common import above
from properties.played import folder, stage
from properties.played import play as played


def _study(agents, members, **more):
    """A study of one team, a debate of one round, with its controls."""
    return {
        "study": {"name": "team", "blocks": 4, "margin": 0.1},
        "environments": {"q": {"name": more.pop("env")}},
        "agents": {**agents, "debate": {"type": "team:debate", "members": members, "protocol": {"rounds": 1}}},
        "models": more.pop("models", {}),
        "lineups": {"debate": ["debate"]},
        "controls": {"floor": False, "ceiling": False, **more},
    }


def _by_lineup(data):
    """Lineup -> its episodes as (block, tokens by the calls of the trace, asks by the posts, what the control noted)."""
    found = {}
    with folder() as path:
        played(data, path)
        with RunFolder.open(path) as run:
            for r in run.records():
                rows = run.events(r.id)
                tokens = sum(e.tok_in + e.tok_out for e in rows if e.kind == "model")
                notes = [unpack(e.note) for e in rows if e.kind == "note"]
                fit = next((n for n in notes if "equal" in n), None)
                found.setdefault(r.lineup, []).append((r.block, tokens, sum(e.kind == "post" for e in rows), fit))
    return found


# -- 6: counted honestly -----------------------------------------------------------------------------------------


@above(6)
def clones_in_a_team_are_asked_apart():
    """Five clones at temperature 1 are five requests with five seeds, and five calls are counted and noted."""
    seeds = []
    backend = ScriptedBackend("m", answer=lambda r: seeds.append(r.seed) or "A")
    clone = Llm(Door({"m": backend}).model("m"), Settings(temperature=1.0), "clone")
    outcome = loop(play(make_env("qa/choice"), {"solver": make_team([clone] * 5)}, Block(1, 1)))
    assert backend.calls == 5 == len(set(seeds)) == outcome.counts["solver"]["calls"]
    assert sum(e.kind == "model" for e in outcome.trace()) == 5 == len({e.path for e in outcome.trace() if e.path})


# -- 8: controls --------------------------------------------------------------------------------------------------


@above(8)
def the_equal_cost_control_spends_what_its_team_spends():
    """By the tokens of the recorded calls: no more than the team but for rounding, and less by no whole sample."""
    solver = {"solver": {"type": "llm", "model": "m", "temperature": 1.0}}
    found = _by_lineup(_study(solver, ["solver"] * 3, env="qa/choice", models={"m": {"backend": "scripted"}}, dev=4))
    team, control, alone = (
        sum(t for _, t, _, _ in found[n]) / len(found[n]) for n in ("debate", "debate equal tokens", "solver [dev]")
    )
    assert 0.9 * team - 1.1 * alone < control < 1.05 * team and control > alone


@above(8)
def the_equal_cost_control_asks_the_best_member():
    """The one that is best on blocks which the study does not play, as often as the team answers."""
    agents = {n: {"type": "answerer", "channel": c, "skill": s} for n, c, s in (("weak", 0, 0.3), ("strong", 1, 0.6))}
    found = _by_lineup(_study(agents, ["weak", "strong", "weak"], env="qa/synthetic", dev=40))
    for name in ("debate equal tokens", "debate equal cost"):
        assert {fit["member"] for *_, fit in found[name]} == {"strong"}
        assert {asks for _, _, asks, _ in found[name]} == {6} == {asks for _, _, asks, _ in found["debate"]}
    blocks = {n: {b for b, *_ in rows} for n, rows in found.items()}
    assert blocks["weak [dev]"] == blocks["strong [dev]"] and len(blocks["weak [dev]"]) == 40
    assert not blocks["weak [dev]"] & blocks["debate"] and blocks["debate"] == blocks["debate equal tokens"]


@above(8)
def every_team_has_its_controls():
    """The vote of its first answers, the silent team, and the best member at equal tokens and at equal cost."""
    agents = {"weak": {"type": "answerer", "skill": 0.3}}
    roles = {s.role for s in stage(_study(agents, ["weak"] * 2, env="qa/synthetic")).study.lineups.values()}
    kinds = {"first votes", "zero-message", "equal tokens", "equal cost"}
    assert roles == {"", "dev"} | {f"control: {kind}" for kind in kinds}
    off = stage(_study(agents, ["weak"] * 2, env="qa/synthetic", equal_cost=False)).study
    assert set(off.lineups) == {"debate"}
