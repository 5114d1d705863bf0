"""The same rule as tests/agents/workers/steady.py, in this process."""

from crossplay.kernel import Agent


class Twin(Agent):
    name = "worker"

    def act(self, obs):
        return obs.pick(len(obs.spec.names))
