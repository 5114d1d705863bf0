"""Commands for cassettes: `cassette export` and `cassette import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

__all__ = ["cassette_export", "cassette_import"]

Json = Annotated[bool, Parameter(name="--json", negative=())]


def cassette_export(run: Path, file: Path, /, *, json: Json = False) -> int:
    """Write all calls of a run and their answers as one file (.mcz), to be sent or kept.

    Strict replay reads such a file as it is.

    Parameters
    ----------
    run
        The run folder.
    file
        The file to write; its name ends in .mcz.
    json
        Print JSON.

    """
    from crossplay.kernel.types import CrossplayError
    from crossplay.records import RunFolder
    from crossplay.records.cassette_file import export_cassette

    with RunFolder.open(run) as folder:
        path, study = folder.cassette_path, folder.study_digest
    if not path.is_file():
        raise CrossplayError(f"{run}: the run has no cassette; no seat of it asked a model, a tool or a person")
    header = export_cassette(path, file, {"study": study, "prices": _prices()})
    return _told(file, header["rows"], "calls", header, json)


def cassette_import(file: Path, run: Path, /, *, json: Json = False) -> int:
    """Bring an exported cassette into a folder; every seal is checked first.

    A run that is played into that folder finds the answers and sends nothing for them.

    Parameters
    ----------
    file
        An exported cassette.
    run
        The run folder, or a new one.
    json
        Print JSON.

    """
    from contextlib import nullcontext

    from crossplay.records import RunFolder
    from crossplay.records.cassette_file import import_cassette, read_header

    is_run = (run / "manifest.sqlite").is_file()
    # A run notes the seal of its cassette when it is closed.
    with RunFolder.open(run, write=True, same_source=True) if is_run else nullcontext():
        new = import_cassette(file, run / "cassette")
    return _told(run, new, "new calls", read_header(file), json)


def _told(path: Path, rows: int, what: str, header: dict[str, Any], json: bool) -> int:
    if json:
        out.print_json({"path": str(path), "rows": rows, "header": header})
    else:
        out.line(f"wrote {path}: {rows} {what}")
    return 0


def _prices() -> str:
    """The digest of the price table in force."""
    import hashlib

    import msgspec

    from crossplay.kernel.types import pack
    from crossplay.models.prices import table

    return hashlib.sha256(pack(msgspec.to_builtins(table()))).hexdigest()
