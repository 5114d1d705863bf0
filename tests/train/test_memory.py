"""A recurrent policy remembers what a memoryless one cannot know."""

import numpy as np
import pytest

pytest.importorskip("torch")

from crossplay.agents.policy import PolicyAgent
from crossplay.kernel import ActionSpec, BatchEnv, Block, columns, pick
from crossplay.train import PPO, train, trials
from crossplay.train import rows as learned_from


class Recall(BatchEnv):
    """A cue of 0 or 1 is shown at the start; the answer at tick 3 is paid if it is the cue."""

    name = "recall"
    seats = ("one", "two")
    horizon = 4
    views = ("data", "array")
    action_spec = ActionSpec(kind="names", names=("zero", "one"))
    metrics = {"right": "share of right answers"}

    def layout(self):
        return [("cue", "i1", (2,)), ("tick", "i1", ()), ("right", "i1", ())]

    def start(self, rows):
        for i in range(2):
            self.f.cue[rows, i] = pick(self.keys[rows], 2, 0, i)

    def step(self, actions):
        paid = (actions == self.f.cue) & (self.f.tick == 3)[:, None]
        self.f.right += paid.sum(1).astype(np.int8)
        self.f.tick += 1
        return paid.astype(float), (self.f.tick >= 4) * np.uint8(2)

    def obs_array(self, seat, rows=None):
        rows = slice(None) if rows is None else rows
        first = self.f.tick[rows] == 0
        return np.stack([first & (self.f.cue[rows, seat] == k) for k in range(2)] + [self.f.tick[rows] == 3], 1).astype(
            np.float32
        )

    def array_shape(self, seat):
        return (3,)

    def score(self, row):
        return {"right": float(self.f.right[row]) / 2}

    def data(self, row, seat):
        return {"tick": int(self.f.tick[row])}


@pytest.fixture
def recall(monkeypatch):
    make = lambda name, width, options=None: Recall(width)  # noqa: E731
    monkeypatch.setattr(learned_from, "make_batch", make)
    monkeypatch.setattr(trials, "make_batch", make)


@pytest.mark.parametrize("recurrent", [True, False])
def test_recall(recall, recurrent, tmp_path):
    config = PPO(total_steps=64 * 10 * 40, rows=64, length=10, hidden=(16,), learning_rate=1e-2, recurrent=recurrent)
    result = train("recall", config, tmp_path)
    agent = PolicyAgent(tmp_path / "policy.safetensors", sample=False)
    played = columns(Recall(32), dict.fromkeys(Recall.seats, agent), [Block(0, b) for b in range(100)])
    right = np.mean([outcome.score["right"] for _, outcome in played])
    assert (result.value > 0.9 and right > 0.95) if recurrent else (result.value < 0.65 and right < 0.65)
