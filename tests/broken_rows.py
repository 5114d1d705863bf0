"""Array worlds that are wrong in one way each, and the check of the kit that must refuse them."""

from __future__ import annotations

import numpy as np

from broken_worlds import BROKEN
from crossplay.kernel import pick
from worlds import Walk


class Ring(Walk):
    """Walk, told in words."""

    name, rules = "test/ring", "Walk on a ring and take coins."


def breaks_rows(name, match):
    """The same for an array world (a subclass of Ring)."""

    def keep(world):
        BROKEN.append((name, match, lambda: world(1).single(), world))
        return world

    return keep


@breaks_rows("batch-form", "not finite float64")
class SmallRewards(Ring):
    def step(self, actions):
        rewards, ended = super().step(actions)
        return rewards.astype(np.float32), ended


@breaks_rows("batch-form", "not uint8")
class WideEnds(Ring):
    def step(self, actions):
        rewards, ended = super().step(actions)
        return rewards, ended.astype(np.int64)


@breaks_rows("batch-form", "step wrote into its actions")
class Writes(Ring):
    def step(self, actions):
        found = super().step(actions)
        actions[:] = 0
        return found


@breaks_rows("batch-form", "rewards of an earlier tick changed")
class LendsRewards(Ring):
    def step(self, actions):
        rewards, ended = super().step(actions)
        if not hasattr(self, "_pay"):
            self._pay = np.zeros((self.B, 3))
        self._pay[:] = rewards + self.f.tick[:, None]
        return self._pay, ended


@breaks_rows("batch-form", "must be written in place")
class NewState(Ring):
    def step(self, actions):
        found = super().step(actions)
        self.S = self.S.copy()
        return found


@breaks_rows("batch-form", "not bool")
class NumberMasks(Ring):
    def legal(self):
        return super().legal().astype(np.uint8)


@breaks_rows("batch-widths", "the reward differs in bits")
class MeanOfBatch(Ring):
    def step(self, actions):
        rewards, ended = super().step(actions)
        return rewards + self.f.pos.mean(), ended


@breaks_rows("batch-widths", "the state differs in bits")
class RowNumber(Ring):
    def start(self, rows):
        super().start(rows)
        self.f.coin[rows] = pick(self.keys[rows], 16, 0, np.asarray(rows))


@breaks_rows("batch-widths", "in bits")
class SumsByBlas(Ring):
    """Products that the library sums in another order at another width: the fault that was found by measurement."""

    def step(self, actions):
        rewards, ended = super().step(actions)
        wide = np.tile((self.f.pos + 0.1) / 7.0, (1, 50))
        return np.asfortranarray(rewards) + (
            wide.astype(np.float32) @ (np.arange(150, dtype=np.float32)[:, None] / 3)
        ), ended


@breaks_rows("batch-single", "data of")
class RowTold(Ring):
    def data(self, row, seat):
        return {**super().data(row, seat), "row": row}


@breaks_rows("batch-single", r"ended\(row\)")
class NeverOver(Ring):
    def ended(self, row):
        return 0


@breaks_rows("batch-single", "reading data changed the state")
class ShyRow(Ring):
    def data(self, row, seat):
        self.f.pay[row] += 1
        return super().data(row, seat)


@breaks_rows("batch-arrays", "is not view_array")
class OtherArray(Ring):
    def obs_array(self, seat, rows=None):
        return super().obs_array(seat, rows) + (self.f.taken[slice(None) if rows is None else rows, None] > 0)


@breaks_rows("batch-arrays", "is not view_array")
class OtherType(Ring):
    def view_array(self, data):
        return super().view_array(data).astype(np.float64)


@breaks_rows("batch-arrays", "not a part of the whole")
class WrongRows(Ring):
    def obs_array(self, seat, rows=None):
        return super().obs_array(seat, None if rows is None else np.sort(rows))


@breaks_rows("batch-reset", "does not start as a new one")
class SideTable(Ring):
    def start(self, rows):
        super().start(rows)
        if not hasattr(self, "_starts"):
            self._starts = np.zeros(self.B, np.int64)
        self._starts[rows] += 1
        self.f.coin[rows] = self._starts[rows]


@breaks_rows("batch-reset", "changed other rows")
class ClearsAll(Ring):
    def start(self, rows):
        if self.B > 1:
            self.f.pos[:] = 0
        super().start(rows)
