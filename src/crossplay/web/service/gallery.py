"""The gallery: what each entry is, what holds of it, and "run it", the command `crossplay gallery` beside the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from crossplay.gallery import shelf
from crossplay.gallery.checking import Checked
from crossplay.gallery.entry import Claim, Entry, Figure
from crossplay.gallery.running import Tried
from crossplay.kernel import CrossplayError, nearest
from crossplay.models.catalog import status
from crossplay.web.api import Route
from crossplay.web.desk import Conflict, Desk, NotFound
from crossplay.web.readme import Section, sections
from crossplay.web.service import tasks
from crossplay.web.service.tasks import Task

__all__ = [
    "ROUTES", "Check", "CheckAsked", "EntryHead", "EntryTold", "Gallery", "Part", "RunAsked", "Trial", "TrialTold",
    "check_entry", "gallery", "gallery_entry", "run_entry",
]  # fmt: skip

FOLDER = "gallery"
"""Below the folder that is served: runs of trials, and checks/NAME.json."""


class Trial(msgspec.Struct, kw_only=True):
    """A trial of a claim with models. tier: 1 small local models, 2 any endpoint. n: blocks. verdict: in words.

    where: "kept" with the entry, or the name of the folder below the server's gallery folder where it was tried here.
    replays: whether its calls are kept, so that it can be run again without the model.
    """

    tier: int
    models: list[str]
    n: int
    date: str
    verdict: str
    where: str
    replays: bool


class TrialTold(Trial, kw_only=True):
    """The same whole: level after level, with the single agent, floor and ceiling first. runs: names of its runs here."""

    whole: Tried
    runs: list[str] = []


class Check(msgspec.Struct, kw_only=True):
    """The last check of the mechanism that was made from here. at: seconds since 1970. ok: whether everything holds and
    fails as it must; null where it could not be checked, and `why` says why. holds, findings: how many of how many.
    """

    at: float
    ok: bool | None
    holds: int = 0
    findings: int = 0
    seconds: float = 0.0
    why: str = ""


class EntryHead(msgspec.Struct, kw_only=True):
    """One published system. claim: the first of its claims in our words. mechanisms: names of the parts whose absence the
    check must notice. check: the last one made from here, null for none. trials: the kept ones, then those made here.
    tries: whether it has a trial with models. going: what runs on it now. trouble: why it cannot be loaded, "" where it can.
    """

    name: str
    title: str
    source: str
    claim: str
    mechanisms: list[str]
    trials: list[Trial]
    check: Check | None
    tries: bool
    going: Task | None
    trouble: str = ""


class Gallery(msgspec.Struct):
    """All entries that are installed, by name. models: local models that are here, which trials of tier 1 can name."""

    entries: list[EntryHead]
    models: list[str]


class Part(msgspec.Struct):
    """A part that matters. off: the public settings that switch it off; breaks: names of the findings that then fail."""

    name: str
    off: dict[str, Any]
    breaks: list[str]


class EntryTold(msgspec.Struct, kw_only=True):
    """An entry whole. claims say at which tiers they are spoken of; figures are the publication's, with the mark of their
    source (A abstract, S published source, P public page). checked: the last check made from here, finding by finding.
    levels, asks, n, effect: of its trial: levels tried from hard to easy, models it was made for, blocks, and the smallest
    effect of interest. readme: its text. settings: of the experiment, with their defaults.
    """

    head: EntryHead
    about: str
    claims: list[Claim]
    figures: list[Figure]
    missing: str
    parts: list[Part]
    settings: dict[str, Any]
    checked: Checked | None
    trials: list[TrialTold]
    levels: list[str]
    asks: list[str]
    n: int
    effect: float
    readme: list[Section]
    models: list[str]


class CheckAsked(msgspec.Struct, forbid_unknown_fields=True):
    """once: leave out the second half, in which each mechanism is switched off and its findings must fail."""

    once: bool = False


class RunAsked(msgspec.Struct, forbid_unknown_fields=True):
    """tier: 0 the check, 1 the trial with a local model. model: one that is here, "" for what the trial was made for.

    n: blocks, null for what the entry asks for. replay: with the calls that the entry keeps of its own trial: no model runs.
    Endpoints (tier 2) are named on the command line: they may cost money.
    """

    tier: Literal[0, 1] = 0
    model: Annotated[str, msgspec.Meta(max_length=100)] = ""
    n: Annotated[int, msgspec.Meta(ge=2, le=10_000)] | None = None
    replay: bool = False


# -- reading -----------------------------------------------------------------------------------------
def gallery(desk: Desk) -> Gallery:
    """All entries of the gallery: what they are, what was kept of their trials, how they stand here."""
    return Gallery([_listed(desk, name) for name in shelf.names()], _models())


def gallery_entry(desk: Desk, entry: str) -> EntryTold:
    """One entry: claims, mechanisms, published figures, the last check, its trials, its text."""
    e = _entry(entry)
    trial = e.trial
    checked = _checked(desk, entry)[1]
    return EntryTold(
        head=_head(desk, e), about=e.about, claims=list(e.claims), figures=list(e.figures), missing=e.missing,
        parts=[Part(m.name, m.off, list(m.breaks)) for m in e.mechanisms],
        settings=msgspec.to_builtins(e.settings()), checked=checked, trials=_trials(desk, entry),
        levels=[f"{v.name}: {v.about}" for v in trial.levels] if trial else [], asks=list(trial.models) if trial else [],
        n=trial.n if trial else 0, effect=trial.effect if trial else 0.0, readme=sections(shelf.readme(entry)),
        models=_models(),
    )  # fmt: skip


def _entry(name: str) -> Entry:
    if name not in shelf.names():
        raise NotFound(f'the gallery has no entry "{name[:80]}".{nearest(name[:80], shelf.names())}')
    return shelf.entry(name)


def _listed(desk: Desk, name: str) -> EntryHead:
    try:
        return _head(desk, shelf.entry(name))
    except CrossplayError as error:  # an entry of another package must not hide the rest
        return EntryHead(
            name=name, title=name, source="", claim="", mechanisms=[], trials=[], check=None, tries=False, going=None,
            trouble=str(error),
        )  # fmt: skip


def _head(desk: Desk, e: Entry) -> EntryHead:
    trials = _trials(desk, e.name)
    return EntryHead(
        name=e.name, title=e.title, source=e.source, claim=e.claims[0].text if e.claims else "",
        mechanisms=[m.name for m in e.mechanisms],
        trials=[Trial(**{k: getattr(t, k) for k in Trial.__struct_fields__}) for t in trials],
        check=_checked(desk, e.name)[0], tries=e.trial is not None, going=tasks.running(desk, _about(e.name)),
    )  # fmt: skip


def _trials(desk: Desk, name: str) -> list[TrialTold]:
    """Those kept with the entry, then those tried here."""
    found = [_told(msgspec.convert(k, Tried), "kept", k["calls"] is not None) for k in shelf.kept(name)]
    for file in sorted(desk.root.glob(f"{FOLDER}/*/verdict.json")):
        try:
            whole = msgspec.json.decode(file.read_bytes(), type=Tried)
        except (OSError, msgspec.MsgspecError):
            continue  # half written, or of another version: it is no trial that can be shown
        if whole.entry == name:
            begins = "~".join((FOLDER, file.parent.name, ""))
            told = _told(whole, file.parent.name, False)
            told.runs = [r for r in desk.run_names() if r.startswith(begins)]
            found.append(told)
    return found


def _told(t: Tried, where: str, replays: bool) -> TrialTold:
    return TrialTold(
        tier=t.tier, models=t.models, n=t.n, date=t.date, verdict=t.verdict, where=where, replays=replays, whole=t
    )


def _checked(desk: Desk, name: str) -> tuple[Check | None, Checked | None]:
    """The last check that was made from here, in brief and whole."""
    try:
        kept = msgspec.json.decode(_check_file(desk, name).read_bytes(), type=tasks.Kept)
        [one] = msgspec.convert(kept.result, list[dict[str, Any]])
        if one.get("not_checked"):
            return Check(at=kept.at, ok=None, why=str(one["not_checked"])), None
        whole = msgspec.convert(one, Checked)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None, None
    holds = sum(f.holds for f in whole.findings)
    brief = Check(at=kept.at, ok=whole.ok, holds=holds, findings=len(whole.findings), seconds=whole.seconds)
    return brief, whole


def _models() -> list[str]:
    return [s.model.name for s in status() if s.state == "here"]


# -- running -----------------------------------------------------------------------------------------
def check_entry(desk: Desk, entry: str, body: CheckAsked) -> Task:
    """Check the mechanism of an entry (tier 0: scripted or synthetic agents): `crossplay gallery check NAME`."""
    e = _entry(entry)
    args = ["gallery", "check", e.name, "--json", *(["--once"] if body.once else [])]
    keep = None if body.once else _check_file(desk, e.name)
    return tasks.start(desk, "gallery check", e.name, args, about=_about(e.name), keep=keep)


def run_entry(desk: Desk, entry: str, body: RunAsked) -> Task:
    """Run an entry: its check (tier 0), or its trial with a local model (tier 1): `crossplay gallery run NAME`."""
    e = _entry(entry)
    if body.tier == 0:
        return check_entry(desk, entry, CheckAsked())
    if e.trial is None:
        raise Conflict(f"{e.name} has no trial with models; its check is tier 0")
    if (desk.root / "manifest.sqlite").is_file():
        raise Conflict("this server shows one run; a trial needs a folder of runs: crossplay serve FOLDER")
    if body.replay and not any(t["tier"] == 1 and t["calls"] for t in shelf.kept(e.name)):
        raise Conflict(f"{e.name}: no trial is kept with its calls")
    here = _models()
    if body.model and body.model not in here:
        raise NotFound(f'no local model "{body.model}" is here.{nearest(body.model, here)}')
    folder = desk.root / FOLDER / _folder_name(e.name, body)
    args = ["gallery", "run", e.name, "--tier", "1", "--out", str(folder), "--json"]
    if body.replay:
        args.append("--replay")
    else:
        args += ["--model", body.model] if body.model else []
        args += ["--n", str(body.n)] if body.n is not None else []
    return tasks.start(desk, "gallery run", e.name, args, folder, _about(e.name))


def _folder_name(name: str, body: RunAsked) -> str:
    """One folder for each way to try an entry: another number of blocks is another study."""
    how = "replay" if body.replay else "-".join(filter(None, [body.model, f"n{body.n}" if body.n else ""]))
    return "-".join(filter(None, [name, re.sub(r"[^\w.-]+", "-", how)]))


def _about(name: str) -> str:
    return f"gallery {name}"


def _check_file(desk: Desk, name: str) -> Path:
    return desk.root / FOLDER / "checks" / f"{name}.json"


ROUTES = [
    Route("GET", "/gallery", gallery),
    Route("GET", "/gallery/{entry}", gallery_entry),
    Route("POST", "/gallery/{entry}/check", check_entry),
    Route("POST", "/gallery/{entry}/run", run_entry),
]
