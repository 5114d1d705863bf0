"""Interpreters for workers: `worker env create` and `worker env list`, virtual environments under `.venvs/`."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crossplay.cli import out
from crossplay.jobs.interpreters import FOLDER, NOTE, binary_of, interpreters

__all__ = ["interpreter", "worker_env_create", "worker_env_list"]

Json = Annotated[bool, Parameter(name="--json", negative=())]
OLDEST = (3, 9)
KIT = "crossplay-worker"
NEEDS = ("numpy>=1.21", "msgspec>=0.18")  # of the kit, where its files are copied


def worker_env_create(
    name: str,
    /,
    *,
    requirements: Path | None = None,
    package: tuple[str, ...] = (),
    python: str = "",
    folder: Path = FOLDER,
    json: Json = False,
) -> int:
    """Make an environment for workers: an interpreter of its own with these packages and the worker kit.

    Parameters
    ----------
    name
        Its name: it is made in .venvs/NAME, and a study names its interpreter .venvs/NAME/bin/python.
    requirements
        File of packages, as pip reads it.
    package
        A package, e.g. "stable-baselines3==2.7.0"; may be given several times.
    python
        Version (3.11) or file of the interpreter; default: this one. From 3.9 on.
    folder
        Where environments are.
    json
        Print JSON.

    """
    from crossplay.kernel import CrossplayError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise CrossplayError(f'worker env create: "{name}" is no name: letters, digits, ".", "_", "-"')
    if requirements is not None and not requirements.is_file():
        raise CrossplayError(f"worker env create: there is no file {requirements}")
    place = folder / name
    if place.exists():
        raise CrossplayError(f"worker env create: {place} is there already; remove it or take another name")
    binary, version = interpreter(python)
    wanted = [*(["-r", str(requirements)] if requirements is not None else []), *package]
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with out.progress(f"making {place}") as (_, say):
            say("environment")
            _run([binary, "-m", "venv", str(place)], lambda line: None, "the environment could not be made")
            inside = str(binary_of(place))
            if wanted:
                _pip(inside, wanted, say)
            kit = _install_kit(inside, place, say)
            _run([inside, "-c", "import crossplay_worker"], lambda line: None, "the kit does not import there")
        installed = _installed(inside)
        note = {
            "name": name,
            "python": version,
            "packages": list(package),
            "requirements": str(requirements or ""),
            "kit": kit,
        }
        import msgspec

        (place / NOTE).write_bytes(msgspec.json.format(msgspec.json.encode({**note, "installed": installed}), indent=2))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)  # half an environment would be taken for a whole one
        raise
    if json:
        out.print_json({**note, "interpreter": inside, "installed": installed})
        return 0
    out.line(f"{place}: Python {version}, {len(installed)} packages, the kit from {kit}")
    out.line(f'Next: crossplay worker check "python mine.py" --python {inside}')
    return 0


def worker_env_list(*, folder: Path = FOLDER, json: Json = False) -> int:
    """List the environments for workers."""
    found = interpreters(folder)
    if json:
        out.print_json(found)
        return 0
    rows = [(e.name, e.python, e.state, e.interpreter, ", ".join(e.packages) or e.requirements or "-") for e in found]
    out.table("Environments of workers", ("name", "python", "state", "interpreter", "made for"), rows)
    out.line(
        'Next: crossplay worker env create NAME --package "stable-baselines3", or python = "INTERPRETER" in a study'
    )
    return 0


def interpreter(python: str) -> tuple[str, str]:
    """(file, version) of the interpreter that is meant: "" for this one, a version, or a file.

    Looks on the path and among pyenv's. Raises `CrossplayError` where there is none, or it is too old.
    """
    from crossplay.kernel import CrossplayError

    candidates = list(_candidates(python))
    seen = []
    for file in dict.fromkeys(candidates):
        version = _version(file)
        if version is None:
            continue
        if re.fullmatch(r"[\d.]+", python) and not (version + ".").startswith(python + "."):
            seen.append(version)
            continue
        if tuple(map(int, version.split(".")[:2])) < OLDEST:
            raise CrossplayError(f"worker env create: {file} is Python {version}; the worker kit needs 3.9 or newer")
        return file, version
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    files = [*_candidates(""), *(str(p) for p in root.glob("versions/3*/bin/python"))]
    here = sorted({v for f in files if (v := _version(f))} | set(seen), key=lambda v: [int(n) for n in v.split(".")])
    raise CrossplayError(f'worker env create: no interpreter "{python}" was found (here: {", ".join(here)}). Install it, or name its file: --python FILE')  # fmt: skip


def _candidates(python: str) -> Iterator[str]:
    if not python:
        yield sys.executable
    elif not re.fullmatch(r"[\d.]+", python):
        yield shutil.which(python) or python
    else:
        if f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}.".startswith(python + "."):
            yield sys.executable
        yield from filter(None, [shutil.which("python" + ".".join(python.split(".")[:2])), shutil.which("python3")])
        root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        yield from (str(p) for p in sorted(root.glob(f"versions/{python}*/bin/python"), reverse=True))


def _version(file: str) -> str | None:
    try:
        done = subprocess.run(
            [file, "-I", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _install_kit(inside: str, place: Path, say: Callable[[str], None]) -> str:
    """Install the worker kit; where from: this checkout, the files installed here, or by its name."""
    checkout = Path(__file__).resolve().parents[3] / "worker"
    if (checkout / "pyproject.toml").is_file():
        with tempfile.TemporaryDirectory() as folder:  # what a build leaves behind stays out of the checkout
            copy = Path(folder) / "worker"
            shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
            _pip(inside, [str(copy)], say)
        return str(checkout)
    spec = importlib.util.find_spec("crossplay_worker")
    if spec is not None and spec.submodule_search_locations:
        source = Path(next(iter(spec.submodule_search_locations)))
        _pip(inside, NEEDS, say)
        target = next(place.glob("lib*/**/site-packages")) / source.name
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        return str(source)
    _pip(inside, [KIT], say)
    return KIT


def _pip(inside: str, words: Sequence[str], say: Callable[[str], None]) -> None:
    command = [
        inside,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
        *words,
    ]
    _run(command, lambda line: say(line[:60]), f"pip could not install {' '.join(words)}")


def _run(command: Sequence[str], say: Callable[[str], None], trouble: str) -> None:
    """Run to the end, telling each line; raises `CrossplayError` with the last ones where it fails."""
    from crossplay.kernel import CrossplayError

    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=env) as process:  # fmt: skip
        lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            lines = [*lines[-40:], line.strip()]
            say(line.strip())
    if process.returncode:
        told = [line for line in lines if line.startswith("ERROR")] or [line for line in lines if line]
        raise CrossplayError(f"worker env create: {trouble}: {' | '.join(told[-3:])[:600]}")


def _installed(inside: str) -> dict[str, str]:
    """Package -> version."""
    import msgspec

    done = subprocess.run(
        [inside, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        capture_output=True,
        check=True,
    )
    return {p["name"]: p["version"] for p in msgspec.json.decode(done.stdout) if p["name"] not in ("pip", "setuptools")}
