"""How results and episodes show themselves in notebooks: HTML that stands by itself, without scripts, light and dark.

`Episode` is an episode of a run to look at: its record, its events, its frames.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossplay.records import EpisodeRecord, RunFolder
from crossplay.study.frames import Frame, find_episode, frames, image_of, key_ticks, png, save_gif
from crossplay.study.page import badge, colours, data_uri, details, facts, styles, table
from crossplay.study.plots import (
    difference_words,
    differences_plot,
    estimate_words,
    payoff_plot,
    scores_plot,
    verdict_words,
)
from crossplay.study.spec import Study
from crossplay.study.verify import load_run

if TYPE_CHECKING:
    import polars as pl

    from crossplay.study.tables import Result, Row

__all__ = ["Episode", "result_html", "result_text"]

STRIP = 8  # frames of a strip
WIDTH = 220  # pixels of a frame
PAGES = 90  # of an animation at most; longer episodes are shown at every second tick, third ...
SPEED = 8.0  # ticks a second
LINES = 400  # ticks that are told in words


# -- results ---------------------------------------------------------------------------------------------------
def result_text(result: Result) -> str:
    """A result as lines of text, for notebooks that show no HTML."""
    lines = [f"{result.name}: {result.metric}, {result.episodes} of {result.planned} episodes"]
    for row in result.rows:
        by = "baseline" if row.lineup == result.baseline else ""
        if row.comparison is not None:
            by = f"{difference_words(row.comparison, result.digits)} {verdict_words(row.comparison)}"
        role = f" ({row.role})" if row.role else ""
        lines.append(
            f"  {row.env}, {row.lineup}{role}: {estimate_words(row.summary.mean, result.digits)}  {by}".rstrip()
        )
    return "\n".join([*lines, *(f"{a.ask} {a.sentence}" for a in result.answers)])


def result_html(result: Result) -> str:
    """A result: answers, the table with intervals and verdicts, plots, costs, notes."""
    from crossplay.study.report import _answers, _drawn

    parts = [
        f"<h2>{escape(result.name)}</h2>",
        f'<p class="soft">{escape(result.metric)}{": " + escape(result.metric_help) if result.metric_help else ""}; '
        f"{result.episodes} of {result.planned} episodes.</p>",
        _answers(result),
    ]
    for env in dict.fromkeys(r.env for r in result.rows):
        rows = [r for r in result.rows if r.env == env]
        parts += [_scores(result, env, rows), _drawn(scores_plot(result, env))]
        differences, payoff = differences_plot(result, env), payoff_plot(result, env)
        if differences is not None:
            parts.append(details("Differences, block by block", _drawn(differences)))
        if payoff is not None:
            parts.append(details("Payoff matrix", _drawn(payoff)))
        parts.append(details("Costs and faults", _costs(env, rows)))
    if result.notes:
        parts.append(
            details(
                f"Notes ({len(result.notes)})",
                "<ul>" + "".join(f"<li>{escape(n)}</li>" for n in result.notes) + "</ul>",
            )
        )
    return _framed(parts)


def _scores(result: Result, env: str, rows: Sequence[Row]) -> str:
    lines = []
    best = max(r.summary.mean.value for r in rows)
    for r in rows:
        c = r.comparison
        verdict = "baseline" if r.lineup == result.baseline else ""
        if c is not None:
            verdict = f'<span class="verdict {c.verdict}">{verdict_words(c)}</span>'
        marks = [r.role] if r.role else []
        marks += ["over the fault limit"] if r.costs.flagged else []
        top = ' <span aria-label="highest mean">★</span>' if r.summary.mean.value == best else ""
        lines.append(
            (
                escape(r.lineup) + top + "".join(f" {badge(m)}" for m in marks),
                escape(estimate_words(r.summary.mean, result.digits)),
                escape(difference_words(c, result.digits)) if c else "",
                verdict,
                str(r.summary.blocks),
                str(r.summary.episodes),
            )
        )
    columns = (
        "lineup",
        f">{result.metric} [{result.level:.0%}]",
        ">difference [Holm]",
        "verdict",
        ">blocks",
        ">episodes",
    )
    return table(f"{env}: mean of block means, and paired difference from {result.baseline}", columns, lines)


def _costs(env: str, rows: Sequence[Row]) -> str:
    lines = []
    for r in rows:
        c = r.costs
        money = "no price" if c.money is None else f"{c.money:.4f}"
        numbers = (
            f"{c.decisions:,}",
            f"{c.calls:,}",
            f"{c.tok_in + c.tok_out:,}",
            money,
            f"{c.cpu_s:.1f}",
            f"{c.fallbacks:,}",
            f"{c.invalid:,}",
        )
        lines.append((escape(r.lineup), *numbers))
    columns = ("lineup", ">decisions", ">calls", ">tokens", ">USD", ">CPU s", ">fallbacks", ">invalid")
    return table(f"{env}: what it took", columns, lines)


# -- episodes ----------------------------------------------------------------------------------------------------
class Episode:
    """An episode of a run. id: 16 hexadecimal digits; record: what the run keeps of it.

    Frames are made by playing the recorded moves again; nothing that the run names is executed but installed
    environments.
    """

    def __init__(self, folder: str | Path, asked: str = "") -> None:
        """asked: an id or its beginning, LINEUP:BLOCK, or "" for the first of the baseline."""
        self.folder = Path(folder)
        run, study = load_run(self.folder)
        with run:
            self.record: EpisodeRecord = find_episode(run, study, asked)
            cell = next(c for c in run.cells() if c.name == self.record.cell)
        self.id = f"{self.record.id:016x}"
        self.seats: dict[str, str] = {s: cell.agents[s] for s in cell.extra.get("seats", cell.agents)}

    def __repr__(self) -> str:
        r = self.record
        return f"<episode {self.id}: {r.lineup} in {r.env_id}, block {r.block}, {r.status} after {r.ticks} tick{'s' * (r.ticks != 1)}>"

    def events(self) -> pl.DataFrame:
        """Its events as a Polars table."""
        with RunFolder.open(self.folder) as run:
            return run.frame([self.record.id])

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Its ticks as a spectator sees them: text, picture, caption, moves, rewards; each `every`th, and the last."""
        with self._open() as (run, study):
            last = self.record.ticks
            yield from frames(run, study, self.record, lambda t: t % every == 0 or t == last)

    def gif(self, path: str | Path, speed: float = SPEED, width: int = 360) -> Path:
        """Save it as an animation; where it was written."""
        out = Path(path)
        save_gif(list(self.frames()), out, speed, width)
        return out

    def _open(self) -> Any:
        return _Opened(self.folder)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What notebooks show."""
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        """Facts, a strip of frames that tell it, an animation, and every tick in words."""
        r = self.record
        score = ", ".join(f"{escape(k)} {v:g}" for k, v in r.score.items())
        head = facts(
            {
                "lineup": "; ".join(f"{escape(s)}: <b>{escape(a)}</b>" for s, a in self.seats.items()),
                "environment": f"<code>{escape(r.env_id)}</code>, block {escape(str(r.block))}",
                "end": f"{escape(r.status)} after {r.ticks} tick{'s' * (r.ticks != 1)}",
                "score": score,
            }
        )
        return _framed([f"<h2>Episode <code>{self.id}</code></h2>", head, *self._shown()])

    def _shown(self) -> Iterator[str]:
        every = max(1, -(-(self.record.ticks + 1) // PAGES))
        with self._open() as (run, study):
            keys = set(key_ticks(run, self.record, STRIP))
            lines = max(1, -(-(self.record.ticks + 1) // LINES))
            found = list(frames(run, study, self.record, lambda t: t in keys or not t % every or not t % lines))
        yield _strip([f for f in found if f.tick in keys])
        moving = [f for f in found if not f.tick % every or f.tick == self.record.ticks]
        if any(f.picture is not None for f in moving):
            note = f" (every {every} ticks)" if every > 1 else ""
            image = f'<img class="moving" alt="the episode as an animation" src="{_gif(moving)}">'
            yield details(f"Animation{note}", image)
        words = [(str(f.tick), escape(f.caption)) for f in found]
        yield details("Tick by tick", table("What happened", ("tick", "what happened"), words))


class _Opened:
    """An open run and its study, for a while."""

    def __init__(self, folder: Path) -> None:
        self.run, self.study = load_run(folder)

    def __enter__(self) -> tuple[RunFolder, Study]:
        self.run.__enter__()
        return self.run, self.study

    def __exit__(self, *error: Any) -> None:
        self.run.__exit__(*error)


def _strip(shown: Sequence[Frame]) -> str:
    drawn = all(f.picture is not None for f in shown)
    cells = []
    for f in shown:
        said = f"<figcaption><b>{f.tick}</b> {escape(f.caption)}</figcaption>"
        if drawn:
            alt = escape(f"tick {f.tick}: {f.caption}", quote=True)
            cells.append(
                f'<figure><img alt="{alt}" src="{data_uri("image/png", png(image_of(f, WIDTH)))}">{said}</figure>'
            )
        else:
            cells.append(f"<figure><pre>{escape(f.text)}</pre>{said}</figure>")
    return f'<div class="strip{"" if drawn else " words"}">{"".join(cells)}</div>'


def _gif(shown: Sequence[Frame]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "episode.gif"
        save_gif(shown, path, SPEED, WIDTH)
        return data_uri("image/gif", path.read_bytes())


# -- the frame around them ---------------------------------------------------------------------------------------
def _framed(parts: Sequence[str]) -> str:
    """The parts in a box of their own. The styles are the report's, nested, so that they touch nothing around them;
    light and dark follow the notebook where it says which it is, else the system.
    """
    light, dark = f"{colours()} color-scheme: light;", f"{colours(dark=True)} color-scheme: dark;"
    style = (
        f".crossplay-box {{ {light} background: var(--paper); color: var(--ink); padding: .6rem .9rem; "
        "border: 1px solid var(--line); border-radius: 8px; font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; }\n"
        f"@media (prefers-color-scheme: dark) {{ .crossplay-box {{ {dark} }} }}\n"
        f'[data-jp-theme-light="true"] .crossplay-box, .vscode-light .crossplay-box {{ {light} }}\n'
        f'[data-jp-theme-light="false"] .crossplay-box, .vscode-dark .crossplay-box {{ {dark} }}\n'
        f".crossplay-box {{\n{styles()}\n& h2 {{ margin: .2rem 0; padding: 0; border: 0; }} & table {{ margin: 0; color: inherit; }} "
        "& th, & td { text-align: left; background: none; } & .r { text-align: right; } & .moving { width: min(100%, 22rem); image-rendering: pixelated; background: #fff; } }"
    )
    return f'<div class="crossplay-box"><style>\n{style}\n</style>\n' + "\n".join(p for p in parts if p) + "</div>"
