"""What is checked of the Internet of Agents: recall, forming, nesting and asks against closed forms; replays of the groups.

N agents, cards that name the craft with chance 1 - e, k results, equal scores in the order of the registry:

    recall@k  = (1 - e) + e k / N               a named craft is found first, an unnamed one by its place; by chance: k / N
    found     = 1 - d^min(h, T - 1)              h holders of the craft, each declines with chance d; T attempts, one a search
    asks      = 8 + [depth > 0]                  search, invitation, reply, assignment, pause, work, end, answer; alone or not
    asks, two levels = 8 + 1 + 10                the same, and a group of three: search, invitation, 2 replies, 2 assignments,
                                                 pause, 2 x work, end; its conclusion stands in the place of the work
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism, Trial
from crossplay.gallery.internet_of_agents.study import LEVELS, Runs, Settings, cards, control, craft, run, study
from crossplay.gallery.recorded import bounds, paired, talks
from crossplay.kernel import key, permutation, pick
from crossplay.measure.stats import paired_t
from crossplay.teams.forming import Card, Registry, digest, group, recall, replay

__all__ = ["ENTRY", "bm25_of", "check", "judge", "replayed"]

WIDE = 3.29  # standard deviations: two-sided chance .001


def check(settings: Settings) -> list[Finding]:
    """Scripted agents against closed forms, the registry against another implementation, groups against their logs."""
    s, n = settings, settings.blocks
    easy = run(s, n)
    hard = run(s, n, hard=True)
    flat = run(s, n, hard=True, depth=0)
    found = run(s, n, mute=s.mute, attempts=2)
    return [
        _ranking(s),
        *_recalls(s),
        _near("team found", "the team solves where its first choice is right, with chance (1 - e) + e / N", found.solved, 1 - s.mute + s.mute / _size(s)),
        _better(s, found),
        *_declines(s),
        Finding(
            "two levels", "errands that need crafts which only a member knows of are all solved where groups may be nested",
            bool((hard.solved == 1).all()), float(hard.solved.mean()), "= 1, every errand", "by construction", n=n,
        ),
        Finding(
            "one level only", "without nesting none of them is", bool((flat.solved == 0).all()), float(flat.solved.mean()),
            "= 0, every errand", "by construction", null=True, n=n,
        ),
        _needless(s, easy),
        _asks(s, easy, hard, flat),
        _replays(s, [easy, hard, flat, found]),
        _everybody(s, easy),
    ]  # fmt: skip


def _size(s: Settings) -> int:
    return s.crafts * s.holders


def _near(name: str, says: str, hits: np.ndarray, p: float, null: bool = False) -> Finding:
    """A share against its closed form, by the binomial standard deviation."""
    n, value = len(hits), float(np.mean(hits))
    half = WIDE * math.sqrt(p * (1 - p) / n)
    return Finding(
        name, says, abs(value - p) <= half + 1e-12, value, f"{p:.3f} +- {half:.3f}", "closed form", value - half, value + half,
        null=null, n=n,
    )  # fmt: skip


# -- the registry --------------------------------------------------------------------------------------
def bm25_of(query: str, texts: Sequence[str], k1: float = 1.5, b: float = 0.75) -> np.ndarray:
    """BM25 a second time, as a dense matrix of counts [texts, words]."""
    words = [t.lower().replace(".", " ").split() for t in texts]
    terms = sorted({w for t in words for w in t})
    tf = np.array([[t.count(w) for w in terms] for t in words], np.float64)
    df = (tf > 0).sum(0)
    idf = np.log1p((len(texts) - df + 0.5) / (df + 0.5))
    length = tf.sum(1, keepdims=True)
    wanted = np.isin(terms, query.lower().split())
    score: np.ndarray = (idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / length.mean())))[:, wanted].sum(1)
    return score


def _ranking(s: Settings) -> Finding:
    """Scores and order of the registry on texts of common and rare words."""
    words = [f"word{i}" for i in range(30)]
    worst, n = 0.0, 0
    for j in range(40):
        stream = key("texts", s.root, j)
        texts = [
            " ".join(words[min(pick(stream, 30, i, w), pick(stream, 30, i, w, 1))] for w in range(3 + i % 7))
            for i in range(25)
        ]
        registry = Registry([Card(str(i), t) for i, t in enumerate(texts)])
        query = " ".join(words[i] for i in permutation(stream, 30, 99)[:4])
        other = bm25_of(query, texts)
        order = [f.name for f in registry.search(query, 25)]
        again = [str(i) for i in np.argsort(-np.round(other, 9), kind="stable")]
        mine = registry.scores(query)
        worst = max(worst, float(np.abs(np.array(mine) - other).max()) + (order != again))
        n += 1
    return Finding(
        "ranking", "scores and order of the registry are those of BM25", worst < 1e-9, worst, "largest difference < 1e-9, no order differs",
        "a dense matrix of counts", n=n,
    )  # fmt: skip


def _recalls(s: Settings) -> list[Finding]:
    """Recall at k on registries whose cards keep silent with chance e; the wanted agent stands anywhere."""
    found = []
    for name, says, mute, null in (
        ("recall", "recall@k is (1 - e) + e k / N", s.mute, False),
        ("silent cards", "where no card names a craft, recall@k is chance, k / N", 1.0, True),
    ):
        p = 1 - mute + mute * s.k / s.crafts
        found.append(_near(name, says, _hits(s.crafts, s.k, mute, s.searches, s.root), p, null))
    return found


@lru_cache(maxsize=16)
def _hits(crafts: int, k: int, mute: float, searches: int, root: int) -> np.ndarray:
    """Per search whether the wanted agent, anywhere in the registry, is among the first k."""
    s, hits = Settings(crafts=crafts, root=root), []
    for j in range(searches):
        registry = Registry([Card(n, t) for n, t in cards(s, j, mute).items()])
        wanted = pick(key("wanted", root, j), crafts)
        hits.append(recall([[f.name for f in registry.search(craft(wanted), k)]], [[f"p{wanted}"]]))
    return np.array(hits)


# -- forming -------------------------------------------------------------------------------------------
def _better(s: Settings, found: Runs) -> Finding:
    drawn = run(s, s.blocks, mute=s.mute, attempts=2, by="random")
    low, value, high = _difference(found.solved, drawn.solved, 0.99)
    closed = (1 - s.mute) * (1 - 1 / _size(s))
    return Finding(
        "better than chance", "teams found by their cards solve more than teams drawn by chance", low > 0, value,
        f"lower end > 0; closed form (1 - e) (1 - 1 / N) = {closed:.3f}", "the same search at random, same errands", low, high,
        n=s.blocks,
    )  # fmt: skip


def _difference(a: np.ndarray, b: np.ndarray, level: float) -> tuple[float, float, float]:
    e = paired_t(a, b, level, (-1.0, 1.0))
    return (e.interval.low, e.value, e.interval.high) if e.interval else (e.value,) * 3


def _declines(s: Settings) -> list[Finding]:
    """Three holders of each craft: one attempt after another, as many as are allowed."""
    more = msgspec.structs.replace(s, holders=3, crafts=4, k=3)
    runs = {t: run(more, s.blocks, decline=s.decline, attempts=t) for t in sorted({2, 3, s.attempts})}
    found = [
        _near(
            f"joined in {t - 1}", f"with {t - 1} invitations somebody able joins with chance 1 - d^{min(3, t - 1)}", r.solved,
            1 - s.decline ** min(3, t - 1),
        )
        for t, r in runs.items()
    ]  # fmt: skip
    low, value, high = _difference(runs[s.attempts].solved, runs[2].solved, 0.99)
    closed = s.decline - s.decline ** min(3, s.attempts - 1)
    return [*found, Finding(
        "invited again", "inviting the next best makes good for those who decline", low > 0, value,
        f"lower end > 0; closed form d - d^min(h, T - 1) = {closed:.3f}", "one invitation, same errands", low, high, n=s.blocks,
    )]  # fmt: skip


def _needless(s: Settings, easy: Runs) -> Finding:
    flat = run(s, s.blocks, depth=0)
    other = int((easy.solved != flat.solved).sum())
    return Finding(
        "needless depth", "errands that need one craft are solved alike with and without nested groups", other == 0, other,
        "= 0 errands otherwise", "depth 0, same errands", null=True, n=s.blocks,
    )  # fmt: skip


def _asks(s: Settings, easy: Runs, hard: Runs, flat: Runs) -> Finding:
    wanted = {"one level": 8 + (s.depth > 0), "two levels": 19 if s.depth else 8, "depth 0": 8}
    got = {"one level": easy, "two levels": hard, "depth 0": flat}
    wrong = sum(int((got[name].asks != n).sum()) for name, n in wanted.items())
    return Finding(
        "asks", "asks per errand: " + ", ".join(f"{name} {n}" for name, n in wanted.items()), wrong == 0, wrong,
        "= 0 errands otherwise", "counted by hand (docstring)", n=3 * s.blocks,
    )  # fmt: skip


def _everybody(s: Settings, easy: Runs) -> Finding:
    """A clean negative: asking all agents at once is as good; searching pays in asks."""
    n = min(s.blocks, 40)
    broad = run(s, n, lead="engine", size=_size(s), depth=0)
    other = int((broad.solved != easy.solved[:n]).sum())
    asks = 2 * _size(s) + 1  # everybody is invited and given the work, then the answer
    return Finding(
        "as good by asking all", f"a team of all {_size(s)} agents solves the same errands, for {asks} asks instead of "
        f"{int(easy.asks[0])}: finding members saves asks, it does not make answers better",
        other == 0 and bool((broad.asks == asks).all()), other, "= 0 errands otherwise", "everybody is invited and asked",
        null=True, n=n,
    )  # fmt: skip


# -- the groups ----------------------------------------------------------------------------------------
def replayed(vote: Mapping[str, Any]) -> tuple[bool, int, int]:
    """(whether the messages alone give the digest back, shortened logs that give it as well, shortened logs)."""
    first = msgspec.convert(vote["start"], group.State)
    messages = msgspec.convert(vote["messages"], list[group.Message])
    same = digest(replay(group.step, first, messages)) == vote["digest"]
    shorter = [messages[:i] + messages[i + 1 :] for i in range(len(messages))]
    blind = sum(digest(replay(group.step, first, x)) == vote["digest"] for x in shorter)
    return same, blind, len(shorter)


def _replays(s: Settings, runs: Sequence[Runs]) -> Finding:
    wrong = n = 0
    for vote in (v for r in runs for v in r.votes[:8]):
        same, blind, _ = replayed(vote)
        wrong, n = wrong + (not same) + blind, n + 1
    return Finding(
        "replayed", "the messages of an episode alone give its groups back, and not with any one of them left out", wrong == 0, wrong,
        "= 0 logs otherwise", "digest in the record of the episode", n=n,
    )  # fmt: skip


# -- the trial -----------------------------------------------------------------------------------------
def judge(result: Any, folder: Any) -> list[Finding]:
    """The team against its organiser alone, against teams with each other's cards, and against the specialist alone."""
    found = []
    for name, a, b, says, least in (
        ("over one", "team", "one", "the team is more accurate than its organiser alone", 0.0),
        ("cards matter", "team", "turned", "the team is more accurate than the same with each other's cards", 0.0),
        ("declining repairs", "asked on", "team", "with each other's cards, but where others are invited after who declines, the team is not worse by .1 or more", -0.1),
        ("close to the specialist", "team", "specialist", "the team is not worse by .1 or more than the specialist alone", -0.1),
    ):  # fmt: skip
        e = paired(result, a, b)
        if e is None:
            continue
        low, high = bounds(e)
        bound = f"95 % interval of the paired difference above {least:g}"
        found.append(Finding(name, says, low > least, e.value, bound, b, low, high, n=e.n))
    for lineup, says, above in (
        ("team", "found by its card", 0.5),
        ("turned", "found by another's card", -0.5),
        ("asked on", "found as others declined", 0.5),
    ):
        members = [t.vote["groups"][0]["members"] for t in talks(folder, lineup) if t.vote.get("groups")]
        if members:
            share = float(np.mean(["mathematician" in m for m in members]))
            bound = f"above {above:g}" if above > 0 else f"below {-above:g}"
            found.append(Finding(
                says, "share of questions with the mathematician in the team", share > above if above > 0 else share < -above, share,
                bound, "who was in the group, from the record", n=len(members),
            ))  # fmt: skip
    return found


ENTRY = Entry(
    name="internet_of_agents",
    title="Internet of Agents: discovery, nested teaming and conversation states",
    source="arXiv 2407.07061; its published code was read for states and message types, none is used here",
    about="Agents register with descriptions; an organiser searches, invites, and the group talks by states and typed messages: "
    "assignments that block or not, pauses that wake, votes, a conclusion; whoever is given work may form a group of its own. Here it is "
    "the team protocol `forming` on a pure state machine, with scripted agents and cards.",
    claims=(
        Claim("Agents of different makes collaborate better through dynamic teaming and conversation flow control than baselines do.", (1, 2)),
        Claim("Nested teams solve tasks whose parts only a member knows of.", (0,)),
    ),
    figures=(
        Figure("Evaluated on general assistant tasks, embodied tasks and retrieval-augmented generation; it consistently outperforms its baselines.", "A"),
        Figure("Up to 10 attempts to form a team, the last of which has to name members; states TEAMUP, DISCUSSION, VOTE, EXECUTION.", "S"),
    ),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("cards are read", {"by": "random"}, ("team found", "better than chance", "two levels")),
        Mechanism("cards say something", {"mute": 1.0}, ("better than chance",)),
        Mechanism("groups are nested", {"depth": 0}, ("two levels",)),
        Mechanism("the next best is invited", {"attempts": 2}, ("invited again",)),
    ),
    trial=Trial(
        levels=LEVELS, control=control, single="one", study=study, judge=judge,
        models=("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"), n=60, n_control=60, effect=0.2,
    ),
    missing="The server that other frameworks' agents join over a network (agents of other makes join as workers on the wire or as "
    "A2A agents), and the published benchmarks. Groups here are asked in waves: whoever is due at the same time is asked at the same time.",
)  # fmt: skip
