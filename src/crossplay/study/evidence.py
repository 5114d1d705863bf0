"""The evidence in a report: pictures of replayed episodes, who played on what, how to play it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from statistics import median_low
from typing import Any

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.study import svg
from crossplay.study.frames import Frame, frames, image_of, key_ticks, png
from crossplay.study.page import data_uri, details, facts, table
from crossplay.study.spec import Study
from crossplay.study.tables import Result, Row
from crossplay.study.values import scored

__all__ = ["again", "price_note", "provenance", "replays"]

FRAMES = 8  # pictures of an episode
STRIPS = 3  # lineups that are shown
PICTURE = 320  # pixels that a small picture is enlarged to, about


# -- pictures ------------------------------------------------------------------------------------------------
def replays(run: RunFolder, study: Study, result: Result) -> str:
    """Strips of pictures of typical episodes: best lineup, baseline, first mixed one."""
    parts = []
    shown_rows = list(_to_show(study, result))
    typical = _typical(run, study, [row for row, _ in shown_rows], result.metric)
    for row, why in shown_rows:
        if row.lineup not in typical:
            continue
        record, value = typical[row.lineup]
        name = f"{record.id:016x}"
        seats = ", ".join(f"{s}: {a}" for s, a in next(c.agents for c in run.cells() if c.name == record.cell).items())
        score = f"{result.metric} {svg.number(value)}"
        head = (
            f"<h3>{escape(row.lineup)} <small>({why})</small></h3><p>Block {escape(str(record.block))}, the episode "
            f"with the median score of the lineup ({escape(score)}). Seats: {escape(seats)}. Watch all of it: "
            f"<code>crossplay replay {escape(_folder(run))} {name}</code></p>"
        )
        try:
            wanted = set(key_ticks(run, record, FRAMES))
            shown = "".join(_picture(f) for f in frames(run, study, record, wanted.__contains__))
        except CrossplayError as error:
            shown = f'<p class="note">No pictures: {escape(str(error))}</p>'
        words = "" if "<img" in shown else " words"
        parts.append(f'{head}<div class="strip{words}">{shown}</div>')
    return "".join(parts)


def _to_show(study: Study, result: Result) -> Iterator[tuple[Row, str]]:
    """Up to three lineups of the first environment, each with the reason: best, baseline, first mixed."""
    env = next(iter(study.environments), "")
    rows = [r for r in result.rows if r.env == env]
    chosen: dict[str, tuple[Row, str]] = {}
    best = max(rows, key=lambda r: r.summary.mean.value, default=None)
    if best is not None:
        both = "highest mean, and the baseline" if best.lineup == result.baseline else "highest mean"
        chosen[best.lineup] = best, both
    for r in rows:
        if r.lineup == result.baseline:
            chosen.setdefault(r.lineup, (r, "the baseline"))
    mixed = [r for r in rows if len(set(study.lineups[r.lineup].seats)) > 1 and r.lineup not in chosen]
    if len(chosen) < STRIPS and mixed:
        chosen[mixed[0].lineup] = mixed[0], "the first mixed lineup"
    yield from chosen.values()


def _typical(run: RunFolder, study: Study, rows: Sequence[Row], metric: str) -> dict[str, tuple[EpisodeRecord, float]]:
    """Lineup -> the episode with its median score (the lower one of two), and that score, of rows of one environment."""
    named = {(r.env, r.lineup): r.lineup for r in rows}
    of = {c.name: named.get((c.extra.get("env", ""), c.extra.get("group", ""))) for c in run.cells()}
    found: dict[str, list[tuple[float, str]]] = {}
    for cell, episode, value in scored(run, study, metric, {name for name, lineup in of.items() if lineup}):
        found.setdefault(of[cell] or "", []).append((value, episode))
    typical = {}
    for lineup, values in found.items():
        middle = median_low([v for v, _ in values])
        first = next(episode for v, episode in values if v == middle)
        typical[lineup] = run.record(int(first, 16)), middle
    return typical


def _picture(frame: Frame) -> str:
    said = f"tick {frame.tick}: {frame.caption}"
    if frame.picture is None:
        inside = f"<pre>{escape(frame.text)}</pre>"
    else:
        address = data_uri("image/png", png(image_of(frame, PICTURE)))
        inside = f'<img src="{address}" alt="{escape(_alt(frame), quote=True)}">'
    return f"<figure>{inside}<figcaption>{escape(said)}</figcaption></figure>"


def _alt(frame: Frame) -> str:
    """The picture in words: the world's own text where it is short."""
    return frame.text if 0 < len(frame.text) <= 400 else f"the world at tick {frame.tick}"


def price_note(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Where prices come from: the dated table, the study, or nowhere (models on this machine)."""
    from crossplay.models.prices import table as prices

    by_table = [n for n, m in models.items() if m.get("priced") and not m.get("price")]
    given = [n for n, m in models.items() if m.get("price")]
    free = [n for n, m in models.items() if not m.get("priced") and not m.get("price")]
    said = []
    if by_table:
        date = max((p.date for p in prices().values()), default="")
        said.append(f"USD by the price table of {date} ({', '.join(by_table)})")
    if given:
        said.append(f"USD by the prices that the study gives ({', '.join(given)})")
    if free:
        said.append(f"no price, because it runs here or is no model; its cost is processor time ({', '.join(free)})")
    return f'<p class="soft">{escape("; ".join(said))}.</p>' if said else ""


# -- where it comes from, and how to play it again -----------------------------------------------------------
def provenance(run: RunFolder, agents: Mapping[str, Mapping[str, Any]]) -> str:
    """Code, machine and packages of every source of the run, and the manifests of its agents."""
    sources = run.sources()
    parts = []
    for k, s in enumerate(sources):
        sha = s.get("git_sha")
        dirty = " (with changes that are not committed)" if s.get("git_dirty") else ""
        if len(sources) > 1:
            parts.append(f"<h3>Source {k + 1} of {len(sources)}</h3>")
        wanted = (
            "numpy",
            "numba",
            "torch",
            "msgspec",
            "polars",
            "pettingzoo",
            "open-spiel",
            "minigrid",
            "gymnasium",
            "xllamacpp",
        )
        versions = [p for p in s.get("packages", ()) if p.partition("==")[0] in wanted]
        parts.append(
            facts(
                {
                    "study digest": f"<code>{escape(str(s.get('study', '')))}</code>",
                    "Crossplay": escape(str(s.get("crossplay", ""))),
                    "commit": f"<code>{escape(str(sha))}</code>{dirty}" if sha else "",
                    "Python": escape(f"{s.get('implementation', '')} {s.get('python', '')}"),
                    "packages": escape(", ".join(versions)),
                    "digest of all packages": f"<code>{escape(str(s.get('lock_digest', '')))}</code>",
                    "processor": escape(f"{s.get('cpu', '')}, {s.get('machine', '')}"),
                    "system": escape(str(s.get("platform", ""))),
                }
            )
        )
    lines = []
    for name, manifest in agents.items():
        rest = {k: v for k, v in manifest.items() if k != "name"}
        lines.append((escape(name), f"<pre>{escape(_readable(rest))}</pre>"))
    models = {name: m for s in sources for name, m in s.get("models", {}).items()}
    if models:
        told = [(escape(n), f"<pre>{escape(_readable(m))}</pre>") for n, m in models.items()]
        parts.append(
            details("What identifies each model", table("Identities of the models", ("model", "identity"), told))
        )
    parts.append(details("What identifies each agent", table("Manifests of the agents", ("agent", "manifest"), lines)))
    return "".join(parts)


def _readable(data: Mapping[str, Any]) -> str:
    """Data as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(data), indent=1).decode()


def again(run: RunFolder, study: Study) -> str:
    """The commands that play the run again and that check it, with the study itself."""
    folder = _folder(run)
    trust = " --trust" if any(s.type.startswith("python:") for s in study.agents.values()) else ""
    link = data_uri("application/toml", run.study_toml.encode())
    others = [d for d in run.studies() if d != run.study_digest]  # of the runs that were joined in this one
    commands = f"crossplay run {folder}/study.toml --out {folder}-again{trust}\n"
    for k, digest in enumerate(others, 2):
        commands += f"crossplay run {folder}/study-{digest}.toml --out {folder}-again-{k}{trust}\n"
    commands += f"crossplay verify {folder} --level agents{trust}"
    first = "The first command plays the run again" if not others else "All but the last play the joined runs again"
    return (
        f"<p>{first}; the last checks this one: its seals, its moves, and its agents asked again.</p>\n<pre><code>{escape(commands)}</code></pre>"
        f'<p class="download"><a download="study.toml" href="{link}">Download study.toml</a>, as resolved: with it '
        "the first command needs nothing else.</p>" + details("study.toml", f"<pre>{escape(run.study_toml)}</pre>")
    )


def _folder(run: RunFolder) -> str:
    """The run's folder as commands name it."""
    return shlex.quote(run.path.name or "run")
