"""Notes under a result: what controls came to, what was sent in all, what is switched off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crossplay.study.costs import sent_of
from crossplay.study.equal import is_team
from crossplay.study.sessions import Attendance
from crossplay.study.spec import Study

if TYPE_CHECKING:
    from crossplay.study.tables import Row

__all__ = ["by_hand", "controls", "paid", "people", "samples"]


def samples(rows: Sequence[Row]) -> list[str]:
    """What the equal-cost controls came to."""
    notes = []
    for row in rows:
        for agent, counts in row.costs.by_agent.items():
            for name, k in counts.items():
                what, _, member = name.partition(":")
                if what == "samples" and counts.get("decisions"):
                    per = k / counts["decisions"]
                    notes.append(f"{row.env}, {agent}: {per:g} answers of {member}, the best single member, and a vote")
    return notes


def by_hand(rows: Sequence[Row]) -> list[str]:
    """Where somebody else than the lineup says played in the middle of an episode."""
    notes = []
    for row in rows:
        for agent, counts in row.costs.by_agent.items():
            if k := counts.get("by_hand"):
                notes.append(
                    f"{row.env}, {row.lineup}: the seat of {agent} was handed over by hand in {k:g} episode{'s' if k > 1 else ''} "
                    "(to a person, or to an agent in a person's place); they count for this lineup as they are"
                )
    return notes


def paid(run: Any, rows: Sequence[Row]) -> list[str]:
    """What was sent, where it differs from the sum over lineups: an answer that two lineups met is counted in both."""
    shown = sum(r.costs.calls for r in rows)
    if not shown or not run.cassette_path.is_file():
        return []
    spent = sent_of(run.cassette_path, {cell.env_id for cell in run.cells()}).values()
    sent = sum(u.calls for u in spent)
    if sent == shown:
        return []
    tokens = sum(u.tok_in + u.tok_out for u in spent)
    why = "an answer that several lineups met is counted in each"
    if sent > shown:
        why = "those of episodes that have not ended, or did not count, are in no table"
    return [f"{sent:,} calls were sent in all ({tokens:,} tokens); {why}"]


def people(a: Attendance) -> list[str]:
    """Who took part, and how far those came who did not finish."""
    said = [f"{a.took_part} of {a.wanted} participants took part: {a.complete} complete"]
    said += [f"{a.left} left before the end"] if a.left else []
    said += [f"{a.going} not finished yet"] if a.going else []
    said += [f"{a.declined} declined"] if a.declined else []
    said += [f"{a.withdrawn} withdrew and had everything of theirs removed"] if a.withdrawn else []
    said += [f"{a.invited} invited and not begun"] if a.invited else []
    said += [f"{a.unused} taken back unused"] if a.unused else []
    notes = [", ".join(said)]
    if a.incomplete:
        listed = ", ".join(f"{name} {k}" for name, k in a.incomplete.items())
        notes.append(f"incomplete sessions, with how many of {a.episodes} episodes each are in the tables: {listed}")
    if a.cut:
        notes.append(
            f"episodes in the middle of which a participant left for good (they are not in the tables): {a.cut}"
        )
    if a.returned:
        notes.append(
            f"{', '.join(a.returned)} withdrew, and this run holds something of theirs (from another copy?): remove it again"
        )
    if a.resumed:
        notes.append(
            f"episodes with participants were gone on with from where they were cut off, so often: {a.resumed}"
        )
    if a.again:
        notes.append(
            f"episodes with participants that were begun anew after an interruption (what was cut off is not kept): {a.again}"
        )
    if a.complete % a.rows:
        notes.append(
            f"the orders of partners are balanced after every {a.rows} complete sessions; there are {a.complete}"
        )
    return notes


def controls(study: Study) -> list[str]:
    """What is switched off, or cannot be had."""
    roles = {s.role for s in study.lineups.values()}
    notes = []
    if not study.controls.floor:
        notes.append("the random floor is switched off (controls.floor = false)")
    if not study.controls.ceiling:
        notes.append("the scripted ceiling is switched off (controls.ceiling = false)")
    elif "control: ceiling" not in roles:
        notes.append(
            "no scripted ceiling: the environment names no expert (controls.ceiling = an agent's name adds one)"
        )
    if not study.controls.zero_message:
        notes.append("the zero-message control is switched off (controls.zero_message = false)")
    if not study.controls.equal_cost and any(is_team(study.agents[a]) for s in study.lineups.values() for a in s.seats):
        notes.append("the equal-cost controls of teams are switched off (controls.equal_cost = false)")
    return notes
