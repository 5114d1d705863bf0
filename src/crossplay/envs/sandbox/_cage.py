# pathlib would double the time to start.
# ruff: noqa: PTH103, PTH108, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211
"""The inside of the sandbox: run as a script in a fresh interpreter, it shuts itself in and runs a program.

Reads a JSON configuration from standard input, and writes one JSON line to the file descriptor
that the configuration names. Uses the standard library alone and imports nothing of the package.
See `crossplay.envs.sandbox` for what is promised.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import struct
import sys
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_SPACES = 0x7E020080  # every clone flag that makes a namespace
_OUTSIDE = 2_000_000  # user ids above this belong to nobody


class Missing(Exception):
    """A means of isolation that this system does not grant; the text names it."""


def _call(what: str, result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise Missing(f"{what}: {os.strerror(code)}")
    return result


# -- namespaces: a root of its own, no network, no other processes ---------------------------------


def spaces(config: dict[str, Any]) -> None:
    """Enter new namespaces and a new root with read-only system folders and an empty, limited /box."""
    uid, gid = os.geteuid(), os.getegid()
    flags = NEWNS | NEWNET | NEWPID | NEWIPC | NEWUTS
    if uid:
        _call("unshare (user namespace)", _libc.unshare(flags | NEWUSER))
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"1000 {uid} 1")
        _write("/proc/self/gid_map", f"1000 {gid} 1")
    else:
        _call("unshare (namespaces)", _libc.unshare(flags))
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    root = config["folder"]
    os.umask(0o022)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    _copy_links(root, config["readable"])
    for path in config["readable"]:
        if not os.path.islink(path):
            _bind(path, root + path)
    os.makedirs(root + "/dev", exist_ok=True)
    for name in ("null", "zero", "urandom"):
        _write(f"{root}/dev/{name}", "")
        _mount(f"/dev/{name}", f"{root}/dev/{name}", "", MS_BIND)
    os.makedirs(root + "/box")
    _mount("tmpfs", root + "/box", "tmpfs", MS_NOSUID | MS_NODEV, f"size={config['disk_mb']}m,mode=777")
    os.chdir(root)
    _call("pivot_root", _libc.pivot_root(b".", b"."))
    _call("umount", _libc.umount2(b".", 2))
    os.chdir("/")
    _mount("none", "/", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    done = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    _call(f"mount {target}", done)


def _copy_links(root: str, readable: list[str]) -> None:
    """Links such as /lib -> usr/lib stand in the new root as they do in the old one."""
    for path in readable:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)


def _bind(path: str, target: str) -> None:
    """Path at target, and everything mounted below it, read-only."""
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _write(target, "")
    _mount(path, target, "", MS_BIND | MS_REC)
    attributes = struct.pack("QQQQ", 1 | 2 | 4, 0, 0, 0)  # read-only, no set-uid, no devices
    done = _libc.syscall(442, -100, target.encode(), 0x8000, attributes, ctypes.c_size_t(len(attributes)))
    _call(f"mount_setattr {target} (Linux 5.12 or newer)", done)


# -- Landlock: which files may be touched ------------------------------------------------------------


def landlock(readable: list[str], box: str) -> int:
    """Allow reading `readable`, everything in `box`, some devices, and nothing else. The version of Landlock, 0: none."""
    version = _libc.syscall(444, None, ctypes.c_size_t(0), 1)
    if version <= 0:
        return 0
    everything = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
    ruleset = struct.pack("QQQ", everything, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    fd = _call("landlock_create_ruleset", _libc.syscall(444, ruleset[:size], ctypes.c_size_t(size), 0))
    run, write, read, folder, cut, ioctl = 1, 2, 4, 8, 1 << 14, 1 << 15
    for path in readable:
        _allow(fd, path, (run | read | folder) & everything)
    for path in ("/dev/null", "/dev/zero", "/dev/urandom"):
        _allow(fd, path, (read | write | cut) & everything)
    _allow(fd, box, everything & ~ioctl)
    _call("landlock_restrict_self", _libc.syscall(446, fd, 0))
    os.close(fd)
    return int(version)


def _allow(fd: int, path: str, rights: int) -> None:
    try:
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        rights &= 1 | 2 | 4 | 1 << 14 | 1 << 15
    rule = struct.pack("=Qi", rights, at)
    _call(f"landlock_add_rule {path}", _libc.syscall(445, fd, 1, rule, 0))
    os.close(at)


# -- seccomp: which calls of the kernel may be made -----------------------------------------------------


def seccomp(calls: dict[str, Any], forks: bool, signals: bool, metadata: bool) -> None:
    """Refuse what a program that computes never needs.

    calls: an `Arch` of `_syscalls`. forks: whether it may start processes; signals, metadata: whether
    it may send signals, and change modes, owners and times of files.
    """
    refused = calls["always"] + ([] if forks else calls["forks"])
    refused += ([] if signals else calls["signals"]) + ([] if metadata else calls["meta"])
    deny, nosys, allow, kill = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS, 0x7FFF0000, 0x80000000
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    code: list[tuple[int, int, int, int]] = []

    def test(kind: int, value: int, answer: int) -> None:
        """Where the loaded word passes the test, the answer."""
        code.extend([(kind, 0, 1, value), (give, 0, 0, answer)])

    code += [(load, 0, 0, 4), (equal, 1, 0, calls["audit"]), (give, 0, 0, kill), (load, 0, 0, 0)]
    if calls["x32"]:
        test(at_least, 0x40000000, deny)
    for number in refused:
        test(equal, number, deny)
    test(equal, calls["clone3"], nosys)  # its flags lie in memory, where no filter can look; libc then uses clone
    inner = [(load, 0, 0, 16), (any_bit, 0, 1, _SPACES), (give, 0, 0, deny)]
    inner += [] if forks else [(any_bit, 1, 0, 0x10000), (give, 0, 0, 0x50000 | errno.EAGAIN)]  # threads only
    inner += [(give, 0, 0, allow)]
    code += [(equal, 0, len(inner), calls["clone"]), *inner]
    # Limits of the program itself only; no characters pushed into a terminal.
    code += [
        (equal, 0, 4, calls["prlimit"]),
        (load, 0, 0, 16),
        (equal, 0, 1, 0),
        (give, 0, 0, allow),
        (give, 0, 0, deny),
    ]
    code += [
        (equal, 0, 4, calls["ioctl"]),
        (load, 0, 0, 24),
        (equal, 1, 0, 0x5412),
        (equal, 0, 1, 0x541C),
        (give, 0, 0, deny),
    ]
    code += [(give, 0, 0, allow)]
    raw = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(raw)
    program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
    held = ctypes.create_string_buffer(program)
    _call("seccomp", _libc.prctl(22, 2, held, 0, 0))


# -- the program -----------------------------------------------------------------------------------------


def program(config: dict[str, Any], full: bool, verdict: int) -> None:
    """Become the program: drop all rights, set the limits, and start a fresh interpreter. Does not return."""
    box = "/box" if full else config["folder"]
    if full and os.geteuid() == 0:
        alone = _OUTSIDE + config["number"] % 1_000_000  # its own count of processes
        os.setgroups([])
        os.setresgid(alone, alone, alone)
        os.setresuid(alone, alone, alone)
    _call("no new privileges", _libc.prctl(38, 1, 0, 0, 0))
    header, none = struct.pack("Ii", 0x20080522, 0), struct.pack("6I", *[0] * 6)
    _call("capset", _libc.capset(header, none))
    os.chdir(box)
    for name, text in config["files"].items():
        _write(name, text)
    os.setpriority(os.PRIO_PROCESS, 0, 5)
    os.umask(0o077)
    version = landlock(config["readable"], box)
    if not full and version < 3:  # older versions let files anywhere be cut to nothing
        raise Missing(f"Landlock 3 or newer (Linux 6.2, in the list of security modules); here it is {version}")
    for kind, value in config["limits"].items():
        number = getattr(resource, kind)
        hard = value + 1 if kind == "RLIMIT_CPU" else value
        resource.setrlimit(number, (value, hard))
    _inherit(config, verdict)
    seccomp(config["calls"], config["processes"] > 0, full or version >= 6, full)
    env = {"PATH": "/usr/bin:/bin", "HOME": box, "TMPDIR": box, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    os.execve(config["python"], [config["python"], "-s", "-S", "-B", "-c", config["wrapper"]], env)


def _inherit(config: dict[str, Any], verdict: int) -> None:
    """0 holds the program's input, 3 the token, 4 takes the verdict; 1 and 2 stay; nothing else does."""
    kept = []
    for text in (config["stdin"], config["token"]):
        fd = os.open(".given", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(".given")
        os.write(fd, text.encode())
        os.lseek(fd, 0, 0)
        kept.append(fcntl.fcntl(fd, fcntl.F_DUPFD, 20))
    kept.append(fcntl.fcntl(verdict, fcntl.F_DUPFD, 20))
    for fd, place in zip(kept, (0, 3, 4), strict=True):
        os.dup2(fd, place)
    os.closerange(5, 1 << 16)


def supervise(config: dict[str, Any], full: bool) -> dict[str, Any]:
    """Start the program, wait for it, and tell how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.close(config["status"])
            _libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            program(config, full, writing)
        except BaseException as error:
            os.write(writing, b"missing " + f"{error}".encode()[:500])
        os._exit(70)
    os.close(writing)
    for fd in (0, 1, 2):
        os.close(fd)
    verdict = b""
    _, status, used = os.wait4(child, 0)
    os.set_blocking(reading, False)  # what the program left running may hold the other end
    while len(verdict) < 4096:
        try:
            part = os.read(reading, 4096)
        except BlockingIOError:
            break
        if not part:
            break
        verdict += part
    text = verdict.decode(errors="replace")
    if text.startswith("missing "):
        return {"missing": text.removeprefix("missing ")}
    return {
        "exit": os.waitstatus_to_exitcode(status),
        "cpu_s": used.ru_utime + used.ru_stime,
        "verdict": text,
    }


def main() -> None:
    """Shut in, run, report."""
    config = json.loads(sys.stdin.buffer.read())
    config["number"] = os.getpid()
    status = config["status"]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first process of a namespace cannot be killed by what it ignores
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # with whoever asked for it, this ends too
    full = config["means"] == "namespaces"
    try:
        if not full:
            _tell(status, supervise(config, full))
            return
        spaces(config)
        guard = os.fork()  # process 1 of the new namespace: when it ends, all processes in it do
        if not guard:
            _libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            try:
                _tell(status, supervise(config, full))
            except BaseException as error:
                _tell(status, {"missing": f"{type(error).__name__}: {error}"})
            os._exit(0)
        os.close(status)
        os.waitpid(guard, 0)
    except (Missing, OSError) as error:
        _tell(status, {"missing": str(error)})


def _tell(fd: int, result: dict[str, Any]) -> None:
    os.write(fd, json.dumps(result).encode())


if __name__ == "__main__":
    main()
