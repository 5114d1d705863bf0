"""A trainer of your own, without a framework: hill climbing on the weights of a linear policy (numpy alone).

    crossplay train gym:CartPole-v1 --worker worker/examples/hill_climb.py --steps 60000

Each track of a batch plays with weights of its own: the best so far plus noise. Whichever lasts longest is the next
best. The same file plays what it trained: it is the agent of the policy, with config = { checkpoint = "..." }.
"""

import numpy as np
from crossplay_worker import Refused, Worker, run
from crossplay_worker.weights import load, save


class HillClimb(Worker):
    """Trains and plays a linear policy."""

    name = "hill-climb"
    roles = ("agent", "trainer")
    views = ("array",)
    kinds = ("names",)
    state = "none"
    deterministic = True
    weights = None

    # -- training ----------------------------------------------------------------------------------------
    def train(self, job):
        """Climb until the steps are used up."""
        tracks = job.tracks(rows=int(job.config.get("rows", 32)))
        chance = np.random.default_rng(job.seed)
        size = int(np.prod(tracks.shape)) + 1
        best, step = np.zeros((size, len(tracks.spec["names"]))), 0
        if job.resume:
            arrays, about = load(job.resume, self.name)
            best, step, tracks.block = arrays["best"], about["step"], about["block"]
        about = {"framework": self.name, "env": tracks.rows.id}
        while step < job.steps:
            noise = chance.normal(0.0, job.config.get("noise", 0.5), (tracks.K, *best.shape))
            noise[0] = 0.0  # the best so far defends itself
            returns, played = self.play_once(tracks, best + noise)
            step += played
            best = best + noise[returns.argmax()]
            job.metrics(step, mean=returns.mean(), best=returns.max(), **{"return": returns[0]})
            folder = job.folder / "checkpoints"
            path = save(folder / str(step), {"best": best}, {**about, "step": step, "block": tracks.block})
            job.checkpoint(path, step)
            job.stop_if_cancelled()
        save(job.folder / "policy", {"best": best}, {**about, "step": step})
        return {"policy": "policy.safetensors", "step": step}

    def play_once(self, tracks, weights):
        """(return of the first episode of each track, decisions)."""
        seen = tracks.reset()
        returns, lives, played = np.zeros(tracks.K), np.ones(tracks.K, bool), 0
        while lives.any():
            seen = tracks.step(np.einsum("ki,kia->ka", features(seen.obs), weights).argmax(1))
            returns += seen.reward * lives
            played += int(lives.sum())
            lives &= ~seen.ended
        return returns, played

    # -- playing -----------------------------------------------------------------------------------------
    def bind(self, seats, config):
        """Load the policy, and refuse seats that it does not fit."""
        if not config.get("checkpoint"):
            raise Refused("BAD_VALUE", "hill-climb: config = { checkpoint = ... } is missing")
        self.weights = load(config["checkpoint"], self.name)[0]["best"]
        for seat in seats:
            if (int(np.prod(seat.shape)) + 1, len(seat.spec.get("names", ()))) != self.weights.shape:
                raise Refused("BAD_SPACE", "hill-climb: the policy was trained on other views or actions")

    def act_batch(self, batch):
        """The action with the highest score, row by row."""
        # One product per row: its bits then do not depend on who else is asked.
        return np.array([(row @ self.weights).argmax() for row in features(batch.views)])


def features(views):
    """The views, flattened, and a constant."""
    flat = np.asarray(views, np.float64).reshape(len(views), -1)
    return np.hstack([flat, np.ones((len(flat), 1))])


if __name__ == "__main__":
    run(HillClimb())
