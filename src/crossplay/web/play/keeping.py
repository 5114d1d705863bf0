"""`Keeping`: a room is kept as it stands, beside the event loop, so that no tick waits for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from crossplay.kernel import CrossplayError
from crossplay.web.play.record import Keeper, Kept, Shelved

__all__ = ["Keeping"]


class Keeping:
    """When a room is written, by a `Keeper` (None: never). All but what `done` gives is called on the event loop.

    state: gives the room's state as it is kept. episode: the episode as it stands, None where none is open.
    """

    def __init__(
        self, keeper: Keeper | None, state: Callable[[int], Kept], episode: Callable[[], Shelved | None]
    ) -> None:
        self.keeper, self._state, self._episode = keeper, state, episode
        self._unwritten = self._unshelved = ""
        self._dirty, self._order = False, 0
        self._last: Shelved | None = None  # the newest snapshot that is not on disk yet
        self._at = float("-inf")  # when the last snapshot was made
        self._timer: asyncio.TimerHandle | None = None  # of the next one
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str:
        """Why the room could not be gone on with after a kill, or ""."""
        return self._unwritten or self._unshelved

    def changed(self) -> None:
        """The state is another one: write it soon; what changes meanwhile is written after it."""
        self._dirty = self.keeper is not None
        if self._dirty and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    def tick(self, seconds: float, patient: bool) -> None:
        """A tick is open: keep the episode, at most every so many seconds. patient: somebody may think for long about this
        very tick, so it is kept as soon as they have passed.
        """
        if self.keeper is None or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._at + seconds - loop.time()
        if wait <= 0:
            self.snap()
        elif patient:
            self._timer = loop.call_later(wait, self.snap)

    def snap(self) -> None:
        """Keep the episode as it stands."""
        self._timer, self._at = None, asyncio.get_running_loop().time()
        found = self._shelf()
        if found is not None:
            self._last = found
            self.changed()

    def save(self) -> None:
        """Keep state and episode, now. Blocks; may be called in a thread while nothing else is going on."""
        if self.keeper is not None:
            self._last = None  # older than what is written here
            self.keeper.write(self._kept(), self._shelf())

    def done(self) -> Callable[[], None]:
        """The episode is over. What removes its snapshot when it is committed, from any thread."""
        self._last = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self.keeper.clear if self.keeper is not None else lambda: None

    async def written(self) -> None:
        """Until all that has changed is on disk, or could not be written (`problem`)."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def finish(self) -> None:
        """Until everything is written; nothing more is kept by itself."""
        self.done()
        await self.written()

    def _kept(self) -> Kept:
        self._order += 1
        return self._state(self._order)

    def _shelf(self) -> Shelved | None:
        try:
            found = self._episode()
        except Exception as error:  # a memo that cannot be stored, a world that cannot be kept: told, not hidden
            self._unshelved = f"this episode could not be gone on with after a crash: {error}"[:300]
            return None
        self._unshelved = "" if found is not None else self._unshelved
        return found

    async def _write(self) -> None:
        try:
            while self._dirty and self.keeper is not None:
                self._dirty, last, self._last = False, self._last, None
                try:
                    await asyncio.to_thread(self.keeper.write, self._kept(), last)
                    self._unwritten = ""
                except (OSError, CrossplayError) as error:  # the disk is full: the game goes on, and says so
                    self._last = self._last or last
                    self._unwritten = f"this room cannot be kept as it stands: {error}"[:300]
        finally:
            self._task = None
