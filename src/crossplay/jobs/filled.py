"""Rows in which agents of ours fill some of the seats: each row is an episode of the kernel's own `play`.

The trained seats are filled by an agent that waits for the trainer's answer. So turns, messages, memos and faults of
the other agents are what they are in a study, and the trainer sees its own turns only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.jobs.rows import Rows, check, masks, stacked
from crossplay.kernel import Agent, Block, CrossplayError, Env, Episode, Observation, aio, play

__all__ = ["FilledRows"]


class _Trained(Agent):
    """Waits until the trainer has answered."""

    name, kind, deterministic = "trained", "remote", False

    def __init__(self, row: _Row, view: str) -> None:
        self.row, self.views = row, (view,)

    async def act(self, obs: Observation) -> Any:
        """The trainer's value."""
        future = asyncio.get_running_loop().create_future()
        self.row.asked[obs.seat] = (future, obs.view(self.views[0]), obs.legal, obs.reward)
        self.row.look()
        return await future


class _Row:
    """One episode, and what it waits for."""

    def __init__(self, env: Env, trained: frozenset[str]) -> None:
        self.env, self.trained = env, trained
        self.asked: dict[str, tuple[asyncio.Future[Any], Any, Any, float]] = {}
        self.task: asyncio.Task[Any] | None = None
        self.episode: Episode | None = None
        self.ready = asyncio.Event()

    def look(self) -> None:
        """Whether all trained seats that are to act were asked, or the episode is over."""
        over = self.task is not None and self.task.done()
        if over or (self.asked and set(self.asked) >= self.trained.intersection(self.env.to_act())):
            self.ready.set()


class FilledRows(Rows):
    """An episode per row; `fill` plays the other seats."""

    env: Env

    def __init__(
        self, envs: Sequence[Env], root: int, view: str, trained: Sequence[str], fill: Mapping[str, Agent]
    ) -> None:
        super().__init__(envs[0], len(envs), root, view, trained)
        self.fill = dict(fill)
        self._loop = asyncio.new_event_loop()
        self._rows = [_Row(env, frozenset(trained)) for env in envs]

    def _reset(self, rows: list[int], blocks: list[Any]) -> None:
        for number, block in zip(rows, blocks, strict=True):
            row = self._rows[number]
            self._stop(row)
            agent = _Trained(row, self.view)
            lineup = {s: self.fill.get(s, agent) for s in row.env.seats}
            row.episode = play(row.env, lineup, Block(self.root, block))
            row.asked, row.ready = {}, asyncio.Event()
            row.task = self._loop.create_task(aio(row.episode))
            row.task.add_done_callback(lambda _, row=row: row.look())
            self.ended[number] = ""
        self._settle(rows)

    def _step(self, actions: Mapping[str, Any]) -> None:
        running = [n for n, ended in enumerate(self.ended) if ended == ""]
        values = {
            n: {s: check(self._rows[n].env, n, s, actions, ask[2]) for s, ask in self._rows[n].asked.items()}
            for n in running
        }
        for seat in self.trained:
            self.reward[seat][:] = 0.0
        for n, chosen in values.items():
            row = self._rows[n]
            asked, row.asked = row.asked, {}
            row.ready.clear()
            for seat, value in chosen.items():
                asked[seat][0].set_result(value)
            row.look()  # where its episode is over already, there is nothing to wait for
        self._settle(running)

    def _settle(self, rows: Sequence[int]) -> None:
        """Let the other agents play until every row waits for the trainer or is over."""

        async def all_ready() -> None:
            for n in rows:
                await self._rows[n].ready.wait()

        self._loop.run_until_complete(all_ready())
        broken: list[Exception] = []
        for n in rows:
            row = self._rows[n]
            if row.task is not None and row.task.done():
                try:
                    self._over(n, row)
                except Exception as error:  # told when all rows are settled: others may have ended in this step too
                    broken.append(error)
            else:
                for seat, ask in row.asked.items():
                    self.reward[seat][n] = ask[3]
        if len(broken) > 1:
            raise CrossplayError(f"{broken[0]} ({len(broken)} rows ended badly in this step)") from broken[0]
        if broken:
            raise broken[0]

    def _over(self, number: int, row: _Row) -> None:
        assert row.task is not None and row.episode is not None
        self.ended[number] = None
        outcome = row.task.result()  # raises what a filled agent or the environment raised
        if outcome.status not in ("terminal", "horizon"):
            raise CrossplayError(f"row {number}: the episode ended as {outcome.status}: {outcome.detail}")
        self.ended[number] = outcome.status
        self.scores[number] = dict(outcome.score)
        for seat in self.trained:
            self.reward[seat][number] = row.episode.since[row.episode.index[seat]]

    def _stop(self, row: _Row) -> None:
        if row.task is not None and not row.task.done():
            row.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(row.task)
        row.task = None

    def _obs(self) -> dict[str, Any]:
        return {s: stacked([self._seen(n, s) for n in range(self.rows)], self.view) for s in self.trained}

    def _seen(self, number: int, seat: str) -> Any:
        row = self._rows[number]
        if self.ended[number] is None:
            return None
        return row.asked[seat][1] if seat in row.asked else row.env.view(seat, self.view)

    def _legal(self) -> dict[str, Any]:
        return masks(self.env, self.trained, [{s: ask[2] for s, ask in row.asked.items()} for row in self._rows])

    def _acting(self) -> list[Any]:
        if all(len(row.asked) in (0, len(self.trained)) for row in self._rows):
            return []
        return [list(row.asked) for row in self._rows]

    def close(self) -> None:
        """Stop the episodes, close the environments."""
        for row in self._rows:
            self._stop(row)
            row.env.close()
        self._loop.close()
