"""K* of the teams of a run: how many effective channels its members make up, per question.

Mode per_question_agent throughout: one text per question and member, its rounds joined.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from crossplay.kernel import key, make_env, unpack
from crossplay.study.equal import EQUAL
from crossplay.study.inside import places
from crossplay.study.spec import Study

if TYPE_CHECKING:
    from crossplay.records import RunFolder

__all__ = ["ENCODER", "Diverse", "diversity_of"]

ENCODER = "wordllama"
MOST = 2000
"""Questions of a lineup that are read at most."""


class Diverse(msgspec.Struct):
    """One team. members: how many; questions: how many were read; mode, encoder: what K* is of.

    kstar: mean over questions, low and high of its t interval (None where it does not vary); share:
    K*/N; kish: effective number by mean cosine; shuffled: K* where every member's texts come from
    other questions than its mates'.
    """

    env: str
    lineup: str
    role: str
    members: int
    questions: int
    kstar: float
    low: float | None
    high: float | None
    share: float
    kish: float
    shuffled: float
    mode: str = "per_question_agent"
    encoder: str = ENCODER


def diversity_of(run: RunFolder, study: Study) -> tuple[list[Diverse], list[str]]:
    """(K* of every team with two members or more, notes). Without the encoder there is only a note."""
    teams: dict[tuple[str, str], tuple[list[str], set[int]]] = {}
    for env, group, cells, _, index, *_ in places(run, study):
        if group not in study.lineups or study.lineups[group].role not in EQUAL.values():  # one member, asked often
            known, seats = teams.setdefault((env, group), ([], set()))
            known += [c for c in cells if c not in known]
            seats.add(index)
    if not teams:
        return [], []
    if find_spec(ENCODER) is None:
        return [], [f"K* of the teams needs sentence vectors: pip install 'crossplay[embed]' ({ENCODER})"]
    found, notes = [], []
    for (env, group), (cells, seats) in teams.items():
        texts = _texts(run, cells, seats, _names(study, env))
        members = list(dict.fromkeys(m for said in texts for m in said))
        if len(members) < 2:
            continue
        if len(texts) > MOST:
            notes.append(f"{env}, {group}: K* of the first {MOST} of {len(texts)} questions")
        role = study.lineups[group].role if group in study.lineups else ""
        found.append(_one(env, group, role, members, texts[:MOST]))
    return found, notes


def _names(study: Study, label: str) -> tuple[str, ...]:
    """Names of the actions of an environment, so that an answer stands in words; () where there are none."""
    spec = study.environments[label]
    env = make_env(spec.name, spec.options)
    form = env.spec(env.seats[0])
    env.close()
    return form.names if form.kind == "names" else ()


def _texts(run: RunFolder, cells: list[str], seats: set[int], names: tuple[str, ...]) -> list[dict[str, str]]:
    """Per question, what each member said in all rounds."""
    found = []
    for record in run.records():
        if record.cell not in cells or record.status in ("void", "env-fault"):
            continue
        asked: dict[tuple[int, int], dict[str, list[str]]] = {}
        for event in run.events(record.id):
            if event.kind == "post" and event.seat in seats:
                post = unpack(event.note)
                if post.get("fault") or post["act"] == "vote":
                    continue
                value = post["value"]
                word = names[value] if isinstance(value, int) and 0 <= value < len(names) else str(value)
                said = asked.setdefault((event.seat, event.tick), {}).setdefault(post["member"], [])
                said.append(f"{post.get('text', '')} {word}".strip())
        found += [{m: "\n".join(words) for m, words in q.items()} for q in asked.values()]
    return found


def _one(env: str, group: str, role: str, members: list[str], texts: list[dict[str, str]]) -> Diverse:
    from crossplay.measure.diversity import kstar_per_question, shuffled_per_question
    from crossplay.models.embedders import embedder

    encode = embedder(ENCODER)
    flat = [said.get(m, "") for said in texts for m in members]
    there = np.array([bool(t) for t in flat]).reshape(len(texts), len(members))
    distinct = list(dict.fromkeys(t for t in flat if t))
    vectors = encode.embed(distinct)
    place = {t: i for i, t in enumerate(distinct)}
    rows = np.zeros((len(flat), vectors.shape[1]), np.float32)
    for i, t in enumerate(flat):
        if t:
            rows[i] = vectors[place[t]]
    x = rows.reshape(len(texts), len(members), vectors.shape[1])
    some = there.any(1)
    x, there = x[some], there[some]
    k = kstar_per_question(x, there)
    baseline = shuffled_per_question(x, key("K*", env, group), present=there)
    interval = k.mean.interval if k.mean is not None else None
    return Diverse(
        env,
        group,
        role,
        len(members),
        len(x),
        float(np.mean(k.kstar)),
        interval.low if interval else None,
        interval.high if interval else None,
        float(np.mean(k.kstar / there.sum(1))),
        float(np.mean(k.kish)),
        float(baseline.mean),
    )
