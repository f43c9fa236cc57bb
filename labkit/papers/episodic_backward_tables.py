"""Why values should go backward: an exact count on a chain, and episodic backward update with a table.

Paper: S. Y. Lee, S. Choi, S.-Y. Chung, *Sample-Efficient Deep Reinforcement Learning via Episodic Backward Update*,
NeurIPS 2019, arXiv:1805.12375; its code has no tables. Names are those of `episode_replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
import torch
from torch import Tensor

from labkit.papers.episode_replay import Episode, EpisodeReplay, action_count, integer, play_episode, require_fraction

# ---- why backward: one episode, and a reward at its end -------------------------------------------------------------


def uniform_updates_mean(copies: Sequence[int], others: int = 0) -> float:
    """Expected number of uniformly drawn updates until a path is known, sum_i T / copies[i]; N^2 for a plain chain.

    The path's N transitions end with the only reward. The replay holds one episode of T steps, which made transition i
    of the path copies[i] times, first to last, and `others` steps that lead back. To update transition i tells
    something only if transition i + 1 is known already, so the number of updates is a sum of N independent geometric
    numbers, of probabilities copies[i] / T. A backward sweep needs T updates.
    The motivating example of paper and review. Raises ValueError if a transition of the path was never made.
    """
    _require_path(copies, others)
    steps = sum(copies) + others  # T
    return sum(steps / count for count in copies)


def uniform_updates_pmf(copies: Sequence[int], most: int, others: int = 0) -> Tensor:
    """P(U = u) for the number U of updates until the path is known, u = 0 ... most: (most + 1,) float64.

    By the Markov chain of how many transitions are known, from the end; what is missing from a sum of 1 takes longer.
    For a plain chain it is the number of draws until N successes of probability 1 / N, a negative binomial number.
    """
    _require_path(copies, others)
    steps = sum(copies) + others
    chances = torch.tensor(list(copies)[::-1], dtype=torch.float64) / steps  # of the step from n known to n + 1
    known = torch.zeros(len(chances) + 1, dtype=torch.float64)  # P(n known), n = 0 ... N
    known[0] = 1
    pmf = torch.zeros(most + 1, dtype=torch.float64)
    for u in range(1, most + 1):
        moved = known[:-1] * chances
        known[:-1] -= moved
        known[1:] += moved
        pmf[u] = moved[-1]
    return pmf


def simulate_uniform_updates(copies: Sequence[int], runs: int, generator: torch.Generator, others: int = 0) -> Tensor:
    """Updates that Q-learning took until the first value was known, without discount, in `runs` runs: (runs,) integers.

    Raises ValueError as `uniform_updates_mean`.
    """
    _require_path(copies, others)
    length, steps = len(copies), sum(copies) + others
    made = torch.tensor([*(i for i, count in enumerate(copies) for _ in range(count)), *[length] * others])  # (T,)
    rewards = torch.zeros(length + 1)
    rewards[length - 1] = 1
    q = torch.zeros(runs, length + 2)  # of each transition of the path, and two columns that stay 0: the end
    taken = torch.zeros(runs, dtype=torch.int64)
    while (unknown := q[:, 0] == 0).any():
        taken += unknown
        i = made[torch.randint(steps, (runs,), generator=generator)][:, None]  # (runs, 1)
        q.scatter_(1, i, rewards[i] + q.gather(1, i + 1))
    return taken


def _require_path(copies: Sequence[int], others: int) -> None:
    if len(copies) == 0 or min(copies) < 1 or others < 0:
        raise ValueError(f"each transition of the path must be in the episode once or more, got {list(copies)}")


# ---- with a table ---------------------------------------------------------------------------------------------------


def backward_q_learning(
    q: Tensor,
    states: Tensor,
    actions: Tensor,
    rewards: Tensor,
    *,
    gamma: float,
    alpha: float = 1.0,
    terminated: bool = True,
) -> Tensor:
    """Algorithm 1 as it reads, one sweep over an episode: q (S, A) -> the new table; the old one is not changed.

    The episode has states S_0 ... S_T, numbers (T + 1,), actions and rewards (T,). For k = T - 1, ..., 0

        Q(S_k, A_k) <- (1 - alpha) Q(S_k, A_k) + alpha (R_k + gamma max_a Q(S_(k+1), a))

    with 0 for the last maximum if the episode was terminated. `backward_sweep` does the same, in place and faster.
    Raises ValueError for gamma or alpha outside [0, 1], an episode without a step, lengths that do not fit, or a reward
    that is not finite.
    """
    _require_sweep(states, actions, rewards, gamma, alpha, terminated)
    q = q.clone()
    for k in reversed(range(len(actions))):
        is_end = terminated and k == len(actions) - 1
        best = 0 if is_end else q[states[k + 1]].max()
        q[states[k], actions[k]] = (1 - alpha) * q[states[k], actions[k]] + alpha * (rewards[k] + gamma * best)
    return q


def backward_sweep(q: Tensor, episode: Episode, *, gamma: float, alpha: float = 1.0) -> None:
    """Algorithm 1: Q(S_k, A_k) <- R_k + gamma max_a Q(S_(k+1), a), for k = T - 1, ..., 0, in place; q (S, A).

    Frames of the episode are numbers of states. Since q changes during the sweep, one reward reaches all steps before
    it. A step size `alpha` below 1 averages over random transitions. S_T has no value if the episode was terminated.
    """
    ends = torch.zeros(len(episode), dtype=torch.float64)
    ends[-1] = episode.terminated
    steps = episode.frames[:-1], episode.actions, episode.rewards, episode.frames[1:], gamma * (1 - ends)
    _update_one_by_one(q, *(torch.as_tensor(x).flip(0) for x in steps), alpha)


def _require_sweep(
    states: Tensor, actions: Tensor, rewards: Tensor, gamma: float, alpha: float, terminated: bool
) -> None:
    Episode(*(np.asarray(x) for x in (states, actions, rewards)), terminated)  # which refuses what is no episode
    require_fraction(gamma, "gamma")
    require_fraction(alpha, "alpha")


def _update_one_by_one(
    q: Tensor, states: Tensor, actions: Tensor, rewards: Tensor, following: Tensor, discounts: Tensor, alpha: float
) -> None:
    table = q.tolist()  # single numbers are faster as Python's
    columns = (x.tolist() for x in (states, actions, rewards, following, discounts))
    for s, a, reward, s_next, discount in zip(*columns, strict=True):
        table[s][a] = (1 - alpha) * table[s][a] + alpha * (reward + discount * max(table[s_next]))
    q.copy_(torch.tensor(table, dtype=q.dtype))


def tabular_ebu(
    env: gymnasium.Env,
    *,
    episodes: int,
    gamma: float,
    generator: torch.Generator,
    alpha: float = 1.0,
    epsilon: float = 0.1,
    backward: bool = True,
    capacity: int = 1_000_000,
    after_episode: Callable[[Tensor, int], bool | None] | None = None,
) -> Tensor:
    """Q-learning with a table that starts at 0: after each episode, a backward sweep over one drawn from the replay.

    With backward=False as many one-step updates as the drawn episode has steps, of transitions drawn uniformly.
    Actions are random with probability `epsilon`, and among equally good ones. `after_episode` is given Q and the
    number of updates so far, and may return True to end the training. Returns Q (S, A) float64. Raises ValueError
    unless states and actions are Discrete, for alpha, gamma or epsilon outside [0, 1], or an episode longer than
    `capacity`.
    """
    for name, value in (("alpha", alpha), ("gamma", gamma), ("epsilon", epsilon)):
        require_fraction(value, name)
    if not isinstance(env.observation_space, gymnasium.spaces.Discrete):
        raise ValueError(f"a table needs numbered states, a Discrete space, got {env.observation_space}: number them")
    actions = action_count(env.action_space)
    q = torch.zeros(int(env.observation_space.n), actions, dtype=torch.float64)
    table, replay, updates = q.numpy(), EpisodeReplay(capacity), 0  # the table in the memory of q

    def act(state: int) -> int:
        is_random = float(torch.rand((), generator=generator)) < epsilon
        values = table[state].tolist()
        top = max(values)
        best = [action for action, value in enumerate(values) if is_random or value == top]
        return best[integer(len(best), generator)]

    for _ in range(episodes):
        replay.add(play_episode(env, act, seed=integer(2**31 - 1, generator), longest=capacity))
        episode = replay.sample_episode(generator)
        if backward:
            backward_sweep(q, episode, gamma=gamma, alpha=alpha)
        else:
            _update_one_by_one(q, *replay.sample(len(episode), generator, gamma=gamma), alpha)
        updates += len(episode)
        if after_episode and after_episode(q, updates):
            break
    return q
