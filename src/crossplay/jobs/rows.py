"""Episodes side by side, as a trainer steps them: array environments, single ones, and such where agents of ours
fill some of the seats.

All three have the same verbs: `reset(rows, blocks)`, `step(actions)`, `state()`. A value that may not be played
raises `Invalid` before anything moved. Chance is addressed by (root, environment, block), as in a study.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.kernel import ENDED, BatchEnv, Block, CrossplayError, Env, Invalid, env_key, make_batch, make_env

__all__ = ["ArrayRows", "Rows", "SingleRows", "make_rows", "stacked"]

VIEWS = ("array", "image", "text", "data")


class Rows:
    """What all kinds share. `ended`: "" while a row runs; None where it was never begun. closing: frees the rows and
    the agents that fill their seats, where somebody was given that to do.
    """

    closing: contextlib.ExitStack

    def __init__(self, env: Env | BatchEnv, rows: int, root: int, view: str, trained: Sequence[str]) -> None:
        self.env, self.rows, self.root, self.view = env, rows, root, view
        self.seats, self.trained = tuple(env.seats), tuple(trained)
        self.ended: list[str | None] = [None] * rows
        self.reward = {s: np.zeros(rows) for s in self.trained}
        self.scores: dict[int, dict[str, float]] = {}
        self.stepped = False

    def reset(self, rows: Sequence[int], blocks: Sequence[Any]) -> None:
        """Begin episodes in these rows."""
        if len(rows) != len(blocks) or len(set(rows)) != len(rows):
            raise Invalid("row and block have one entry per row, and no row twice")
        for row, block in zip(rows, blocks, strict=True):
            if not (isinstance(row, int) and 0 <= row < self.rows):
                raise Invalid(f"row {row!r}; there are {self.rows}")
            if not (isinstance(block, int) and block >= 0) and not isinstance(block, str):
                raise Invalid(f"block {block!r} is neither a whole number from 0 nor an item's id")
        self.scores, self.stepped = {}, False
        self._reset(list(rows), list(blocks))

    def step(self, actions: Mapping[str, Any]) -> None:
        """One tick of all rows that run; for filled rows, up to the next turn of a trained seat."""
        if not any(e == "" for e in self.ended):
            raise CrossplayError("no row runs: reset some first")
        for seat in actions:
            if seat not in self.trained:
                raise Invalid(f'seat "{seat}" is not trained here; these are: {", ".join(self.trained)}')
        for seat in self.trained:
            if seat in actions and len(actions[seat]) != self.rows:
                raise Invalid(f"seat {seat}: {len(actions[seat])} values for {self.rows} rows")
        self.scores, self.stepped = {}, True
        self._step(actions)

    def state(self) -> dict[str, Any]:
        """The fields of a `state` message."""
        legal = self._legal()
        return {
            "obs": self._obs(),
            "legal": legal,
            "reward": {s: r.copy() for s, r in self.reward.items()} if self.stepped else {},
            "ended": [e or "" for e in self.ended],
            "acting": self._acting(),
            "score": self.scores,
        }

    def close(self) -> None:
        """Free what the rows hold."""

    def _reset(self, rows: list[int], blocks: list[Any]) -> None:
        raise NotImplementedError

    def _step(self, actions: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _obs(self) -> dict[str, Any]:
        raise NotImplementedError

    def _legal(self) -> dict[str, Any]:
        raise NotImplementedError

    def _acting(self) -> list[Any]:
        return []


class ArrayRows(Rows):
    """All rows of a `BatchEnv`, stepped at once; array views."""

    env: BatchEnv

    def _reset(self, rows: list[int], blocks: list[Any]) -> None:
        self.env.reset(rows, [env_key(Block(self.root, b), self.env.id) for b in blocks])
        for row in rows:
            self.ended[row] = ""

    def _step(self, actions: Mapping[str, Any]) -> None:
        env, running = self.env, np.array([e == "" for e in self.ended])
        count, legal = len(env.action_spec.names), env.legal()
        chosen = np.zeros((self.rows, len(self.seats)), np.int64)
        for i, seat in enumerate(self.seats):
            if seat not in actions:
                raise Invalid(f"seat {seat}: no values")
            values = self._indices(seat, actions[seat])
            bad = (values < 0) | (values >= count)
            if legal is not None:
                bad |= ~legal[np.arange(self.rows), i, np.where(bad, 0, values)]
            bad &= running
            if bad.any():
                row = int(bad.argmax())
                raise Invalid(f"seat {seat}, row {row}: action {values[row]} is not legal now")
            chosen[:, i] = np.where(running, values, 0)
        rewards, ended = env.step(chosen)
        for i, seat in enumerate(self.seats):
            self.reward[seat] = np.where(running, rewards[:, i], 0.0)
        for row in np.flatnonzero(running & (ended > 0)).tolist():
            self.ended[row] = ENDED[int(ended[row])]
            self.scores[row] = dict(env.score(row))

    def _indices(self, seat: str, values: Any) -> np.ndarray:
        """Names or indices as int64[rows]."""
        array = np.asarray(values)
        if array.dtype.kind in "iu" and array.shape == (self.rows,):
            return array.astype(np.int64)
        if isinstance(values, list) and all(isinstance(v, (str, int)) for v in values):
            names = self.env.action_spec.names
            return np.array([names.index(v) if v in names else -1 if isinstance(v, str) else v for v in values])
        raise Invalid(f"seat {seat}: expected {self.rows} indices or names of actions")

    def _obs(self) -> dict[str, Any]:
        return {seat: self.env.obs_array(i) for i, seat in enumerate(self.seats)}

    def _legal(self) -> dict[str, Any]:
        legal = self.env.legal()
        return {} if legal is None else {seat: legal[:, i] for i, seat in enumerate(self.seats)}


class SingleRows(Rows):
    """An `Env` per row."""

    env: Env

    def __init__(self, envs: Sequence[Env], root: int, view: str, trained: Sequence[str]) -> None:
        super().__init__(envs[0], len(envs), root, view, trained)
        self.envs = envs
        self._seen: list[dict[str, Any]] = [{} for _ in envs]
        self._masks: list[dict[str, Any]] = [{} for _ in envs]
        self._turn: list[tuple[str, ...]] = [() for _ in envs]

    def _reset(self, rows: list[int], blocks: list[Any]) -> None:
        for row, block in zip(rows, blocks, strict=True):
            self.envs[row].start(Block(self.root, block))
            self._look(row)

    def _look(self, row: int) -> None:
        """What is to be seen of a row now."""
        env = self.envs[row]
        ended = env.ended()
        self.ended[row] = ended or ""
        self._turn[row] = () if ended else tuple(s for s in env.to_act() if s in self.trained)
        self._masks[row] = {} if ended else {s: env.legal(s) for s in self._turn[row]}
        self._seen[row] = {s: env.view(s, self.view) for s in self.trained}
        if ended:
            self.scores[row] = dict(env.score())

    def _step(self, actions: Mapping[str, Any]) -> None:
        played: dict[int, dict[str, Any]] = {}
        for row, env in enumerate(self.envs):
            if self.ended[row] == "":
                played[row] = {
                    seat: check(env, row, seat, actions, self._masks[row].get(seat)) for seat in self._turn[row]
                }
        for seat in self.trained:
            self.reward[seat][:] = 0.0
        for row, values in played.items():
            env = self.envs[row]
            try:
                rewards = env.step(values, ())
            except Exception:
                self.ended[row] = None  # broken: it has to be begun again
                raise
            for seat, reward in zip(env.seats, rewards, strict=True):
                self.reward[seat][row] = reward
            self._look(row)

    def _obs(self) -> dict[str, Any]:
        return {s: stacked([seen.get(s) for seen in self._seen], self.view) for s in self.trained}

    def _legal(self) -> dict[str, Any]:
        return masks(self.env, self.trained, self._masks)

    def _acting(self) -> list[Any]:
        whole = all(turn == self.seats or not turn for turn in self._turn)
        return [] if whole else [list(turn) for turn in self._turn]

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()


def check(env: Env, row: int, seat: str, actions: Mapping[str, Any], legal: Any) -> Any:
    """The canonical value of a seat, or `Invalid` that names seat and row."""
    if seat not in actions:
        raise Invalid(f"seat {seat}, row {row}: it is its turn, and no value came")
    value = actions[seat][row]
    try:
        return env.spec(seat).check(value.item() if isinstance(value, np.generic) else value, legal)
    except Invalid as error:
        raise Invalid(f"seat {seat}, row {row}: {error}") from None


def stacked(views: Sequence[Any], view: str) -> Any:
    """One array of the rows' views; rows never begun are zeros. Texts and data: a list, with None there."""
    found = next((v for v in views if v is not None), None)
    if view not in ("array", "image") or found is None:
        return list(views)
    first = np.asarray(found)
    out = np.zeros((len(views), *first.shape), first.dtype)
    for i, one in enumerate(views):
        if one is not None:
            out[i] = one
    return out


def masks(env: Env, seats: Sequence[str], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seat -> bool[rows, names] for seats where anything is masked; rows not to act: all True."""
    out: dict[str, Any] = {}
    for seat in seats:
        if any(row.get(seat) is not None for row in found):
            mask = np.ones((len(found), len(env.spec(seat).names)), bool)
            for i, row in enumerate(found):
                if row.get(seat) is not None:
                    mask[i] = row[seat]
            out[seat] = mask
    return out


def make_rows(
    name: str,
    options: Mapping[str, Any],
    rows: int,
    view: str,
    root: int,
    fill: Mapping[str, Any],
    agent: Any,
) -> tuple[Rows, Env]:
    """The rows of an environment, and one more instance to look at, begun in block 0.

    fill: seat -> agent by name or table; `agent` makes it. Raises `CrossplayError` naming the nearest valid value.
    """
    with contextlib.ExitStack() as undo:  # what was made, where anything goes wrong
        probe = make_env(name, options)
        undo.callback(probe.close)
        trained = _trained(probe, view, fill)
        probe.start(Block(root, 0))
        if not fill and view == "array" and (batch := make_batch(name, rows, options)) is not None:
            found: Rows = ArrayRows(batch, rows, root, view, trained)
        else:
            agents = {seat: agent(spec) for seat, spec in fill.items()}
            for seat, one in agents.items():
                one.check(probe, seat)
            envs: list[Env] = []
            for _ in range(rows):
                envs.append(make_env(name, options))
                undo.callback(envs[-1].close)
            found = _rows(envs, root, view, trained, agents)
        undo.pop_all()
    return found, probe


def _rows(envs: Sequence[Env], root: int, view: str, trained: Sequence[str], agents: Mapping[str, Any]) -> Rows:
    if not agents:
        return SingleRows(envs, root, view, trained)
    from crossplay.jobs.filled import FilledRows

    return FilledRows(envs, root, view, trained, agents)


def _trained(probe: Env, view: str, fill: Mapping[str, Any]) -> tuple[str, ...]:
    """The seats that are left to train."""
    if view not in probe.views:
        raise CrossplayError(f'{probe.id}: no view "{view}"; it has {", ".join(probe.views)}')
    for seat in fill:
        if seat not in probe.seats:
            raise CrossplayError(f'{probe.id}: no seat "{seat}"; it has {", ".join(probe.seats)}')
    trained = tuple(s for s in probe.seats if s not in fill)
    if not trained:
        raise CrossplayError(f"{probe.id}: every seat is filled, so none is left to train")
    return trained
