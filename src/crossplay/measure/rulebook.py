"""Decision rules by name: `make_rule({"name": "supermajority", "share": 0.66})`.

Each rule is a frozen Struct of its parameters, so that a study file, a form or a record can hold it.
`asks` says what must be asked for: of the members a choice, confidence, approval, points or ranking, of
a verifier a score of each choice, of a judge a verdict. `stops` says whether the rule may find no
decision although ballots are valid (then a discussion goes on).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError
from crossplay.measure import rules, rules_ranked
from crossplay.measure.ballots import Ballots, Decision

__all__ = ["RULES", "Rule", "make_rule"]

FIELD: Mapping[str, str] = {  # what is asked: where the ballots hold it
    "choice": "choices",
    "confidence": "confidences",
    "score": "scores",
    "approval": "approvals",
    "points": "points",
    "ranking": "rankings",
    "verdict": "verdicts",
}
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Of = Literal["valid", "all"]
Ties = Literal["draw", "undecided"]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name"):
    """A decision rule with its parameters; calling it decides a batch of elections."""

    function: ClassVar[Callable[..., Decision]]
    asks: ClassVar[tuple[str, ...]] = ("choice",)
    takes: ClassVar[tuple[str, ...]] = ()  # of turn and voters, what the function wants to know
    consensus: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The name in the registry."""
        return str(self.__struct_config__.tag)

    @property
    def stops(self) -> bool:
        """Whether valid ballots may leave the election open, so that a discussion goes on."""
        return self.consensus or "undecided" in (getattr(self, "ties", ""), getattr(self, "fallback", ""))

    def lacks(self, ballots: Ballots) -> tuple[str, ...]:
        """What the rule asks for and the ballots do not hold."""
        return tuple(a for a in self.asks if getattr(ballots, FIELD[a]) is None)

    def __call__(
        self,
        ballots: Ballots,
        n_options: int,
        *,
        key: bytes,
        index: Any = None,
        turn: Any = None,
        voters: Any = None,
    ) -> Decision:
        """The decision on the ballots; refuses when a form that the rule asks for is missing.

        key, index: address of the seeded draws. turn: int or int[...], from 1 (hybrid consensus needs
        it). voters: int[...], members per election, default the length of the voter axis.
        """
        lacking = self.lacks(ballots)
        if lacking:
            raise CrossplayError(f'rule "{self.name}" asks for {" and ".join(lacking)}, which the ballots do not hold')
        if "turn" in self.takes and turn is None:
            raise CrossplayError(f'rule "{self.name}" needs the turn it decides in (from 1)')
        known = {"turn": turn, "voters": voters}
        more = msgspec.structs.asdict(self) | {name: known[name] for name in self.takes}
        given = [getattr(ballots, FIELD[a]) for a in self.asks]
        return type(self).function(*given, n_options, key=key, index=index, **more)


class Plurality(Rule, frozen=True, tag="plurality"):
    """Most ballots; a tie is drawn or left undecided."""

    function = staticmethod(rules.plurality)
    ties: Ties = "draw"


class Majority(Rule, frozen=True, tag="majority"):
    """More than half, or with at_least half; of the valid ballots or of all members."""

    function = staticmethod(rules.majority)
    takes = ("voters",)
    consensus = True
    at_least: bool = False
    of: Of = "valid"


class Supermajority(Rule, frozen=True, tag="supermajority"):
    """At least the share."""

    function = staticmethod(rules.supermajority)
    takes = ("voters",)
    consensus = True
    share: Share = 2 / 3
    of: Of = "valid"


class Unanimity(Rule, frozen=True, tag="unanimity"):
    """Everybody."""

    function = staticmethod(rules.unanimity)
    takes = ("voters",)
    consensus = True
    of: Of = "valid"


class HybridConsensus(Rule, frozen=True, tag="hybrid"):
    """Everybody before turn `until` or among at most `few` members, afterwards at least the share."""

    function = staticmethod(rules.hybrid_consensus)
    takes = ("turn", "voters")
    consensus = True
    until: AtLeastOne = 5
    few: Annotated[int, msgspec.Meta(ge=0)] = 3
    share: Share = 0.75
    of: Of = "valid"


class ConfidenceWeighted(Rule, frozen=True, tag="confidence"):
    """Votes weighted by the log-odds of their confidence."""

    function = staticmethod(rules.confidence_weighted)
    asks = ("choice", "confidence")
    clip: Annotated[float, msgspec.Meta(gt=0, lt=0.5)] = 0.01
    prior: Literal["even", "uniform"] = "even"


class BestOfN(Rule, frozen=True, tag="best-of-n"):
    """The choice that a verifier scores highest."""

    function = staticmethod(rules.best_of_n)
    asks = ("choice", "score")
    combine: Literal["max", "sum"] = "max"


class Judge(Rule, frozen=True, tag="judge"):
    """What one judge says."""

    function = staticmethod(rules.judge)
    asks = ("verdict",)


class Approval(Rule, frozen=True, tag="approval"):
    """Most approvals."""

    function = staticmethod(rules.approval)
    asks = ("approval",)
    ties: Ties = "draw"


class Cumulative(Rule, frozen=True, tag="cumulative"):
    """Most points, every member with the same weight."""

    function = staticmethod(rules.cumulative)
    asks = ("points",)
    total: Annotated[float, msgspec.Meta(gt=0)] | None = None
    ties: Ties = "draw"


class Borda(Rule, frozen=True, tag="borda"):
    """Most rank points, over all ranks or the first `top`."""

    function = staticmethod(rules_ranked.borda)
    asks = ("ranking",)
    top: AtLeastOne | None = None
    unranked: Literal["zero", "average"] = "zero"
    ties: Ties = "draw"


class InstantRunoff(Rule, frozen=True, tag="irv"):
    """Instant run-off."""

    function = staticmethod(rules_ranked.instant_runoff)
    asks = ("ranking",)


class Condorcet(Rule, frozen=True, tag="condorcet"):
    """The winner of all duels, else the fallback."""

    function = staticmethod(rules_ranked.condorcet)
    asks = ("ranking",)
    fallback: Literal["borda", "copeland", "irv", "undecided"] = "borda"


RULES: dict[str, type[Rule]] = {
    str(r.__struct_config__.tag): r
    for r in (
        *(Plurality, Majority, Supermajority, Unanimity, HybridConsensus, ConfidenceWeighted, BestOfN, Judge),
        *(Approval, Cumulative, Borda, InstantRunoff, Condorcet),
    )
}


def make_rule(spec: str | Mapping[str, Any] | Rule) -> Rule:
    """The rule of a name or of {"name": ..., parameter: ...}; errors name the nearest valid word."""
    if isinstance(spec, Rule):
        return spec
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise CrossplayError(f'rule: expected a name or {{"name": ...}}, got {spec!r}')
    if name not in RULES:
        raise CrossplayError(f'unknown rule "{name}".{nearest(name, RULES)}')
    kind = RULES[name]
    for parameter in given:
        if parameter not in kind.__struct_fields__:
            known = nearest(parameter, kind.__struct_fields__) or " It has none."
            raise CrossplayError(f'rule "{name}": unknown parameter "{parameter}".{known}')
    try:
        return msgspec.convert(given | {"name": name}, kind)
    except msgspec.ValidationError as error:
        raise CrossplayError(f'rule "{name}": {error}') from None
