"""Right answers of lesson 06, written in other ways."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


# ---- a random action now and then -----------------------------------------------------------------------------------


def greedy_by_bernoulli(q, epsilon, generator) -> Tensor:
    """Random actions are drawn only for the rows that explore, after the coins."""
    actions = q.max(1).indices
    explores = torch.bernoulli(torch.full((len(q),), epsilon), generator=generator).bool()
    actions[explores] = torch.randint(0, q.shape[1], (int(explores.sum()),), generator=generator)
    return actions


def greedy_by_one_draw(q, epsilon, generator) -> Tensor:
    """Coins and actions are columns of one table of uniform numbers."""
    coins, u = torch.rand((len(q), 2), generator=generator).unbind(1)
    anything = torch.floor(u * q.shape[1]).long()
    greedy = (coins >= epsilon).long()
    return greedy * q.argmax(dim=-1) + (1 - greedy) * anything


def greedy_by_one_number(q, epsilon, generator) -> Tensor:
    """Below epsilon the number is uniform once more."""
    u = torch.rand(len(q), generator=generator)
    return torch.where(u < epsilon, (u / max(epsilon, 1e-9) * q.shape[1]).long(), q.argmax(1))


def greedy_by_probabilities(q, epsilon, generator) -> Tensor:
    A = q.shape[1]
    p = torch.full(q.shape, epsilon / A)
    p[torch.arange(len(q)), q.argmax(1)] += 1 - epsilon
    return torch.multinomial(p, 1, generator=generator)[:, 0]


def greedy_row_by_row(q, epsilon, generator) -> Tensor:
    actions = []
    for values in q:
        if torch.rand((), generator=generator).item() < epsilon:
            actions.append(torch.randint(len(values), (), generator=generator).item())
        else:
            actions.append(values.argmax().item())
    return torch.tensor(actions)


def greedy_by_ranks(q, epsilon, generator) -> Tensor:
    """A shuffled row has any action in front."""
    shuffled = torch.rand(q.shape, generator=generator).argsort(1)
    explores = torch.rand(len(q), 1, generator=generator) < epsilon
    return torch.where(explores, shuffled, q.argsort(1, descending=True))[:, 0]


# ---- a gradient step ------------------------------------------------------------------------------------------------


def step_by_smooth_l1(net, optimizer, observations, actions, targets) -> Tensor:
    """The gradients are cleared behind the step, for the next one."""
    q = net(observations)
    taken = q.flatten(0, -2)[torch.arange(actions.numel()), actions.flatten()]
    loss = F.smooth_l1_loss(taken, targets.detach().flatten(), reduction="sum")
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def step_by_clipped_errors(net, optimizer, observations, actions, targets) -> Tensor:
    """What arrives at Q(S, A) is its error, clipped at 1, as Mnih et al. put it."""
    taken = net(observations).take_along_dim(actions.unsqueeze(-1), -1)[..., 0]
    error = (taken - targets).detach()
    optimizer.zero_grad()
    taken.backward(error.clamp(-1, 1))
    optimizer.step()
    return torch.where(error.abs() < 1, error**2 / 2, error.abs() - 0.5).sum()


def step_by_one_hot(net, optimizer, observations, actions, targets) -> Tensor:
    with torch.no_grad():
        targets = targets.clone()
    q = net(observations)
    taken = (q * F.one_hot(actions, q.shape[-1])).sum(-1)
    loss = nn.HuberLoss(reduction="none")(taken, targets).sum()
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        return loss.clone()


# ---- copies for the target network ----------------------------------------------------------------------------------


def copy_by_parameters(net, target, updates, every) -> None:
    if updates % every:
        return
    with torch.no_grad():
        for weight, new in zip(target.parameters(), net.parameters(), strict=True):
            weight.copy_(new)


def copy_by_deepcopy(net, target, updates, every) -> None:
    whole = updates // every
    if whole * every == updates:
        target.load_state_dict(copy.deepcopy(net.state_dict()))


ANSWERS = {
    "uniform_updates_mean": (mean_by_markov_chain, mean_by_distribution, mean_in_a_tensor),
    "backward_q_learning": (sweep_by_lists, sweep_by_an_episode),
    "one_step_targets": (one_step_by_zeroed_rows, one_step_by_loop, one_step_by_discounts),
    "n_step_targets": (n_steps_by_recursion, n_steps_at_once),
    "backward_targets": (targets_by_columns, targets_without_a_table, targets_by_the_batch),
    "backward_minibatches": (minibatches_by_split, minibatches_one_by_one),
    "human_normalized": (score_by_line, score_from_above),
    "remember_episode": (remember_from_the_latest, remember_in_a_deque),
    "epsilon_greedy": (
        greedy_by_bernoulli,
        greedy_by_one_draw,
        greedy_by_one_number,
        greedy_by_probabilities,
        greedy_row_by_row,
        greedy_by_ranks,
    ),
    "gradient_step": (step_by_smooth_l1, step_by_clipped_errors, step_by_one_hot),
    "copy_to_target": (copy_by_parameters, copy_by_deepcopy),
}
