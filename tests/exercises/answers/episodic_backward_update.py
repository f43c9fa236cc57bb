"""Right answers of lesson 06, written in other ways."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.papers import episodic_backward_update as paper

# ---- uniform updates of the chain -----------------------------------------------------------------------------------


def mean_by_markov_chain(copies: Sequence[int], others: int = 0) -> float:
    """t_n, the updates that are left with n transitions known, solve t_n = 1 + p_n t_(n+1) + (1 - p_n) t_n."""
    p = torch.tensor(copies[::-1], dtype=torch.float64) / (sum(copies) + others)
    left = torch.linalg.solve(torch.diag(p) - torch.diag(p[:-1], 1), torch.ones_like(p))
    return left[0].item()


def mean_by_distribution(copies: Sequence[int], others: int = 0) -> float:
    """sum_u P(U > u), over the state of knowledge after u updates."""
    T, mean = sum(copies) + others, 0.0
    known = [1.0, *[0.0] * len(copies)]  # P(n transitions are known)
    while (unfinished := sum(known[:-1])) > 1e-12:
        mean += unfinished
        moved = [p * count / T for p, count in zip(known, reversed(copies), strict=False)]
        known = [p - out + into for p, out, into in zip(known, [*moved, 0], [0, *moved], strict=True)]
    return mean


def mean_in_a_tensor(copies: Sequence[int], others: int = 0) -> Tensor:
    counts = torch.tensor(copies)
    return ((counts.sum() + others) / counts).sum()


# ---- a backward sweep over a table ----------------------------------------------------------------------------------


def sweep_by_lists(q, states, actions, rewards, *, gamma, alpha=1.0, terminated=True) -> Tensor:
    table, following = q.tolist(), 0.0 if terminated else q[states[-1]].max().item()
    steps = zip(states.tolist(), actions.tolist(), rewards.tolist(), strict=False)  # the last state has no step
    for s, a, reward in reversed(list(steps)):
        table[s][a] += alpha * (reward + gamma * following - table[s][a])
        following = max(table[s])  # of the next state, as seen from the step before
    return torch.tensor(table)


def sweep_by_an_episode(q, states, actions, rewards, *, gamma, alpha=1.0, terminated=True) -> Tensor:
    table = q.clone()
    episode = paper.Episode(states.numpy(), actions.numpy(), rewards.numpy(), terminated)
    paper.backward_sweep(table, episode, gamma=gamma, alpha=alpha)
    return table


# ---- one-step targets -----------------------------------------------------------------------------------------------


def one_step_by_zeroed_rows(rewards, q_next, terminated, truncated, *, gamma) -> Tensor:
    """A terminal state has the value 0 whatever one does there."""
    return rewards + gamma * torch.where(terminated[:, None], 0, q_next).max(dim=1).values


def one_step_by_loop(rewards, q_next, terminated, truncated, *, gamma) -> Tensor:
    found = []
    for reward, values, is_end in zip(rewards.tolist(), q_next.tolist(), terminated.tolist(), strict=True):
        found.append(reward if is_end else reward + gamma * max(values))
    return torch.tensor(found)


def one_step_by_discounts(rewards, q_next, terminated, truncated, *, gamma) -> Tensor:
    discounts = gamma * (1 - terminated.float())
    return torch.addcmul(rewards, discounts, q_next.gather(1, q_next.argmax(1, keepdim=True)).squeeze(1))


# ---- n-step targets -------------------------------------------------------------------------------------------------


def n_steps_by_recursion(rewards, q_next, *, gamma, n_steps, terminated=True) -> Tensor:
    """With each round one step more: R_k + gamma times the next step's target of the round before."""
    last = rewards[-1:] + gamma * q_next[-1:].amax(1) * (not terminated)
    y = torch.cat([rewards[:-1] + gamma * q_next[:-1].amax(1), last])
    for _ in range(n_steps - 1):
        y = torch.cat([rewards[:-1] + gamma * y[1:], last])
    return y


def n_steps_at_once(rewards, q_next, *, gamma, n_steps, terminated=True) -> Tensor:
    T = len(rewards)
    k = torch.arange(T)
    end = (k + n_steps).clamp(max=T)
    ahead = k[None] - k[:, None]  # how far ahead of step k (row) a reward (column) lies
    weights = torch.where((ahead >= 0) & (ahead < n_steps), gamma ** ahead.clamp(min=0).float(), 0)
    values = q_next.max(1).values[end - 1] * ((end < T) | (not terminated))
    return weights @ rewards + gamma ** (end - k).float() * values


# ---- targets from a temporary table ---------------------------------------------------------------------------------


def targets_by_columns(rewards, q_next, actions, *, gamma, beta, terminated=True) -> Tensor:
    """As the paper prints it: an action in each row, a step in each column."""
    T, table, y = len(rewards), q_next.T.clone(), rewards.clone()  # table (A, T)
    if not terminated:
        y[T - 1] += gamma * table[:, T - 1].max()
    for k in range(T - 2, -1, -1):
        table[actions[k + 1], k] = beta * y[k + 1] + (1 - beta) * table[actions[k + 1], k]
        y[k] = rewards[k] + gamma * table[:, k].max()
    return y


def targets_without_a_table(rewards, q_next, actions, *, gamma, beta, terminated=True) -> Tensor:
    """Only two numbers of each row matter: the mixed entry, and the largest of the others."""
    backward = [rewards[-1] + (0 if terminated else gamma * q_next[-1].max())]
    for reward, values, action in zip(rewards[:-1].flip(0), q_next[:-1].flip(0), actions[1:].flip(0), strict=True):
        mixed = torch.lerp(values[action], backward[-1], beta)
        others = values[torch.arange(len(values)) != action]
        backward.append(reward + gamma * torch.cat([others, mixed[None]]).max())
    return torch.stack(backward[::-1])


def targets_by_the_batch(rewards, q_next, actions, **settings) -> Tensor:
    return paper.backward_targets_batched(rewards[None], q_next[None], actions[None], **settings)[0]


# ---- minibatches from the end of an episode -------------------------------------------------------------------------


def minibatches_by_split(steps: Tensor, filling: Tensor, size: int) -> Tensor:
    *whole, last = steps.flip(0).split(size)
    return torch.stack([*whole, torch.cat([last, filling.flip(0)[: size - len(last)]])])


def minibatches_one_by_one(steps: Tensor, filling: Tensor, size: int) -> Tensor:
    waiting, others, rows = list(steps), list(filling), []
    while waiting:
        rows.append(torch.stack([(waiting or others).pop() for _ in range(size)]))
    return torch.stack(rows)


# ---- human-normalized score -----------------------------------------------------------------------------------------


def score_by_line(score: float, *, random: float, human: float) -> float:
    """The straight line through (random, 0) and (human, 100)."""
    slope, offset = np.polyfit([random, human], [0, 100], 1)
    return float(slope * score + offset)


def score_from_above(score: float, *, random: float, human: float) -> float:
    return 100 - 100 * (human - score) / (human - random)


# ---- whole episodes in a memory -------------------------------------------------------------------------------------


def remember_from_the_latest(memory, episode, capacity) -> list:
    kept, room = [], capacity
    for each in reversed([*memory, episode]):
        room -= len(each)
        if room < 0:
            break
        kept.insert(0, each)
    return kept


def remember_in_a_deque(memory, episode, capacity) -> list:
    kept, steps = deque(memory), len(episode) + sum(map(len, memory))
    kept.append(episode)
    while steps > capacity:
        steps -= len(kept.popleft())
    return list(kept)


# ---- minibatches of a drawn episode ---------------------------------------------------------------------------------


def _in_order_of_time(target, episode, gamma: float, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    observations, actions, rewards = episode.last(len(episode))
    q_next = target(observations[1:]).detach()
    settings = {"gamma": gamma, "beta": beta, "terminated": episode.terminated}
    return observations[:-1], actions, paper.backward_targets(rewards, q_next, actions, **settings)


def pieces_by_backward_minibatches(target, draw, *, gamma, beta, size) -> tuple[Tensor, ...]:
    """The episodes that fill make one filling, the first one drawn at its end."""
    episode, others = draw(), []
    missing = math.ceil(len(episode) / size) * size - len(episode)
    while sum(map(len, others)) < missing:
        others.insert(0, draw())
    own = _in_order_of_time(target, episode, gamma, beta)
    swept = [_in_order_of_time(target, other, gamma, beta) for other in others]
    fillings = [torch.cat(column) for column in zip(*swept, strict=True)] or [x[:0] for x in own]
    return tuple(paper.backward_minibatches(x, filling, size) for x, filling in zip(own, fillings, strict=True))


def pieces_step_by_step(target, draw, *, gamma, beta, size) -> tuple[Tensor, ...]:
    def steps() -> list[tuple[Tensor, ...]]:
        return list(zip(*_in_order_of_time(target, draw(), gamma, beta), strict=True))

    own, filling, taken = steps(), [], []
    while own or len(taken) % size:
        if not own and not filling:
            filling = steps()
        taken.append((own or filling).pop())
    return tuple(torch.stack(column).unflatten(0, (-1, size)) for column in zip(*taken, strict=True))


# ---- Algorithm 2, for one drawn episode -----------------------------------------------------------------------------


def step_by_smooth_l1(net, target, optimizer, draw, *, gamma, beta, size) -> Tensor:
    minibatches = paper.ebu_minibatches(target, draw, gamma=gamma, beta=beta, size=size)
    losses = []
    for observations, actions, y in zip(*minibatches, strict=True):
        loss = F.smooth_l1_loss(net(observations)[torch.arange(size), actions], y, reduction="sum")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return torch.tensor(losses)


def step_by_clipped_errors(net, target, optimizer, draw, *, gamma, beta, size) -> Tensor:
    """What arrives at Q(S, A) is its error, clipped at 1, as Mnih et al. put it."""
    losses = []
    observations, actions, y = paper.ebu_minibatches(target, draw, gamma=gamma, beta=beta, size=size)
    for k in range(len(y)):
        taken = net(observations[k]).gather(1, actions[k].unsqueeze(1)).flatten()
        error = (taken - y[k]).detach()
        optimizer.zero_grad()
        taken.backward(error.clamp(-1, 1))
        optimizer.step()
        losses.append(torch.where(error.abs() < 1, error**2 / 2, error.abs() - 0.5).sum())
    return torch.stack(losses)


ANSWERS = {
    "uniform_updates_mean": (mean_by_markov_chain, mean_by_distribution, mean_in_a_tensor),
    "backward_q_learning": (sweep_by_lists, sweep_by_an_episode),
    "one_step_targets": (one_step_by_zeroed_rows, one_step_by_loop, one_step_by_discounts),
    "n_step_targets": (n_steps_by_recursion, n_steps_at_once),
    "backward_targets": (targets_by_columns, targets_without_a_table, targets_by_the_batch),
    "backward_minibatches": (minibatches_by_split, minibatches_one_by_one),
    "human_normalized": (score_by_line, score_from_above),
    "remember_episode": (remember_from_the_latest, remember_in_a_deque),
    "ebu_minibatches": (pieces_by_backward_minibatches, pieces_step_by_step),
    "ebu_step": (step_by_smooth_l1, step_by_clipped_errors),
}
