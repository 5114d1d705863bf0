"""What is checked of a team in one conversation, against what, and how the claim is tried with models."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism, Trial
from crossplay.gallery.oneflow.study import (
    LEVELS,
    PROTOCOLS,
    Call,
    Settings,
    control,
    flow,
    study,
    tokens,
    workflow,
)
from crossplay.teams.single import KvCost, kv_cost, prefixes

__all__ = ["ENTRY", "advantage", "break_even", "check", "judge"]

MEMBERS = 3
FRAME = 4
"""Tokens of the double around each message: an answer that stands in a conversation is framed again."""


def check(settings: Settings) -> list[Finding]:
    """All findings of the mechanism."""
    s = settings
    flows = {k: (workflow(s, flow(k), k, "team"), workflow(s, flow(k), k)) for k in range(2, s.roles + 1)}
    return [_prefix(s), _metered(s), _modelled(s), *_costs(s, flows), *_formula(s)]


# -- requests ----------------------------------------------------------------------------------------


def _prefix(s: Settings) -> Finding:
    """Whether each request holds all turns before it and the answer to them."""
    kept = n = 0
    for calls in (c for p in PROTOCOLS for c in workflow(s, p, MEMBERS)):
        for before, after in itertools.pairwise(calls):
            turns, k = after.messages, len(before.messages)
            grown = turns[:k] == before.messages and turns[k : k + 1] and turns[k].text == before.said
            kept, n = kept + bool(grown and turns[k].role == "assistant" and len(turns) == k + 2), n + 1
    return Finding(
        "prefix", f"in {len(PROTOCOLS)} workflows every request is the one before it, its answer, and one more turn",
        kept == n, kept / n, "all of them, exactly", "the messages that the double received", n=n,
    )  # fmt: skip


def _metered(s: Settings) -> Finding:
    """Tokens of the record against a recount of the messages."""
    wrong = n = 0
    for call in (c for form in ("single", "team") for p in PROTOCOLS for b in workflow(s, p, MEMBERS, form) for c in b):
        wrong, n = wrong + (call.tok_in != sum(map(tokens, call.messages))), n + 1
    return Finding(
        "metered", "the recorded prompt tokens of every call are those of its messages", wrong == 0, wrong / n,
        "none differs", "recount of the messages received", n=n,
    )  # fmt: skip


def _modelled(s: Settings) -> Finding:
    """The prefix that the cost model assumes against the common messages of neighbouring requests."""
    worst, n = 0, 0
    for calls in (c for p in PROTOCOLS for c in workflow(s, p, MEMBERS)):
        for k, modelled in enumerate(_prefix_of(calls)):
            real = _common(calls[k - 1], calls[k]) if k else 0
            # An answer was counted as written; in the conversation it stands as a message.
            frame = FRAME + len(calls[k - 1].said) // 4 - calls[k - 1].tok_out if k else 0
            worst, n = max(worst, abs(real - modelled - frame)), n + 1
    return Finding(
        "modelled", "the prefix of the cost model is what two neighbouring requests have in common, less the frame of the "
        "answer between them", worst == 0, float(worst), "no call differs", "longest common run of messages", n=n,
    )  # fmt: skip


def _prefix_of(calls: Sequence[Call]) -> list[int]:
    return prefixes([c.tok_in for c in calls], [c.tok_out for c in calls])


def _common(before: Call, after: Call) -> int:
    """Tokens of the messages that a request shares with the one before it and its answer."""
    total = 0
    for i, turn in enumerate(after.messages[:-1]):
        known = i < len(before.messages) and turn == before.messages[i]
        answer = i == len(before.messages) and turn.text == before.said
        if not (known or answer):
            break
        total += tokens(turn)
    return total


# -- costs -------------------------------------------------------------------------------------------


def _cost(calls: Sequence[Call], prefix: Sequence[int], s: Settings, p_cache: float | None) -> KvCost:
    return kv_cost([c.tok_in for c in calls], [c.tok_out for c in calls], prefix, s.p_in, s.p_out, p_cache)


def _recount(calls: Sequence[Call], prefix: Sequence[int], s: Settings, p_cache: float) -> float:
    """The same cost from the texts alone, call by call."""
    return sum(
        p_cache * old + s.p_in * (sum(map(tokens, c.messages)) - old) + s.p_out * (len(c.said) // 4 or 1)
        for c, old in zip(calls, prefix, strict=True)
    )


def _gains(s: Settings, flows: dict[int, Any], p_cache: float) -> tuple[list[float], float]:
    """(what the conversation saves per number of roles, as a share of the team; largest difference to the recount)."""
    gains, worst = [], 0.0
    for teams, singles in flows.values():
        team = single = 0.0
        for apart, calls in zip(teams, singles, strict=True):
            prefix = _prefix_of(calls) if s.form == "single" else [0] * len(calls)
            cost = _cost(apart, [0] * len(apart), s, None).separate, _cost(calls, prefix, s, p_cache).conversation
            again = _recount(apart, [0] * len(apart), s, s.p_in), _recount(calls, prefix, s, p_cache)
            worst = max(worst, *(abs(a - b) for a, b in zip(cost, again, strict=True)))
            team, single = team + cost[0], single + cost[1]
        gains.append(1 - single / team)
    return gains, worst


def _costs(s: Settings, flows: dict[int, Any]) -> list[Finding]:
    gains, worst = _gains(s, flows, s.p_cache)
    flat, _ = _gains(s, flows, s.p_in)
    steps = [b - a for a, b in itertools.pairwise(gains)]
    named = f"{min(flows)} to {max(flows)} roles"
    return [
        Finding(
            "costs", "cost of team and conversation from the record are those of the formulas over the texts",
            worst < 1e-6, worst, "largest difference below 1e-6", "sum(p_in |prompt| + p_out |out|) and "
            "sum(p_cache |prefix| + p_in |new| + p_out |out|) over the messages received", n=2 * s.blocks * len(flows),
        ),
        Finding(
            "cheaper", f"with cached tokens at {s.p_cache:g} of {s.p_in:g} the conversation costs less than the team, {named}; "
            "smallest saving as a share of the team", min(gains) > 0, min(gains), "above 0", "the same workflow as a team",
            n=s.blocks,
        ),
        Finding(
            "grows", f"the share that is saved grows with every role, {named}: smallest step", min(steps) > 0, min(steps),
            "above 0", "the workflow with one role less", n=len(steps),
        ),
        Finding(
            "no discount", "without a discount (p_cache = p_in) nothing is saved: the conversation rereads the turns of all roles; "
            "largest saving", max(flat) <= 0.0, max(flat), "at most 0", "the same workflow as a team", null=True, n=s.blocks,
        ),
    ]  # fmt: skip


def advantage(k: int, base: int, turn: int, out: int, p_in: float, p_cache: float) -> float:
    """What one conversation saves over a team of k roles that each read all before them.

    base: tokens of the task; turn: of a role's instruction; out: of an answer. Team: prompt_j = base + turn +
    (j - 1) out. Conversation: prompt_j = base + j turn + (j - 1) out, of which all but the turn was there. Hence
    D = (p_in - p_cache) (k - 1) base + k (k - 1) / 2 (p_in out - p_cache (turn + out)).
    """
    return (p_in - p_cache) * (k - 1) * base + k * (k - 1) / 2 * (p_in * out - p_cache * (turn + out))


def break_even(k: int, base: int, turn: int, out: int) -> float:
    """The p_cache / p_in below which the conversation of k roles is cheaper: the root of `advantage`."""
    return (base + k * out / 2) / (base + k * (turn + out) / 2)


def _formula(s: Settings) -> list[Finding]:
    """The cost function on idealised workflows, against the closed form of their difference."""
    worst = tight = 0.0
    n = 0
    for k, base, turn, out in itertools.product((1, 2, 3, 5, 9), (50, 400), (10, 80), (1, 120)):
        apart = [base + turn + j * out for j in range(k)]
        talk = [base + (j + 1) * turn + j * out for j in range(k)]
        for p_cache in (0.0, s.p_cache, s.p_in):
            team = kv_cost(apart, [out] * k, [0] * k, s.p_in, s.p_out).separate
            single = kv_cost(talk, [out] * k, prefixes(talk, [out] * k), s.p_in, s.p_out, p_cache).conversation
            worst = max(worst, abs(team - single - advantage(k, base, turn, out, s.p_in, p_cache)))
            n += 1
        even = break_even(k, base, turn, out) * s.p_in
        tight = max(tight, abs(advantage(k, base, turn, out, s.p_in, even)))
    return [
        Finding(
            "closed form", "team minus conversation = (p_in - p_cache) (k - 1) base + k (k - 1) / 2 (p_in out - p_cache (turn + out))",
            worst < 1e-6, worst, "largest difference below 1e-6", "summed by hand (docstring of `advantage`)", n=n,
        ),
        Finding(
            "break-even", "the conversation is cheaper where p_cache / p_in is below (base + k out / 2) / (base + k (turn + out) / 2)",
            tight < 1e-6, tight, "the advantage is 0 there", "root of the closed form", n=n // 3,
        ),
    ]  # fmt: skip


# -- the trial ---------------------------------------------------------------------------------------

P_OUT, P_CACHE = 4.0, 0.1
"""Prices in units of a token read, as many providers' price lists have them; local models: see CPU seconds."""


def judge(result: Any, folder: Any) -> list[Finding]:
    """Accuracy of conversation and plain answer against the team, and what each cost."""
    rows = {r.lineup: r for r in result.rows}
    c = rows["conversation"].comparison
    low, high = (c.interval.low, c.interval.high) if c.interval else (c.difference, c.difference)
    found = [Finding(
        "as accurate", "the conversation is not worse than its team by .1 or more", low > -0.1, c.difference,
        "95 % interval of the paired difference above -.1", "team", low, high, n=c.blocks,
    )]  # fmt: skip
    c = rows["one"].comparison
    low, high = (-c.interval.high, -c.interval.low) if c.interval else (-c.difference, -c.difference)
    found.append(Finding(
        "team over one", "the team is more accurate than one plain answer", low > 0, -c.difference,
        "95 % interval of the paired difference above 0", "one", low, high, n=c.blocks,
    ))  # fmt: skip
    team, talk = rows["team"].costs, rows["conversation"].costs
    for name, says, a, b in (
        ("reads less", "prompt tokens that were not cached, conversation per team", talk.tok_in - talk.tok_cached, team.tok_in - team.tok_cached),
        ("cheaper", f"cost with the cached tokens that were metered (p_out {P_OUT:g}, p_cache {P_CACHE:g}), conversation per team", _price(talk), _price(team)),
        ("faster", "CPU seconds, conversation per team", talk.cpu_s, team.cpu_s),
    ):  # fmt: skip
        ratio = a / b if b else float("nan")
        found.append(Finding(name, says, ratio < 1, ratio, "below 1", "team", n=rows["team"].summary.blocks))
    return found


def _price(costs: Any) -> float:
    return costs.tok_in - costs.tok_cached + P_CACHE * costs.tok_cached + P_OUT * costs.tok_out


ENTRY = Entry(
    name="oneflow",
    title="OneFlow: a homogeneous team as one conversation",
    source="arXiv 2601.12307",
    about="A workflow whose roles share one model is played by that model in one conversation: each role's instruction is the "
    "next turn, all history is kept, and a prefix cache pays for new tokens only (`as_single`, agent type `single`).",
    claims=(
        Claim("One conversation matches or exceeds homogeneous teams.", (1, 2)),
        Claim("It does so at lower cost, by reuse of the prefix.", (0, 1, 2)),
    ),
    figures=(Figure("single-agent execution reaches the performance of homogeneous workflows, with an efficiency gain from reuse "
                    "of the key-value cache", "A"),),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("one conversation", {"form": "team"}, ("prefix", "cheaper")),
        Mechanism("a cheaper prefix", {"p_cache": 1.0}, ("cheaper", "grows")),
    ),
    trial=Trial(
        levels=LEVELS,
        control=control,
        single="one",
        study=study,
        judge=judge,
        models=("qwen2.5-coder-0.5b",),
        n=60,
        n_control=60,
        effect=0.2,
    ),
    missing="the search over workflows (Monte Carlo tree search with a designer and a critic, both models); workflows of "
    "several models, which one conversation cannot express.",
)  # fmt: skip
