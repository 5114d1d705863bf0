"""Commands on teams: what happened inside them, and which members earn their score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

if TYPE_CHECKING:
    from crossplay.study.ablate import Ablation, Credit, GameCredit
    from crossplay.teams.ledger import TeamLedger

__all__ = ["ablate", "sweep", "team"]

Json = Annotated[bool, Parameter(name="--json", negative=())]
Flag = Annotated[bool, Parameter(negative=())]


def team(run: Path, /, *, lineup: str | None = None, json: Json = False) -> int:
    """Show the inside of the teams of a run: spend and words of members, agreement, changes of mind.

    Parameters
    ----------
    run
        The run folder.
    lineup
        Of this lineup alone; default: all but the controls.
    json
        Print JSON.

    """
    from crossplay.study.inside import team_ledger

    found = team_ledger(run, lineup)
    if json:
        import msgspec

        out.print_json(msgspec.to_builtins(found))
        return 0
    if not found:
        out.line(f"{run}: no team has played in it")
    shown = [t for t in found if lineup or not t.role or t.kind == "single"] or found
    for one in shown:
        _team(one)
    if len(shown) < len(found):
        left = ", ".join(t.lineup for t in found if t not in shown)
        out.line(f"Controls, each with --lineup: {left}")
    if found:
        out.line("Which members earn the score: crossplay ablate STUDY TEAM")
    return 0


def sweep(run: Path, lineup: str, /, *, rule: tuple[str, ...] = (), when: str = "end", json: Json = False) -> int:
    """Decide recorded discussions by other rules: no call is made.

    Parameters
    ----------
    run
        The run folder.
    lineup
        The lineup with the team.
    rule
        A decision rule; may be given several times. Default: all.
    when
        "end": on the last round; "first": at the first round at which the rule finds a decision.
    json
        Print JSON.

    """
    from crossplay.study.sweep import sweep_run

    found = sweep_run(run, lineup, rule, when)
    if json:
        import msgspec

        out.print_json(msgspec.to_builtins(found))
        return 0
    rows = []
    for r in found:
        a = r.accuracy
        shown = (
            ""
            if a is None
            else f"{a.value:.3f}" + (f" [{a.interval.low:.3f}, {a.interval.high:.3f}]" if a.interval else "")
        )
        turn = "" if r.turn is None else f"{r.turn:.1f}"
        rows.append(
            (r.rule, shown, f"{r.decided:.0%}", f"{r.tied:.0%}", turn, f"{r.calls:,}", f"{r.further_calls:,}", r.mark)
        )
    columns = ("rule", ">right [95%]", ">decided", ">tied", ">turn", ">answers used", ">further calls", "")
    out.table(f"{lineup}: rules on {found[0].elections if found else 0:,} recorded discussions", columns, rows)
    out.line("Further calls: what the rule would have to ask beyond the record; everything else costs nothing.")
    return 0


def _team(t: TeamLedger) -> None:
    title = f"{t.lineup} in {t.env}: members of {t.team}, {t.decisions:,} decisions"
    columns = ("member", ">asks", ">faults", ">words", ">share", ">right", ">confidence", ">Brier", ">ECE", ">AUROC")
    rows = [
        (
            m.name, f"{m.asks:,}", f"{m.faults:,}", f"{m.words:,}", _n(m.share, ".0%"), _n(m.right, ".2f"),
            _n(m.confidence, ".2f"), _n(m.brier, ".3f"), _n(m.ece, ".3f"), _n(m.auroc, ".2f"),
        )
        for m in t.members
    ]  # fmt: skip
    out.table(title, columns, rows)
    if any(m.calls for m in t.members):
        columns = ("member", ">calls", ">tokens in", ">cached", ">tokens out", ">USD", ">wall s")
        rows = [
            (
                m.name, f"{m.calls:,}", f"{m.tok_in:,}", _n(m.tok_cached, ","), f"{m.tok_out:,}", _n(m.money, ".4f"),
                _n(m.wall_s, ".1f"),
            )
            for m in t.members
        ]  # fmt: skip
        out.table("What members spent", columns, rows)
    if t.rounds:
        _round_table(t)
    _words(t)


def _round_table(t: TeamLedger) -> None:
    columns = (
        "round", ">answers", ">all agree", ">score", ">drift", ">right kept", ">right to wrong", ">wrong to right",
        ">wrong kept",
    )  # fmt: skip
    rows = [
        (
            str(r.round), f"{r.answers:,}", _n(r.agreed, ".0%"), _n(r.score, ".3f"), _n(r.drift, ".0%"),
            _n(r.right_right, ","), _n(r.right_wrong, ","), _n(r.wrong_right, ","), _n(r.wrong_wrong, ","),
        )
        for r in t.rounds
    ]  # fmt: skip
    out.table("Rounds: standing answers", columns, rows)


def _words(t: TeamLedger) -> None:
    """What is one number each."""
    from crossplay.study.inside_page import sentences

    for text in sentences(t):
        out.line(text)
    pairs = [(i, j) for i in range(len(t.last)) for j in range(i)]
    if pairs:
        ends = (_mean([m[i][j] for i, j in pairs]) for m in (t.first, t.last))
        out.line("Two members agree in {} of first and {} of last answers.".format(*(_n(e, ".0%") for e in ends)))


def _n(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


# -- credit ------------------------------------------------------------------------------------------
def ablate(
    study: Path,
    name: Annotated[str, Parameter(name="TEAM")],
    /,
    *,
    members: Flag = False,
    shapley: int | None = None,
    model: Annotated[list[str] | None, Parameter(negative=())] = None,
    nobody: str = "random",
    lineup: str | None = None,
    limit: float = 0.15,
    out_: Annotated[Path | None, Parameter(name="--out")] = None,
    plan: Flag = False,
    trust: Flag = False,
    json: Json = False,
) -> int:
    """Play a team without each of its members, or in coalitions, and say who earns its score.

    Parameters
    ----------
    study
        The study file (TOML).
    name
        The team, an agent of the study.
    members
        Leave out one member at a time (the default).
    shapley
        Shapley values from so many orders of joining; exact with at most four members.
    model
        Let all members play this model; given several times, each in turn: which members count whatever the model.
    nobody
        The agent whose score is the value of the empty coalition.
    lineup
        The lineup whose other seats are kept.
    limit
        Largest standard deviation of win rates over models that is called universal.
    out_
        The run folder; default: runs/NAME-TEAM-credit.
    plan
        Print cells, calls, tokens, price and time, and play nothing.
    trust
        Load code that the study names (python: agents).
    json
        Print JSON.

    """
    from crossplay.cli.studies import play_study
    from crossplay.kernel.types import CrossplayError
    from crossplay.study.ablate import ablation, credit_of
    from crossplay.study.spec import load_study

    if members and shapley is not None:
        raise CrossplayError("ablate: give --members or --shapley N, not both")
    spec = load_study(study)
    made = ablation(
        spec, name, draws=shapley, models=model or (), nobody=nobody, lineup=lineup, trust=trust, limit=limit
    )
    folder = out_ or Path("runs") / f"{spec.name}-{name}-credit"
    if plan:
        return play_study(made.study, folder, plan=True, trust=trust, json=json, source=study)
    _play(made, folder, trust)
    found = credit_of(folder, made)
    if json:
        out.print_json(found.to_dict())
    else:
        _credit(found, folder)
    return 0


def _play(made: Ablation, folder: Path, trust: bool) -> None:
    from crossplay.study.runner import run_study
    from crossplay.study.stage import Stage

    stage = Stage(made.study, folder, trust=trust)
    stage.check()
    with out.progress(f"playing {made.study.name}") as (update, _):
        at = [0, 0]

        def start(done: int, planned: int) -> None:
            at[:] = [done, planned]
            update(done, planned)

        def episode(record: Any) -> None:
            at[0] += 1
            update(*at)

        run_study(stage, folder, on_episode=episode, on_start=start)


SAID = {"better": "helps", "worse": "harms", "tied": "makes no difference", "underpowered": "not shown"}


def _credit(found: Credit, folder: Path) -> None:
    for game in found.games:
        _game(found, game)
    if found.stability:
        rows = [(s.member, f"{s.sd:.3f}", f"{s.low:.2f}", f"{s.high:.2f}", s.kind) for s in found.stability]
        out.table("Over models: win rate of the whole team", ("member", ">sd", ">lowest", ">highest", "kind"), rows)
    out.line(f"Every coalition is a lineup: crossplay show {folder}, or crossplay team {folder}")


def _game(found: Credit, game: GameCredit) -> None:
    from crossplay.cli.tables import estimate

    n = 3
    rows = []
    for m in game.members:
        i = m.comparison.adjusted_interval
        row = [m.member, estimate(m.credit, n), f"[{i.low:.{n}f}, {i.high:.{n}f}]" if i else ""]
        row.append(SAID[m.comparison.verdict] if i else "no interval")
        row += [_n(m.win, ".0%")] if found.kind == "members" else []
        row += [] if game.exact else [_n(m.error, f".{n}f")]
        rows.append(row)
    how = "left out one at a time" if found.kind == "members" else "Shapley values"
    how += "" if game.exact else ", sampled orders"
    model = f" with {game.model}" if game.model else ""
    columns = ["member", f">{found.metric} it brings", ">Holm", "verdict"]
    columns += [">whole team wins"] if found.kind == "members" else []
    columns += [] if game.exact else [">error of sampling"]
    out.table(f"{game.team}{model} in {game.env}: {how}, {game.blocks} blocks", columns, rows)
    nobody = "" if game.nobody is None else f", nobody {game.nobody:.{n}f}"
    out.line(f"whole team {game.whole:.{n}f}{nobody} (margin {found.margin:g})")
    for note in game.notes:
        out.line(f"note: {note}")
