"""Local weights through llama.cpp, in this process (package xllamacpp): one thread, one slot.

A prompt that starts as an earlier one did is not computed again (members of a team with different
instructions each find their own), so agents put what never changes first. With a grammar of single
letters a decision costs the new end of the prompt and one token.
"""

from __future__ import annotations

import asyncio
import os
import queue
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from crossplay.kernel.types import CrossplayError, Usage
from crossplay.models.catalog import context_of, file_sha256, known, locate, named
from crossplay.models.local_tools import calls_in, without_tools
from crossplay.models.options import read_options
from crossplay.models.types import Capabilities, ModelDown, ModelError, Reply, Request

__all__ = ["LocalBackend", "read_logprobs"]

PROMPTS_MIB = 1024
"""Memory for prompts that were computed earlier and are not in the slot, in MiB."""
ALIKE = 0.9
"""Share of a prompt that the slot must hold for llama.cpp to go on from it without looking among the earlier
ones. By default it goes on from a tenth, and two members of a team whose instructions begin alike would
compute all but that beginning again, each time they take turns.
"""


class LocalOptions(msgspec.Struct, forbid_unknown_fields=True):
    """file: a GGUF file, or the name of a model of the catalogue (default: the model's own name).
    sha256: of that file, so that a record can be replayed where the file is not. context: tokens.
    threads: 1 unless nothing else runs. prompt_cache: prompts that begin alike are computed once
    (default: yes, unless reproducible). reproducible: one slot and no prompt cache, so that equal
    requests with equal seeds give equal answers in any order, at many times the cost. instances:
    copies of the model that answer side by side, for machines with many cores (0: as the environment
    variable CROSSPLAY_INSTANCES says, else 1); with the prompt cache on, which copy answers may
    change the words.
    """

    file: str = ""
    sha256: str = ""
    context: int = 4096
    threads: int = 1
    prompt_cache: bool | None = None
    reproducible: bool = False
    instances: int = 0

    @property
    def caching(self) -> bool:
        """Whether prompts that begin alike are computed once."""
        return not self.reproducible and self.prompt_cache is not False


class LocalBackend:
    """A GGUF file. Calls run one at a time on a thread of their own; the event loop stays free."""

    capabilities = Capabilities(grammar=True, json_schema=True, logprobs=True, tools=True)
    concurrency = 1
    priced = ""
    repeats = True
    local = True

    @staticmethod
    def plain(name: str, options: Mapping[str, Any]) -> str:
        """Why a study from elsewhere may not say this ("": it may): files only by a name of the catalogue."""
        file = options.get("file", "") or name
        return "" if isinstance(file, str) and named(file) is not None else f'"{file}" is none of the known models'

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = read_options(LocalOptions, options, f"models.{name}")
        if self.options.context < 64 or self.options.threads < 1:
            raise CrossplayError(
                f"models.{name}: context {self.options.context} or threads {self.options.threads} is too small"
            )
        self.concurrency = self.options.instances or int(os.environ.get("CROSSPLAY_INSTANCES", "1"))
        if self.concurrency < 1:
            raise CrossplayError(f"models.{name}: instances = {self.concurrency} must be 1 or more")
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for i in range(self.concurrency):
            self._free.put(i)
        if self.options.reproducible and self.options.prompt_cache:
            raise CrossplayError(f"models.{name}: reproducible = true needs prompt_cache = false (or leave it out)")
        self._chat: dict[int, _Engine] = {}
        self._vectors: _Engine | None = None
        self._sha256 = self.options.sha256

    def _file(self) -> tuple[Path, str]:
        """(path, expected sha256); `ModelDown` when it is not on this machine."""
        given = self.options.file or self.name
        if given in known():
            path, sha256 = locate(given)
        elif named(given) is not None:
            raise ModelDown(f'model "{given}" is not on this machine; have its file? crossplay models add FILE')
        else:
            path = Path(given).expanduser()
            if not path.is_file():
                raise ModelDown(f"models.{self.name}: the model file {given} does not exist")
            sha256 = self._sha256 or file_sha256(path)
        if self._sha256 and sha256 != self._sha256:
            raise CrossplayError(f"models.{self.name}: {path} is another file than the record's (sha256 {sha256[:12]})")
        return path, sha256

    def identity(self) -> dict[str, Any]:
        """sha256 of the weights and the settings that change answers; threads and version do not count."""
        if not self._sha256:
            entry = named(self.options.file or self.name)
            self._sha256 = entry.sha256 if entry else self._file()[1]
        o = self.options
        return {"backend": "local", "sha256": self._sha256, "context": o.context, "prompt_cache": o.caching}

    async def ready(self) -> None:
        """The file is here, is long enough for the context asked for, and the run-time is installed."""
        self._check_context(self._file()[1])
        _runtime()

    def _check_context(self, sha256: str) -> None:
        most = context_of(sha256)
        if most and self.options.context > most:
            raise CrossplayError(
                f"models.{self.name}: context = {self.options.context} is more than the model was trained for ({most})"
            )

    async def load(self) -> None:
        """Load the weights now instead of at the first call; several models may be loaded at a time."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._loaded, 0)

    @property
    def _pool(self) -> ThreadPoolExecutor:
        return _thread() if self.concurrency == 1 else _threads_of(self.concurrency)

    def _loaded(self, copy: int) -> _Engine:
        with _loading:
            if copy not in self._chat:
                self._chat[copy] = self._engine(embedding=False, copy=copy)
            return self._chat[copy]

    async def generate(self, requests: Sequence[Request], keys: Sequence[str] = ()) -> list[Reply | ModelError]:
        """One after the other, on the thread of local models; on several copies, side by side."""
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(self._pool, self._one, r) for r in requests))

    def _one(self, request: Request) -> Reply | ModelError:
        if any(m.images for m in request.messages):
            return ModelError(f'model "{self.name}" reads no images: local weights are text models', "request")
        try:
            body = _body(without_tools(request)) | {"cache_prompt": self.options.caching}
            copy = self._free.get()
            try:
                answer, cpu_us = self._loaded(copy).ask("handle_chat_completions", body)
            finally:
                self._free.put(copy)
        except ModelError as error:
            return ModelError(f'model "{self.name}": {error}', error.kind)
        if "error" in answer:
            text = str(answer["error"].get("message", answer["error"]))
            return ModelError(f'model "{self.name}": {text}', "request")
        choice, usage = answer["choices"][0], answer["usage"]
        text = choice["message"].get("content") or ""
        calls = calls_in(text, request.tools) if request.tools and request.tool_choice != "none" else []
        return Reply(
            text="" if calls else text,
            finish="tool_calls" if calls else choice["finish_reason"],
            usage=Usage(1, usage["prompt_tokens"], usage["completion_tokens"], cpu_us),
            cached=(usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
            served=f"sha256:{self.identity()['sha256'][:16]} xllamacpp {_version()}",
            logprobs=read_logprobs(choice),
            tool_calls=calls,
        )

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """The model's own sentence vectors (mean over tokens, unit length)."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_thread(), self._embed, list(texts))

    def _embed(self, texts: list[str]) -> list[list[float]]:
        if self._vectors is None:
            self._vectors = self._engine(embedding=True)
        answer, _ = self._vectors.ask("handle_embeddings", {"input": texts})
        if "error" in answer:
            raise ModelError(f'model "{self.name}": {answer["error"].get("message")}', "request")
        rows = sorted(answer["data"], key=lambda d: d["index"])
        return [row["embedding"] for row in rows]

    def _engine(self, embedding: bool, copy: int = 0) -> _Engine:
        path, sha256 = self._file()
        self._check_context(sha256)
        return _Engine.shared(path, sha256, self.options.context, self.options.threads, embedding, copy)

    async def aclose(self) -> None:
        """Free the weights, unless another model of this process has them too."""
        self._chat, self._vectors = {}, None


@cache
def _thread() -> ThreadPoolExecutor:
    """The one thread on which all local models of this process answer, one at a time."""
    return ThreadPoolExecutor(1, thread_name_prefix="local-model")


@cache
def _threads_of(n: int) -> ThreadPoolExecutor:
    """Threads on which copies of models answer side by side."""
    return ThreadPoolExecutor(n, thread_name_prefix="local-models")


_loading = threading.Lock()  # one engine at a time: its threads are told from the others' by when they came


def _runtime() -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelDown("local models need the package xllamacpp: pip install 'crossplay[local]'") from error
    return xllamacpp


def _version() -> str:
    return str(getattr(_runtime(), "__version__", "?"))


def _body(request: Request) -> dict[str, Any]:
    """The request as llama.cpp's chat completion; sampling by temperature and top_p alone."""
    body: dict[str, Any] = {
        "messages": [{"role": m.role, "content": m.text} for m in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "stop": list(request.stop),
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.grammar is not None:
        body["grammar"] = request.grammar
    elif request.json_schema is not None:
        body["grammar"] = _runtime().json_schema_to_grammar(request.json_schema)
    if request.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    return body


def read_logprobs(choice: dict[str, Any]) -> list[list[tuple[str, float]]] | None:
    """Per token the alternatives (text, natural log probability), the chosen one first."""
    content = (choice.get("logprobs") or {}).get("content")
    if not content:
        return None
    rows = []
    for token in content:
        chosen = (token["token"], float(token["logprob"]))
        others = [(t["token"], float(t["logprob"])) for t in token.get("top_logprobs", ()) if t["token"] != chosen[0]]
        rows.append([chosen, *others])
    return rows


class _Engine:
    """Loaded weights with one slot; shared by all backends of a process with the same settings."""

    _all: WeakValueDictionary[tuple[Any, ...], _Engine] = WeakValueDictionary()

    def __init__(self, path: Path, sha256: str, context: int, threads: int, embedding: bool, copy: int = 0) -> None:
        xllamacpp = _runtime()
        found = file_sha256(path)
        if found != sha256:
            raise ModelDown(
                f"{path} is damaged (sha256 {found[:12]} instead of {sha256[:12]}); remove it and get it again"
            )
        before = _threads()
        p = xllamacpp.CommonParams()
        p.model.path = str(path)
        p.n_ctx, p.n_parallel, p.n_threads_http = context, 1, 1
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
        p.n_gpu_layers, p.fit_params, p.warmup, p.verbosity = 0, False, False, -1
        p.ui, p.offline, p.endpoint_slots, p.cache_ram_mib = False, True, False, PROMPTS_MIB
        p.slot_prompt_similarity = ALIKE
        p.api_keys = [secrets.token_hex(16)]  # it opens a port on loopback as well: nobody else may use it
        if embedding:
            p.embedding = True
            p.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        try:
            self._server = xllamacpp.Server(p)
        except RuntimeError as error:
            raise ModelDown(f"{path}: llama.cpp cannot load it ({error})") from error
        self._tasks = _threads() - before

    @classmethod
    def shared(cls, *settings: Any) -> _Engine:
        """The engine of these settings, loaded when it is not."""
        engine = cls._all.get(settings)
        if engine is None:
            engine = cls._all[settings] = cls(*settings)
        return engine

    def ask(self, verb: str, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """(answer, CPU time in microseconds of the engine's threads)."""
        before = self._cpu_ns()
        try:
            answer: dict[str, Any] = getattr(self._server, verb)(body)
        except ValueError as error:  # what the engine refuses before it has begun
            raise ModelError(" ".join(str(error).split()), "request") from None
        return answer, (self._cpu_ns() - before) // 1000

    def _cpu_ns(self) -> int:
        """CPU time of the threads that the engine started; of the process where that is unknown."""
        if not self._tasks:
            return time.process_time_ns()
        total = 0
        for task in self._tasks:
            try:
                total += int(Path(f"/proc/self/task/{task}/schedstat").read_bytes().split()[0])
            except (OSError, IndexError):
                return time.process_time_ns()
        return total


def _threads() -> set[str]:
    try:
        return {task.name for task in Path("/proc/self/task").iterdir()}
    except OSError:
        return set()
