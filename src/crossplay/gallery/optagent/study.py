"""Settings and experiments: scripted discussions with a learnt graph, and the trial's studies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from crossplay.agents.scripts.teams import Debater, Reflector
from crossplay.gallery.entry import Level
from crossplay.gallery.plays import play_blocks
from crossplay.teams import make_team

__all__ = ["LEVELS", "Discussions", "Settings", "control", "discussions", "study"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The experiment.

    debaters, rounds, meetings: of the small team that is also enumerated. competence: accuracy of a first
    answer. openness: chance to be talked round in an exchange. reflector: chance that the clue behind a score
    is right. eta, epsilon, cut: of the graph. many: debaters of the larger team, in as many meetings a round
    as there are pairs. n, n_many: blocks.
    """

    debaters: int = 3
    rounds: int = 4
    meetings: int = 1
    competence: float = 0.6
    openness: float = 0.5
    reflector: float = 0.9
    eta: float = 0.5
    epsilon: float = 0.1
    cut: float = 0.2
    many: int = 5
    n: int = 700
    n_many: int = 400
    root: int = 0


class Discussions(msgspec.Struct, frozen=True, eq=False):
    """n discussions. first, last: bool[n, debaters], whether a member's first and last answer is right.

    right: bool[n], of the team. meetings: per discussion a list of (pair, its two last answers right, score in
    0..1), in the order held. values: per discussion {pair: value at the end}. heard: posts of others that
    debaters were shown, per discussion; judged: posts that the reflector was shown.
    """

    first: np.ndarray
    last: np.ndarray
    right: np.ndarray
    meetings: list[list[tuple[tuple[str, str], tuple[bool, bool], float]]]
    values: list[dict[tuple[str, str], float]]
    heard: np.ndarray
    judged: np.ndarray

    @property
    def minority(self) -> np.ndarray:
        """bool[n]: some first answers were right, and fewer than half."""
        share = self.first.mean(1)
        return (share > 0) & (share < 0.5)


@lru_cache(maxsize=32)
def discussions(
    kind: str, debaters: int, rounds: int, meetings: int, competence: float, openness: float, reflector: float,
    eta: float, epsilon: float, cut: float, n: int, root: int,
) -> Discussions:  # fmt: skip
    """Play n discussions. kind: "graph" or "debate" (everybody hears everybody)."""
    judgements = meetings * rounds
    members = [Debater(i, openness) for i in range(debaters)]
    if kind == "graph":
        protocol = {"name": "graph", "rounds": rounds, "meetings": meetings, "eta": eta, "epsilon": epsilon, "cut": cut}
        team = make_team([Reflector(debaters, judgements, meetings), *members], protocol)
    else:
        team = make_team(members, {"name": "debate", "rounds": rounds})
    options = {
        "options": 2,
        "channels": debaters + judgements,
        "quality": [competence] * debaters + [reflector] * judgements,
    }
    plays = play_blocks("qa/synthetic", [team], n, options, root, inside=True)
    # With two options, the team's answer and whether it was right say which one is right.
    chosen = np.where(plays.scores["chose_A"] == 1, 0, 1)
    right = plays.scores["accuracy"] == 1
    truth = np.where(right, chosen, 1 - chosen)
    rows = [_read(posts, int(t)) for posts, t in zip(plays.posts, truth, strict=True)]
    values = [{(a, b): v for a, b, v in votes[0].get("values", ())} for votes in plays.votes]
    first, last, met, heard, judged = map(list, zip(*rows, strict=True))
    return Discussions(np.array(first), np.array(last), right, met, values, np.array(heard), np.array(judged))


def _read(posts: list[dict[str, Any]], truth: int) -> tuple[list[bool], list[bool], list[Any], int, int]:
    """(first answers, last answers, meetings, heard, judged) of one discussion, from its posts."""
    by_id = {p["id"]: p for p in posts}
    first: dict[str, bool] = {}
    last: dict[str, bool] = {}
    met, heard, judged = [], 0, 0
    for i in sorted(by_id):
        post = by_id[i]
        if post["act"] == "reflect":
            seen = [by_id[x] for x in post["sees"]]
            pair = (seen[0]["member"], seen[1]["member"])
            met.append((pair, (seen[0]["value"] == truth, seen[1]["value"] == truth), post["value"]["score"] / 10))
            judged += len(seen)
            continue
        heard += sum(by_id[x]["member"] != post["member"] for x in post["sees"])
        first.setdefault(post["member"], post["value"] == truth)
        last[post["member"]] = post["value"] == truth
    order = sorted(first)
    return [first[m] for m in order], [last[m] for m in order], met, heard, judged


# -- the trial -----------------------------------------------------------------------------------------------

LEVELS = (
    Level("analogies", "multiple choice of the third level, a letter", {"level": 3}),
    Level("odd-one-out", "second level: the odd one out, opposites, places, sequences", {"level": 2}),
    Level("groups", "first level: a member of a group, the larger number", {"level": 1}),
)
PROFILES = (
    "You think step by step and trust only what you can check.",
    "You look for the exception that others overlook.",
    "You know many everyday facts and answer from experience.",
    "You compare all options before you choose.",
)

BRIEF = "Give your reason in at most ten words."


def _base(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    return {
        "study": {
            "name": f"optagent-{level.name}",
            "blocks": n,
            "root": 31,
            "metric": "accuracy",
            "margin": 0.05,
            "concurrency": 1,
        },
        "environments": {"task": {"name": "qa/choice", "options": dict(level.options)}},
        "agents": {"one": {"type": f"llm:{models[0]}", "temperature": 0.8}, "constant": {"type": "first-legal"}},
    }


def control(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """One sample of the model, one letter always, a random answer, and the scholar."""
    plan = _base(models, level, n)
    plan["lineups"] = {"one": ["one"], "constant": ["constant"]}
    return plan


def study(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """Four profiles: learnt graph, random meetings, full debate, and the vote of the same first answers.

    Members answer with letters alone; the reflector writes a score and a sentence. The models are dealt to the
    profiles in turn; the first one reflects.
    """
    plan = _base(models, level, n)
    agents = plan["agents"]
    for i, profile in enumerate(PROFILES):
        agents[f"m{i}"] = {"type": f"llm:{models[i % len(models)]}", "temperature": 0.8, "instructions": profile}
    agents["reflector"] = {"type": f"llm:{models[0]}", "temperature": 0.0, "max_tokens": 120, "instructions": BRIEF}
    debaters = [f"m{i}" for i in range(len(PROFILES))]
    graph = {"name": "graph", "rounds": 2, "meetings": 1, "rationale": False, "roles": {"reflector": "reflector"}}
    team = {"type": "team", "members": [*debaters, "reflector"]}
    agents["learnt"] = {**team, "protocol": graph}
    agents["random meetings"] = {**team, "protocol": {**graph, "eta": 0.0, "epsilon": 1.0}}
    debate = {"name": "debate", "rounds": 2, "rationale": False}
    agents["debate"] = {"type": "team", "members": debaters, "protocol": debate}
    agents["vote"] = {"type": "team", "members": debaters, "protocol": {"name": "vote"}}
    plan["study"]["baseline"] = "learnt"
    plan["lineups"] = {name: [name] for name in ("learnt", "random meetings", "debate", "vote", "one", "constant")}
    plan["controls"] = {"equal_cost": False}
    return plan
