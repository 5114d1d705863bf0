"""Pictures of a recorded episode: its moves are played again and each tick is shown.

Nothing that a run names is executed but installed environments: the seats are filled by the record.
A replay that leaves the record ends in an error, so that no picture shows what was not played.
"""

from __future__ import annotations

import io
import itertools
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from crossplay.kernel import Block, CrossplayError, Env, Event, Outcome, make_env, nearest, play, recorded, unpack
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.study.spec import Study, parse_study

__all__ = [
    "Frame",
    "find_episode",
    "frames",
    "image_of",
    "key_ticks",
    "png",
    "save_gif",
    "save_strip",
    "standing_out",
    "words_of",
    "world_of",
]

NEAR = 4  # episodes that an error names
LONGEST = 60  # characters of an action or a message in a caption
TOLERANCE = 1e-9  # of rewards, where the run was made on another processor family


class Frame(NamedTuple):
    """One tick of an episode, as a spectator sees it before the moves of the tick.

    text: the world in words. picture: uint8[height, width, 3] or None. caption: what each seat did
    (with its origin where it was not the agent's own move), what was said, what it brought; in the
    last frame how the episode ended. seats: seat -> move. rewards: in seat order, or ().
    """

    tick: int
    text: str
    picture: np.ndarray | None
    caption: str
    seats: dict[str, str]
    rewards: tuple[float, ...]


# -- which episode -------------------------------------------------------------------------------------
def find_episode(run: RunFolder, study: Study, asked: str = "") -> EpisodeRecord:
    """The episode that is meant: "" (the first of the baseline), an id in hex or its beginning,
    or LINEUP:BLOCK. Raises CrossplayError that names the nearest ones.
    """
    records = run.records()
    if not records:
        raise CrossplayError(f"{run.path}: the run holds no episode yet")
    if not asked:
        counted = [r for r in records if r.status not in ("void", "env-fault")] or records
        groups = _groups(run)
        own = [r for r in counted if groups.get(r.cell) == study.baseline]
        return min(own or counted, key=lambda r: (str(type(r.block)), r.block, r.replicate))
    found = _by_place(run, records, asked) or [r for r in records if f"{r.id:016x}".startswith(asked.lower())]
    if len({r.id for r in found}) == 1 or (found and ":" in asked):
        return found[0]
    if found:
        some = ", ".join(f"{r.id:016x}" for r in found[:NEAR])
        raise CrossplayError(f'episode "{asked}" begins {len(found)} ids: {some}')
    if ":" in asked:
        known = dict.fromkeys([f"{r.lineup}:{r.block}" for r in records if r.status != "void"])
        raise CrossplayError(f'{run.path}: no episode "{asked}".{nearest(asked, known)}')
    by_distance = sorted(records, key=lambda r: (-_common(f"{r.id:016x}", asked.lower()), r.id))
    some = ", ".join(f"{r.id:016x} ({r.lineup}:{r.block})" for r in by_distance[:NEAR])
    raise CrossplayError(f'{run.path}: no episode "{asked}". Nearest: {some}. LINEUP:BLOCK is understood too')


def _by_place(run: RunFolder, records: Sequence[EpisodeRecord], asked: str) -> list[EpisodeRecord]:
    """Episodes of LINEUP:BLOCK: the ordered lineup's first, then the group's."""
    lineup, colon, block = asked.rpartition(":")
    if not colon:
        return []
    groups = _groups(run)
    here = [r for r in records if str(r.block) == block and r.status != "void"]
    return [r for r in here if r.lineup == lineup] or [r for r in here if groups.get(r.cell) == lineup]


def _groups(run: RunFolder) -> dict[str, str]:
    return {c.name: c.extra.get("group", c.lineup) for c in run.cells()}


def _common(a: str, b: str) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


# -- playing again -------------------------------------------------------------------------------------
def frames(
    run: RunFolder, study: Study, episode: int | EpisodeRecord, only: Callable[[int], bool] | None = None
) -> Iterator[Frame]:
    """The frames of an episode, one per tick and one after the last.

    only: whether a tick is shown (pictures of the others are not drawn). Raises CrossplayError when
    the environment that is installed here is another one, or plays the moves to another end.
    """
    record: EpisodeRecord = episode if isinstance(episode, EpisodeRecord) else run.record(episode)
    env, study, mail = world_of(run, study, record)
    try:
        events = run.events(record.id)
        conduct = study.conduct
        if mail is not None:
            conduct = msgspec.structs.replace(conduct, mail=msgspec.structs.replace(conduct.mail, mode=mail))
        seated = recorded(events, env.seats)
        episode_ = play(env, seated, Block(record.root, record.block, record.replicate), conduct)
        by_tick: dict[int, list[Event]] = {}
        for e in events:
            by_tick.setdefault(e.tick, []).append(e)
        shown, outcome = -1, None
        try:
            asked = next(episode_.requests)
            while True:
                tick = asked[0].tick
                if tick != shown and (only is None or only(tick)):
                    yield _frame(env, tick, by_tick.get(tick, []))
                shown = tick
                asked = episode_.requests.send([obs.agent.act(obs) for obs in asked])
        except StopIteration as stop:
            outcome = stop.value
        _same(record, outcome)
        if only is None or only(outcome.ticks):
            yield _last(env, record)
    finally:
        env.close()


def world_of(run: RunFolder, study: Study, record: EpisodeRecord) -> tuple[Env, Study, str | None]:
    """The environment of an episode, not started yet, the study it belongs to, and how its mail went.

    Raises CrossplayError where it is not installed here, or what is installed is another one.
    """
    digest = run.sources()[record.source]["study"]
    if digest != run.study_digest:
        study = parse_study(tomllib.loads(run.studies()[digest]))
    cell = next(c for c in run.cells() if c.name == record.cell)
    label = cell.extra.get("env", record.cell.partition(" | ")[0])
    if label not in study.environments:
        raise CrossplayError(
            f"{run.path}: the study names no environment {label!r}.{nearest(label, study.environments)}"
        )
    spec = study.environments[label]
    env = make_env(spec.name, spec.options, spec.clock)
    if env.id != record.env_id:
        env.close()
        raise CrossplayError(f"the episode was played in {record.env_id}; what is installed here is {env.id}")
    env.clock = "wait"  # replay has no clock; the id, asked for above, keeps the run's
    return env, study, cell.extra.get("mail")


def _same(record: EpisodeRecord, outcome: Outcome) -> None:
    """Raise unless the replay came to the recorded end."""
    if outcome.world == record.world:
        return
    close = all(abs(a - b) <= TOLERANCE * max(1.0, abs(b)) for a, b in zip(outcome.totals, record.totals, strict=True))
    if outcome.status != record.status or outcome.ticks != record.ticks or not close:
        raise CrossplayError(
            f"episode {record.id:016x} plays to another end here ({outcome.status} at tick {outcome.ticks}, "
            f"recorded was {record.status} at {record.ticks}); crossplay verify says where they part"
        )


def _frame(env: Env, tick: int, events: Sequence[Event]) -> Frame:
    moves: dict[str, str] = {}
    said: list[str] = []
    rewards: tuple[float, ...] = ()
    for e in events:
        if e.kind == "act":
            moves[env.seats[e.seat]] = _move(env, e)
        elif e.kind == "fault" and e.seat < len(env.seats) and e.origin != "begin":
            name = env.seats[e.seat]
            moves[name] = f"{moves.get(name, 'nothing')}, its own answer was {unpack(e.note)['kind']}"
        elif e.kind == "msg":
            said.append(f"{env.seats[e.seat]} says: {_short(unpack(e.payload or b'')[2])}")
        elif e.kind == "step" and e.rewards is not None:
            rewards = tuple(e.rewards)
    parts = [f"{seat}: {move}" for seat, move in moves.items()] + said
    if any(rewards):
        same = len(set(rewards)) == 1
        parts.append("reward " + (f"{rewards[0]:+g}" if same else ", ".join(f"{r:+g}" for r in rewards)))
    return Frame(tick, words_of(env), env.picture(), "; ".join(parts), moves, rewards)


def _last(env: Env, record: EpisodeRecord) -> Frame:
    score = ", ".join(f"{k} {v:g}" for k, v in list(record.score.items())[:3])
    first = next(iter(env.metrics), None)
    if first in record.score:
        score = f"{first} {record.score[first]:g}"
    ended = {"terminal": "the rules ended it", "horizon": "the last tick"}.get(record.status, record.status)
    return Frame(record.ticks, words_of(env), env.picture(), f"end ({ended}): {score}", {}, ())


def _move(env: Env, e: Event) -> str:
    spec = env.spec(env.seats[e.seat])
    if e.value is not None:
        shown = spec.names[e.value] if spec.kind == "names" and e.value < len(spec.names) else str(e.value)
    else:
        value = unpack(e.payload) if e.payload else None
        shown = np.array2string(value, precision=2) if isinstance(value, np.ndarray) else str(value)
    return _short(shown) + ("" if e.origin == "own" else f" ({e.origin})")


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def words_of(env: Env) -> str:
    """The world in words: the spectators' text, else what the seats read."""
    if text := env.text():
        return text.rstrip()
    if "text" not in env.views:
        return ""
    return "\n\n".join(f"{s}:\n{env.view(s, 'text')}" for s in env.seats if env.out(s) is None) or "(over)"


def key_ticks(run: RunFolder, record: EpisodeRecord, n: int) -> list[int]:
    """Up to n ticks that tell an episode: the first, the last, and one from each of equal spans between
    them, by turns the middle and the tick of the most unusual reward.
    """
    last = record.ticks
    if last < n:
        return list(range(last + 1))
    pay = _pay(run.events(record.id))
    # What every tick pays tells nothing; what stands out from the usual does.
    usual = float(np.median(list(pay.values()))) if pay else 0.0
    chosen = {0, last}
    edges = np.linspace(0, last, n - 1).round().astype(int).tolist()
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        span = range(low + 1, high)
        if not span:
            continue
        best = max(span, key=lambda t: abs(pay.get(t, usual) - usual))
        stands_out = k % 2 == 1 and abs(pay.get(best, usual) - usual) > 1e-12
        chosen.add(best if stands_out else (low + high) // 2)
    return sorted(chosen)


def _pay(events: Sequence[Event]) -> dict[int, float]:
    """Tick -> the largest reward of a seat, without its sign."""
    return {e.tick: max(map(abs, e.rewards), default=0.0) for e in events if e.rewards is not None}


def standing_out(events: Sequence[Event]) -> list[int]:
    """The ticks whose reward is not what it usually is (the median over the episode).

    Where it is another one nearly every tick, those that differ by more than three times the median difference.
    """
    pay = _pay(events)
    if not pay:
        return []
    apart = np.abs(np.array(list(pay.values())) - np.median(list(pay.values())))
    least = 1e-12
    if np.count_nonzero(apart > least) * 2 > len(pay):
        least = 3 * float(np.median(apart))
    return [t for t, d in zip(pay, apart.tolist(), strict=True) if d > least]


# -- images (Pillow) -----------------------------------------------------------------------------------
def image_of(frame: Frame, width: int = 0, caption: bool = False) -> Any:
    """The frame as a Pillow image: its picture, or its text drawn in a fixed-width font.

    width: small pictures are enlarged by a whole number to about this many pixels. caption: tick and
    caption are written under it.
    """
    from PIL import Image

    if frame.picture is None:
        image = _written(frame.text or frame.caption, scale=1)
    else:
        image = Image.fromarray(np.ascontiguousarray(frame.picture))
    if width and image.width * 2 <= width:
        times = width // image.width
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    if not caption:
        return image
    columns = max(12, image.width // 6 - 1)
    note = _written(textwrap.fill(f"tick {frame.tick}: {frame.caption}", columns), least=image.width)
    out = Image.new("RGB", (max(image.width, note.width), image.height + note.height), "white")
    out.paste(image, (0, 0))
    out.paste(note, (0, image.height))
    return out


def _written(text: str, scale: int = 1, least: int = 0) -> Any:
    """Text in Pillow's own fixed-width font (6 x 11 pixels a letter), black on white."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default_imagefont()
    lines = [line.encode("latin-1", "replace").decode("latin-1") for line in text.expandtabs(4).splitlines()] or [""]
    wide = max(len(line) for line in lines) * 6 + 8
    image = Image.new("RGB", (max(wide, least), len(lines) * 12 + 8), "white")
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        draw.text((4, 4 + 12 * i), line, fill="black", font=font)
    return image.resize((image.width * scale, image.height * scale)) if scale != 1 else image


def png(image: Any) -> bytes:
    """A Pillow image as the bytes of a PNG file, with few colours where it has few."""
    from PIL import Image

    out = io.BytesIO()
    if image.mode == "RGB" and image.getcolors(256) is not None:
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def save_gif(shown: Sequence[Frame], path: Path, speed: float, width: int = 360) -> None:
    """An animation at `speed` ticks a second, captions below; it repeats."""
    from PIL import Image

    images = [image_of(f, width, caption=True) for f in shown]
    size = (max(i.width for i in images), max(i.height for i in images))
    pages = []
    for image in images:
        page = Image.new("RGB", size, "white")
        page.paste(image, (0, 0))
        pages.append(page)
    # One palette for all, from pages spread over the episode: a palette per page takes ten times as long.
    some = pages[:: max(1, len(pages) // 8)]
    sheet = Image.new("RGB", (size[0], size[1] * len(some)))
    for k, page in enumerate(some):
        sheet.paste(page, (0, k * size[1]))
    palette = sheet.quantize(256, dither=Image.Dither.NONE)
    pages = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    # Viewers slow down what asks for less than 20 ms a page.
    step = max(20, round(1000 / speed / 10) * 10)
    pages[0].save(path, "GIF", save_all=True, append_images=pages[1:], duration=step, loop=0, optimize=False)


def save_strip(shown: Sequence[Frame], path: Path, width: int = 280, columns: int = 4) -> None:
    """The frames beside and below each other in one PNG, captions below each."""
    from PIL import Image

    images = [image_of(f, width, caption=True) for f in shown]
    wide, high = max(i.width for i in images), max(i.height for i in images)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (wide + 8) - 8, rows * (high + 8) - 8), (200, 200, 200))
    for k, image in enumerate(images):
        cell = Image.new("RGB", (wide, high), "white")
        cell.paste(image, (0, 0))
        sheet.paste(cell, ((k % columns) * (wide + 8), (k // columns) * (high + 8)))
    path.write_bytes(png(sheet))
