"""What is checked of paradigms and decision rules, against what, and how the claim is tried with models."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np

from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism, Trial
from crossplay.gallery.mallm import reference
from crossplay.gallery.mallm.reference import PARADIGMS
from crossplay.gallery.mallm.study import FORMS, LEVELS, RULES, Case, Settings, Talk, control, study, talks_of
from crossplay.gallery.mallm.verdict import judge
from crossplay.gallery.recorded import bounds
from crossplay.kernel import key
from crossplay.measure.answers import answer_changes, inequality
from crossplay.measure.ballots import Ballots
from crossplay.measure.rulebook import make_rule
from crossplay.measure.stats.intervals import mean_t
from crossplay.measure.sweep import sweep

__all__ = ["ENTRY", "check", "provenance", "turns"]

REACH = {"collective": 1, "memory": 1, "report": 1, "relay": -1, "debate": 1}
"""Rounds after which everybody's first answer can have reached everybody; -1: never (a relay hands one line on, and
the first answers of all but the last member are read by nobody)."""


def check(settings: Settings) -> list[Finding]:
    """All findings of the mechanism."""
    return [
        *_visibility(settings),
        *_sweeps(settings),
        *_forms(settings),
        *_stopping(settings),
        *_minds(settings),
        _loudness(settings),
    ]


def turns(talks: Sequence[Talk], rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """(choices int[E, T, V], truth int[E]): the last answer of every member in every round."""
    members = list(dict.fromkeys(p["member"] for p in talks[0].posts))
    choices = np.full((len(talks), rounds + 1, len(members)), -1)
    for i, t in enumerate(talks):
        for p in t.posts:
            if p["act"] in ("answer", "improve"):
                choices[i, p["round"] :, members.index(p["member"])] = p["value"]
    return choices, np.array([t.truth for t in talks])


def provenance(talk: Talk) -> dict[int, set[int]]:
    """Id of a post -> ids of the posts that it descends from: those it was shown, and theirs."""
    found: dict[int, set[int]] = {}
    for p in talk.posts:  # a post sees earlier ones only
        found[p["id"]] = set(p["sees"]).union(*(found[x] for x in p["sees"]))
    return found


# -- who sees what -------------------------------------------------------------------------------------------


def _visibility(s: Settings) -> list[Finding]:
    found = []
    for paradigm in PARADIGMS:
        talks = talks_of(Case(s, paradigm))
        expected = reference.expected_sees(paradigm, s.members, s.rounds, s.inner)
        wrong = sum(_seen(t) != expected for t in talks)
        found.append(
            Finding(f"visibility, {paradigm}", f"in {paradigm}, everybody saw what the paradigm's words say, post by post",
                    wrong == 0, float(wrong), "no discussion differs", "the paradigm written out by hand", n=len(talks))
        )  # fmt: skip
        reach = {_reach(t) for t in talks}
        found.append(
            Finding(f"reach, {paradigm}", "first answers reach everybody as soon as the paradigm allows" + ", which is never" * (REACH[paradigm] < 0),
                    reach == {REACH[paradigm]}, float(max(reach, key=abs)), f"{REACH[paradigm]} rounds (-1: never)", "what posts descend from", n=len(talks))
        )  # fmt: skip
    return found


def _seen(talk: Talk) -> list[tuple[int, list[tuple[int, int]]]]:
    """(member, [(writer, which of its posts)]) of every post."""
    members = list(dict.fromkeys(p["member"] for p in talk.posts))
    place: dict[int, tuple[int, int]] = {}
    count = dict.fromkeys(members, 0)
    found = []
    for p in talk.posts:
        if p["act"] not in ("answer", "improve"):
            continue
        i = members.index(p["member"])
        found.append((i, sorted(place[x] for x in p["sees"])))
        place[p["id"]] = (i, count[p["member"]])
        count[p["member"]] += 1
    return found


def _reach(talk: Talk) -> int:
    """The first round whose last posts all descend from all first answers; -1: there is none."""
    above = provenance(talk)
    first = {p["id"] for p in talk.posts if p["round"] == 0}
    for r in range(1, 1 + max(p["round"] for p in talk.posts)):
        last = {p["member"]: p["id"] for p in talk.posts if p["round"] == r}
        if all(first <= above[x] for x in last.values()):
            return r
    return -1


# -- rules on recorded ballots -------------------------------------------------------------------------------


def _sweeps(s: Settings) -> list[Finding]:
    """Each rule at the end and at its first decision, against counting one election at a time."""
    wrong, n = [], 0
    shown: list[str] = []
    for paradigm in PARADIGMS:
        choices, truth = turns(talks_of(Case(s, paradigm)), s.rounds)
        rows = sweep(Ballots(choices=choices), RULES, s.options, key=key("mallm"), truth=truth, when="first")
        for rule, row in zip(RULES, rows, strict=True):
            by_hand = [_first(rule, c, y) for c, y in zip(choices, truth, strict=True)]
            decided = [x for x in by_hand if x is not None]
            sure = [x for x in decided if not x[2]]
            n += len(by_hand)
            wrong.append(abs(row.decided - len(decided) / len(by_hand)))
            wrong.append(abs((row.turn or 0.0) - float(np.mean([x[0] for x in decided]) if decided else 0.0)))
            hits, ties = sum(x[1] for x in sure) / len(by_hand), (len(decided) - len(sure)) / len(by_hand)
            value = row.accuracy.value if row.accuracy else 0.0
            wrong.append(max(0.0, hits - value, value - hits - ties))
            if paradigm == "collective":
                shown.append(f"{row.rule} {value:.2f} at turn {row.turn or 0:.1f}")
    return [
        Finding("rules on recorded ballots", f"every rule decides as counting by hand does ({', '.join(shown)})", max(wrong) < 1e-9,
                max(wrong), "decided, turn and accuracy equal (accuracy up to drawn ties)", "brute force over elections", n=n)
    ]  # fmt: skip


def _first(rule: dict[str, Any], ballots: np.ndarray, truth: int) -> tuple[int, bool, bool] | None:
    """(turn from 1, right, drawn among equals) of the first decision; ballots [T, V]."""
    for t in range(len(ballots)):
        row = ballots[t].tolist()
        name = rule["name"]
        if name == "plurality":
            top = reference.plurality(row)
            return t + 1, truth in top and len(top) == 1, len(top) > 1
        late = t + 1 >= rule.get("until", 0) and len(row) > rule.get("few", 0)
        share = {"majority": Fraction(1, 2), "unanimity": Fraction(1), "supermajority": Fraction(66, 100)}.get(
            name, Fraction(3, 4) if late else Fraction(1)
        )
        winner = reference.consensus(row, share, strict=name == "majority")
        if winner >= 0:
            return t + 1, winner == truth, False
    return None


def _forms(s: Settings) -> list[Finding]:
    """Rules with a vote of their own: what the team decided, the rule on the recorded ballots, and brute force."""
    found = []
    s = msgspec.structs.replace(s, rounds=0)  # before anybody agrees, so that there is something to vote on
    plain = talks_of(Case(s))
    count = {"approval": reference.approval, "cumulative": reference.cumulative, "borda": reference.borda}
    for rule in FORMS:
        wrong = moved = compared = 0
        for i, t in enumerate(talks_of(Case(s, rule=rule))):
            said = [p for p in t.posts if p["act"] != "vote"]
            moved += [p["value"] for p in said] != [p["value"] for p in plain[i].posts]
            votes = [p["value"] for p in t.posts if p["act"] == "vote"]
            if not votes:
                continue  # one candidate alone: nothing was asked
            m = len(t.vote["candidates"])
            rows = [_row(rule, v, m) for v in votes]
            best = count[rule](rows)
            kind = {"approval": "approvals", "cumulative": "points", "borda": "rankings"}[rule]
            d = make_rule(rule)(Ballots(**{kind: np.array(rows)}), m, key=key("mallm"))
            team = {j for j, x in enumerate(t.vote["tally"]) if x >= max(t.vote["tally"]) - 1e-9}
            compared += 1
            wrong += int(d.winner) not in best or team != best
        found.append(
            Finding(f"{rule} vote", f"{rule}: team, recount and brute force agree, and the talk before it is the same",
                    wrong == 0 and moved == 0 and compared > 0, float(wrong + moved), "no election differs", "brute force",
                    n=compared)
        )  # fmt: skip
    return found


def _row(rule: str, vote: Sequence[Any], m: int) -> list[int]:
    if rule == "cumulative":
        return list(vote)
    chosen = ["ABCDEFGHIJ".index(x) for x in vote]
    return [int(i in chosen) for i in range(m)] if rule == "approval" else chosen


def _stopping(s: Settings) -> list[Finding]:
    """A discussion that stops is the recorded one cut off; and how long agreement takes."""
    stopped = talks_of(Case(s, rule="unanimity", stop=True))
    choices, _ = turns(talks_of(Case(s)), s.rounds)
    agreed = (choices == choices[:, :, :1]).all(2)
    at = np.where(agreed.any(1), agreed.argmax(1), s.rounds)
    wrong = sum(t.vote["rounds"] - 1 != a for t, a in zip(stopped, at, strict=True))
    share, end = float(agreed[:, 0].mean()), float(agreed[:, -1].mean())
    e = mean_t(agreed[:, -1].astype(float) - agreed[:, 0], bounds=(-1.0, 1.0))
    low, high = bounds(e)
    return [
        Finding("stopping is cutting off", "a discussion that stops at unanimity ends in the round in which the recorded one agrees",
                wrong == 0, float(wrong), "no discussion differs", "the discussion of full length", n=len(stopped)),
        Finding("agreement grows", f"unanimous teams grow from {share:.2f} to {end:.2f}", low > 0.1, e.value, "rise above .1 (95 %)",
                "round 0", low, high, n=e.n),
    ]  # fmt: skip


# -- minds ---------------------------------------------------------------------------------------------------


def _minds(s: Settings) -> list[Finding]:
    choices, truth = turns(talks_of(Case(s)), s.rounds)
    changes = answer_changes(choices, truth)
    by_hand = np.zeros((s.rounds, 4), int)
    for row, y in zip(choices, truth, strict=True):
        for t in range(s.rounds):
            for a, b in zip(row[t], row[t + 1], strict=True):
                by_hand[t, 2 * (a != y) + (b != y)] += 1
    ours = np.stack([changes.right_right, changes.right_wrong, changes.wrong_right, changes.wrong_wrong], 1)
    off = int(np.abs(ours - by_hand).max())
    right = (choices == truth[:, None, None]).mean(2)
    gained = mean_t(right[:, -1] - right[:, 0])
    low, high = bounds(gained)
    lost = _drift(msgspec.structs.replace(s, calibration=-3 * s.calibration))
    lone, _ = turns(talks_of(Case(msgspec.structs.replace(s, topology="none"))), s.rounds)
    moved = int((lone[:, 1:] != lone[:, :-1]).sum())
    return [
        Finding("changed minds", "the matrix of changed answers is that of counting one by one", off == 0, float(off), "no cell differs",
                "brute force", n=choices.size),
        Finding("discussion mends", "where members weigh each other by a confidence that tells, more answers are mended than spoilt (at equal weights too: many are right more often than one)",
                low > 0, gained.value, "change of the share of right answers above 0 (95 %)", "round 0", low, high, n=gained.n),
        Finding("drift", "where confidence tells the wrong way, answers drift off", lost[2] < 0, lost[0], "below 0 (95 %)", "round 0",
                lost[1], lost[2], n=s.n),
        Finding("nobody hears, nobody changes", "without messages not one answer changes", moved == 0, float(moved), "0 changes",
                "topology none, same questions", null=True, n=lone.size),
    ]  # fmt: skip


def _drift(s: Settings) -> tuple[float, float, float]:
    choices, truth = turns(talks_of(Case(s)), s.rounds)
    right = (choices == truth[:, None, None]).mean(2)
    e = mean_t(right[:, -1] - right[:, 0])
    return (e.value, *bounds(e))


def _loudness(s: Settings) -> Finding:
    """Shares of words, where one member says everything several times."""
    amounts = []
    for t in talks_of(Case(s)):
        words: dict[str, int] = {}
        for p in t.posts:
            words[p["member"]] = words.get(p["member"], 0) + len(p.get("text", "").split())
        amounts.append(list(words.values()))
    value, expected = float(inequality(np.array(amounts)).mean()), reference.gini_of_one_loud(s.members, s.loud)
    return Finding("monopolisation", "the Gini coefficient of the members' words is that of one who says everything several times",
                   abs(value - expected) < 1e-9, value, f"{expected:.4f}", "closed form", n=len(amounts))  # fmt: skip


ENTRY = Entry(
    name="mallm",
    title="MALLM: discussion paradigms and decision rules",
    source="Multi-Agent Large Language Models for Conversational Task-Solving, arXiv 2410.22932, and its framework mallm 1.0.5",
    about="Five paradigms, which say who sees whose answers in which order, and decision rules counted on the same recorded ballots.",
    claims=(
        Claim("A paradigm is who sees what, when: memory, relay, report, debate, collective.", (0,)),
        Claim("Discussion helps with complex reasoning and costs on simple tasks.", (1, 2)),
        Claim("Problem drift: answers get worse with turns.", (0, 1)),
        Claim("Members with long contributions sway decisions (monopolisation).", ()),
    ),
    figures=(Figure("gains of up to 6.6 points on ethical question answering, losses on simple tasks", "P"),),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism(
            "messages",
            {"topology": "none"},
            (
                *(f"visibility, {p}" for p in PARADIGMS),
                *(f"reach, {p}" for p in PARADIGMS if REACH[p] > 0),
                "agreement grows",
                "discussion mends",
                "drift",
            ),
        ),
        Mechanism(
            "who sees whom",
            {"topology": "complete"},
            ("visibility, memory", "visibility, report", "visibility, relay", "reach, relay"),
        ),
        Mechanism("confidence that tells", {"calibration": 0.0}, ("drift",)),
    ),
    trial=Trial(LEVELS, control, "one", study, judge, ("qwen2.5-coder-0.5b",), n=30, n_control=60),
    missing="generated personas, the judge's intervention, and generative tasks with text metrics; reasons are left out of the trial, "
    "because a small model's cost sixty times a letter",
)
