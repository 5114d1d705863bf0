"""What agents spent and how cleanly they played, summed over episodes, from the counters that the engine kept."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.kernel.types import Usage
from crossplay.study.spec import Study

__all__ = ["LINKS", "Costs", "Spent", "costs_of", "money_of", "sent_of", "spent_of"]

LINKS = ("link_repeat", "link_noop", "link_random", "link_fail")


class Costs(msgspec.Struct):
    """What a lineup's episodes spent and how cleanly they were played, summed over its seats.

    tok_cached: of tok_in, what the endpoint read from its own cache. money: USD by the dated price
    table, None where a model has no price (local models cost CPU seconds). fallbacks: links of the
    conduct that were served instead of an agent's own move.
    """

    decisions: int = 0
    calls: int = 0
    tok_in: int = 0
    tok_out: int = 0
    tok_cached: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    money: float | None = None
    fallbacks: int = 0
    invalid: int = 0
    errors: int = 0
    timeouts: int = 0
    repairs: int = 0
    held: int = 0
    messages: int = 0
    flagged: bool = False
    by_agent: dict[str, dict[str, int]] = {}

    @property
    def fallback_share(self) -> float:
        """Fallbacks per decision, in 0..1."""
        return self.fallbacks / self.decisions if self.decisions else 0.0


class Spent(msgspec.Struct):
    """What was sent to models and paid for, each call once, whoever met its answer. tokens: in and out. money: USD, None
    where a model has no price; cpu_s: processor seconds of models on this machine.
    """

    calls: int = 0
    tokens: int = 0
    money: float | None = 0.0
    cpu_s: float = 0.0


def sent_of(cassette: Path, envs: Collection[str]) -> dict[str, Usage]:
    """What was sent to each model in these environments (tools and people apart), each call once, as the cassette holds it."""
    from crossplay.records.cassette import Cassette

    with Cassette(cassette, mode="strict") as kept:
        return {m: u for m, u in kept.spent(envs).items() if not m.startswith(("tool:", "person:"))}


def spent_of(cassette: Path | None, costs: Costs, identity: dict[str, Any], envs: Collection[str]) -> Spent:
    """What a run has spent by now, also on episodes that have not ended; costs: of those that have, for runs that kept no calls.
    envs: ids of its environments.

    An answer that two lineups met was paid for once and counts in the costs of both. What endpoints read from their own
    caches is known of ended episodes alone; of the others the same share is assumed.
    """
    found = sent_of(cassette, envs) if cassette is not None else {}
    ended = Spent(costs.calls, costs.tok_in + costs.tok_out, costs.money, costs.cpu_s)
    total = Spent(sum(u.calls for u in found.values()), sum(u.tok_in + u.tok_out for u in found.values()))
    if not total.calls or (total.calls, total.tokens) == (ended.calls, ended.tokens):
        return ended
    share = costs.tok_cached / costs.tok_in if costs.tok_in else 0.0
    for name, u in found.items():
        total.cpu_s += u.cpu_us / 1e6
        cached = round(share * u.tok_in)
        paid = _price(identity.get("models", {}).get(name), u.tok_in, u.tok_out, cached) if u.calls else 0.0
        total.money = None if paid is None or total.money is None else total.money + paid
    return total


def costs_of(by_agent: dict[str, dict[str, int]], wall_s: float, study: Study, identity: dict[str, Any]) -> Costs:
    """What agents spent, from their counters as the engine kept them, summed over episodes."""
    costs = Costs(wall_s=wall_s)
    money: float | None = 0.0
    for agent, c in by_agent.items():
        fallbacks = sum(c.get(link, 0) for link in LINKS)
        decisions = c.get("decisions", 0)
        costs.decisions += decisions
        costs.fallbacks += fallbacks
        costs.flagged |= bool(decisions) and fallbacks / decisions > study.conduct.fault_limit
        for field, name in (
            ("calls", "calls"),
            ("tok_in", "tok_in"),
            ("tok_out", "tok_out"),
            ("tok_cached", "tok_cached"),
            ("invalid", "invalid"),
            ("errors", "error"),
            ("timeouts", "timeout"),
            ("held", "held"),
            ("messages", "said"),
        ):
            setattr(costs, field, getattr(costs, field) + c.get(name, 0))
        costs.repairs += c.get("repair", 0)
        costs.cpu_s += c.get("cpu_us", 0) / 1e6
        spent = money_of(agent, c, identity)
        money = None if spent is None or money is None else money + spent
    costs.money = money if costs.calls else 0.0
    costs.by_agent = by_agent
    return costs


def money_of(agent: str, counts: dict[str, int], identity: dict[str, Any]) -> float | None:
    """USD for an agent's stored tokens, at today's table; None where its model has no price."""
    if not counts.get("calls"):
        return 0.0
    names = identity.get("agents", {}).get(agent, {}).get("models", ())
    several = len(names) > 1
    if several and sum(counts.get(f"calls:{n}", 0) for n in names) != counts["calls"]:
        return None  # a call that was cut off is not known by model
    total = 0.0
    for name in names:
        mark = f":{name}" if several else ""
        tok_in, tok_out, cached = (counts.get(f"{k}{mark}", 0) for k in ("tok_in", "tok_out", "tok_cached"))
        paid = _price(identity.get("models", {}).get(name), tok_in, tok_out, cached)
        if paid is None:
            return None
        total += paid
    return total if names else None


def _price(model: dict[str, Any] | None, tok_in: int, tok_out: int, cached: int) -> float | None:
    """USD for tokens of a model by its manifest; None where it has no price, or is not known."""
    from crossplay.models.prices import Price, price_of

    if model is None:
        return None
    if not model["priced"]:
        return 0.0
    try:
        price = Price(**model["price"]) if model["price"] else price_of(model["priced"])
    except CrossplayError:
        return None
    return price.cost(tok_in, tok_out, cached)
