"""From posts to one answer: ballots, the votes that a rule wants beside them, and the verdict."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel import ActionSpec
from crossplay.measure.ballots import Ballots, Decision
from crossplay.measure.rulebook import FIELD, Rule, make_rule
from crossplay.teams.room import Ask, Post, Room, Talk, Verdict
from crossplay.teams.texts import BRIEFS

__all__ = ["Candidates", "Voting", "majority_of"]

LETTERS = string.ascii_uppercase


class Candidates(msgspec.Struct, frozen=True):
    """The distinct answers among some posts, in order of appearance.

    choice: per post its candidate, -1 where the post holds no answer.
    """

    posts: tuple[Post, ...]
    values: tuple[Any, ...]
    choice: tuple[int, ...]

    @classmethod
    def of(cls, posts: Sequence[Post]) -> Candidates:
        """Posts with equal keys stand for one candidate."""
        place: dict[bytes, int] = {}
        values: list[Any] = []
        choice = []
        for post in posts:
            if not post.ok:
                choice.append(-1)
                continue
            if post.key not in place:
                place[post.key] = len(values)
                values.append(post.value)
            choice.append(place[post.key])
        return cls(tuple(posts), tuple(values), tuple(choice))

    def listed(self, spec: ActionSpec) -> str:
        """One line per candidate: `A) its words`."""
        return "\n".join(f"{LETTERS[i]}) {worded(v, spec)}" for i, v in enumerate(self.values))


def worded(value: Any, spec: ActionSpec) -> str:
    """An answer in words: the name of an action, or the value."""
    if spec.kind == "names" and isinstance(value, int):
        return spec.names[value]
    return str(value)


def majority_of(room: Room, posts: Sequence[Post]) -> dict[str, Any]:
    """What plurality says of these posts, for the record: {"value", "share"}, or {} where none answered."""
    found = Candidates.of(posts)
    if not found.values:
        return {}
    decision = make_rule("plurality")(Ballots(choices=np.array(found.choice)), len(found.values), key=room.key("tie"))
    winner = int(decision.winner)
    return {"value": found.values[winner], "share": float(decision.tally[winner] / decision.valid)}


class Voting(msgspec.Struct, frozen=True):
    """A decision rule, and the rule that decides where the first reaches no decision ("" : nobody does)."""

    rule: str | Mapping[str, Any] = "plurality"
    otherwise: str | Mapping[str, Any] = "plurality"

    @property
    def form(self) -> Rule:
        """The rule."""
        return make_rule(self.rule)

    @property
    def needs_confidence(self) -> bool:
        """Whether members must say how sure they are."""
        return "confidence" in self.form.asks

    @property
    def _extra(self) -> str:
        """The form that members are asked to vote in, beside their answers; "" where those are the ballots."""
        return next((f for f in self.form.asks if f in ("approval", "points", "ranking")), "")

    def calls(self, n: int) -> int:
        """Asks of the vote itself with n members: none where the answers are the ballots."""
        return n if self._extra else 0

    def settled(self, room: Room, posts: Sequence[Post], turn: int) -> bool:
        """Whether the rule decides on these answers as they stand (consensus rules; others never do)."""
        if self.calls(room.n) or "score" in self.form.asks:
            return False
        found = Candidates.of(posts)
        return bool(found.values) and int(self._count(room, found, turn, {}).winner) >= 0

    def decide(self, room: Room, posts: Sequence[Post], first: dict[str, Any] | None = None, **given: Any) -> Talk:
        """Ask for the ballots that the rule wants, count them, give the verdict.

        posts: one per ballot. given: what is known beside them ("score": one number per post).
        """
        found = Candidates.of(posts)
        record: dict[str, Any] = {"rule": self.form.name, "answers": list(found.choice)}
        if first:
            record["first"] = first
        if not found.values:
            return Verdict(None, why="nobody answered", data=record)
        known = dict(given)
        if self.calls(room.n) and len(found.values) > 1:
            known |= yield from self._ask(room, found)
        decision = self._count(room, found, room.round, known)
        winner, fallback = int(decision.winner), False
        if winner < 0 and self.otherwise:
            fallback = True
            room.obs.count("undecided")
            decision = Voting(self.otherwise, "")._count(room, found, room.round, {})
            winner = int(decision.winner)
        record |= {
            "candidates": list(found.values),
            "tally": [float(t) for t in np.nan_to_num(decision.tally, posinf=1e18, neginf=-1e18)],
            "tied": bool(decision.tied),
            "valid": int(decision.valid),
            "rejected": int(decision.rejected),
            "otherwise": fallback,
        }
        if int(decision.rejected):
            room.obs.count("ballots_rejected", int(decision.rejected))
        if winner < 0:
            return Verdict(None, why=f"{self.form.name} reached no decision", data=record)
        agree = sum(c == winner for c in found.choice)
        answered = sum(c >= 0 for c in found.choice)
        return Verdict(found.values[winner], agree / answered, data=record)

    def _ask(self, room: Room, found: Candidates) -> Talk:
        """One vote per member over the candidates, in the form that the rule wants."""
        n = len(found.values)
        form = self._extra
        listed = found.listed(room.spec)
        letters = list(LETTERS[:n])
        items: dict[str, Any] = {"type": "string", "enum": letters}
        if form == "points":
            total = int(getattr(self.form, "total", None) or 25)
            brief = BRIEFS["points"].format(candidates=listed, points=total, n=n)
            items = {"type": "integer", "minimum": 0, "maximum": total}
            schema = {"type": "array", "items": items, "minItems": n, "maxItems": n}
        else:
            brief = BRIEFS["approve" if form == "approval" else "rank"].format(candidates=listed)
            schema = {"type": "array", "items": items, "minItems": 1, "maxItems": n}
        spec = ActionSpec("data", schema=schema)
        posts = yield [Ask(m, "vote", brief, spec) for m in range(room.n)]
        return {form: _ballots(form, [p.value if p.ok else None for p in posts], n)}  # type: ignore[return-value]

    def _count(self, room: Room, found: Candidates, turn: int, known: Mapping[str, Any]) -> Decision:
        ballots: dict[str, Any] = {"choices": np.array(found.choice)}
        if "confidence" in self.form.asks:
            ballots["confidences"] = np.array([0.5 if p.confidence is None else p.confidence for p in found.posts])
            missing = sum(p.ok and p.confidence is None for p in found.posts)
            if missing:
                room.obs.count("confidence_missing", missing)
        form = self._extra
        if form:
            # One candidate, or no further vote: the answers themselves are ballots for one candidate each.
            ballots[FIELD[form]] = known[form] if form in known else _own(form, found)
        ballots |= {FIELD[k]: v for k, v in known.items() if FIELD[k] not in ballots}
        rule = self.form
        return rule(Ballots(**ballots), len(found.values), key=room.key("tie"), turn=max(1, turn))


def _own(form: str, found: Candidates) -> np.ndarray:
    return _ballots(
        form, [None if c < 0 else _single(form, c, len(found.values)) for c in found.choice], len(found.values)
    )


def _single(form: str, choice: int, n: int) -> list[Any]:
    return [int(i == choice) for i in range(n)] if form == "points" else [LETTERS[choice]]


def _ballots(form: str, values: Sequence[Any], n: int) -> np.ndarray:
    """The votes as a matrix; a missing one is a row that rules count as absent."""
    if form == "points":
        return np.array([[np.nan] * n if v is None else v for v in values], np.float64)
    rows = []
    for value in values:
        chosen = [LETTERS.index(x) for x in value] if value is not None else []
        if form == "approval":
            rows.append([-1] * n if value is None else [int(i in chosen) for i in range(n)])
        else:
            rows.append((chosen + [-1] * n)[:n])
    return np.array(rows, np.int64)
