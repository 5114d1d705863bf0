"""What is checked of Anemoi: accuracy, asks and context against closed forms, every episode against an enumeration.

p chance that the planner names the right worker, u that the critic sees a wrong one, s that the right worker notices;
a, g accuracy in and outside of the field:

    prompts pass one way    p a + (1 - p) g
    workers change the plan p a + (1 - p) [u s a + (1 - u s) g]
    the planner changes it  p a + (1 - p) [u p a + (1 - u p) g]

so that threads gain (1 - p) u s (a - g) over prompts, and (1 - p) u (s - p) (a - g) over a planner that may change its plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from crossplay.gallery.anemoi.study import LEVELS, PLAN, Runs, Settings, control, prompts, study, threads
from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism, Trial
from crossplay.gallery.recorded import bounds, paired
from crossplay.kernel import key, pick, uniform
from crossplay.measure.stats import paired_t
from crossplay.teams.forming import digest, replay
from crossplay.teams.forming import threads as board

__all__ = ["ENTRY", "Episode", "accuracy", "check", "episode", "judge", "shown_of"]

WIDE = 3.29  # standard deviations: two-sided chance .001
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


# -- references ------------------------------------------------------------------------------------------
def accuracy(s: Settings, replan: str) -> float:
    """The closed form above. replan: "workers", "planner" or "nobody"."""
    again = {"workers": s.notice, "planner": s.skill, "nobody": 0.0}[replan] * s.critic
    repaired = again * s.expert + (1 - again) * s.outside
    return s.skill * s.expert + (1 - s.skill) * repaired


class Episode(msgspec.Struct, frozen=True):
    """One enumerated question. said: the answer, a number; asks: of the whole team; changed: whether the plan was;
    proposed: workers who named themselves; letters: of all answers in order; votes: ballots.
    """

    said: int
    asks: int
    changed: bool = False
    proposed: tuple[int, ...] = ()
    letters: tuple[int, ...] = ()
    votes: int = 0


def episode(data: Mapping[str, Any], s: Settings, replan: str) -> Episode:
    """One question with at most one change of the plan, without a team or a board."""
    question, kinds = data["id"], s.kinds
    right = int(question, 16) % kinds

    def letter(worker: int) -> int:
        return int(np.argmax(data["clues"][worker if worker == right else worker + kinds]))

    def name(asked: set[int]) -> int:
        others = sorted(set(range(kinds)) - {right} - asked)
        hit = right not in asked and (not others or uniform(key("named", question), len(asked), 0) < s.skill)
        return right if hit else others[pick(key("named", question), len(others), len(asked), 1)]

    first = name(set())
    uncertain = first != right and uniform(key("critic", question), first) < s.critic
    if not uncertain or replan == "nobody":
        return Episode(letter(first), 3, letters=(letter(first),))
    if replan == "planner":
        proposed, asks = (name({first}),), 4
    else:
        notices = uniform(key("notice", question), right) < s.notice
        proposed, asks = (right,) * notices, 3 + kinds - 1
        if not proposed:
            return Episode(letter(first), asks, letters=(letter(first),))
    both = (letter(first), letter(proposed[0]))
    votes = kinds + 2 if both[0] != both[1] else 0
    return Episode(both[1], asks + 2 + votes, True, proposed, both, votes)


def shown_of(e: Episode, uncertain: bool, s: Settings, summary: str, first: int) -> int:
    """Characters of the board that members are shown in one enumerated episode in which workers change the plan."""
    plan, answer, mark = len(f"{PLAN} For: w{first}."), 1, len("uncertain")
    total = plan + plan + answer  # the worker reads the plan, the critic plan and answer
    if not uncertain:
        return total
    before = plan + answer + mark  # what each of the waiting workers reads, who are asked at the same time
    total += (s.kinds - 1) * before
    if not e.changed:
        return total
    said = sum(len("nobody") if w not in e.proposed else len(f"w{w}") for w in range(s.kinds) if w != first)
    closed = len(f"w{first}: {LETTERS[e.letters[0]]} (uncertain)") if summary == "lines" else before + said
    after = closed + len(f"Next: w{e.proposed[0]}.")
    return total + after + (after + answer) + e.votes * (after + answer + len("accept"))


# -- tier 0 ------------------------------------------------------------------------------------------------
def check(settings: Settings) -> list[Finding]:
    """Scripted planner, critic and workers against closed forms, the enumeration and the board's own record."""
    s, n = settings, settings.blocks
    team, once = threads(s, n), prompts(s, n)
    return [
        _enumerated(s, team),
        _near("accuracy", "threads are right with chance p a + (1 - p) [c a + (1 - c) g], c of a good change of plan", team.right, accuracy(s, s.replan)),
        _near("prompts", "prompts that pass one way are right with chance p a + (1 - p) g", once.right, accuracy(s, "nobody")),
        *_sweep(s),
        _gain("weak planner", "with a weak planner threads are right more often than prompts", s, team, once, s.notice),
        _perfect(s),
        _alike(s),
        _no_better(s),
        _waiting(s, team),
        _price(s, team, once),
        *_context(s),
        _replays(team),
    ]  # fmt: skip


def _near(name: str, says: str, right: np.ndarray, p: float) -> Finding:
    n, value = len(right), float(right.mean())
    half = WIDE * math.sqrt(p * (1 - p) / n)
    return Finding(
        name,
        says,
        abs(value - p) <= half,
        value,
        f"{p:.3f} +- {half:.3f}",
        "closed form",
        value - half,
        value + half,
        n=n,
    )


def _difference(a: Runs, b: Runs, level: float) -> tuple[float, float, float]:
    e = paired_t(a.right, b.right, level, (-1.0, 1.0))
    return (e.interval.low, e.value, e.interval.high) if e.interval else (e.value,) * 3


def _enumerated(s: Settings, team: Runs) -> Finding:
    reference = [episode(q, s, s.replan) for q in team.questions]
    got = zip(team.said.tolist(), team.asks.tolist(), strict=True)
    wrong = sum((e.said, e.asks) != x for e, x in zip(reference, got, strict=True))
    return Finding(
        "every episode", "answer and number of asks are as enumerated", wrong == 0, wrong, "= 0 episodes otherwise",
        "enumeration question by question, without a team", n=len(reference),
    )  # fmt: skip


def _sweep(s: Settings) -> list[Finding]:
    """The gain falls with the planner's skill, as the closed form says."""
    found = []
    for p in (0.0, 0.5, 0.8):
        one = msgspec.structs.replace(s, skill=p)
        says = f"with a planner of skill {p:g} threads are right with the chance of the closed form"
        found.append(_near(f"skill {p:g}", says, threads(one, s.sweep).right, accuracy(one, s.replan)))
    return found


def _gain(name: str, says: str, s: Settings, team: Runs, other: Runs, by: float) -> Finding:
    low, value, high = _difference(team, other, 0.99)
    closed = (1 - s.skill) * s.critic * by * (s.expert - s.outside)
    return Finding(
        name, says, low > 0, value, f"lower end > 0; closed form (1 - p) u s (a - g) = {closed:.3f}", "the same planner, prompts only",
        low, high, n=len(team.right),
    )  # fmt: skip


def _perfect(s: Settings) -> Finding:
    sure = msgspec.structs.replace(s, skill=1.0)
    a, b = threads(sure, s.sweep), prompts(sure, s.sweep)
    other = int((a.said != b.said).sum())
    return Finding(
        "perfect planner", "with a planner that always names the right worker, both give the same answers", other == 0, other,
        "= 0 episodes otherwise", "prompts, same questions", null=True, n=s.sweep,
    )  # fmt: skip


def _alike(s: Settings) -> Finding:
    """Workers that are all as good everywhere: nothing to gain from another one."""
    alike = msgspec.structs.replace(s, outside=s.expert)
    low, value, high = _difference(threads(alike, s.blocks), prompts(alike, s.blocks), 0.999)
    return Finding(
        "workers alike", "where all workers are equally good at all questions, threads gain nothing", low <= 0 <= high, value,
        "interval (.999) holds 0", "prompts, same questions", low, high, null=True, n=s.blocks,
    )  # fmt: skip


def _no_better(s: Settings) -> Finding:
    """Workers that know no better than the planner whose question it is: as good as a planner that may change its plan."""
    equal = msgspec.structs.replace(s, notice=s.skill)
    low, value, high = _difference(
        threads(equal, s.blocks, replan="workers"), threads(equal, s.blocks, replan="planner"), 0.999
    )
    return Finding(
        "workers know no better", "where workers notice their field as seldom as the planner names it, it does not matter who changes "
        "the plan", low <= 0 <= high, value, "interval (.999) holds 0; closed form (1 - p) u (s - p) (a - g) = 0",
        "the planner changes the plan, same questions", low, high, null=True, n=s.blocks,
    )  # fmt: skip


def _waiting(s: Settings, team: Runs) -> Finding:
    """Workers are asked when they are mentioned, and not otherwise."""
    extra = n = 0
    for q, posts in zip(team.questions, team.posts, strict=True):
        if episode(q, s, "workers").asks == 3:  # plan, answer, and a mark that accepts it
            n += 1
            extra += sum(p["member"] not in ("planner", "critic", *posts[0]["value"]["to"]) for p in posts)
    return Finding(
        "waiting is free", f"in {n} episodes whose first answer was accepted, workers that were not named were never asked", extra == 0 and n > 0,
        extra, "= 0 asks", "posts of the record", n=n,
    )  # fmt: skip


def _price(s: Settings, team: Runs, once: Runs) -> Finding:
    """A clean negative: more answers for more messages; per right answer, threads cost more."""
    value, other = team.asks_per_solved, once.asks_per_solved
    wanted = sum(episode(q, s, s.replan).asks for q in team.questions) / team.right.sum()
    return Finding(
        "dearer per right answer", f"threads need more messages per question that is answered rightly than prompts do ({value:.2f} and {other:.2f})",
        abs(value - wanted) < 1e-9 and value > other, value, f"= {wanted:.2f} by enumeration, above {other:.2f}", "prompts, same questions",
        n=len(team.right),
    )  # fmt: skip


def _context(s: Settings) -> list[Finding]:
    """What members are shown, in characters, with closed threads summed up and with all of them left open."""
    modes = {m: threads(s, s.blocks, summary=m, replan="workers") for m in (s.summary, "none")}
    wrong, kept, full, same, changed = 0, 0, 0, 0, 0
    for i, q in enumerate(modes["none"].questions):
        e, quiet = episode(q, s, "workers"), episode(q, s, "nobody")
        first = int(modes["none"].posts[i][0]["value"]["to"][0][1:])
        uncertain = e.asks > quiet.asks
        sizes = {m: r.votes[i]["shown"] for m, r in modes.items()}
        wrong += sum(size != shown_of(e, uncertain, s, m, first) for m, size in sizes.items())
        if e.changed:
            kept, full, changed = kept + sizes[s.summary], full + sizes["none"], changed + 1
        else:
            same += sizes[s.summary] != sizes["none"]
    ratio = kept / full if full else 1.0
    return [
        Finding(
            "context", "the characters that members are shown are as counted by hand, with and without summaries", wrong == 0, wrong,
            "= 0 episodes otherwise", "closed form per episode", n=s.blocks,
        ),
        Finding(
            "summaries shrink", "where the plan is changed, members are shown less where closed threads are their summaries: share of the characters",
            ratio < 1, ratio, "< 1", "the same episodes with all threads open", n=changed,
        ),
        Finding(
            "nothing closed", "where the plan is not changed, nothing is closed and nothing shrinks", same == 0, same, "= 0 episodes otherwise",
            "the same episodes with all threads open", null=True, n=s.blocks - changed,
        ),
    ]  # fmt: skip


def _replays(team: Runs) -> Finding:
    wrong = 0
    for vote in team.votes[:80]:
        moves = msgspec.convert(vote["moves"], list[board.Move])
        again = replay(board.step, board.start(vote["people"]), moves)
        wrong += digest(again) != vote["digest"] or bool(again.refused)
    return Finding(
        "replayed", "the moves of an episode alone give its threads back, and none was refused", wrong == 0, wrong, "= 0 logs otherwise",
        "digest in the record of the episode", n=len(team.votes[:80]),
    )  # fmt: skip


# -- the trial ---------------------------------------------------------------------------------------------
def judge(result: Any, folder: Any) -> list[Finding]:
    """Threads against prompts, the planner's model and a worker alone, and what a right answer costs."""
    found = []
    for name, other, says in (
        ("over prompts", "prompts", "threads are more accurate than prompts of the same planner"),
        ("over the planner", "one", "threads are more accurate than the planner's model alone"),
        ("over a worker", "worker", "threads are more accurate than one worker alone"),
    ):
        e = paired(result, "threads", other)
        if e is not None:
            low, high = bounds(e)
            found.append(
                Finding(
                    name,
                    says,
                    low > 0,
                    e.value,
                    "95 % interval of the paired difference above 0",
                    other,
                    low,
                    high,
                    n=e.n,
                )
            )
    rows = {r.lineup: r for r in result.rows}
    per = {n: _tokens_per_right(rows[n]) for n in ("threads", "prompts", "worker") if n in rows}
    for other in ("prompts", "worker"):
        if per.get("threads") and per.get(other):
            ratio = per["threads"] / per[other]
            found.append(Finding(
                f"tokens and {other}", f"threads need fewer tokens per right answer than {other}", ratio < 1, ratio, "ratio below 1",
                other, n=rows["threads"].summary.blocks,
            ))  # fmt: skip
    return found


def _tokens_per_right(row: Any) -> float:
    right = row.summary.mean.value * row.summary.blocks
    return (row.costs.tok_in + row.costs.tok_out) / right if right else 0.0


ENTRY = Entry(
    name="anemoi",
    title="Anemoi: a semi-centralised team in threads",
    source="arXiv 2508.17068; its published code was read for roles and the tools of its message server, none is used here",
    about="A planner opens a thread with all agents and posts a plan; workers answer in it, a critic accepts or is uncertain, anybody may "
    "change the plan, and all vote before an answer is given. Who is not mentioned waits. Here it is the team protocol `threads`, with "
    "scripted members, against a planner that passes prompts one way.",
    claims=(
        Claim("Where the planner is weak, agents that correct the plan among themselves beat prompts that pass one way.", (0, 1, 2)),
        Claim("Threads reduce redundant passing of context, and so costs.", (0, 1, 2)),
    ),
    figures=(
        Figure("GAIA: 52.73 % with GPT-4.1-mini as the planner; the strongest open baseline (OWL) has 43.63 % under identical settings, +9.09.", "A"),
        Figure("Six agents: planning, web, document processing, reasoning and coding, critique, answer finding.", "S"),
    ),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("workers change the plan", {"replan": "nobody"}, ("weak planner",)),
        Mechanism("the critic sees wrong workers", {"critic": 0.0}, ("weak planner",)),
        Mechanism("workers notice their field", {"notice": 0.0}, ("weak planner",)),
        Mechanism("workers differ", {"outside": 0.9}, ("weak planner",)),
        Mechanism("closed threads are summed up", {"summary": "none"}, ("summaries shrink",)),
    ),
    trial=Trial(
        levels=LEVELS, control=control, single="one", study=study, judge=judge,
        models=("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"), n=40, n_control=60, effect=0.2,
    ),
    missing="The message server over a network, web and document tools, and the GAIA benchmark. Waiting is a state of the engine, not a call "
    "that is repeated; the answer finder's work is done by the rule on the votes.",
)  # fmt: skip
