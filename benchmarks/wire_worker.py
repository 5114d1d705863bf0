"""The worker of the wire benchmark, written with the kit: looks at every row, answers its first legal action."""

import numpy as np
from crossplay_worker import Worker, run


class Looks(Worker):
    name, views, state, deterministic = "looks", ("array", "image"), "none", True

    def act_batch(self, batch):
        views = batch.views
        return (views.reshape(len(views), -1)[:, 0] > 1e9).astype(np.int64)


class Each(Worker):
    name, views, state, deterministic = "each", ("array",), "none", True

    def act(self, obs):
        return int(obs.view.ravel()[0] > 1e9)


if __name__ == "__main__":
    import sys

    run(Each() if "each" in sys.argv else Looks())
