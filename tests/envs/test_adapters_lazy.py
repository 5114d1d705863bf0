"""The families import with numpy and msgspec alone, and say what is missing when a library is not there."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import crossplay.envs.spread, crossplay.envs.matrix
from crossplay.envs.adapters import export, gym, minigrid, openspiel, pettingzoo
import crossplay.agents.scripts.spread, crossplay.agents.scripts.matrix, crossplay.agents.scripts.minigrid
heavy = {"gymnasium", "pettingzoo", "mpe2", "minigrid", "pyspiel", "pygame", "numba", "PIL", "torch", "scipy"} & set(sys.modules)
assert not heavy, heavy
for name in ("gymnasium", "pettingzoo", "mpe2", "minigrid", "pyspiel"):
    sys.modules[name] = None  # as if it were not installed
from crossplay.kernel import CrossplayError, make_env
for name in ("gym:CartPole-v1", "minigrid:MiniGrid-Empty-5x5-v0", "openspiel:kuhn_poker", "pettingzoo:classic/chess_v6"):
    try:
        make_env(name)
    except CrossplayError as error:
        assert "crossplay[families]" in str(error) and error.exit_code == 3, error
        print(error)
"""


def test_nothing_heavy_is_imported_and_missing_libraries_are_named() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4, done.stdout
