"""The section of the report on what happened inside the teams."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder
from crossplay.study.inside import inside_of
from crossplay.study.page import details, table
from crossplay.study.spec import Study
from crossplay.teams.ledger import TeamLedger

__all__ = ["inside_teams", "sentences"]


def inside_teams(run: RunFolder, study: Study) -> str:
    """Members, rounds and agreement of every team; the controls folded away. "" where no team has played."""
    try:
        found = inside_of(run, study)
    except CrossplayError as error:  # a damaged cassette must not hide the rest of the report
        return f'<p class="note">The inside of the teams cannot be read: {escape(str(error))}</p>'
    first = [t for t in found if not t.role or t.kind == "single"] or found
    rest = [t for t in found if t not in first]
    note = (
        '<p class="soft">Right: share of a member\'s last answers. Drift: share of the decisions whose standing answers '
        "score less than a round before. Agreement compares answers as votes do.</p>"
    )
    parts = [_team(t) for t in first]
    if rest:
        parts.append(details("Controls that are teams", "".join(map(_team, rest))))
    return note + "".join(parts) if parts else ""


def _team(t: TeamLedger) -> str:
    columns = (
        "member", ">asks", ">faults", ">words", ">share", ">calls", ">tokens in", ">cached", ">tokens out", ">USD",
        ">right", ">confidence", ">ECE",
    )  # fmt: skip
    rows = [
        (
            escape(m.name), f"{m.asks:,}", f"{m.faults:,}", f"{m.words:,}", _n(m.share, ".0%"), f"{m.calls:,}",
            f"{m.tok_in:,}", _n(m.tok_cached, ","), f"{m.tok_out:,}", _n(m.money, ",.4f"), _n(m.right, ".2f"),
            _n(m.confidence, ".2f"), _n(m.ece, ".3f"),
        )
        for m in t.members
    ]  # fmt: skip
    head = f"<h3>{escape(t.lineup)}: {escape(t.team)} in {escape(t.env)}</h3>"
    found = head + table(f"{t.lineup} in {t.env}: {t.decisions:,} decisions", columns, rows)
    heads = (
        "round", ">answers", ">all agree", ">score", ">drift", ">right kept", ">right to wrong", ">wrong to right",
        ">wrong kept",
    )  # fmt: skip
    rounds = [
        (
            str(r.round), f"{r.answers:,}", _n(r.agreed, ".0%"), _n(r.score, ".3f"), _n(r.drift, ".0%"),
            _n(r.right_right, ","), _n(r.right_wrong, ","), _n(r.wrong_right, ","), _n(r.wrong_wrong, ","),
        )
        for r in t.rounds
    ]  # fmt: skip
    found += table(f"{t.lineup} in {t.env}: rounds", heads, rounds) if rounds else ""
    return found + _pairs(t) + "".join(f"<p>{escape(s)}</p>" for s in sentences(t))


def _pairs(t: TeamLedger) -> str:
    """Who agrees with whom, first and last answers."""
    names = [m.name for m in t.members]
    if not t.last or len(names) < 2:
        return ""

    def rows(matrix: Sequence[Sequence[float | None]]) -> list[tuple[str, ...]]:
        return [(escape(n), *(_n(v, ".0%") for v in line)) for n, line in zip(names, matrix, strict=True)]

    columns = ("", *(f">{n}" for n in names))
    tables = [table(f"{w} answers that are equal", columns, rows(m)) for w, m in (("First", t.first), ("Last", t.last))]
    return details("Who agrees with whom", "".join(tables))


def sentences(t: TeamLedger) -> list[str]:
    """What is one number each, in words."""
    said = []
    if t.gini is not None:
        said.append(f"Words: Gini {t.gini:.2f} (0: all members speak as much).")
    if t.never is not None:
        when = f"after {t.turns:.1f} rounds on average; " if t.turns is not None else ""
        said.append(f"Agreement: {when}{t.never:.0%} of the decisions never.")
    if t.gained is not None and t.lost is not None:
        said.append(f"From the first to the last round {t.gained:.0%} of the decisions gained and {t.lost:.0%} lost.")
    if t.kv is not None:
        digits = ",.4f" if t.kv_unit == "USD" else ",.0f"
        text = f"Modelled cost without a prefix cache: {t.kv.separate:{digits}} {t.kv_unit}"
        if t.kind == "single":
            share = t.kv.prefix / t.kv.prompt if t.kv.prompt else 0.0
            text += f"; with one: {t.kv.conversation:{digits}} ({share:.0%} of the prompt tokens stood there before)"
        if t.metered is not None:
            text += f"; by the cached tokens that were reported: {t.metered:{digits}}"
        said.append(f"{text}.")
    if t.truth:
        said.append(f"Note: {t.truth}.")
    return said


def _n(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
