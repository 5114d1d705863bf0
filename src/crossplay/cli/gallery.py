"""Commands for the gallery: list, show, check, run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

__all__ = ["gallery_check", "gallery_list", "gallery_page", "gallery_run", "gallery_show"]

Json = Annotated[bool, Parameter(name="--json", negative=())]
Flag = Annotated[bool, Parameter(negative=())]


def gallery_list(*, json: Json = False) -> int:
    """List the published systems of the gallery."""
    from crossplay.gallery.shelf import entry, kept, names

    found = [(entry(n), kept(n)) for n in names()]
    if json:
        out.print_json([{"name": e.name, "title": e.title, "source": e.source, "trials": len(k)} for e, k in found])
        return 0
    rows = [
        (e.name, e.title, e.source, f"{len(e.mechanisms)}", "; ".join(t["verdict"] for t in k) or "-") for e, k in found
    ]
    out.table("Gallery", ("name", "system", "source", ">mechanisms", "trials with models"), rows)
    out.line("Next: crossplay gallery show NAME, or crossplay gallery check")
    return 0


def gallery_show(name: str, /, *, json: Json = False) -> int:
    """Show an entry: what the system is, the experiment, what holds at which tier."""
    import msgspec

    from crossplay.gallery.shelf import entry, kept, readme

    e = entry(name)
    if json:
        out.print_json({"name": e.name, "title": e.title, "source": e.source, "about": e.about,
                        "claims": msgspec.to_builtins(e.claims), "figures": msgspec.to_builtins(e.figures),
                        "settings": msgspec.to_builtins(e.settings()), "kept": kept(name)})  # fmt: skip
        return 0
    out.line(readme(name))
    return 0


def gallery_check(*names: str, once: Flag = False, json: Json = False) -> int:
    """Check the mechanisms of entries (tier 0: scripted or synthetic agents, exact, seconds).

    Exits 1 when one fails; 3 when one could not be checked, because a package that it needs is not installed.

    Parameters
    ----------
    names
        Entries; none: all.
    once
        Leave out the second half, in which each mechanism is switched off and its findings must fail.
    json
        Print JSON.

    """
    import msgspec

    from crossplay.gallery.checking import check_entry
    from crossplay.gallery.shelf import entry
    from crossplay.gallery.shelf import names as all_names
    from crossplay.kernel import CrossplayError

    chosen = [entry(n) for n in (names or all_names())]
    found, left = [], {}
    with out.progress("checking") as (update, say):
        for i, e in enumerate(chosen):
            update(i, len(chosen))
            say(e.name)
            try:
                found.append(check_entry(e, switched=not once))
            except CrossplayError as error:
                if error.exit_code != 3:
                    raise
                left[e.name] = str(error)
        update(len(chosen), len(chosen))
    code = 1 if not all(c.ok for c in found) else 3 if left else 0
    if json:
        checked = [{**msgspec.to_builtins(c), "ok": c.ok} for c in found]
        out.print_json(checked + [{"entry": name, "ok": None, "not_checked": why} for name, why in left.items()])
        return code
    for c in found:
        rows = [
            (f.name, "holds" if f.holds else "FAILS", _value(f), f.bound, f.reference, "null" if f.null else "")
            for f in c.findings
        ]
        out.table(
            f"{c.entry}: mechanism ({c.seconds:.1f} s)", ("finding", "", ">value", "bound", "reference", ""), rows
        )
        for name, off in c.off.items():
            out.line(f"  {name} off: fails as it must: {', '.join(f.name for f in off if not f.holds) or 'nothing'}")
        for fault in c.faults:
            out.line(f"  FAULT: {fault}")
    for why in left.values():
        out.line(f"NOT CHECKED: {why}")
    out.line(f"{sum(c.ok for c in found)} of {len(chosen)} entries: the mechanism is implemented as described. "
             "Scripted and synthetic agents: nothing here is a result about language models.")  # fmt: skip
    return code


def _value(f: Any) -> str:
    return ("none" if f.value is None else f"{f.value:.4g}") + (
        "" if f.low is None else f" [{f.low:.4g}, {f.high:.4g}]"
    )


def gallery_run(
    name: str,
    /,
    *,
    tier: int = 1,
    model: tuple[str, ...] = (),
    n: int | None = None,
    out_: Annotated[Path | None, Parameter(name="--out")] = None,
    answers: Path | None = None,
    replay: Flag = False,
    json: Json = False,
) -> int:
    """Try an entry's claim with models: control, floor and ceiling first, then the claim.

    Parameters
    ----------
    name
        The entry.
    tier
        0: the check; 1: small local models; 2: any endpoint (name it with --model).
    model
        A model by name or address; may be given several times.
    n
        Blocks; default: what the entry asks for.
    out_
        Folder of the runs; default: runs/gallery/NAME.
    answers
        An exported cassette to replay strictly instead of asking models.
    replay
        The same with what the entry keeps of its own trial.
    json
        Print JSON.

    """
    import msgspec

    from crossplay.gallery.running import run_trial
    from crossplay.gallery.shelf import entry, kept
    from crossplay.kernel import CrossplayError

    if tier == 0:
        return gallery_check(name, json=json)
    if tier == 2 and not model:
        raise CrossplayError("gallery run --tier 2: name the model: --model NAME or --model http://host/v1#MODEL")
    if replay:
        trials = [t for t in kept(name) if t["tier"] == tier and t["calls"]]
        if not trials:
            raise CrossplayError(f"{name}: no trial of tier {tier} is kept with its calls")
        answers, model, n = Path(trials[0]["calls"]), tuple(trials[0]["models"]), trials[0]["n"]
    folder = out_ or Path("runs") / "gallery" / name
    tried = run_trial(
        entry(name), folder, models=model, tier=tier, n=n, answers=answers, say=out.fail if json else out.line
    )
    if json:
        out.print_json(msgspec.to_builtins(tried))
    else:
        out.line(f"{name}, tier {tier}, {', '.join(tried.models)}: {tried.verdict}")
        out.line(f"wrote {folder / 'verdict.json'}")
    return 0


def gallery_page(file: Path, /) -> int:
    """Write the page that lists all entries with status and figures (Markdown)."""
    from crossplay.gallery.page import page

    file.write_text(page(), "utf-8")
    out.wrote([file], False)
    return 0
