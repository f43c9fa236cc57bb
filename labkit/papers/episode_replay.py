"""A replay of whole episodes, from which agents draw episodes or single transitions.

Paper: S. Y. Lee, S. Choi, S.-Y. Chung, *Sample-Efficient Deep Reinforcement Learning via Episodic Backward Update*,
NeurIPS 2019, arXiv:1805.12375; how it is stored is ours.

An episode has T steps: observations S_0 ... S_T, actions A_0 ... A_(T-1), rewards R_0 ... R_(T-1), where R_k and
S_(k+1) follow A_k. It is terminated if S_T has no future, truncated if it was only cut off there: then S_T has a value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

Kept = TypeVar("Kept", bound=Sized)
Step = tuple[int, float, int, float]  # A_k, and of n steps: R_k + gamma R_(k+1) + ..., where they end, their discount


@dataclass(frozen=True, eq=False)
class Episode:
    """One whole episode; frames keep the dtype that the environment gives, bytes for images.

    With `stack` > 1 an observation is the last `stack` frames, of which each is kept once; before the first frame
    stands the first, as `gymnasium.wrappers.FrameStackObservation` has it. Raises ValueError for an episode without a
    step, lengths that do not fit, or a reward that is not finite.
    """

    frames: np.ndarray  # (T + 1, ...)
    actions: np.ndarray  # (T,) integers
    rewards: np.ndarray  # (T,)
    terminated: bool  # False: truncated
    stack: int = 1
    _ahead: dict[tuple[float, int], list[Step]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.actions) == 0 or len(self.frames) - 1 != len(self.actions) or len(self.rewards) != len(self):
            sizes = f"{len(self.frames)} frames, {len(self.actions)} actions and {len(self.rewards)} rewards"
            raise ValueError(f"an episode has T + 1 frames, T actions and T rewards, T at least 1: got {sizes}")
        if not np.isfinite(self.rewards).all():
            raise ValueError("an episode holds a reward that is NaN or infinite: check the environment")

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes + self.actions.nbytes + self.rewards.nbytes

    def observation(self, k: int) -> np.ndarray:
        """S_k, k = 0 ... T; (stack, ...) if frames are stacked."""
        return self.frames[k] if self.stack == 1 else self.frames[np.arange(k - self.stack + 1, k + 1).clip(min=0)]

    def last(self, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """The last `steps` steps: S (steps + 1, ...), A (steps,), R (steps,)."""
        if self.stack == 1:
            observations = self.frames[-steps - 1 :]
        else:
            observations = np.stack([self.observation(k) for k in range(len(self) - steps, len(self) + 1)])
        return tuple(torch.from_numpy(x) for x in (observations, self.actions[-steps:], self.rewards[-steps:]))

    def ahead(self, gamma: float, n_steps: int) -> list[Step]:
        """What `Transitions` need of each step, computed once: (T,)."""
        if (gamma, n_steps) not in self._ahead:
            powers = [gamma**n for n in range(n_steps + 1)]
            padded = np.concatenate([self.rewards, np.zeros(n_steps - 1)])  # nothing is received after the end
            returns = sum(powers[n] * padded[n : n + len(self)] for n in range(n_steps))
            ends = [min(k + n_steps, len(self)) for k in range(len(self))]
            gone = [self.terminated and end == len(self) for end in ends]
            discounts = [0.0 if none else powers[end - k] for k, (end, none) in enumerate(zip(ends, gone, strict=True))]
            columns = self.actions.tolist(), returns.tolist(), ends, discounts
            self._ahead[gamma, n_steps] = list(zip(*columns, strict=True))
        return self._ahead[gamma, n_steps]


class Transitions(NamedTuple):
    """n steps each: y = returns + discounts * max_a Q(S_(k+n), a)."""

    observations: Tensor  # S_k, (B, ...)
    actions: Tensor  # A_k, (B,)
    returns: Tensor  # R_k + gamma R_(k+1) + ..., (B,)
    following: Tensor  # S_(k+n), or S_T if that comes first, (B, ...)
    discounts: Tensor  # gamma^n; 0 if the following state is terminal, (B,)

    def minibatch(self, q_next: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Observations, actions and targets, given the values of the following states, (B, A)."""
        return self.observations, self.actions, self.returns + self.discounts * q_next.amax(1).cpu()


class EpisodeReplay:
    """The latest whole episodes, of at most `capacity` transitions together; drawing takes the same time at any size.

    Episodes are kept as objects under running numbers, and the oldest go first. So nothing wraps around that is ever
    looked at as an episode; only a table of which transition belongs to which episode is used in a circle. An episode
    of T transitions holds T + 1 frames: a million frames of 84 x 84 bytes are 7.06 GB, and with episodes of 30 steps or
    more, on average, a million transitions are less than 7.5 GB, with the 0.15 GB that `sample` keeps to look steps up.
    Raises ValueError for a capacity below 1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a replay needs room for at least one transition, got capacity {capacity}")
        self.capacity = capacity
        self._episodes: dict[int, tuple[int, Episode]] = {}  # by number: number of its first transition, episode
        self._oldest = 0  # number of the oldest episode
        self._first, self._end = 0, 0  # transitions first ... end - 1 are there
        self._owner = np.empty(capacity, dtype=np.int64)  # number of the episode of transition t, at t % capacity

    def __len__(self) -> int:
        """The number of transitions."""
        return self._end - self._first

    @property
    def episodes(self) -> list[Episode]:
        """From the oldest to the latest."""
        return [episode for _, episode in self._episodes.values()]

    @property
    def nbytes(self) -> int:
        return self._owner.nbytes + sum(episode.nbytes for episode in self.episodes)

    def add(self, episode: Episode) -> None:
        """Keep an episode, and let the oldest go as far as room is needed. Raises ValueError if it is too long."""
        require_room(len(episode), self.capacity)
        number = self._oldest + len(self._episodes)
        self._episodes[number] = self._end, episode
        self._owner[np.arange(self._end, self._end + len(episode)) % self.capacity] = number
        self._end += len(episode)
        while len(self) > self.capacity:
            _, gone = self._episodes.pop(self._oldest)
            self._oldest += 1
            self._first += len(gone)

    def sample_episode(self, generator: torch.Generator) -> Episode:
        """One of the episodes, each with equal probability. Raises ValueError for an empty replay."""
        self._require_episodes()
        return self._episodes[self._oldest + integer(len(self._episodes), generator)][1]

    def sample(self, count: int, generator: torch.Generator, *, gamma: float, n_steps: int = 1) -> Transitions:
        """`count` transitions, each with equal probability, with replacement. Raises ValueError for an empty replay."""
        self._require_episodes()
        drawn = torch.randint(self._first, self._end, (count,), generator=generator).tolist()
        rows = []
        for t, owner in zip(drawn, self._owner[np.remainder(drawn, self.capacity)].tolist(), strict=True):
            first, episode = self._episodes[owner]
            action, received, end, discount = episode.ahead(gamma, n_steps)[t - first]
            rows.append((episode.observation(t - first), action, received, episode.observation(end), discount))
        seen, actions, returns, following, discounts = zip(*rows, strict=True)
        return Transitions(
            torch.from_numpy(np.array(seen)),
            torch.tensor(actions),
            torch.tensor(returns, dtype=torch.float32),
            torch.from_numpy(np.array(following)),
            torch.tensor(discounts, dtype=torch.float32),
        )

    def state_dict(self) -> list[dict[str, Any]]:
        arrays = ("frames", "actions", "rewards")
        return [
            {name: torch.from_numpy(getattr(episode, name)) for name in arrays}
            | {"terminated": episode.terminated, "stack": episode.stack}
            for episode in self.episodes
        ]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Replace all that is kept. Draws after this are those after `state_dict`, given equal generators."""
        self.__init__(self.capacity)
        for kept in state:
            self.add(Episode(**{name: x.numpy() if isinstance(x, Tensor) else x for name, x in kept.items()}))

    def _require_episodes(self) -> None:
        if not self._episodes:
            raise ValueError("the replay is empty: add an episode before drawing")


def remember_episode(memory: Sequence[Kept], episode: Kept, capacity: int) -> list[Kept]:
    """The memory with one more episode: from the oldest to the latest, of at most `capacity` steps together.

    The oldest go first, and whole: half an episode would be swept from a wrong end. An episode is anything whose length
    is its number of steps. `EpisodeReplay` does the same in a time that does not grow with the memory. The memory of
    Lee et al. (2019), Algorithm 2; whole episodes are ours, their code wraps around. The old memory is not changed.
    Raises ValueError for an episode that is longer than `capacity`.
    """
    require_room(len(episode), capacity)
    kept = [*memory, episode]
    while sum(len(each) for each in kept) > capacity:
        kept.pop(0)
    return kept


def play_episode(
    env: gymnasium.Env,
    act: Callable[[Any], int],
    *,
    seed: int,
    longest: int,
    stack: int = 1,
    after_step: Callable[[], None] = lambda: None,
) -> Episode:
    """One episode with the actions act(observation); `after_step()` is called after each step.

    Raises ValueError for more than `longest` steps, or a reward that is not finite.
    """
    walk = Walk(env, seed=seed, longest=longest, stack=stack)
    while not walk.over:
        walk.step(act(walk.seen))
        after_step()
    return walk.episode()


class Walk:
    """An episode while it is played, as `play_episode` plays it: `step` until it is `over`, then take the `episode`."""

    def __init__(self, env: gymnasium.Env, *, seed: int, longest: int, stack: int = 1) -> None:
        self.env, self.longest, self.stack = env, longest, stack
        self.seen, _ = env.reset(seed=seed)
        self.terminated = self.over = False
        self.frames, self.actions, self.rewards = [self._newest()], [], []

    def step(self, action: int) -> None:
        """Raises ValueError for more than `longest` steps."""
        require_room(len(self.actions) + 1, self.longest)
        self.seen, reward, self.terminated, truncated, _ = self.env.step(action)
        self.over = bool(self.terminated or truncated)
        self.actions.append(action)
        self.rewards.append(reward)
        self.frames.append(self._newest())

    def episode(self) -> Episode:
        """Raises ValueError for a reward that is not finite."""
        arrays = np.stack(self.frames), np.array(self.actions), np.array(self.rewards, dtype=np.float32)
        return Episode(*arrays, terminated=bool(self.terminated), stack=self.stack)

    def _newest(self) -> np.ndarray:
        """A copy of the latest frame: an environment may write over its own."""
        return np.array(self.seen if self.stack == 1 else self.seen[-1])


def integer(below: int, generator: torch.Generator) -> int:
    """One of 0 ... below - 1, each with equal probability."""
    return int(torch.randint(below, (), generator=generator))


# ---- what is refused ------------------------------------------------------------------------------------------------


def require_room(steps: int, capacity: int) -> None:
    """Raises ValueError for an episode of more steps than there is room for."""
    if steps > capacity:
        raise ValueError(
            f"an episode is longer than the replay's capacity of {capacity} transitions: "
            "raise the capacity, or limit episodes with gymnasium.wrappers.TimeLimit"
        )


def action_count(space: gymnasium.Space) -> int:
    """How many actions there are. Raises ValueError for a space other than Discrete from 0."""
    if not isinstance(space, gymnasium.spaces.Discrete) or space.start != 0:
        raise ValueError(f"Q-learning needs actions 0 ... n - 1, a Discrete space from 0: make such actions of {space}")
    return int(space.n)


def require_fraction(value: float, name: str) -> None:
    """Raises ValueError for a number outside [0, 1], or NaN."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
