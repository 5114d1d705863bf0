"""From posts to one answer: ballots, the votes that a rule wants beside them, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.agents.prompt import labels
from crossplay.kernel import ActionSpec, CrossplayError
from crossplay.measure.ballots import Ballots, Decision
from crossplay.measure.rulebook import FIELD, Rule, make_rule
from crossplay.teams.room import Ask, Post, Room, Talk, Verdict
from crossplay.teams.texts import BRIEFS

__all__ = ["JUDGEMENT", "Candidates", "Voting", "judged", "majority_of"]

_FORMS = ("approval", "points", "ranking", "verdict", "score")
"""What is asked for in further asks; choices and confidences come with the answers."""


JUDGEMENT = ActionSpec(
    "data",
    schema={
        "type": "object",
        "properties": {
            "score": {"type": "integer", "minimum": 0, "maximum": 10},
            "reason": {"type": "string", "maxLength": 600},
        },
        "required": ["score", "reason"],
        "additionalProperties": False,
    },
)
"""A judgement of an answer: score 0 to 10 and a reason."""


def judged(post: Post) -> float | None:
    """The score of a judgement, in 0..1; None where there is none."""
    return post.value["score"] / 10 if post.ok else None


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
        known = labels(len(self.values))
        return "\n".join(f"{k}) {worded(v, spec)}" for k, v in zip(known, self.values, strict=True))


def worded(value: Any, spec: ActionSpec) -> str:
    """An answer in words: the name of an action, or the value."""
    if spec.kind == "names" and isinstance(value, int):
        return spec.names[value]
    return str(value)


_PLURALITY = make_rule("plurality")


def majority_of(room: Room, posts: Sequence[Post]) -> dict[str, Any]:
    """What plurality says of these posts, for the record: {"value", "share"}, or {} where none answered."""
    found = Candidates.of(posts)
    if not found.values:
        return {}
    decision = _PLURALITY(Ballots(choices=np.array(found.choice)), len(found.values), key=room.key("tie"))
    winner = int(decision.winner)
    return {"value": found.values[winner], "share": float(decision.tally[winner] / decision.valid)}


class Voting(msgspec.Struct, frozen=True):
    """A decision rule, and the rule that decides where the first reaches no decision ("" : nobody does).

    judge, verifier: the members who decide or score where the rule wants that ("": the last one).
    """

    rule: str | Mapping[str, Any] = "plurality"
    otherwise: str | Mapping[str, Any] = "plurality"
    judge: str = ""
    verifier: str = ""

    @property
    def form(self) -> Rule:
        """The rule."""
        return make_rule(self.rule)

    def check(self) -> None:
        """Raise CrossplayError where a rule is unknown, or the second would need asks of its own."""
        made = make_rule(self.rule)
        if self.otherwise and (more := set(make_rule(self.otherwise).asks) - {"choice", "confidence"}):
            raise CrossplayError(
                f'otherwise = "{make_rule(self.otherwise).name}" asks for {", ".join(sorted(more))}; a rule that takes '
                f'over from "{made.name}" decides on the answers alone, as plurality does'
            )

    @property
    def needs_confidence(self) -> bool:
        """Whether members must say how sure they are."""
        rules = [make_rule(r) for r in (self.rule, self.otherwise) if r]
        return any("confidence" in r.asks for r in rules)

    @property
    def _extra(self) -> str:
        """The form that is asked for beside the answers; "" where those are the ballots."""
        return next((f for f in self.form.asks if f in _FORMS), "")

    def calls(self, n: int, answers: int) -> int:
        """Asks of the vote itself at most, with n members and so many answers: none where those are the ballots."""
        return {"": 0, "verdict": 1, "score": answers}.get(self._extra, n)

    def settled(self, room: Room, posts: Sequence[Post]) -> bool:
        """Whether the rule decides on these answers as they stand; a rule that asks for more never does."""
        if self._extra:
            return False
        found = Candidates.of(posts)
        return bool(found.values) and int(self._count(room, found, {}).winner) >= 0

    def decide(self, room: Room, posts: Sequence[Post], first: dict[str, Any] | None = None) -> Talk:
        """Ask for the ballots that the rule wants, count them, give the verdict. posts: one per ballot."""
        found = Candidates.of(posts)
        record: dict[str, Any] = {"rule": self.form.name, "answers": list(found.choice)}
        if first:
            record["first"] = first
        if not found.values:
            return Verdict(None, why="nobody answered", data=record)
        known: dict[str, Any] = {}
        if self._extra and len(found.values) > 1:
            known = yield from self._ask(room, found)
        decision = self._count(room, found, known)
        winner, fallback = int(decision.winner), False
        valid, rejected = int(decision.valid), int(decision.rejected)
        if rejected:
            room.obs.count("ballots_rejected", rejected)
        if winner < 0 and self.otherwise:
            fallback = True
            room.obs.count("undecided")
            decision = Voting(self.otherwise, "")._count(room, found, {})
            winner = int(decision.winner)
        record |= {
            "candidates": list(found.values),
            "tally": [float(t) for t in np.nan_to_num(decision.tally, posinf=1e18, neginf=-1e18)],
            "tied": bool(decision.tied),
            "valid": valid,
            "rejected": rejected,
            "otherwise": fallback,
        }
        if winner < 0:
            return Verdict(None, why=f"{self.form.name} reached no decision", data=record)
        agree = sum(c == winner for c in found.choice)
        answered = sum(c >= 0 for c in found.choice)
        return Verdict(found.values[winner], agree / answered, data=record)

    def _ask(self, room: Room, found: Candidates) -> Talk:
        """The votes over the candidates, in the form that the rule wants: of all, of the judge or of the verifier."""
        form, n = self._extra, len(found.values)
        # Candidates are the posts' answers: the ballot repeats them, also in a silent team, whose rule is the same.
        listed, known = found.listed(room.spec), list(labels(n))
        if form == "score":
            first = [found.posts[found.choice.index(c)] for c in range(n)]
            judge = self._who(room, self.verifier)
            briefs = [BRIEFS["score"].format(answer=worded(v, room.spec)) for v in found.values]
            said = yield [Ask(judge, "verify", b, JUDGEMENT, (p.id,)) for b, p in zip(briefs, first, strict=True)]
            scores = [judged(p) for p in said]
            return {form: np.array([np.nan if c < 0 or (x := scores[c]) is None else x for c in found.choice])}
        if form == "verdict":
            spec = ActionSpec("names", names=tuple(known))
            [one] = yield [Ask(self._who(room, self.judge), "judge", BRIEFS["judge"].format(candidates=listed), spec)]
            return {form: np.array([one.value if one.ok else -1])}
        items: dict[str, Any] = {"type": "string", "enum": known}
        least = 1
        if form == "points":
            total, least = int(getattr(self.form, "total", None) or 25), n
            brief = BRIEFS["points"].format(candidates=listed, points=total, n=n)
            items = {"type": "integer", "minimum": 0, "maximum": total}
        else:
            brief = BRIEFS["approve" if form == "approval" else "rank"].format(candidates=listed)
        spec = ActionSpec("data", schema={"type": "array", "items": items, "minItems": least, "maxItems": n})
        posts = yield [Ask(m, "vote", brief, spec) for m in range(room.n)]
        return {form: _ballots(form, [p.value if p.ok else None for p in posts], n)}

    @staticmethod
    def _who(room: Room, name: str) -> int:
        return room.names.index(name) if name in room.names else room.n - 1

    def _count(self, room: Room, found: Candidates, known: Mapping[str, Any]) -> Decision:
        rule, n = self.form, len(found.values)
        ballots: dict[str, Any] = {"choices": np.array(found.choice)}
        if "confidence" in rule.asks:
            missing = sum(p.ok and p.confidence is None for p in found.posts)
            if missing:
                room.obs.count("confidence_missing", missing)  # as if unsure: such a vote has no weight
            ballots["confidences"] = np.array([0.5 if p.confidence is None else p.confidence for p in found.posts])
        form = self._extra
        if form:
            ballots[FIELD[form]] = known[form] if form in known else _own(form, rule, found)
        return rule(Ballots(**ballots), n, key=room.key("tie"), turn=room.round + 1)


def _own(form: str, rule: Rule, found: Candidates) -> np.ndarray:
    """The one candidate there is, as if all who gave it had voted for it."""
    if form in ("verdict", "score"):
        return np.zeros(1, np.int64) if form == "verdict" else np.ones(len(found.choice))
    one: list[Any] = [getattr(rule, "total", None) or 1] if form == "points" else [labels(1)[0]]
    return _ballots(form, [None if c < 0 else one for c in found.choice], 1)


def _ballots(form: str, values: Sequence[Any], n: int) -> np.ndarray:
    """The votes as a matrix; a missing one is a row that rules count as absent."""
    if form == "points":
        return np.array([[np.nan] * n if v is None else v for v in values], np.float64)
    rows, known = [], labels(n)
    for value in values:
        chosen = [known.index(x) for x in value] if value is not None else []
        if form == "approval":
            rows.append([-1] * n if value is None else [int(i in chosen) for i in range(n)])
        else:
            rows.append((chosen + [-1] * n)[:n])
    return np.array(rows, np.int64)
