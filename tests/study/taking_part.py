"""A study whose participants are simulated: scripts in the seats, drawn answers in the questionnaires."""

from __future__ import annotations

import asyncio

from crossplay.agents.basic import Random
from crossplay.kernel import Block, Lineup, aio, play
from crossplay.kernel.seeds import key, permutation, uniform
from crossplay.study.chunks import record_of
from crossplay.study.people import order_of, partners, people_of, steps
from crossplay.study.runner import open_run, run_study
from crossplay.study.sessions import Sessions
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run

STUDY = {
    "environments": ["matrix/stag_hunt"],
    "study": {"name": "simulated participants", "margin": 0.25, "root": 3, "baseline": "me+nice"},
    "agents": {"me": "person", "nice": "strategy:tit_for_tat", "nasty": "strategy:always_hare", "random": "random"},
    "lineups": {"me+nice": ["me", "nice"], "me+nasty": ["me", "nasty"], "me+random": ["me", "random"]},
    "people": {
        "participants": 6,
        "blocks": 2,
        "consent": "Your moves and answers are recorded without your name.",
        "instructions": "Hunt.",
        "practice": {"seats": ["me", "random"], "blocks": 1},
        "breaks": {"every": 1},
        "questions": [
            {"name": "fair", "ask": "It was fair.", "scale": "trust"},
            {"name": "tricked", "ask": "I was tricked.", "scale": "trust", "reverse": True},
            {"name": "again", "ask": "With whom again?", "kind": "choice", "choices": "partners", "when": "end"},
            {"name": "age", "ask": "Games a week?", "kind": "number", "low": 0, "high": 99, "when": "end"},
            {"name": "words", "ask": "Anything else?", "kind": "text", "when": "end", "required": False},
        ],
    },
}


def study(**people):
    return parse_study({**STUDY, "people": {**STUDY["people"], **people}})


def answers_of(number, partner):
    """What a simulated participant answers about a partner."""
    k = key("simulated", number, partner)
    return {"fair": 1 + int(5 * uniform(k, 1)), "tricked": 1 + int(5 * uniform(k, 2))}


def simulate(folder, leaves=None, numbers=6):
    """Play a study with simulated participants; `leaves` maps a number to the steps after which it goes."""
    stage = Stage(study(), folder)
    stage.check()
    run_study(stage, folder)  # what needs nobody
    stage = Stage(study(), folder)
    run = open_run(stage, folder)
    kept = Sessions(stage.door.cassette, stage.study.root)
    cells = {c.key: c for c in stage.cells}
    for _ in range(numbers):
        session = kept.invite(stage.study.people.participants)
        todo = steps(
            stage.study, [c for c in stage.cells if people_of(stage.study, c)], [], session.number, session.slot
        )
        for n, step in enumerate(todo):
            if n == (leaves or {}).get(session.number, len(todo)):
                kept.note(session.number, "left", {})
                break
            if step.kind == "play":
                at = Block(3, step.block)
                seats = dict(stage.lineup(cells[step.cell]).seats)
                me = next(s for s, a in zip(seats, cells[step.cell].seats, strict=True) if a == "me")
                seats[me] = Random()
                episode = play(stage.env(cells[step.cell].env), Lineup(seats), at, stage.study.conduct)
                run.put(record_of(stage, cells[step.cell], at, asyncio.run(aio(episode)), 0, 0.1))
            elif step.kind == "questions":
                met = [partners(stage.study)[i] for i in order_of(3, session.slot, "counterbalanced", key("people", 3))]
                end = {"again": met[permutation(key(session.number), 3)[0]], "age": session.number}
                kept.note(session.number, step.name, answers_of(session.number, step.partner) if step.partner else end)
            else:
                kept.note(session.number, step.name, {"agree": True})
    asyncio.run(stage.aclose())
    run.close()


def result(folder):
    run, made = load_run(folder)
    with run:
        return result_of(run, made)
