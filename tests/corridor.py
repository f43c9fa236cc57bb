"""The smallest environment that is worth learning, for tests of agents."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Corridor(gymnasium.Env):
    """Six places in a row, seen as numbers in [0, 1]; action 1 goes on to a reward of 1, others go back."""

    observation_space, action_space = Box(0, 1, (2,)), Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.age = int(self.np_random.integers(2)), 0
        return self._seen(), {}

    def step(self, action):
        self.place, self.age = max(0, self.place + (1 if action == 1 else -1)), self.age + 1
        there = self.place == 5
        return self._seen(), float(there), there, not there and self.age == 25, {}

    def _seen(self):
        return np.array([self.place / 5, self.age / 25], dtype=np.float32)
