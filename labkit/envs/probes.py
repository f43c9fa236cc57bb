"""Five tiny environments, each of which needs one more part of an agent to work: to find out which part is wrong.

An idea of practice, not of a paper. An agent that fails only where two steps are needed has wrong targets; one that
fails only where actions matter chooses or credits them wrongly.
"""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

PROBES = ("a reward", "which state", "two steps", "which action", "both")


class VectorProbe(VectorEnv):
    """`count` copies of one of `PROBES`, for agents that learn together; two actions, one number to see.

    - "a reward": there is a reward of 1, whatever one does.
    - "which state": one sees 1 or -1, and that is the reward.
    - "two steps": one sees 0, then 1; the reward of 1 comes after the second step.
    - "which action": action 0 is worth -1, action 1 is worth 1.
    - "both": one sees 1 or -1; action 1 is right in the first case, action 0 in the second: 1 if right, -1 if wrong.

    Episodes end after their reward and are begun by reset(options={"reset_mask": (count,) booleans}). Raises ValueError
    for another name.
    """

    def __init__(self, name: str, count: int) -> None:
        if name not in PROBES:
            raise ValueError(f"{name!r} is no probe: take one of {', '.join(PROBES)}")
        self.name, self.num_envs = name, count
        self.single_observation_space = Box(-1, 1, (1,), np.float32)
        self.single_action_space = Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, count)
        self.action_space = batch_space(self.single_action_space, count)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        if seed is not None or not hasattr(self, "state"):
            self._rng = np.random.default_rng(seed)
            self.state = np.zeros((self.num_envs, 1), dtype=np.float32)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        chance = self._rng.choice(np.array([-1, 1], dtype=np.float32), (self.num_envs, 1))
        first = chance if self.name in ("which state", "both") else np.zeros_like(self.state)
        self.state = np.where(mask[:, None], first, self.state)
        return self.state.copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        state, sign = self.state[:, 0], 2.0 * np.asarray(actions) - 1
        over = state == 1 if self.name == "two steps" else np.ones(self.num_envs, dtype=bool)
        rewards = {
            "a reward": np.ones(self.num_envs),
            "which state": state,
            "two steps": over.astype(float),
            "which action": sign,
            "both": sign * state,
        }[self.name]
        self.state = np.ones_like(self.state) if self.name == "two steps" else self.state
        return self.state.copy(), rewards, over, np.zeros(self.num_envs, dtype=bool), {}

    def expected(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """What can be seen, (n, 1), and the true values of both actions there, (n, 2)."""
        values = {
            "a reward": {0: (1, 1)},
            "which state": {-1: (-1, -1), 1: (1, 1)},
            "two steps": {0: (gamma, gamma), 1: (1, 1)},
            "which action": {0: (-1, 1)},
            "both": {-1: (1, -1), 1: (-1, 1)},
        }[self.name]
        return np.array([*values], dtype=np.float32)[:, None], np.array([*values.values()], dtype=np.float32)
