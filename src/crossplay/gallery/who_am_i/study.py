"""The experiment on `chat/group`: series A to K, speakers with planted habits, two coders of what they say.

All of it is synthetic: the speakers are scripted, their sentences planted, so that the true rates are known.
The same transcripts can be taken from runs with models: `plan` makes the study of a series, `transcripts` reads its run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

import crossplay
from crossplay import Block, CrossplayError, loop, make_agent, make_env, play
from crossplay.agents.scripts.chat import TRAITS, traits
from crossplay.kernel import key, nearest, uniform, unpack

__all__ = [
    "HABITS", "PLANTED", "SERIES", "TRAITS", "Chats", "Habits", "Series", "Settings", "chats", "coded", "habits",
    "heard_shares", "noisy", "plan", "second", "transcripts",
]  # fmt: skip

HABITS = TRAITS[1:]
"""meta, lead, arch, agree, comp: the five rates of a behavioural profile."""
SEATS = 7


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Seven speakers and a participant that always errs, eleven rounds, as published; fewer runs."""

    spread: float = 1.0  # how far speakers differ: 1 as planted, 0 all alike
    mirror: float = 0.6  # how far speakers take over what they hear, in the mirrored chats
    isolated: bool = False  # true: in the mirrored chats nobody hears anybody
    error: bool = True  # whether somebody errs
    noise: float = 0.05  # chance that the second coder flips a code
    runs: int = 10  # chats of the series A, B, E and F: 100 messages a speaker after the first round
    few: int = 3  # chats of the series that must equal A message by message
    mirrored: int = 12  # chats in which speakers mirror; the slope's standard error is then about 0.04
    root: int = 1


class Habits(msgspec.Struct, frozen=True):
    """Chances of the traits in a message: phatic, and the others where it is not."""

    phatic: float
    meta: float
    lead: float
    arch: float
    agree: float
    comp: float


PLANTED: tuple[Habits, ...] = (
    Habits(0.10, 0.50, 0.70, 0.10, 0.20, 0.30),
    Habits(0.10, 0.10, 0.20, 0.85, 0.20, 0.20),
    Habits(0.40, 0.20, 0.10, 0.10, 0.70, 0.20),
    Habits(0.10, 0.20, 0.30, 0.20, 0.30, 0.90),
    Habits(0.20, 0.80, 0.10, 0.20, 0.10, 0.10),
    Habits(0.30, 0.10, 0.10, 0.40, 0.60, 0.10),
    Habits(0.10, 0.30, 0.60, 0.60, 0.10, 0.20),
)
"""One row per seat."""


class Series(msgspec.Struct, frozen=True):
    """One published series. options: of `chat/group` beside seven seats and the participant that errs.

    runs: how many were published. same: whether scripted speakers must say the same as in A after the first round.
    without: why scripted speakers cannot play it ("": they can).
    """

    about: str
    runs: int
    options: dict[str, Any] = {}
    same: bool = False
    without: str = ""


_PEOPLE = ["Alder", "Brook", "Cloud", "Daisy", "Elm", "Fern", "Gale", "Hill"]
SERIES: dict[str, Series] = {
    "A": Series("baseline", 21),
    "B": Series("homogeneous: one speaker in all seats", 21),
    "C": Series("real names", 21, {"names": "real", "people": _PEOPLE}, same=True),
    "E": Series("order drawn each round", 21, {"order": "shuffled"}),
    "F": Series("isolated: nobody hears anybody", 21, {"isolated": True}),
    "G": Series("English is asked for", 21, {"language": "English"}, same=True),
    "H": Series("another brief", 15, {"topic": "festival"}, same=True),
    "I": Series("hot: temperature .95", 11, without="scripted speakers have no temperature"),
    "J": Series("long: twenty rounds", 11, {"rounds": 20}),
    "K1": Series("no list of peers", 15, {"list_peers": False}, same=True),
    "K2": Series("no own name", 15, {"tell_name": False}, same=True),
    "K3": Series("empty prompt", 15, {"briefing": False}, same=True),
}


class Chats(msgspec.Struct, frozen=True, eq=False):
    """Runs x seats x rounds. texts: str; ticks: int, when it was said; flags: bool[..., 6], by the first coder.

    ended: per run, how it ended; faults: of all runs.
    """

    texts: np.ndarray
    ticks: np.ndarray
    flags: np.ndarray
    ended: tuple[str, ...]
    faults: int


# -- playing ---------------------------------------------------------------------------------------------
def habits(settings: Settings, spread: float | None = None) -> tuple[Habits, ...]:
    """The speakers' habits, drawn together to their mean by 1 - spread."""
    s = settings.spread if spread is None else spread
    rows = np.array([msgspec.structs.astuple(h) for h in PLANTED])
    mixed = rows.mean(0) + s * (rows - rows.mean(0))
    return tuple(Habits(*(round(float(x), 12) for x in row)) for row in mixed)


def chats(
    series: str, speakers: Sequence[Habits | None], runs: int, *, mirror: float = 0.0, error: bool = True, root: int = 1,
    **options: Any,
) -> Chats:  # fmt: skip
    """Play a series with these speakers (None: one that answers with an error notice every time). options: of the chat, over
    those of the series. Equal calls are played once.
    """
    known = _known(series)
    if known.without:
        raise CrossplayError(f"series {series}: {known.without}")
    given = {**_options(known, error), **options}
    return _chats(msgspec.json.encode(given), tuple(speakers), runs, mirror, root)


def _options(known: Series, error: bool) -> dict[str, Any]:
    """The chat's options; names are for those who are there."""
    given = {"n": SEATS, "rounds": 11, "error": SEATS + 1 if error else 0, **known.options}
    if "people" in given:
        given["people"] = given["people"][: SEATS + error]
    return given


def _known(series: str) -> Series:
    if series not in SERIES:
        raise CrossplayError(f'who am i: unknown series "{series}".{nearest(series, SERIES)}')
    return SERIES[series]


@lru_cache(maxsize=64)
def _chats(options: bytes, speakers: tuple[Habits | None, ...], runs: int, mirror: float, root: int) -> Chats:
    env = make_env("chat/group", msgspec.json.decode(options))
    agents = [
        make_agent({"type": "speaker:error"} if h is None else {"type": "speaker", **msgspec.structs.asdict(h), "mirror": mirror})
        for h in speakers
    ]  # fmt: skip
    rows, ended, faults = [], [], 0
    for block in range(runs):
        outcome = loop(play(env, dict(zip(env.seats, agents, strict=True)), Block(root, block)))
        events = outcome.trace()
        rows.append(_said(events))
        ended.append(outcome.status)
        faults += sum(e.kind == "fault" for e in events)
    env.close()
    return _as_chats(rows, ended, faults)


def _said(events: Sequence[Any]) -> list[list[tuple[int, str]]]:
    """Per seat what was said, in order: (tick, text)."""
    found: list[list[tuple[int, str]]] = [[] for _ in range(SEATS)]
    for e in events:
        if e.kind == "act" and e.seat < SEATS:
            found[e.seat].append((e.tick, unpack(e.payload) if e.payload else ""))
    return found


def _as_chats(rows: Sequence[Sequence[Sequence[tuple[int, str]]]], ended: Sequence[str], faults: int) -> Chats:
    texts = np.array([[[text for _, text in seat] for seat in run] for run in rows], dtype=object)
    ticks = np.array([[[tick for tick, _ in seat] for seat in run] for run in rows])
    return Chats(texts, ticks, coded(texts, traits), tuple(ended), faults)


# -- coders --------------------------------------------------------------------------------------------------
def coded(texts: np.ndarray, coder: Any) -> np.ndarray:
    """bool[..., 6]: which of `TRAITS` a coder finds in each text; nothing in an empty one."""
    flat = [coder(t) if t else () for t in texts.reshape(-1)]
    return np.array([[trait in found for trait in TRAITS] for found in flat]).reshape(*texts.shape, len(TRAITS))


_DISCUSSION = {"discussion", "question", "vote"}


def second(text: str) -> frozenset[str]:
    """The codes of a second coder, who goes by the shape of sentences and knows neither the planted lines nor the tools."""
    if text.startswith("["):
        return frozenset()
    found = set()
    for sentence in text.replace("!", ".").split("."):
        words = sentence.split()
        plain = [w.strip(",").lower() for w in words]
        if len(words) > 1 and words[0].endswith(",") and plain[1] == "please":
            found.add("lead")
        if "agree" in plain and "with" in plain:
            found.add("agree")
        if "error" in plain and "take" in plain:
            found.add("comp")
        if _DISCUSSION & set(plain):
            found.add("meta")
        if sum(w[0].isupper() and w != "I" for w in words[1:]) >= 2:  # two names of things in one sentence
            found.add("arch")
    return frozenset(found or ({"phatic"} if len(text.split()) < 15 else ()))


def noisy(flags: np.ndarray, noise: float, root: int) -> np.ndarray:
    """The codes of a coder who flips each of them by chance."""
    stream = key("second coder", root)
    flips = np.array([uniform(stream, i) < noise for i in range(flags.size)], bool).reshape(flags.shape)
    return flags ^ flips


def heard_shares(found: Chats) -> np.ndarray:
    """float[runs, seats, rounds, 6]: of the messages that others said since the own last turn, the share that carries
    each trait, heard or not; nan where there are none. Error notices do not count.
    """
    spoke = np.array([[[bool(t) and not t.startswith("[error]") for t in s] for s in run] for run in found.texts])
    shares = np.full(found.flags.shape, np.nan)
    runs, seats, rounds = found.ticks.shape
    for i in range(seats):
        others = [j for j in range(seats) if j != i]
        for r in range(rounds):
            now = found.ticks[:, i, r][:, None, None]
            last = found.ticks[:, i, r - 1][:, None, None] if r else np.full((runs, 1, 1), -1)
            between = (found.ticks[:, others] > last) & (found.ticks[:, others] < now) & spoke[:, others]
            n = between.sum((1, 2))
            total = (found.flags[:, others] & between[..., None]).sum((1, 2))
            shares[n > 0, i, r] = total[n > 0] / n[n > 0, None]
    return shares


# -- with models --------------------------------------------------------------------------------------------
def plan(series: str, agents: Sequence[Mapping[str, Any]], runs: int = 0, error: bool = True) -> dict[str, Any]:
    """The study of a series for `crossplay.run`; agents: one per seat, e.g. {"type": "llm:http://...", "temperature": 0.8,
    "memory": 0}, the same seven times for B. runs: blocks; 0: as many as were published. There is nothing to win, and no
    single-agent control: what the run is for is its transcripts.
    """
    known = _known(series)
    if len(agents) != SEATS:
        raise CrossplayError(f"series {series}: {len(agents)} agents for {SEATS} seats")
    names = [f"speaker {i + 1}" for i in range(SEATS)]
    return {
        "study": {
            "name": f"who am i: {series}, {known.about}",
            "blocks": runs or known.runs,
            "root": 1,
            "metric": "words",
        },
        "environments": {"chat": {"name": "chat/group", "options": _options(known, error)}},
        "agents": dict(zip(names, map(dict, agents), strict=True)),
        "lineups": {series: names},
        "controls": {"floor": False, "ceiling": False, "zero_message": False},
    }


def transcripts(folder: Any) -> Chats:
    """What was said in a run of `plan`, coded, block by block. Silent turns are empty texts."""
    with crossplay.open_run(folder) as run:
        records = sorted((r for r in run.records() if r.status != "void"), key=lambda r: str(r.block).zfill(9))
        if len({r.lineup for r in records}) != 1 or len({r.env_id for r in records}) != 1:
            raise CrossplayError(f"{folder}: expected the chats of one series and one lineup, as `plan` plays them")
        events = [run.events(r.id) for r in records]
    faults = sum(e.kind == "fault" for one in events for e in one)
    return _as_chats([_said(e) for e in events], [r.status for r in records], faults)
