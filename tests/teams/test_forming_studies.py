"""`forming` and `threads` in study files, with a double of a model: controls, records, verification."""

import msgspec
import pytest

import crossplay
from crossplay.kernel import Usage, key, pick, unpack
from crossplay.models import Reply, ScriptedBackend
from crossplay.models.scripted import choices, example_of
from crossplay.study.verify import verify
from crossplay.teams.forming import digest, group, replay, threads

ABOUT = {"reader": "reads long texts", "counter": "counts words and letters"}


def plan(protocol):
    models = {"m": {"backend": "scripted"}}
    kinds = {
        n: {"type": "llm", "model": "m", "instructions": f"You are the {n}."} for n in ("lead", "reader", "counter")
    }
    return {
        "study": {"name": "forming", "blocks": 5, "margin": 0.1, "baseline": "team"},
        "environments": {"q": {"name": "qa/choice"}},
        "models": models,
        "agents": {**kinds, "team": {"type": "team", "members": list(kinds), "protocol": protocol}},
        "lineups": {"team": ["team"]},
        "controls": {"dev": 3},
    }


PROTOCOLS = [
    {"name": "forming", "about": ABOUT, "turns": 4},
    {"name": "forming", "about": ABOUT, "lead": "engine", "size": 2, "depth": 0},
    {"name": "threads", "about": {"counter": "counts"}, "changes": 2, "rationale": True},
]


def _again(vote):
    """The digest of what the record's messages alone give."""
    if "moves" in vote:
        moves = msgspec.convert(vote["moves"], list[threads.Move])
        return digest(replay(threads.step, threads.start(vote["people"]), moves))
    messages = msgspec.convert(vote["messages"], list[group.Message])
    return digest(replay(group.step, msgspec.convert(vote["start"], group.State), messages))


def _reply(self, request):
    text = proper(request)
    return Reply(text, usage=Usage(calls=1, tok_in=50, tok_out=1 + len(text) // 4), served=self.name)


def proper(request):
    """A double that keeps to every schema, drawn from the words of the request."""
    chance = key("proper", request.messages[-1].text)
    if request.json_schema is None:
        known = choices(request) or ("some words",)
        return known[pick(chance, len(known), 0)]
    return msgspec.json.encode(example_of(request.json_schema, chance)).decode()


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: f"{p['name']}-{p.get('lead', '')}")
def test_a_study_plays_and_verifies(protocol, tmp_path, monkeypatch):
    monkeypatch.setattr(ScriptedBackend, "_reply", _reply)
    result = crossplay.run(plan(protocol), tmp_path / "run")
    assert {r.lineup for r in result.rows} >= {"team", "team silent"}
    found = verify(tmp_path / "run", "agents")
    assert found.ok and found.reexecuted == found.episodes > 20  # members answer from the recorded calls
    with crossplay.open_run(tmp_path / "run") as run:
        events = [e for r in run.records() for e in run.events(r.id)]
    votes = [unpack(e.note) for e in events if e.kind == "vote"]
    mine = [v for v in votes if "digest" in v]
    assert len(mine) == 15 and all(_again(v) == v["digest"] for v in mine)  # team, silent, one conversation
    posts = [unpack(e.note) for e in events if e.kind == "post"]
    assert posts and not any("fault" in p for p in posts)  # the double keeps to every form that members are asked in
