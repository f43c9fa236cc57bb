"""The exercises of lesson 06. Each mistake below is a real wrong answer; the tests prove that it is caught by name.

The module is long because an exercise is mostly data: probes, three hints, mistakes with their explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from labkit.checks.exercise import Exercise, Mistake, Probe
from labkit.papers import episodic_backward_update as paper


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _integers(below: int, count: int, seed: int = 0) -> Tensor:
    return torch.randint(below, (count,), generator=torch.Generator().manual_seed(seed))


def _reward_at_the_end(T: int) -> Tensor:
    rewards = torch.zeros(T)
    rewards[-1] = 1
    return rewards


# ---- uniform updates of the chain -----------------------------------------------------------------------------------


def _mean_by_markov_chain(copies: Sequence[int], others: int = 0) -> float:
    """t_n, the updates that are left with n transitions known, solve t_n = 1 + p_n t_(n+1) + (1 - p_n) t_n."""
    p = torch.tensor(copies[::-1], dtype=torch.float64) / (sum(copies) + others)
    left = torch.linalg.solve(torch.diag(p) - torch.diag(p[:-1], 1), torch.ones_like(p))
    return left[0].item()


def _mean_by_distribution(copies: Sequence[int], others: int = 0) -> float:
    """sum_u P(U > u), over the state of knowledge after u updates."""
    T, mean = sum(copies) + others, 0.0
    known = [1.0, *[0.0] * len(copies)]  # P(n transitions are known)
    while (unfinished := sum(known[:-1])) > 1e-12:
        mean += unfinished
        moved = [p * count / T for p, count in zip(known, reversed(copies), strict=False)]
        known = [p - out + into for p, out, into in zip(known, [*moved, 0], [0, *moved], strict=True)]
    return mean


def _mean_of(mean: Callable) -> Callable:
    """A wrong answer, mean(copies, T)."""
    return lambda copies, others=0: mean(copies, sum(copies) + others)


def _product(copies: Sequence[int], T: int) -> float:
    waits = 1.0
    for count in copies:
        waits *= T / count
    return waits


UPDATES = Exercise(
    name="uniform_updates_mean",
    reference=paper.uniform_updates_mean,
    probes=(
        Probe("the chain of five, copies = [1, 1, 1, 1, 1]", lambda f: f([1, 1, 1, 1, 1])),
        Probe("a single transition, which every draw hits", lambda f: f([1])),
        Probe("copies = [1, 2, 1], others = 1", lambda f: f([1, 2, 1], 1)),
        Probe("copies = [2, 2, 2]: the episode passes three times", lambda f: f([2, 2, 2])),
        Probe("copies = [3], others = 4", lambda f: f([3], others=4)),
        Probe("copies = [1, 1, 3, 2], others = 2", lambda f: f([1, 1, 3, 2], others=2)),
        Probe("a chain of 20", lambda f: f([1] * 20)),
    ),
    hints=(
        "At any time only one transition of the path teaches anything new. Which one, and how long until it is drawn?",
        "The last transition must be drawn first, then the one before it, and so on. Each draw hits transition i with"
        " the probability p = copies[i] / T, T = sum(copies) + others, and the first hit takes 1 / p draws on average.",
        "T = sum(copies) + others; return sum(T / count for count in copies)",
    ),
    mistakes=(
        Mistake(
            "one-sweep",
            _mean_of(lambda copies, T: T),
            "T updates are what the backward sweep takes: a uniform draw mostly misses the one transition that teaches"
            " something, so wait T / copies[i] draws for each.",
        ),
        Mistake(
            "any-order",
            _mean_of(lambda copies, T: T * sum(1 / (i + 1) for i in range(len(copies)))),
            "This waits until all transitions were drawn in any order: one that is drawn too early learns from a value"
            " of 0, so the waits for each, T / copies[i], follow one another.",
        ),
        Mistake(
            "length-squared",
            _mean_of(lambda copies, T: len(copies) ** 2),
            "N^2 holds for the plain chain only: with detours T is larger than N, and copies make a hit more likely.",
        ),
        Mistake(
            "others-forgotten",
            _mean_of(lambda copies, T: sum(sum(copies) / count for count in copies)),
            "The steps that lead back are missing from T: they are drawn as well, T = sum(copies) + others.",
        ),
        Mistake(
            "copies-forgotten",
            _mean_of(lambda copies, T: T * len(copies)),
            "Each transition is counted as if it were there once: with copies[i] of them a hit is that much likelier.",
        ),
        Mistake(
            "mean-chance",
            _mean_of(lambda copies, T: len(copies) * T / (sum(copies) / len(copies))),
            "The number of copies is averaged first: rare transitions hold up more than frequent ones save, so add"
            " T / copies[i] one by one.",
        ),
        Mistake(
            "chances-added",
            _mean_of(lambda copies, T: sum(count / T for count in copies)),
            "The probabilities are added: what has probability p takes 1 / p draws on average, so add T / copies[i].",
        ),
        Mistake(
            "all-in-a-row",
            _mean_of(_product),
            "The waits are multiplied, as if one miss undid everything: what is known stays known, so add them.",
        ),
        Mistake(
            "slowest-only",
            _mean_of(lambda copies, T: max(T / count for count in copies)),
            "Only the longest wait is counted: the waits follow one another, so add them all.",
        ),
        Mistake(
            "mean-wait",
            _mean_of(lambda copies, T: sum(T / count for count in copies) / len(copies)),
            "This is the wait for one transition, on average: all N waits follow one another, so do not divide by N.",
        ),
        Mistake(
            "hits-not-counted",
            _mean_of(lambda copies, T: sum(T / count - 1 for count in copies)),
            "Only the draws in vain are counted: the hit is an update as well, 1 / p in all and not 1 / p - 1.",
        ),
        Mistake(
            "whole-draws",
            _mean_of(lambda copies, T: sum(T // count for count in copies)),
            "T // count rounds each wait down: an expected number need not be a whole one, so divide with /.",
        ),
    ),
    alternatives=(_mean_by_markov_chain, _mean_by_distribution),
)


# ---- one-step targets -----------------------------------------------------------------------------------------------


def _one_step_by_zeroed_rows(
    rewards: Tensor, q_next: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float
) -> Tensor:
    """A terminal state has the value 0 whatever one does there."""
    return rewards + gamma * torch.where(terminated[:, None], 0, q_next).max(dim=1).values


def _one_step_by_loop(
    rewards: Tensor, q_next: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float
) -> Tensor:
    found = []
    for reward, values, is_end in zip(rewards.tolist(), q_next.tolist(), terminated.tolist(), strict=True):
        found.append(reward if is_end else reward + gamma * max(values))
    return torch.tensor(found)


def _one_step_by_discounts(
    rewards: Tensor, q_next: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float
) -> Tensor:
    discounts = gamma * (1 - terminated.float())
    return torch.addcmul(rewards, discounts, q_next.gather(1, q_next.argmax(1, keepdim=True)).squeeze(1))


def _one_step_with(
    *,
    best: Callable = lambda q_next: q_next.amax(1),
    ends: Callable = lambda terminated, truncated: terminated,
    add: Callable = lambda rewards, best, goes_on, gamma: rewards + gamma * best * goes_on,
) -> Callable:
    """A wrong one_step_targets: the parts that are left out are right."""

    def one_step_targets(rewards: Tensor, q_next: Tensor, terminated: Tensor, truncated: Tensor, *, gamma) -> Tensor:
        return add(rewards, best(q_next), (~ends(terminated, truncated)).float(), gamma)

    return one_step_targets


def _one_step_in_place(
    rewards: Tensor, q_next: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float
) -> Tensor:
    rewards += gamma * q_next.amax(1) * ~terminated
    return rewards


def _one_step_with_zeroed_values(
    rewards: Tensor, q_next: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float
) -> Tensor:
    q_next[terminated] = 0
    return rewards + gamma * q_next.amax(1)


def _two_steps(terminated: bool = False, truncated: bool = False) -> tuple[Tensor, ...]:
    """The flags are those of the second one."""
    flags = (torch.tensor([False, flag]) for flag in (terminated, truncated))
    return torch.tensor([1.0, 2.0]), torch.tensor([[2.0, 3.0], [5.0, 4.0]]), *flags


def _minibatch() -> tuple[Tensor, ...]:
    """Eight steps: one ends, one is cut off, one is both, the others go on."""
    terminated, truncated = torch.zeros(2, 8, dtype=torch.bool)
    terminated[[1, 4]] = truncated[[3, 4]] = True
    return _normal(8), _normal(8, 8, seed=1), terminated, truncated


def _afterwards(f: Callable, given: tuple[Tensor, ...], **settings: object) -> tuple[Tensor, ...]:
    """What a call left in the tensors that it was given."""
    f(*given, **settings)
    return given


# As many actions as transitions: a maximum over the wrong axis then is no error but a wrong answer.
ONE_STEP = Exercise(
    name="one_step_targets",
    reference=paper.one_step_targets,
    probes=(
        Probe("two steps that go on, gamma = 0.9", lambda f: f(*_two_steps(), gamma=0.9)),
        Probe("the second one terminated", lambda f: f(*_two_steps(terminated=True), gamma=0.9)),
        Probe("the second one truncated", lambda f: f(*_two_steps(truncated=True), gamma=0.9)),
        Probe("the same with gamma = 0.5", lambda f: f(*_two_steps(truncated=True), gamma=0.5)),
        Probe(
            "all values below 0",
            lambda f: f(
                torch.zeros(2), torch.tensor([[-3.0, -2.0], [-1.0, -4.0]]), *torch.zeros(2, 2).bool(), gamma=0.9
            ),
        ),
        Probe("a minibatch of 8 with ends of each kind", lambda f: f(*_minibatch(), gamma=0.97)),
        Probe("what was given, afterwards", lambda f: _afterwards(f, _minibatch(), gamma=0.97)),
    ),
    hints=(
        "What is a state worth in which nothing follows? And one in which something would have followed, had the clock"
        " not run out?",
        "max_a is q_next.amax(1), one number for each transition. Where `terminated` is True, replace it by 0, but keep"
        " the reward. `truncated` is not needed.",
        "return rewards + gamma * q_next.amax(1) * ~terminated",
    ),
    mistakes=(
        Mistake(
            "done-instead-of-terminated",
            _one_step_with(ends=lambda terminated, truncated: terminated | truncated),
            "A truncated episode counts as ended, as with the old flag `done`: it was only cut off, and S' has a value,"
            " so look at `terminated` alone.",
        ),
        Mistake(
            "truncated-instead-of-terminated",
            _one_step_with(ends=lambda terminated, truncated: truncated),
            "The flags are exchanged: nothing follows where `terminated` is True; `truncated` makes no difference.",
        ),
        Mistake(
            "terminal-bootstrapped",
            _one_step_with(ends=lambda terminated, truncated: torch.zeros_like(terminated)),
            "A terminal state is given a value: nothing follows it, so multiply the maximum by ~terminated.",
        ),
        Mistake(
            "mask-inverted",
            _one_step_with(ends=lambda terminated, truncated: ~terminated),
            "The mask is the wrong way round, only terminal states have a value: multiply by ~terminated.",
        ),
        Mistake(
            "mask-on-everything",
            _one_step_with(add=lambda rewards, best, goes_on, gamma: (rewards + gamma * best) * goes_on),
            "The mask takes the last reward away, too, often the only one: put it on the value alone.",
        ),
        Mistake(
            "mask-on-the-reward",
            _one_step_with(add=lambda rewards, best, goes_on, gamma: rewards * goes_on + gamma * best),
            "The mask is on the reward: the reward was received, it is the value of S' that a terminal state lacks.",
        ),
        Mistake(
            "maximum-over-the-minibatch",
            _one_step_with(best=lambda q_next: q_next.amax(0)),
            "The maximum runs over the transitions, the first axis: take it over the actions, amax(1).",
        ),
        Mistake(
            "one-maximum-for-all",
            _one_step_with(best=lambda q_next: q_next.max()),
            "One maximum serves all transitions: each has its own S', so take it along the actions, amax(1).",
        ),
        Mistake(
            "number-of-the-action",
            _one_step_with(best=lambda q_next: q_next.argmax(1)),
            "argmax gives the number of the best action: its value is wanted, amax(1).",
        ),
        Mistake(
            "mean-over-actions",
            _one_step_with(best=lambda q_next: q_next.mean(1)),
            "The values are averaged, which is the worth of random play: take the maximum over the actions.",
        ),
        Mistake(
            "first-action",
            _one_step_with(best=lambda q_next: q_next[:, 0]),
            "The value of action 0 is taken in every state: take the maximum over the actions.",
        ),
        Mistake(
            "maximum-starts-at-0",
            _one_step_with(best=lambda q_next: q_next.amax(1).clamp(min=0)),
            "Values below 0 become 0: a maximum that is searched from 0 upward misses them, so start from the first"
            " action.",
        ),
        Mistake(
            "discount-forgotten",
            _one_step_with(add=lambda rewards, best, goes_on, gamma: rewards + best * goes_on),
            "The value is not discounted: it comes one step later than the reward, so multiply it by gamma.",
        ),
        Mistake(
            "reward-discounted",
            _one_step_with(add=lambda rewards, best, goes_on, gamma: gamma * (rewards + best * goes_on)),
            "The reward is discounted as well: it comes at once, so multiply the value of S' alone by gamma.",
        ),
        Mistake(
            "reward-forgotten",
            _one_step_with(add=lambda rewards, best, goes_on, gamma: gamma * best * goes_on),
            "The reward is missing: add it to the discounted value.",
        ),
        Mistake(
            "changed-in-place",
            _one_step_in_place,
            "The targets are right, but += changes the rewards that were given: write rewards + ..., a new tensor.",
        ),
        Mistake(
            "values-zeroed-in-place",
            _one_step_with_zeroed_values,
            "The targets are right, but the network's values are overwritten with 0: multiply by ~terminated instead.",
        ),
    ),
    alternatives=(_one_step_by_zeroed_rows, _one_step_by_loop, _one_step_by_discounts),
)


# ---- n-step targets -------------------------------------------------------------------------------------------------


def _n_steps_by_recursion(
    rewards: Tensor, q_next: Tensor, *, gamma: float, n_steps: int, terminated: bool = True
) -> Tensor:
    """With each round one step more: R_k + gamma times the next step's target of the round before."""
    last = rewards[-1:] + gamma * q_next[-1:].amax(1) * (not terminated)
    y = torch.cat([rewards[:-1] + gamma * q_next[:-1].amax(1), last])
    for _ in range(n_steps - 1):
        y = torch.cat([rewards[:-1] + gamma * y[1:], last])
    return y


def _n_steps_at_once(rewards: Tensor, q_next: Tensor, *, gamma: float, n_steps: int, terminated: bool = True) -> Tensor:
    T = len(rewards)
    k = torch.arange(T)
    end = (k + n_steps).clamp(max=T)
    ahead = k[None] - k[:, None]  # how far ahead of step k (row) a reward (column) lies
    weights = torch.where((ahead >= 0) & (ahead < n_steps), gamma ** ahead.clamp(min=0).float(), 0)
    values = q_next.max(1).values[end - 1] * ((end < T) | (not terminated))
    return weights @ rewards + gamma ** (end - k).float() * values


def _n_steps_with(
    *,
    steps: Callable = lambda n, T: n,
    window: Callable = lambda rewards, k, end: rewards[k:end],
    power: Callable = lambda gamma, i: gamma**i,
    value: Callable = lambda q_next, k, end: q_next[end - 1].max(),
    discount: Callable = lambda gamma, taken, n: gamma**taken,
    goes_on: Callable = lambda is_cut, terminated: not is_cut or not terminated,
) -> Callable:
    """A wrong n_step_targets: the parts that are left out are right."""

    def n_step_targets(rewards: Tensor, q_next: Tensor, *, gamma, n_steps, terminated=True) -> Tensor:
        T, y = len(rewards), torch.zeros_like(rewards)
        n = steps(n_steps, T)
        for k in range(T):
            end = min(k + n, T)
            y[k] = sum(power(gamma, i) * reward for i, reward in enumerate(window(rewards, k, end)))
            if goes_on(end == T, terminated):
                y[k] += discount(gamma, end - k, n) * value(q_next, k, end)
        return y

    return n_step_targets


def _n_steps_wrapped_round(
    rewards: Tensor, q_next: Tensor, *, gamma: float, n_steps: int, terminated: bool = True
) -> Tensor:
    y = sum(gamma**i * rewards.roll(-i) for i in range(n_steps))
    return y + gamma**n_steps * q_next.amax(1).roll(1 - n_steps)


def _n_steps_short_at_the_end(
    rewards: Tensor, q_next: Tensor, *, gamma: float, n_steps: int, terminated: bool = True
) -> Tensor:
    """Where the window does not fit, a target of one step."""
    whole = paper.n_step_targets(rewards, q_next, gamma=gamma, n_steps=n_steps, terminated=terminated)
    single = paper.n_step_targets(rewards, q_next, gamma=gamma, n_steps=1, terminated=terminated)
    fits = torch.arange(len(rewards)) + n_steps <= len(rewards)
    return torch.where(fits, whole, single)


def _n_steps_zero_at_the_end(
    rewards: Tensor, q_next: Tensor, *, gamma: float, n_steps: int, terminated: bool = True
) -> Tensor:
    whole = paper.n_step_targets(rewards, q_next, gamma=gamma, n_steps=n_steps, terminated=terminated)
    return torch.where(torch.arange(len(rewards)) + n_steps <= len(rewards), whole, 0)


def _mean_of_n_steps(rewards: Tensor, q_next: Tensor, *, gamma: float, n_steps: int, terminated: bool = True) -> Tensor:
    settings = {"gamma": gamma, "terminated": terminated}
    each = [paper.n_step_targets(rewards, q_next, n_steps=n + 1, **settings) for n in range(n_steps)]
    return torch.stack(each).mean(0)


def _five_steps() -> tuple[Tensor, Tensor]:
    """Rewards 1 ... 5, and best values 10, 20, 30, 40, 50 behind the steps."""
    return torch.arange(1.0, 6.0), torch.stack([torch.zeros(5), 10 * torch.arange(1.0, 6.0)], 1)


def _ten_steps() -> tuple[Tensor, Tensor]:
    return _normal(10), _normal(10, 3, seed=1)


N_STEP = Exercise(
    name="n_step_targets",
    reference=paper.n_step_targets,
    probes=(
        Probe(
            "rewards 1 ... 5, best values 10 ... 50, gamma = 0.5, 2 steps",
            lambda f: f(*_five_steps(), gamma=0.5, n_steps=2),
        ),
        Probe("the same, 3 steps", lambda f: f(*_five_steps(), gamma=0.5, n_steps=3)),
        Probe("the same, 3 steps, truncated", lambda f: f(*_five_steps(), gamma=0.5, n_steps=3, terminated=False)),
        Probe("the same, 1 step", lambda f: f(*_five_steps(), gamma=0.5, n_steps=1)),
        Probe("10 random steps, gamma = 0.9, 4 steps", lambda f: f(*_ten_steps(), gamma=0.9, n_steps=4)),
        Probe("the same, truncated", lambda f: f(*_ten_steps(), gamma=0.9, n_steps=4, terminated=False)),
        Probe(
            "20 steps, more than there are, truncated",
            lambda f: f(*_ten_steps(), gamma=0.9, n_steps=20, terminated=False),
        ),
        Probe("the same, terminated: the whole return", lambda f: f(*_ten_steps(), gamma=0.9, n_steps=20)),
        Probe("what was given, afterwards", lambda f: _afterwards(f, _ten_steps(), gamma=0.9, n_steps=4)),
    ),
    hints=(
        "Sum what was really received for n steps; only then ask the network. Which state does it look at, and what if"
        " the episode ends before?",
        "The window of step k is rewards[k:end], end = min(k + n_steps, T), its i-th reward discounted by gamma^i. Row"
        " end - 1 of q_next is about S_end. Its maximum, times gamma^(end - k), counts unless S_end is terminal.",
        "for k in range(T): end = min(k + n_steps, T); y[k] = sum(gamma**i * r for i, r in enumerate(rewards[k:end]));"
        " if end < T or not terminated: y[k] += gamma ** (end - k) * q_next[end - 1].max()",
    ),
    mistakes=(
        Mistake(
            "one-step",
            _n_steps_with(steps=lambda n, T: 1),
            "These are one-step targets: take n_steps rewards before you ask the network.",
        ),
        Mistake(
            "whole-return",
            _n_steps_with(steps=lambda n, T: T),
            "All rewards up to the end are summed: stop after n_steps of them, and add the value of the state there.",
        ),
        Mistake(
            "row-one-too-late",
            _n_steps_with(value=lambda q_next, k, end: q_next[min(end, len(q_next) - 1)].max()),
            "Row k + n describes the state one step too late: row k is about S_(k+1), so S_(k+n) is in row k + n - 1.",
        ),
        Mistake(
            "value-of-the-next-state",
            _n_steps_with(value=lambda q_next, k, end: q_next[k].max()),
            "The value is that of S_(k+1), in row k: after n steps it is that of S_(k+n), in row k + n - 1.",
        ),
        Mistake(
            "one-reward-too-few",
            _n_steps_with(window=lambda rewards, k, end: rewards[k : end - 1]),
            "The last reward of the window is missing: n steps have n rewards, R_k to R_(k+n-1).",
        ),
        Mistake(
            "one-reward-too-many",
            _n_steps_with(window=lambda rewards, k, end: rewards[k : end + 1]),
            "There is a reward too many, and the value that follows contains it already: stop at R_(k+n-1).",
        ),
        Mistake(
            "first-reward-left-out",
            _n_steps_with(window=lambda rewards, k, end: rewards[k + 1 : end + 1]),
            "The window begins one step too late: R_k is the reward of step k itself.",
        ),
        Mistake(
            "rewards-not-discounted",
            _n_steps_with(power=lambda gamma, i: 1.0),
            "The rewards are added as they are: the i-th one after R_k comes i steps later, so multiply it by gamma^i.",
        ),
        Mistake(
            "rewards-discounted-once-too-often",
            _n_steps_with(power=lambda gamma, i: gamma ** (i + 1)),
            "Even R_k is discounted: it comes at once, so begin with gamma^0.",
        ),
        Mistake(
            "value-not-discounted",
            _n_steps_with(discount=lambda gamma, taken, n: 1.0),
            "The value is not discounted: it lies n steps ahead, so multiply it by gamma^n.",
        ),
        Mistake(
            "value-discounted-once",
            _n_steps_with(discount=lambda gamma, taken, n: gamma),
            "The value is discounted by gamma, as with one step: it lies n steps ahead, gamma^n.",
        ),
        Mistake(
            "value-discounted-once-too-seldom",
            _n_steps_with(discount=lambda gamma, taken, n: gamma ** (taken - 1)),
            "The value has the discount of the last reward: it comes one step after that, gamma^n.",
        ),
        Mistake(
            "value-discounted-as-if-not-cut",
            _n_steps_with(discount=lambda gamma, taken, n: gamma**n),
            "Where fewer than n steps are left, the value is discounted by n all the same: count the steps that were"
            " taken, gamma^(end - k).",
        ),
        Mistake(
            "terminal-bootstrapped",
            _n_steps_with(goes_on=lambda is_cut, terminated: True),
            "A terminal state is given a value: where the window reaches S_T and the episode was terminated, add none.",
        ),
        Mistake(
            "truncated-not-bootstrapped",
            _n_steps_with(goes_on=lambda is_cut, terminated: not is_cut),
            "With terminated=False the last state counts as terminal: the episode was only cut off, so add its value.",
        ),
        Mistake(
            "terminated-everywhere",
            _n_steps_with(goes_on=lambda is_cut, terminated: not terminated),
            "terminated=True takes the value from every step: only S_T is terminal, windows that end before it are not"
            " concerned.",
        ),
        Mistake(
            "wrapped-round",
            _n_steps_wrapped_round,
            "Behind the end the windows go on at the start of the episode, as roll does: end them with the episode.",
        ),
        Mistake(
            "one-step-near-the-end",
            _n_steps_short_at_the_end,
            "Where n steps do not fit, only one is taken: take those that are left.",
        ),
        Mistake(
            "zero-near-the-end",
            _n_steps_zero_at_the_end,
            "Where n steps do not fit, the target is left at 0, and just the last rewards are lost: take the steps that"
            " are left.",
        ),
        Mistake(
            "averaged-over-n",
            _mean_of_n_steps,
            "The targets of 1, 2, ... n steps are averaged, as in a lambda-return: only that of n steps is asked for.",
        ),
        Mistake(
            "mean-over-actions",
            _n_steps_with(value=lambda q_next, k, end: q_next[end - 1].mean()),
            "The values of the last state are averaged: take the maximum over the actions.",
        ),
        Mistake(
            "number-of-the-action",
            _n_steps_with(value=lambda q_next, k, end: q_next[end - 1].argmax()),
            "argmax gives the number of the best action: its value is wanted, max.",
        ),
    ),
    alternatives=(_n_steps_by_recursion, _n_steps_at_once),
)


# ---- a backward sweep over a table ----------------------------------------------------------------------------------


def _sweep_by_lists(q, states, actions, rewards, *, gamma, alpha=1.0, terminated=True) -> Tensor:
    table, following = q.tolist(), 0.0 if terminated else q[states[-1]].max().item()
    steps = zip(states.tolist(), actions.tolist(), rewards.tolist(), strict=False)  # the last state has no step
    for s, a, reward in reversed(list(steps)):
        table[s][a] += alpha * (reward + gamma * following - table[s][a])
        following = max(table[s])  # of the next state, as seen from the step before
    return torch.tensor(table)


def _sweep_by_an_episode(q, states, actions, rewards, *, gamma, alpha=1.0, terminated=True) -> Tensor:
    table = q.clone()
    episode = paper.Episode(states.numpy(), actions.numpy(), rewards.numpy(), terminated)
    paper.backward_sweep(table, episode, gamma=gamma, alpha=alpha)
    return table


def _sweep_with(
    *,
    order: Callable = lambda T: range(T - 1, -1, -1),
    look: Callable = lambda q, before: q,
    ends: Callable = lambda is_last, terminated: is_last and terminated,
    value: Callable = lambda q, states, actions, k: q[states[k + 1]].max(),
    target: Callable = lambda reward, gamma, best: reward + gamma * best,
    mix: Callable = lambda old, target, alpha: (1 - alpha) * old + alpha * target,
    entry: Callable = lambda states, actions, k: (states[k], actions[k]),
) -> Callable:
    """A wrong backward_q_learning: the parts that are left out are right."""

    def backward_q_learning(q, states, actions, rewards, *, gamma, alpha=1.0, terminated=True) -> Tensor:
        q, before, T = q.clone(), q, len(actions)
        for k in order(T):
            best = 0.0 if ends(k == T - 1, terminated) else value(look(q, before), states, actions, k)
            where = entry(states, actions, k)
            q[where] = mix(q[where], target(rewards[k], gamma, best), alpha)
        return q

    return backward_q_learning


def _sweep_of_returns(q, states, actions, rewards, *, gamma, alpha=1.0, terminated=True) -> Tensor:
    q, total = q.clone(), 0.0 if terminated else q[states[-1]].max()
    for k in reversed(range(len(actions))):
        total = rewards[k] + gamma * total
        q[states[k], actions[k]] = (1 - alpha) * q[states[k], actions[k]] + alpha * total
    return q


def _sweep_in_place(q, states, actions, rewards, *, gamma, alpha=1.0, terminated=True) -> Tensor:
    q.copy_(paper.backward_q_learning(q, states, actions, rewards, gamma=gamma, alpha=alpha, terminated=terminated))
    return q


def _sarsa(q: Tensor, states: Tensor, actions: Tensor, k: int) -> Tensor:
    return q[states[k + 1], actions[k + 1]] if k + 1 < len(actions) else q[states[k + 1]].max()


def _walk_of_five() -> tuple[Tensor, ...]:
    """A table of zeros, states 0 ... 5, actions, and a reward of 1 at the end."""
    return torch.zeros(6, 2), torch.arange(6), torch.tensor([1, 0, 1, 1, 0]), _reward_at_the_end(5)


def _walk_in_circles() -> tuple[Tensor, ...]:
    """Ten steps among four states, many of them more than once; three actions."""
    return _normal(4, 3), _integers(4, 11, seed=1), _integers(3, 10, seed=2), _normal(10, seed=3)


def _walk_among_many() -> tuple[Tensor, ...]:
    return _normal(9, 3, seed=4), torch.arange(9), _integers(3, 8, seed=5), _normal(8, seed=6)


SWEEP = Exercise(
    name="backward_q_learning",
    reference=paper.backward_q_learning,
    probes=(
        Probe(
            "five steps in a row, a reward of 1 at the end, zeros, gamma = 0.9",
            lambda f: f(*_walk_of_five(), gamma=0.9),
        ),
        Probe("ten steps among four states, gamma = 0.9", lambda f: f(*_walk_in_circles(), gamma=0.9)),
        Probe("the same, truncated", lambda f: f(*_walk_in_circles(), gamma=0.9, terminated=False)),
        Probe("the same, alpha = 0.25", lambda f: f(*_walk_in_circles(), gamma=0.9, alpha=0.25)),
        Probe("eight steps through nine states, gamma = 0.5", lambda f: f(*_walk_among_many(), gamma=0.5)),
        Probe("the same, truncated", lambda f: f(*_walk_among_many(), gamma=0.5, terminated=False)),
        Probe(
            "an episode of a single step",
            lambda f: f(_normal(2, 2), torch.tensor([0, 1]), torch.tensor([1]), torch.tensor([2.0]), gamma=0.9),
        ),
        Probe(
            "the same, truncated",
            lambda f: f(
                _normal(2, 2), torch.tensor([0, 1]), torch.tensor([1]), torch.tensor([2.0]), gamma=0.9, terminated=False
            ),
        ),
        Probe("what was given, afterwards", lambda f: _afterwards(f, _walk_in_circles(), gamma=0.9)),
    ),
    hints=(
        "A step can only pass on what the table knows about the state behind it. In which order does it know most?",
        "Clone the table. For k = T - 1 down to 0, look up the maximum over the actions of S_(k+1) in the clone, which"
        " later steps have changed already; behind the last step of a terminated episode it is 0. Then move the entry"
        " (S_k, A_k) by the fraction alpha towards R_k + gamma times that.",
        "for k in reversed(range(T)): best = 0 if terminated and k == T - 1 else q[states[k + 1]].max();"
        " q[states[k], actions[k]] = (1 - alpha) * q[states[k], actions[k]] + alpha * (rewards[k] + gamma * best)",
    ),
    mistakes=(
        Mistake(
            "forward",
            _sweep_with(order=lambda T: range(T)),
            "The sweep runs from the start to the end, so that the reward gets one step far: begin with the last step.",
        ),
        Mistake(
            "values-from-before",
            _sweep_with(look=lambda q, before: before),
            "The values of next states are read from the table as it was before the sweep: read them from the one that"
            " is being changed, or the reward gets one step far.",
        ),
        Mistake(
            "terminal-bootstrapped",
            _sweep_with(ends=lambda is_last, terminated: False),
            "The terminal state is given the value that stands in the table: behind the last step of a terminated"
            " episode it is 0.",
        ),
        Mistake(
            "truncated-not-bootstrapped",
            _sweep_with(ends=lambda is_last, terminated: is_last),
            "With terminated=False the last state counts as terminal: the episode was only cut off, so look it up.",
        ),
        Mistake(
            "terminated-at-every-step",
            _sweep_with(ends=lambda is_last, terminated: terminated),
            "Every step is treated as the last one, so that nothing is passed on: only S_T is terminal.",
        ),
        Mistake(
            "first-step-left-out",
            _sweep_with(order=lambda T: range(T - 1, 0, -1)),
            "The first step is left out, as range(T - 1, 0, -1) stops before 0: use reversed(range(T)).",
        ),
        Mistake(
            "last-step-left-out",
            _sweep_with(order=lambda T: range(T - 2, -1, -1)),
            "The last step is left out, and with it the reward at the end: begin with k = T - 1.",
        ),
        Mistake(
            "return-instead-of-maximum",
            _sweep_of_returns,
            "What comes back is the return of this episode, whatever else the table knows: take the maximum over the"
            " actions, where another one may be better.",
        ),
        Mistake(
            "next-action-of-the-episode",
            _sweep_with(value=_sarsa),
            "The value of the action that was taken next is used, as SARSA does: Q-learning takes the maximum.",
        ),
        Mistake(
            "maximum-over-the-table",
            _sweep_with(value=lambda q, states, actions, k: q.max()),
            "The maximum runs over the whole table: only the actions of S_(k+1) count.",
        ),
        Mistake(
            "maximum-over-states",
            _sweep_with(value=lambda q, states, actions, k: q[:, actions[k]].max()),
            "The maximum runs over the states, a column of the table: take it over the row of S_(k+1).",
        ),
        Mistake(
            "mean-over-actions",
            _sweep_with(value=lambda q, states, actions, k: q[states[k + 1]].mean()),
            "The values of S_(k+1) are averaged, which is the worth of random play: take their maximum.",
        ),
        Mistake(
            "state-before-the-step",
            _sweep_with(value=lambda q, states, actions, k: q[states[k]].max()),
            "The maximum is that of S_k, where the step begins: it leads to S_(k+1).",
        ),
        Mistake(
            "next-state-changed",
            _sweep_with(entry=lambda states, actions, k: (states[k + 1], actions[k])),
            "The entry of S_(k+1) is changed: it is S_k in which A_k was taken.",
        ),
        Mistake(
            "all-actions-changed",
            _sweep_with(entry=lambda states, actions, k: states[k]),
            "All actions of the state get the new value: only A_k was tried, change the entry (S_k, A_k) alone.",
        ),
        Mistake(
            "discount-forgotten",
            _sweep_with(target=lambda reward, gamma, best: reward + best),
            "The next value is not discounted: multiply it by gamma.",
        ),
        Mistake(
            "reward-discounted",
            _sweep_with(target=lambda reward, gamma, best: gamma * (reward + best)),
            "The reward is discounted as well: only the value, which comes one step later, is multiplied by gamma.",
        ),
        Mistake(
            "step-size-ignored",
            _sweep_with(mix=lambda old, target, alpha: target),
            "The old entry is overwritten whatever alpha is: keep the part 1 - alpha of it.",
        ),
        Mistake(
            "step-size-swapped",
            _sweep_with(mix=lambda old, target, alpha: alpha * old + (1 - alpha) * target),
            "alpha and 1 - alpha are exchanged: alpha = 1 trusts the new value wholly.",
        ),
        Mistake(
            "old-value-not-reduced",
            _sweep_with(mix=lambda old, target, alpha: old + alpha * target),
            "The new value is added to the old one, which grows with every update: reduce the old one to 1 - alpha.",
        ),
        Mistake(
            "changed-in-place",
            _sweep_in_place,
            "The new table is right, but the old one was changed, too: start with q = q.clone().",
        ),
    ),
    alternatives=(_sweep_by_lists, _sweep_by_an_episode),
)


# ---- targets from a temporary table ---------------------------------------------------------------------------------


def _targets_by_columns(rewards, q_next, actions, *, gamma, beta, terminated=True) -> Tensor:
    """As the paper prints it: an action in each row, a step in each column."""
    T, table, y = len(rewards), q_next.T.clone(), rewards.clone()  # table (A, T)
    if not terminated:
        y[T - 1] += gamma * table[:, T - 1].max()
    for k in range(T - 2, -1, -1):
        table[actions[k + 1], k] = beta * y[k + 1] + (1 - beta) * table[actions[k + 1], k]
        y[k] = rewards[k] + gamma * table[:, k].max()
    return y


def _targets_without_a_table(rewards, q_next, actions, *, gamma, beta, terminated=True) -> Tensor:
    """Only two numbers of each row matter: the mixed entry, and the largest of the others."""
    backward = [rewards[-1] + (0 if terminated else gamma * q_next[-1].max())]
    for reward, values, action in zip(rewards[:-1].flip(0), q_next[:-1].flip(0), actions[1:].flip(0), strict=True):
        mixed = torch.lerp(values[action], backward[-1], beta)
        others = values[torch.arange(len(values)) != action]
        backward.append(reward + gamma * torch.cat([others, mixed[None]]).max())
    return torch.stack(backward[::-1])


def _targets_by_the_batch(rewards, q_next, actions, **settings) -> Tensor:
    return paper.backward_targets_batched(rewards[None], q_next[None], actions[None], **settings)[0]


def _diffuse(table: Tensor, k: int, action: Tensor, y: Tensor, beta: float) -> None:
    table[k, action] = beta * y + (1 - beta) * table[k, action]


def _targets_with(
    *,
    table_of: Callable = lambda q_next: q_next.clone(),
    start: Callable = lambda rewards: rewards.clone(),
    order: Callable = lambda T: range(T - 2, -1, -1),
    last: Callable = lambda values, gamma, terminated: 0 if terminated else gamma * values.max(),
    action: Callable = lambda actions, k: actions[k + 1],
    row: Callable = lambda k: k,
    behind: Callable = lambda y, rewards, k, gamma: y[k + 1],
    change: Callable = _diffuse,
    best: Callable = lambda table, k, actions: table[k].max(),
    target: Callable = lambda reward, gamma, best: reward + gamma * best,
) -> Callable:
    """A wrong backward_targets: the parts that are left out are right."""

    def backward_targets(rewards, q_next, actions, *, gamma, beta, terminated=True) -> Tensor:
        table, given, y = table_of(q_next), rewards.clone(), start(rewards)
        y[-1] += last(table[-1], gamma, terminated)
        for k in order(len(y)):
            change(table, row(k), action(actions, k), behind(y, given, k, gamma), beta)
            y[k] = target(given[k], gamma, best(table, k, actions))
        return y

    return backward_targets


def _change(new: Callable) -> Callable:
    """A wrong change of the entry to new(old, y, beta)."""

    def change(table: Tensor, k: int, action: Tensor, y: Tensor, beta: float) -> None:
        table[k, action] = new(table[k, action], y, beta)

    return change


def _change_all(table: Tensor, k: int, action: Tensor, y: Tensor, beta: float) -> None:
    table[k] = beta * y + (1 - beta) * table[k]


def _change_the_best(table: Tensor, k: int, action: Tensor, y: Tensor, beta: float) -> None:
    _diffuse(table, k, table[k].argmax(), y, beta)


def _change_nothing(table: Tensor, k: int, action: Tensor, y: Tensor, beta: float) -> None:
    """As if the maximum had been taken before the change."""


def _returns(rewards, q_next, actions, *, gamma, beta, terminated=True) -> Tensor:
    y = rewards.clone()
    y[-1] += 0 if terminated else gamma * q_next[-1].max()
    for k in reversed(range(len(y) - 1)):
        y[k] = rewards[k] + gamma * y[k + 1]
    return y


def _terminal_at_every_step(rewards, q_next, actions, *, gamma, beta, terminated=True) -> Tensor:
    if terminated:
        return rewards.clone()
    return paper.backward_targets(rewards, q_next, actions, gamma=gamma, beta=beta, terminated=False)


def _chain() -> tuple[Tensor, Tensor, Tensor]:
    """Five steps with a reward of 1 at the end; the network says 0 to all."""
    return _reward_at_the_end(5), torch.zeros(5, 2), torch.tensor([1, 0, 1, 1, 0])


def _worked() -> tuple[Tensor, Tensor, Tensor]:
    """Four steps in which actions differ; the last row is about the terminal state."""
    q_next = torch.tensor([[0.3, 0.0], [0.5, 0.4], [0.2, 0.6], [7.0, 8.0]])
    return torch.tensor([0.0, 1.0, 0.0, 2.0]), q_next, torch.tensor([0, 1, 0, 1])


def _better_otherwise() -> tuple[Tensor, Tensor, Tensor]:
    """Three steps; in S_1 and S_2 the network prefers an action that was not taken."""
    return torch.tensor([0.0, 0.0, 1.0]), torch.tensor([[5.0, 0.0], [0.0, 3.0], [0.0, 0.0]]), torch.tensor([0, 1, 0])


def _random_episode() -> tuple[Tensor, Tensor, Tensor]:
    return _normal(12), _normal(12, 4, seed=1), _integers(4, 12, seed=2)


def _one_step() -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor([2.0]), torch.tensor([[3.0, 4.0]]), torch.tensor([1])


BACKWARD = Exercise(
    name="backward_targets",
    reference=paper.backward_targets,
    probes=(
        Probe("the chain of five steps, beta = 0.5, gamma = 0.9", lambda f: f(*_chain(), gamma=0.9, beta=0.5)),
        Probe("four steps in which actions differ, beta = 0.5", lambda f: f(*_worked(), gamma=0.9, beta=0.5)),
        Probe("the same, beta = 0: one-step targets", lambda f: f(*_worked(), gamma=0.9, beta=0.0)),
        Probe("the same, beta = 1", lambda f: f(*_worked(), gamma=0.9, beta=1.0)),
        Probe(
            "beta = 1, where the network prefers another action",
            lambda f: f(*_better_otherwise(), gamma=0.5, beta=1.0),
        ),
        Probe("12 random steps, beta = 0.7", lambda f: f(*_random_episode(), gamma=0.95, beta=0.7)),
        Probe("the same, truncated", lambda f: f(*_random_episode(), gamma=0.95, beta=0.7, terminated=False)),
        Probe("an episode of a single step", lambda f: f(*_one_step(), gamma=0.5, beta=0.5)),
        Probe("the same, truncated", lambda f: f(*_one_step(), gamma=0.5, beta=0.5, terminated=False)),
        Probe("what was given, afterwards", lambda f: _afterwards(f, _random_episode(), gamma=0.95, beta=0.7)),
    ),
    hints=(
        "Row k says what the network thinks of S_(k+1). Which one of its entries does the target of step k + 1 know"
        " better, and why only that one?",
        "Clone q_next, let y start as a clone of rewards, and add gamma times the maximum of the last row if the"
        " episode was truncated. For k = T - 2 down to 0, the entry in row k of the action taken in S_(k+1), A_(k+1),"
        " becomes beta y_(k+1) + (1 - beta) times itself. Then take the row's maximum, discount it, and add R_k.",
        "for k in reversed(range(T - 1)): a = actions[k + 1]; table[k, a] = beta * y[k + 1] + (1 - beta) * table[k, a];"
        " y[k] = rewards[k] + gamma * table[k].max()",
    ),
    mistakes=(
        Mistake(
            "action-of-this-step",
            _targets_with(action=lambda actions, k: actions[k]),
            "The entry of A_k is changed, but row k is about S_(k+1), and what was done there is A_(k+1).",
        ),
        Mistake(
            "next-row",
            _targets_with(row=lambda k: k + 1, best=lambda table, k, actions: table[k + 1].max()),
            "Row k + 1 is changed and looked at, but it is about S_(k+2): the row of S_(k+1) is k; only the action is"
            " that of step k + 1.",
        ),
        Mistake(
            "maximum-of-the-next-row",
            _targets_with(best=lambda table, k, actions: table[k + 1].max()),
            "The maximum is taken over row k + 1, about S_(k+2): step k leads to S_(k+1), which is row k.",
        ),
        Mistake(
            "maximum-before-the-change",
            _targets_with(change=_change_nothing),
            "These are one-step targets, whatever beta is: change the table itself, and take the maximum after that.",
        ),
        Mistake(
            "all-entries-changed",
            _targets_with(change=_change_all),
            "All entries of the row are mixed with y, or its maximum is: only of A_(k+1) is known what came of it, so"
            " change that entry alone.",
        ),
        Mistake(
            "largest-entry-changed",
            _targets_with(change=_change_the_best),
            "The entry of the best action is changed: y_(k+1) tells what came of the action that was taken, A_(k+1).",
        ),
        Mistake(
            "beta-swapped",
            _targets_with(change=_change(lambda old, y, beta: (1 - beta) * y + beta * old)),
            "beta and 1 - beta are exchanged: beta = 0 keeps the network's value, beta = 1 takes what came back.",
        ),
        Mistake(
            "overwritten",
            _targets_with(change=_change(lambda old, y, beta: y)),
            "The entry is overwritten with y, as for beta = 1: keep the part 1 - beta of the network's value.",
        ),
        Mistake(
            "old-value-not-reduced",
            _targets_with(change=_change(lambda old, y, beta: old + beta * y)),
            "beta y is added to the whole old value: reduce that to the part 1 - beta first.",
        ),
        Mistake(
            "old-value-dropped",
            _targets_with(change=_change(lambda old, y, beta: beta * y)),
            "The network's own value is lost: add (1 - beta) times the old entry.",
        ),
        Mistake(
            "never-lowered",
            _targets_with(change=_change(lambda old, y, beta: torch.maximum(old, beta * y + (1 - beta) * old))),
            "The entry can only grow: what came back may be less than the network hoped for, so let it fall as well.",
        ),
        Mistake(
            "discounted-twice",
            _targets_with(behind=lambda y, rewards, k, gamma: gamma * y[k + 1]),
            "y_(k+1) is discounted when it is put into the table, and again with the maximum: once is enough, there.",
        ),
        Mistake(
            "reward-instead-of-target",
            _targets_with(behind=lambda y, rewards, k, gamma: rewards[k + 1]),
            "The reward R_(k+1) is put into the table, so that nothing gets farther than one step: put in y_(k+1).",
        ),
        Mistake(
            "forward",
            _targets_with(order=lambda T: range(T - 1)),
            "The steps are gone through from first to last, when y_(k+1) is not known yet: begin at the end.",
        ),
        Mistake(
            "first-step-left-out",
            _targets_with(order=lambda T: range(T - 2, 0, -1)),
            "The first step is left out, as range(T - 2, 0, -1) stops before 0: use reversed(range(T - 1)).",
        ),
        Mistake(
            "monte-carlo",
            _returns,
            "These are the returns of the episode, whatever beta and the network say: mix y_(k+1) into the table, and"
            " take the maximum, where another action may be better.",
        ),
        Mistake(
            "taken-action-instead-of-maximum",
            _targets_with(best=lambda table, k, actions: table[k, actions[k + 1]]),
            "Only the entry of the action that was taken goes on, as in a lambda-return: another one may have a larger"
            " value, so take the maximum of the row.",
        ),
        Mistake(
            "mean-over-actions",
            _targets_with(best=lambda table, k, actions: table[k].mean()),
            "The row is averaged: take its maximum.",
        ),
        Mistake(
            "number-of-the-action",
            _targets_with(best=lambda table, k, actions: table[k].argmax()),
            "argmax gives the number of the best action: its value is wanted, max.",
        ),
        Mistake(
            "maximum-over-the-table",
            _targets_with(best=lambda table, k, actions: table.max()),
            "The maximum runs over the whole table: only row k is about S_(k+1).",
        ),
        Mistake(
            "discount-forgotten",
            _targets_with(
                last=lambda values, gamma, terminated: 0 if terminated else values.max(),
                target=lambda reward, gamma, best: reward + best,
            ),
            "The maximum is not discounted: multiply it by gamma.",
        ),
        Mistake(
            "reward-forgotten",
            _targets_with(target=lambda reward, gamma, best: gamma * best),
            "Only the last step has its reward: add R_k to the discounted maximum.",
        ),
        Mistake(
            "terminal-bootstrapped",
            _targets_with(last=lambda values, gamma, terminated: gamma * values.max()),
            "The last target contains the network's value of a terminal state, which has none: it is the last reward.",
        ),
        Mistake(
            "truncated-not-bootstrapped",
            _targets_with(last=lambda values, gamma, terminated: 0),
            "With terminated=False the last state counts as terminal: the episode was only cut off, so add gamma times"
            " the maximum of the last row.",
        ),
        Mistake(
            "truncated-not-discounted",
            _targets_with(last=lambda values, gamma, terminated: 0 if terminated else values.max()),
            "The value behind a truncation is not discounted: it comes one step later, so multiply it by gamma.",
        ),
        Mistake(
            "terminated-at-every-step",
            _terminal_at_every_step,
            "terminated=True takes the value from every step: it is about the last state alone.",
        ),
        Mistake(
            "last-reward-left-out",
            _targets_with(start=torch.zeros_like),
            "The last target begins with 0: y of the last step is its reward, from which all others follow.",
        ),
        Mistake(
            "network-output-changed",
            _targets_with(table_of=lambda q_next: q_next),
            "The targets are right, but the network's output was changed: the table is a copy, q_next.clone().",
        ),
        Mistake(
            "rewards-changed",
            _targets_with(start=lambda rewards: rewards),
            "The targets are right, but they were written over the rewards: start with y = rewards.clone().",
        ),
    ),
    alternatives=(_targets_by_the_batch, _targets_by_columns, _targets_without_a_table),
)


# ---- minibatches from the end of an episode -------------------------------------------------------------------------


def _minibatches_by_split(steps: Tensor, filling: Tensor, size: int) -> Tensor:
    *whole, last = steps.flip(0).split(size)
    return torch.stack([*whole, torch.cat([last, filling.flip(0)[: size - len(last)]])])


def _minibatches_one_by_one(steps: Tensor, filling: Tensor, size: int) -> Tensor:
    waiting, others, rows = list(steps), list(filling), []
    while waiting:
        rows.append(torch.stack([(waiting or others).pop() for _ in range(size)]))
    return torch.stack(rows)


def _minibatches_with(
    *,
    turn: Callable = lambda steps: steps.flip(0),
    count: Callable = lambda T, size: -(-T // size),
    fill: Callable = lambda steps, filling, missing: filling.flip(0)[:missing],
    join: Callable = lambda steps, fill: torch.cat([steps, fill]),
    cut: Callable = lambda joined, rows, size: joined.unflatten(0, (rows, size)),
) -> Callable:
    """A wrong backward_minibatches: the parts that are left out are right."""

    def backward_minibatches(steps: Tensor, filling: Tensor, size: int) -> Tensor:
        rows = count(len(steps), size)
        missing = max(0, rows * size - len(steps))
        return cut(join(turn(steps), fill(steps, filling, missing))[: rows * size], rows, size)

    return backward_minibatches


def _minibatches_from_minus_zero(steps: Tensor, filling: Tensor, size: int) -> Tensor:
    missing = -len(steps) % size
    return torch.cat([steps.flip(0), filling[-missing:].flip(0)]).unflatten(0, (-1, size))


def _numbered(T: int, F: int = 8) -> tuple[Tensor, Tensor]:
    """Steps 0 ... T - 1, and steps 100 ... to fill with."""
    return torch.arange(float(T)), 100 + torch.arange(float(F))


# Never is more missing than the episode has: to fill it with itself then is no error but a wrong answer.
MINIBATCHES = Exercise(
    name="backward_minibatches",
    reference=paper.backward_minibatches,
    probes=(
        Probe("steps 0 ... 9, filled from 100 ... 107, size 4", lambda f: f(*_numbered(10), 4)),
        Probe("steps 0 ... 7, size 4: nothing is missing", lambda f: f(*_numbered(8), 4)),
        Probe("steps 0 ... 2, size 5: less than a minibatch", lambda f: f(*_numbered(3), 5)),
        Probe("a single step, size 2", lambda f: f(*_numbered(1), 2)),
        Probe("size 1", lambda f: f(*_numbered(5), 1)),
        Probe("observations of two numbers, 6 steps, size 4", lambda f: f(_normal(6, 2), _normal(5, 2, seed=1), 4)),
        Probe("actions, whole numbers, 5 steps, size 3", lambda f: f(_integers(4, 5), _integers(4, 6, seed=1), 3)),
    ),
    hints=(
        "Where is the reward? That is the end to begin at, and the start of the episode is what is left over.",
        "flip(0) reverses time. Put the last steps of `filling`, reversed as well, behind the reversed episode, as many"
        " as are missing from the next multiple of `size`, and cut the whole into rows.",
        "count = math.ceil(len(steps) / size); missing = count * size - len(steps);"
        " return torch.cat([steps.flip(0), filling.flip(0)[:missing]]).unflatten(0, (count, size))",
    ),
    mistakes=(
        Mistake(
            "in-order-of-time",
            _minibatches_with(
                turn=lambda steps: steps, fill=lambda steps, filling, missing: filling[len(filling) - missing :]
            ),
            "The minibatches begin at the start of the episode: reverse the steps first, flip(0).",
        ),
        Mistake(
            "pieces-in-order-of-time",
            lambda steps, filling, size: paper.backward_minibatches(steps, filling, size).flip(1),
            "Each piece is in the order of time: within a piece, too, the last step comes first, so reverse the whole.",
        ),
        Mistake(
            "wrong-axis-reversed",
            _minibatches_with(
                turn=lambda steps: steps.flip(-1), fill=lambda steps, filling, missing: filling.flip(-1)[:missing]
            ),
            "The last axis is reversed, which for observations is not time: flip(0).",
        ),
        Mistake(
            "filling-first",
            _minibatches_with(join=lambda steps, fill: torch.cat([fill, steps])),
            "The filling comes first, so that the minibatches do not begin with the end of the episode: put it behind.",
        ),
        Mistake(
            "remainder-dropped",
            _minibatches_with(count=lambda T, size: T // size),
            "The steps that do not fill a minibatch are dropped: round the number of minibatches up and fill the last.",
        ),
        Mistake(
            "one-minibatch-too-many",
            _minibatches_with(count=lambda T, size: T // size + 1),
            "An episode that fills its minibatches exactly gets one more, of nothing but filling: round T / size up"
            " instead of adding 1.",
        ),
        Mistake(
            "all-of-the-filling",
            _minibatches_from_minus_zero,
            "Where nothing is missing, filling[-missing:] is filling[0:], all of it: cut filling.flip(0)[:missing].",
        ),
        Mistake(
            "filled-with-zeros",
            _minibatches_with(fill=lambda steps, filling, missing: torch.zeros_like(filling[:missing])),
            "The last minibatch is filled with zeros, steps that never were: take steps of `filling`.",
        ),
        Mistake(
            "filled-with-the-same-episode",
            _minibatches_with(fill=lambda steps, filling, missing: steps.flip(0)[:missing]),
            "The last minibatch is filled with the same episode once more: take the steps of `filling`.",
        ),
        Mistake(
            "filled-from-the-start",
            _minibatches_with(fill=lambda steps, filling, missing: filling[:missing]),
            "The first steps of the other episode fill the last minibatch: its reward, too, is at its end.",
        ),
        Mistake(
            "filled-from-the-start-reversed",
            _minibatches_with(fill=lambda steps, filling, missing: filling[:missing].flip(0)),
            "The first steps of the other episode are taken, and then reversed: reverse it first, and then cut.",
        ),
        Mistake(
            "filling-in-order-of-time",
            _minibatches_with(fill=lambda steps, filling, missing: filling[len(filling) - missing :]),
            "The steps of the filling are in the order of time: they go from its end backward, too, flip(0).",
        ),
        Mistake(
            "dealt-out",
            _minibatches_with(cut=lambda joined, rows, size: joined.unflatten(0, (size, rows)).transpose(0, 1)),
            "The steps are dealt out to the minibatches like cards: each is a piece without gaps, so cut into rows.",
        ),
        Mistake(
            "size-and-number-exchanged",
            _minibatches_with(cut=lambda joined, rows, size: joined.unflatten(0, (size, rows))),
            "Size and number of the minibatches are exchanged: the first axis counts the minibatches.",
        ),
        Mistake(
            "last-minibatch-first",
            _minibatches_with(cut=lambda joined, rows, size: joined.unflatten(0, (rows, size)).flip(0)),
            "The minibatch with the start of the episode comes first: the one with its end does.",
        ),
        Mistake(
            "not-cut",
            _minibatches_with(cut=lambda joined, rows, size: joined),
            "The steps are in the right order but in one piece: unflatten(0, (count, size)) cuts them into rows.",
        ),
        Mistake(
            "numbers-counted-as-steps",
            _minibatches_with(cut=lambda joined, rows, size: joined.reshape(-1, size)),
            "reshape(-1, size) tears observations apart, for it counts single numbers: unflatten the first axis alone.",
        ),
    ),
    alternatives=(_minibatches_by_split, _minibatches_one_by_one),
)


# ---- human-normalized score -----------------------------------------------------------------------------------------


def _score_by_line(score: float, *, random: float, human: float) -> float:
    """The straight line through (random, 0) and (human, 100)."""
    slope, offset = np.polyfit([random, human], [0, 100], 1)
    return float(slope * score + offset)


def _score_from_above(score: float, *, random: float, human: float) -> float:
    return 100 - 100 * (human - score) / (human - random)


def _score_of(share: Callable) -> Callable:
    """A wrong answer, share(score, random, human)."""
    return lambda score, *, random, human: share(score, random, human)


SCORE = Exercise(
    name="human_normalized",
    reference=paper.human_normalized,
    probes=(
        Probe("score 50, random 0, human 200", lambda f: f(50.0, random=0.0, human=200.0)),
        Probe("score 11, random -19, human 11: as a human", lambda f: f(11.0, random=-19.0, human=11.0)),
        Probe("score 5, random 5, human 25: as random play", lambda f: f(5.0, random=5.0, human=25.0)),
        Probe("score 70, random 10, human 40: better than a human", lambda f: f(70.0, random=10.0, human=40.0)),
        Probe("score 4, random 10, human 40: worse than random play", lambda f: f(4.0, random=10.0, human=40.0)),
        Probe("score -30, random -20, human -4", lambda f: f(-30.0, random=-20.0, human=-4.0)),
        Probe("score 12, random 9, human 17, whole numbers", lambda f: f(12, random=9, human=17)),
    ),
    hints=(
        "Points differ from game to game. Which two scores of the same game could serve as 0 and as 100 percent?",
        "Measure from random play: how far is the score above it, and how far is the human? Divide the first distance"
        " by the second.",
        "return 100 * (score - random) / (human - random)",
    ),
    mistakes=(
        Mistake(
            "no-percent",
            _score_of(lambda score, random, human: (score - random) / (human - random)),
            "This is a fraction, 1 for a human: multiply by 100 for percent.",
        ),
        Mistake(
            "random-play-forgotten",
            _score_of(lambda score, random, human: 100 * score / human),
            "This divides by the human score alone: random play is to be 0, so subtract it from both.",
        ),
        Mistake(
            "subtracted-only-above",
            _score_of(lambda score, random, human: 100 * (score - random) / human),
            "Random play is subtracted from the score alone, so that a human does not get 100: subtract it below, too.",
        ),
        Mistake(
            "subtracted-only-below",
            _score_of(lambda score, random, human: 100 * score / (human - random)),
            "Random play is subtracted from the human score alone, so that it does not get 0: subtract it above, too.",
        ),
        Mistake(
            "parentheses-forgotten",
            _score_of(lambda score, random, human: 100 * (score - random) / human - random),
            "The division is done before the second subtraction: put human - random into parentheses.",
        ),
        Mistake(
            "ends-exchanged",
            _score_of(lambda score, random, human: 100 * (score - human) / (random - human)),
            "Random play gets 100 and a human 0: measure from random, not from human.",
        ),
        Mistake(
            "above-the-human",
            _score_of(lambda score, random, human: 100 * (score - human) / (human - random)),
            "This is by how much the score is above the human one: a human should get 100, so start from random.",
        ),
        Mistake(
            "sign",
            _score_of(lambda score, random, human: 100 * (score - random) / (random - human)),
            "The sign is wrong: below the line stands human - random.",
        ),
        Mistake(
            "divided-by-what-is-missing",
            _score_of(lambda score, random, human: 100 * (score - random) / (human - score)),
            "The divisor depends on the score: the scale is fixed, human - random.",
        ),
        Mistake(
            "cut-at-100",
            _score_of(lambda score, random, human: min(100.0, 100 * (score - random) / (human - random))),
            "Scores above a human one are cut off at 100: agents do play better, leave the number as it is.",
        ),
        Mistake(
            "cut-at-0",
            _score_of(lambda score, random, human: max(0.0, 100 * (score - random) / (human - random))),
            "Scores below random play are cut off at 0: leave the number negative.",
        ),
        Mistake(
            "cut-at-both-ends",
            _score_of(lambda score, random, human: min(100.0, max(0.0, 100 * (score - random) / (human - random)))),
            "The score is kept between 0 and 100: agents play better than humans and worse than chance, do not cut.",
        ),
        Mistake(
            "rounded-down",
            _score_of(lambda score, random, human: 100 * (score - random) // (human - random)),
            "The percentage is rounded down: divide with / instead of //.",
        ),
    ),
    alternatives=(_score_by_line, _score_from_above),
)

EXERCISES = (UPDATES, ONE_STEP, N_STEP, SWEEP, BACKWARD, MINIBATCHES, SCORE)
