"""The sandbox: what runs, and what tries to get out. Every escape is tried under every means this system grants."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest

from crossplay.envs import sandbox
from crossplay.envs.sandbox import Refused, run_code
from crossplay.kernel import CrossplayError


def granted(how: str) -> bool:
    try:
        sandbox._try(how)
    except Refused:
        return False
    return True


@pytest.fixture(scope="module", params=["namespaces", "landlock"])
def how(request) -> str:
    if not granted(request.param):
        pytest.skip(f"this system does not grant {request.param}")
    return request.param


def test_something_is_available_or_the_reason_is_said() -> None:
    works, why = sandbox.available()
    assert why and works == (sandbox.means() is not None)
    if not works:
        with pytest.raises(Refused, match="cannot be shut in"):
            run_code("pass")


# -- what runs ----------------------------------------------------------------------------------------------


def test_a_program_runs_with_input_files_and_nothing_else(how: str, monkeypatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    code = """
import os, sys, json, dataclasses
print(input(), open("data.txt").read(), sorted(os.listdir(".")), sorted(os.environ), sys.argv, __name__)
fds = []
for fd in range(3, 64):
    try: os.fstat(fd); fds.append(fd)
    except OSError: pass
print(fds)
try:
    import numpy
except ImportError:
    print("no packages")
print("words", file=sys.stderr)
"""
    outcome = run_code(code, stdin="typed\n", files={"data.txt": "given"}, isolation=how)
    lines = outcome.stdout.splitlines()
    assert outcome.status == "ok" and outcome.passed and outcome.stderr == "words\n", outcome
    assert lines[0] == (
        "typed given ['data.txt', 'main.py'] ['HOME', 'LANG', 'PATH', 'PYTHONHASHSEED', 'TMPDIR'] ['main.py'] __main__"
    )
    assert lines[1:] == ["[4]", "no packages"]  # 4: where the verdict goes
    assert 0 < outcome.cpu_s < 3 and not outcome.truncated and outcome.means == how


def test_tests_judge(how: str) -> None:
    good, tests = "def double(x):\n    return 2 * x\n", "assert double(4) == 8\nassert __name__ == 'solution'"
    assert run_code(good, tests=tests, isolation=how).passed
    wrong = run_code(good.replace("2 *", "3 *"), tests=tests, isolation=how)
    assert wrong.status == "failed" and not wrong.passed and wrong.detail == "AssertionError"
    assert "line 1" in wrong.stderr and "tests.py" in wrong.stderr
    assert "SyntaxError" in run_code("def (", tests=tests, isolation=how).detail


@pytest.mark.parametrize("leave", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit"])
def test_leaving_early_is_no_pass(how: str, leave: str) -> None:
    outcome = run_code(leave, tests="assert False", isolation=how)
    assert outcome.status == "failed" and not outcome.passed and "before its tests" in outcome.detail
    assert run_code(leave, isolation=how).passed  # a program without tests may end as it likes


def test_sets_have_one_order(how: str) -> None:
    code = "print(list({str(i) for i in range(50)}))"
    assert run_code(code, isolation=how).stdout == run_code(code, isolation=how).stdout


def test_odd_texts(how: str) -> None:
    assert run_code("print('\ud800 \u00e9')", isolation=how).stdout == "? \u00e9\n"
    assert run_code("\x00", isolation=how).status == "failed"
    with pytest.raises(CrossplayError, match="a plain name"):
        run_code("", files={"../x": ""})


# -- limits ----------------------------------------------------------------------------------------------------


def test_an_endless_loop_ends_by_cpu_and_a_sleep_by_time(how: str) -> None:
    assert run_code("while True: pass", cpu_s=1, isolation=how).status == "cpu"
    late = run_code("import time\nprint('on', flush=True)\ntime.sleep(60)", timeout_s=0.5, isolation=how)
    assert late.status == "timeout" and late.stdout == "on\n" and late.wall_s < 10


def test_a_memory_bomb(how: str) -> None:
    assert run_code("x = bytearray(10**10)", memory_mb=200, isolation=how).status == "memory"
    slow = run_code("x = []\nwhile True: x.append(bytearray(10**6))", memory_mb=200, isolation=how)
    assert slow.status == "memory"


def test_huge_output_is_cut(how: str) -> None:
    outcome = run_code("import sys\nfor _ in range(3000): sys.stdout.write('x' * 10_000)", output_kb=8, isolation=how)
    assert outcome.status == "ok" and outcome.truncated and outcome.stdout == "x" * 8192
    endless = run_code("while True: print('y' * 10_000)", output_kb=8, cpu_s=1, timeout_s=2, isolation=how)
    assert endless.status in ("cpu", "timeout") and len(endless.stdout) == 8192


def test_large_files_are_refused(how: str) -> None:
    code = "open('big', 'wb').write(bytes(3_000_000))"
    assert "File too large" in run_code(code, file_mb=1, isolation=how).detail
    assert run_code(code, file_mb=4, isolation=how).passed


def test_a_full_folder(how: str) -> None:
    if how != "namespaces":
        pytest.skip("the folder has no limit of its own there, as the head of the module says")
    code = "for i in range(40): open(f'f{i}', 'wb').write(bytes(1_000_000))"
    assert "No space left" in run_code(code, disk_mb=8, isolation=how).detail


# -- getting out -------------------------------------------------------------------------------------------------


def test_no_network_not_even_to_the_parent(how: str) -> None:
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)

        def listen() -> None:
            with contextlib.suppress(OSError):
                heard.append(server.accept())

        thread = threading.Thread(target=listen)
        thread.start()
        code = f"""
import socket
for family, address in (
    (socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
    (socket.AF_INET, ("1.1.1.1", 80)),
    (socket.AF_INET6, ("::1", 80)),
    (socket.AF_UNIX, "\\0crossplay-test"),
):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            socket.socket(family, kind).connect(address)
            print("out:", family, address)
        except OSError as error:
            print("refused", type(error).__name__)
a, b = socket.socketpair()
a.send(b"x")
print(b.recv(1))
"""
        outcome = run_code(code, isolation=how)
        thread.join()
    assert outcome.stdout.split("\n") == ["refused PermissionError"] * 8 + ["b'x'", ""], outcome
    assert not heard


def test_no_file_outside_is_read_or_written(how: str, tmp_path: Path) -> None:
    secret = Path.home() / f".crossplay-secret-{uuid.uuid4().hex}"
    secret.write_text("do not tell")
    there = tmp_path / "there.txt"
    there.write_text("as it was")
    tmp_path.chmod(0o777)
    there.chmod(0o666)
    try:
        code = f"""
import os
def told(what, do):
    try: print("OUT", what, do())
    except OSError as error: print("refused", what)
for path in ({str(secret)!r}, {str(there)!r}, "/etc/passwd", "/proc/1/environ", "/proc/self/environ", {__file__!r}):
    told("read " + path, lambda: open(path).read())
for path in ({str(there)!r}, "{tmp_path}/new", "/usr/new", "/new", "/dev/new", os.path.dirname(os.__file__) + "/new.py",
             "/tmp/crossplay-new"):
    told("write " + path, lambda: open(path, "w").write("x"))
    told("remove " + path, lambda: os.unlink(path))
told("chmod", lambda: os.chmod({str(there)!r}, 0o600))
told("truncate", lambda: os.truncate({str(there)!r}, 0))
told("rename", lambda: os.rename({str(there)!r}, "mine"))
told("link", lambda: os.link({str(there)!r}, "mine"))
told("list home", lambda: [n for n in os.listdir({str(Path.home())!r}) if "secret" in n] or 1 / 0)
"""
        outcome = run_code(code, isolation=how)
        by_link = run_code(f"import os\nos.symlink({str(secret)!r}, 'l')\nprint(open('l').read())", isolation=how)
        by_chroot = run_code("import os\nos.mkdir('r')\nos.chroot('r')", isolation=how)
    finally:
        secret.unlink()
    assert "OUT" not in outcome.stdout and outcome.stdout.count("refused") >= 23, outcome.stdout + outcome.stderr
    assert there.read_text() == "as it was" and there.stat().st_mode & 0o777 == 0o666
    assert not (tmp_path / "new").exists() and not by_link.passed and "do not tell" not in by_link.stdout
    assert "PermissionError" in by_chroot.detail


def test_the_parent_cannot_be_killed_or_limited(how: str) -> None:
    code = f"""
import ctypes, os, resource, signal
done = []
for pid in ({os.getpid()}, os.getppid(), -1, 1):
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, 0):
        try:
            if pid == -1 and number != 0: continue  # would end this program first where it may signal itself
            os.kill(pid, number)
            done.append((pid, int(number)))
        except OSError: pass
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, 1))
        done.append(("prlimit", pid))
    except (OSError, ValueError): pass
libc = ctypes.CDLL(None, use_errno=True)
for name, arguments in {{"ptrace": (16, {os.getpid()}, 0, 0), "unshare": (0x10000000,), "mount": (b"a", b"b", b"tmpfs", 0, 0),
                       "setns": (0, 0)}}.items():
    if getattr(libc, name)(*arguments) == 0: done.append(name)
print(done)
"""
    outcome = run_code(code, isolation=how)
    told = eval(outcome.stdout)  # a list of plain values, printed by the test's own program
    # Within its own namespace it may ask whether somebody is there; nobody is hit.
    assert [d for d in told if d[1] != 0] == [], outcome
    os.kill(os.getpid(), 0)


def test_a_fork_bomb_is_refused_or_bounded(how: str) -> None:
    bomb = "import os\nn = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            import time; time.sleep(30)\n        n += 1\nexcept OSError as e:\n    print(n, type(e).__name__)"
    outcome = run_code(bomb, isolation=how)
    assert outcome.stdout == "0 BlockingIOError\n", outcome
    threads = "import threading, time\ntry:\n    for i in range(5000): threading.Thread(target=time.sleep, args=(1,), daemon=True).start()\nexcept RuntimeError: print(i < 400)"
    assert run_code(threads, isolation=how).stdout == "True\n"
    if how != "namespaces":
        with pytest.raises(Refused, match="in namespaces alone"):
            run_code(bomb, processes=4, isolation=how)
        return
    before = time.monotonic()
    several = run_code(bomb, processes=4, isolation=how)
    n, kind = several.stdout.split()
    assert 4 <= int(n) <= 4 + sandbox._SLACK and kind == "BlockingIOError"
    assert time.monotonic() - before < 20  # the sleepers ended with it


def test_a_daemon_ends_with_its_program(tmp_path: Path) -> None:
    if not granted("namespaces"):
        pytest.skip("this system does not grant namespaces")
    mark = uuid.uuid4().hex
    code = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import ctypes
        os.execv({sandbox._python()!r}, ["python", "-c", "import time; time.sleep(60)", "{mark}"])
    os._exit(0)
time.sleep(0.3)
print("left")
"""
    outcome = run_code(code, processes=4, isolation="namespaces")
    assert outcome.stdout == "left\n" and outcome.wall_s < 10, outcome
    for _ in range(50):
        if mark not in _command_lines():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the daemon is still there")


def _command_lines() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def test_a_late_program_leaves_nothing(how: str) -> None:
    mark = uuid.uuid4().hex
    outcome = run_code(f"import time\nx = '{mark}'\ntime.sleep(60)", timeout_s=0.4, isolation=how)
    assert outcome.status == "timeout"
    leftovers = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "_cage.py" not in leftovers or mark not in leftovers
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"box-*{mark}"))


def test_processes_of_its_own_work_where_they_are_allowed() -> None:
    if not granted("namespaces"):
        pytest.skip("this system does not grant namespaces")
    code = "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True).stdout)"
    assert run_code(code, processes=2, isolation="namespaces").stdout == "b'42\\n'\n"
    assert "BlockingIOError" in run_code(code, isolation="namespaces").detail


def test_unknown_processors_are_refused(monkeypatch) -> None:
    sandbox._calls.cache_clear()
    monkeypatch.setattr("platform.machine", lambda: "sparc")
    with pytest.raises(Refused, match="no table of system calls for sparc"):
        sandbox._try("namespaces")
    sandbox._calls.cache_clear()


def test_without_any_means_it_refuses(monkeypatch) -> None:
    def nothing(name: str) -> None:
        raise Refused("not granted")

    sandbox._found.cache_clear()
    monkeypatch.setattr(sandbox, "_try", nothing)
    assert sandbox.available() == (False, "namespaces: not granted; landlock: not granted")
    with pytest.raises(Refused, match="landlock: not granted") as caught:
        run_code("print(1)")
    assert caught.value.exit_code == 3
    monkeypatch.undo()
    sandbox._found.cache_clear()
