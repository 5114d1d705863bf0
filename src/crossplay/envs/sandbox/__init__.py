"""A place where programs that nobody has read may run: `run_code`, or a refusal that says what is missing.

The program is Python, started in a fresh interpreter with the standard library and no packages. It has

- no network: an empty network namespace, and `socket` refused by seccomp;
- no files but its own folder (which it may fill) and the system's and Python's (read-only): a root of
  its own by mount namespace and pivot_root, and Landlock; other files cannot be named, nor written;
- no other processes in sight (PID namespace), none of its own unless `processes` > 0 (seccomp), and
  none left behind: all end with it, daemons too;
- no rights: no capabilities (as root in namespaces: another user), no new privileges, no environment, no open files
  but the pipe that takes its verdict;
- limits of CPU time, address space, size of files and of the folder, open files, output and wall time.

Two means, the first that the system grants: `namespaces` (as root, or where users may make user
namespaces) and `landlock` (Linux 6.2 or newer; with seccomp; there the folder is a temporary one on
disk whose total size has no limit, names and sizes of files elsewhere can be asked for, and no
processes may be started). Where there is neither, `run_code` raises `Refused`.

Not promised: protection against faults of the kernel itself, against measuring time, and against a
program that forges the verdict on itself: tests run in the program's own process (a secret token
keeps an early exit from counting as a pass, not a determined forger).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from crossplay.envs.sandbox._syscalls import ARCHES
from crossplay.kernel.types import CrossplayError

__all__ = ["Outcome", "Refused", "available", "means", "run_code"]

Means = Literal["namespaces", "landlock"]
Status = Literal["ok", "failed", "cpu", "memory", "timeout", "killed"]
_MEANS: tuple[Means, ...] = ("namespaces", "landlock")
_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache")
_GRACE_S = 2.0  # for what was killed to let go of its output
_SLACK = 35  # threads of the program, and the processes that guard it

# Runs inside: main.py, then tests.py in the same module; the token is told only when both came to their end.
_WRAPPER = """\
import os, sys, types
os.set_inheritable(4, False)
sys.argv = ["main.py"]
with os.fdopen(3) as f: token = f.read()
def run():
    module = types.ModuleType("solution" if os.path.exists("tests.py") else "__main__")
    sys.modules[module.__name__] = module
    sys.path.insert(0, os.getcwd())
    for name in ("main.py", "tests.py"):
        if os.path.exists(name):
            with open(name, encoding="utf-8") as f: source = f.read()
            module.__file__ = name
            exec(compile(source, name, "exec"), module.__dict__)
run()
sys.stdout.flush()
os.write(4, token.encode())
"""


class Refused(CrossplayError):
    """Code is not run, because it could not be shut in; the text says what is missing."""

    exit_code = 3


class Outcome(msgspec.Struct, frozen=True):
    """How a program ended.

    status: "ok" (exit code 0), "failed" (an exception or another code), "cpu", "memory" or "timeout" (a limit was
    reached), "killed" (by another signal). passed: program and tests came to their end. cpu_s: of the program and the
    processes it waited for. truncated: whether output was cut. means: what shut it in.
    """

    status: Status
    passed: bool
    exit_code: int
    stdout: str
    stderr: str
    truncated: bool
    cpu_s: float
    wall_s: float
    means: Means

    @property
    def detail(self) -> str:
        """The last line of stderr, or the status."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return lines[-1].strip() if lines else self.status


def available() -> tuple[bool, str]:
    """(whether code can be run, by which means or what is missing). Tried once per process, about 0.2 s."""
    found, missing = _found()
    return (True, found) if found else (False, missing)


def means() -> Means | None:
    """The means that this system grants, or None."""
    return _found()[0]


@cache
def _found() -> tuple[Means | None, str]:
    """The first means that holds when it is tried, and what kept the others."""
    missing = []
    for name in _MEANS:
        try:
            _try(name)
        except Refused as error:
            missing.append(f"{name}: {error}")
        else:
            return name, ""
    return None, "; ".join(missing)


_PROBE = """\
import os, socket
for what, attempt in (
    ("a socket", lambda: socket.socket()),
    ("reading a file outside", lambda: open({path!r}).read()),
    ("writing outside", lambda: open({path!r}, "a")),
    ("a process", os.fork),
):
    try: attempt()
    except OSError: continue
    os.write(1, (what + " was not refused. ").encode())
    os._exit(1)
"""


def _try(name: Means) -> None:
    """Run a program that tries to get out; `Refused` where it can, or cannot be shut in."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("outside")
        file.flush()
        outcome = _run(name, _PROBE.format(path=file.name), timeout_s=20.0)
    if outcome.status != "ok":
        raise Refused(f"the trial ended as {outcome.status}: {outcome.stdout or outcome.detail}")


def run_code(
    code: str,
    *,
    tests: str = "",
    stdin: str = "",
    files: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
    cpu_s: int = 5,
    memory_mb: int = 512,
    file_mb: int = 16,
    disk_mb: int = 64,
    processes: int = 0,
    output_kb: int = 64,
    isolation: Means | None = None,
) -> Outcome:
    """Run a Python program that nobody has read, and then tests in its module; see the head of this module.

    tests: a program that raises when something is wrong; without tests the program runs as `__main__`.
    files: further files in its folder, name -> text. timeout_s: wall time; cpu_s: CPU seconds of each process
    (the limit that decides alike on a busy machine); memory_mb: address space of each process; file_mb: size of
    each file; disk_mb: of the folder in all; processes: how many it may start beside itself; output_kb: what is
    kept of stdout and of stderr. isolation: a means, instead of the first that works. Raises `Refused`.
    """
    chosen = isolation or means()
    if chosen is None:
        raise Refused(f"code is not run: it cannot be shut in here ({_found()[1]})")
    if processes and chosen != "namespaces":
        raise Refused(
            "code with processes of its own is run in namespaces alone: what it leaves behind could not be ended"
        )
    for name in files or {}:
        if "/" in name or name.startswith(".") or name in ("main.py", "tests.py", ""):
            raise CrossplayError(f"run_code: files: {name!r}: a plain name, other than main.py and tests.py")
    return _run(
        chosen,
        code,
        tests=tests,
        stdin=stdin,
        files=files or {},
        timeout_s=timeout_s,
        processes=processes,
        output_kb=output_kb,
        disk_mb=disk_mb,
        limits={"RLIMIT_CPU": cpu_s, "RLIMIT_AS": memory_mb << 20, "RLIMIT_FSIZE": file_mb << 20},
    )


def _run(
    how: Means,
    code: str,
    *,
    tests: str = "",
    stdin: str = "",
    files: Mapping[str, str] = {},
    timeout_s: float,
    processes: int = 0,
    output_kb: int = 64,
    disk_mb: int = 16,
    limits: Mapping[str, int] = {},
) -> Outcome:
    """Start the cage, feed it, collect what comes out, end everything."""
    texts = {"main.py": code, **({"tests.py": tests} if tests else {}), **files}
    token = os.urandom(16).hex()
    folder = tempfile.mkdtemp(prefix="box-")
    try:
        config = {
            "means": how,
            "folder": folder,
            "readable": _readable(),
            "python": _python(),
            "wrapper": _WRAPPER,
            "files": {name: _clean(text) for name, text in texts.items()},
            "stdin": _clean(stdin),
            "token": token,
            "calls": _calls(),
            "disk_mb": disk_mb,
            "processes": processes,
            "limits": {**_limits(how, processes), **limits},
        }
        began = time.monotonic()
        streams, result, late = _cage(config, timeout_s, output_kb << 10)
        wall = time.monotonic() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if "missing" in result:
        raise Refused(str(result["missing"]))
    return _outcome(how, streams, result, late, token, bool(tests), wall, limits.get("RLIMIT_CPU", 5), output_kb << 10)


def _clean(text: str) -> str:
    """Text that can be written: half characters become "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _python() -> str:
    """The interpreter itself, not a link of a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def _readable() -> list[str]:
    """System folders and those of Python, without those that lie inside others."""
    found = [p for p in _SYSTEM if Path(p).exists()]
    for path in (sys.base_prefix, sys.base_exec_prefix, str(Path(_python()).parent)):
        real = os.path.realpath(path)
        if real == "/":
            raise Refused("Python is installed in /, which cannot be shown as a whole")
        if not any(real == p or real.startswith(p + "/") for p in found):
            found.append(real)
    return found


@cache
def _calls() -> dict[str, Any]:
    """The table of system calls of this processor."""
    if sys.platform != "linux":
        raise Refused(f"code is shut in on Linux alone, not on {sys.platform}")
    arch = ARCHES.get(platform.machine())
    if arch is None:
        raise Refused(f"seccomp: no table of system calls for {platform.machine()}")
    return arch._asdict()


def _limits(how: Means, processes: int) -> dict[str, int]:
    limits = {
        "RLIMIT_CPU": 5,
        "RLIMIT_AS": 512 << 20,
        "RLIMIT_FSIZE": 1 << 20,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_STACK": 8 << 20,
    }
    # Where users share their count of processes with the world outside, no process but threads can be started.
    return {**limits, "RLIMIT_NPROC": _SLACK + processes} if how == "namespaces" else limits


def _cage(config: dict[str, Any], timeout_s: float, keep: int) -> tuple[dict[str, bytearray], dict[str, Any], bool]:
    """(stdout and stderr up to keep + 1 bytes each, the cage's report, whether time ran out)."""
    reading, writing = os.pipe()
    config["status"] = writing
    command = [_python(), "-s", "-S", "-B", str(Path(__file__).with_name("_cage.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    deadline = time.monotonic() + timeout_s
    with (
        subprocess.Popen(command, env={}, cwd="/", start_new_session=True, pass_fds=(writing,), **pipes) as cage,
        selectors.DefaultSelector() as waiting,
    ):
        os.close(writing)
        assert cage.stdin and cage.stdout and cage.stderr
        kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray(), "status": bytearray()}
        late = False
        try:
            try:
                cage.stdin.write(json.dumps(config).encode())
                cage.stdin.close()
            except BrokenPipeError:
                pass
            for name, fd in (("stdout", cage.stdout.fileno()), ("stderr", cage.stderr.fileno()), ("status", reading)):
                waiting.register(fd, selectors.EVENT_READ, name)
            while waiting.get_map():
                ready = waiting.select(max(0.0, deadline - time.monotonic()))
                for entry, _ in ready:
                    part = os.read(entry.fd, 1 << 16)
                    if not part:
                        waiting.unregister(entry.fd)
                    room = keep + 1 - len(kept[entry.data])
                    kept[entry.data] += part[: max(0, room)]
                if not late and time.monotonic() >= deadline:
                    late, deadline = True, time.monotonic() + _GRACE_S
                    _end(cage)
                elif late and not ready:
                    break
        finally:
            _end(cage)
            os.close(reading)
    raw = bytes(kept.pop("status"))
    report = json.loads(raw) if raw else {} if late else {"missing": _last(kept["stderr"]) or "the cage gave no report"}
    return kept, report, late and not raw


def _last(raw: bytearray) -> str:
    lines = raw.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _end(cage: subprocess.Popen[bytes]) -> None:
    """Kill the whole group; the namespace's first process takes all others with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(cage.pid, signal.SIGKILL)


def _outcome(
    how: Means,
    streams: dict[str, bytearray],
    result: dict[str, Any],
    late: bool,
    token: str,
    tested: bool,
    wall_s: float,
    cpu_limit: int,
    keep: int,
) -> Outcome:
    """The report in words."""
    code, cpu_s = int(result.get("exit", -signal.SIGKILL)), float(result.get("cpu_s", 0.0))
    out, err = (bytes(streams[n][:keep]).decode("utf-8", "replace") for n in ("stdout", "stderr"))
    ended = result.get("verdict", "").startswith(token)
    status: Status = "ok" if code == 0 and (ended or not tested) else "failed"
    if late:
        status = "timeout"
    elif code == -signal.SIGXCPU or (code == -signal.SIGKILL and cpu_s >= cpu_limit):
        status = "cpu"
    elif code < 0:
        status = "killed"
    elif status == "failed" and _last(bytearray(err.encode())).startswith("MemoryError"):
        status = "memory"
    truncated = any(len(s) > keep for s in streams.values())
    if code == 0 and status == "failed":
        err += "the program ended before its tests did\n"
    return Outcome(status, status == "ok", code, out, err, truncated, cpu_s, wall_s, how)
