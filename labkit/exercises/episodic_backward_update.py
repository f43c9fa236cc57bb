"""The exercises of lesson 06: each is one plain answer, what learners make of it instead, and where that shows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence, Sized
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.checks.edits import mistakes, skeleton
from labkit.checks.exercise import Exercise, Probe
from labkit.exercises._inputs import normal
from labkit.papers import episodic_backward_update as paper


def _integers(below: int, count: int, seed: int = 0) -> Tensor:
    return torch.randint(below, (count,), generator=torch.Generator().manual_seed(seed))


def _reward_at_the_end(T: int) -> Tensor:
    rewards = torch.zeros(T)
    rewards[-1] = 1
    return rewards


def _at(where: str, make: Callable[[], tuple], **settings: object) -> Probe:
    """The function at what `make` makes; `where` and the settings say what that is."""
    return Probe(_said(where, settings), lambda f: f(*make(), **settings))


def _afterwards(where: str, make: Callable[[], tuple], **settings: object) -> Probe:
    """What a call leaves in what it was given."""

    def observe(f: Callable) -> tuple:
        f(*(given := make()), **settings)
        return given

    return Probe(f"{_said(where, settings)}, what was given, after the call", observe)


def _said(where: str, settings: dict[str, object]) -> str:
    words = ("truncated" if name == "terminated" else f"{name} = {value}" for name, value in settings.items())
    return ", ".join([where, *words])


# ---- uniform updates of the chain -----------------------------------------------------------------------------------


def uniform_updates_mean(copies: Sequence[int], others: int = 0) -> float:
    T = sum(copies) + others
    return sum(T / count for count in copies)


def _mean(*given: object, **settings: object) -> Probe:
    def observe(f: Callable) -> object:
        mean = f(*given, **settings)
        return mean.item() if isinstance(mean, Tensor) and mean.ndim == 0 else mean  # as good as a number

    where = zip(("copies", "others"), [*given, *settings.values()], strict=False)
    return Probe(", ".join(f"{name} = {value}" for name, value in where), observe)


UPDATES = Exercise(
    name="uniform_updates_mean",
    reference=paper.uniform_updates_mean,
    answer=uniform_updates_mean,
    minutes=8,
    importance=1,
    differentiable=False,
    probes=(
        _mean([1] * 5),
        _mean([1]),
        _mean([1, 2, 1], 1),
        _mean([2, 2, 2]),
        _mean([3], others=4),
        _mean([1, 1, 3, 2], others=2),
        _mean([1] * 20),
    ),
    hints=(
        "At any time only one transition of the path teaches anything new. Which one, and how long until it is drawn?",
        "The last transition must be drawn first, then the one before it, and so on. Each draw hits transition i with"
        " the probability p = copies[i] / T, T = sum(copies) + others, and the first hit takes 1 / p draws on average.",
        skeleton(uniform_updates_mean, "sum(copies) + others", "T / count"),
    ),
    mistakes=mistakes(
        uniform_updates_mean,
        """
        one-sweep: return sum(T / count for count in copies) => return T
            T updates are what the backward sweep takes: a uniform draw mostly misses the one transition that teaches
            something, so wait T / copies[i] draws for each.

        any-order: T / count for count in copies => T / (i + 1) for i in range(len(copies))
            This waits until all transitions were drawn in any order: one that is drawn too early learns from a value
            of 0, so the waits for each, T / copies[i], follow one another.

        length-squared: sum(T / count for count in copies) => len(copies) ** 2
            N^2 holds for the plain chain only: with detours T is larger than N, and copies make a hit more likely.

        others-forgotten: sum(copies) + others => sum(copies)
            The steps that lead back are missing from T: they are drawn as well, T = sum(copies) + others.

        copies-forgotten: T / count => T
            Each transition is counted as if it were there once: with copies[i] of them a hit is that much likelier.

        mean-chance: sum(T / count for count in copies) => len(copies) * T / (sum(copies) / len(copies))
            The number of copies is averaged first: rare transitions hold up more than frequent ones save, so add
            T / copies[i] one by one.

        chances-added: T / count => count / T
            The probabilities are added: what has probability p takes 1 / p draws on average, so add T / copies[i].

        all-in-a-row: sum(T / => math.prod(T /
            The waits are multiplied, as if one miss undid everything: what is known stays known, so add them.

        slowest-only: sum(T / => max(T /
            Only the longest wait is counted: the waits follow one another, so add them all.

        mean-wait: for count in copies) => for count in copies) / len(copies)
            This is the wait for one transition, on average: all N waits follow one another, so do not divide by N.

        hits-not-counted: T / count => T / count - 1
            Only the draws in vain are counted: the hit is an update as well, 1 / p in all and not 1 / p - 1.

        whole-draws: T / count => T // count
            T // count rounds each wait down: an expected number need not be a whole one, so divide with /.
        """,
    ),
)


# ---- a backward sweep over a table ----------------------------------------------------------------------------------


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
    new, T = q.clone(), len(actions)
    for k in reversed(range(T)):
        s, a = states[k], actions[k]
        best = 0 if terminated and k == T - 1 else new[states[k + 1]].max()
        new[s, a] = (1 - alpha) * new[s, a] + alpha * (rewards[k] + gamma * best)
    return new


def _walk_of_five() -> tuple[Tensor, ...]:
    """A table of zeros, states 0 ... 5, actions, and a reward of 1 at the end."""
    return torch.zeros(6, 2), torch.arange(6), torch.tensor([1, 0, 1, 1, 0]), _reward_at_the_end(5)


def _walk_in_circles() -> tuple[Tensor, ...]:
    """Ten steps among four states, many of them more than once; three actions."""
    return normal(4, 3), _integers(4, 11, seed=1), _integers(3, 10, seed=2), normal(10, seed=3)


def _walk_among_many() -> tuple[Tensor, ...]:
    return normal(9, 3, seed=4), torch.arange(9), _integers(3, 8, seed=5), normal(8, seed=6)


def _walk_of_one() -> tuple[Tensor, ...]:
    return torch.tensor([[0.0, 3.0], [2.0, 1.0]]), torch.tensor([0, 1]), torch.tensor([1]), torch.tensor([2.0])


SWEEP = Exercise(
    name="backward_q_learning",
    reference=paper.backward_q_learning,
    answer=backward_q_learning,
    minutes=12,
    importance=3,
    differentiable=False,
    probes=(
        _at("five steps in a row, a reward of 1 at the end, zeros", _walk_of_five, gamma=0.9),
        _at("ten steps among four states", _walk_in_circles, gamma=0.9),
        _at("ten steps among four states", _walk_in_circles, gamma=0.9, terminated=False),
        _at("ten steps among four states", _walk_in_circles, gamma=0.9, alpha=0.25),
        _at("eight steps through nine states", _walk_among_many, gamma=0.5),
        _at("eight steps through nine states", _walk_among_many, gamma=0.5, terminated=False),
        _at("q = [[0, 3], [2, 1]], one step from 0 to 1 by action 1, R = 2", _walk_of_one, gamma=0.9),
        _at("q = [[0, 3], [2, 1]], one step from 0 to 1 by action 1, R = 2", _walk_of_one, gamma=0.9, terminated=False),
        _afterwards("ten steps among four states", _walk_in_circles, gamma=0.9),
    ),
    hints=(
        "A step can only pass on what the table knows about the state behind it. In which order does it know most?",
        "Clone the table. For k = T - 1 down to 0, look up the maximum over the actions of S_(k+1) in the clone, which"
        " later steps have changed already; behind the last step of a terminated episode it is 0. Then move the entry"
        " (S_k, A_k) by the fraction alpha towards R_k + gamma times that.",
        skeleton(
            backward_q_learning,
            "reversed(range(T))",
            "terminated and k == T - 1",
            "new[states[k + 1]].max()",
            "(1 - alpha) * new[s, a] + alpha * (rewards[k] + gamma * best)",
        ),
    ),
    mistakes=mistakes(
        backward_q_learning,
        """
        forward: reversed(range(T)) => range(T)
            The sweep runs from the start to the end, so that the reward gets one step far: begin with the last step.

        values-from-before: new[states[k + 1]] => q[states[k + 1]]
            The values of next states are read from the table as it was before the sweep: read them from the one that
            is being changed, or the reward gets one step far.

        terminal-bootstrapped: terminated and k == T - 1 => False
            The terminal state is given the value that stands in the table: behind the last step of a terminated
            episode it is 0.

        truncated-not-bootstrapped: terminated and k == T - 1 => k == T - 1
            With terminated=False the last state counts as terminal: the episode was only cut off, so look it up.

        terminated-at-every-step: terminated and k == T - 1 => terminated
            Every step is treated as the last one, so that nothing is passed on: only S_T is terminal.

        first-step-left-out: reversed(range(T)) => range(T - 1, 0, -1)
            The first step is left out, as range(T - 1, 0, -1) stops before 0: use reversed(range(T)).

        last-step-left-out: reversed(range(T)) => range(T - 2, -1, -1)
            The last step is left out, and with it the reward at the end: begin with k = T - 1.

        return-instead-of-maximum: T = q.clone(), len(actions) => T = q.clone(), len(actions); total = None
          + best = 0 if => total = 0 if
          + else new[states[k + 1]].max() => else q[states[T]].max() if total is None else total
          + gamma * best) => gamma * total); total = rewards[k] + gamma * total
            What comes back is the return of this episode, whatever else the table knows: take the maximum over the
            actions, where another one may be better.

        next-action-of-the-episode: len(actions) => len(actions); then = [*actions[1:], slice(None)]
          + new[states[k + 1]].max() => new[states[k + 1], then[k]].max()
            The value of the action that was taken next is used, as SARSA does: Q-learning takes the maximum.

        next-action-or-nothing: terminated and k == T - 1 => k == T - 1
          + new[states[k + 1]].max() => new[states[k + 1], actions[k + 1]]
            The value of the action that was taken next is used, as SARSA does, and nothing where the episode was cut
            off: Q-learning takes the maximum over the actions, there as well.

        next-action-behind-the-end: new[states[k + 1]].max() => new[states[k + 1], actions[k + 1]]
            The value of the action that was taken next is used, as SARSA does, and behind the last step there is none:
            Q-learning takes the maximum over the actions.

        maximum-over-the-table: new[states[k + 1]].max() => new.max()
            The maximum runs over the whole table: only the actions of S_(k+1) count.

        maximum-over-states: new[states[k + 1]].max() => new[:, a].max()
            The maximum runs over the states, a column of the table: take it over the row of S_(k+1).

        mean-over-actions: .max() => .mean()
            The values of S_(k+1) are averaged, which is the worth of random play: take their maximum.

        state-before-the-step: new[states[k + 1]].max() => new[s].max()
            The maximum is that of S_k, where the step begins: it leads to S_(k+1).

        next-state-changed: s, a = states[k], => s, a = states[k + 1],
            The entry of S_(k+1) is changed: it is S_k in which A_k was taken.

        all-actions-changed: new[s, a] = (1 - alpha) * new[s, a] => new[s] = (1 - alpha) * new[s]
            All actions of the state get the new value: only A_k was tried, change the entry (S_k, A_k) alone.

        discount-forgotten: gamma * best => best
            The next value is not discounted: multiply it by gamma.

        reward-discounted: rewards[k] + gamma * best => gamma * (rewards[k] + best)
            The reward is discounted as well: only the value, which comes one step later, is multiplied by gamma.

        step-size-ignored: (1 - alpha) * new[s, a] + alpha * =>
            The old entry is overwritten whatever alpha is: keep the part 1 - alpha of it.

        step-size-swapped: (1 - alpha) * new[s, a] + alpha * => alpha * new[s, a] + (1 - alpha) *
            alpha and 1 - alpha are exchanged: alpha = 1 trusts the new value wholly.

        old-value-not-reduced: (1 - alpha) * new => new
            The new value is added to the old one, which grows with every update: reduce the old one to 1 - alpha.

        changed-in-place: q.clone() => q
            The new table is right, but the old one was changed, too: start with q = q.clone().
        """,
    ),
)


# ---- one-step targets -----------------------------------------------------------------------------------------------


def one_step_targets(rewards: Tensor, q_next: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float) -> Tensor:
    best = q_next.amax(1)  # (B,)
    return rewards + gamma * best * ~terminated


def _two_steps(terminated: bool = False, truncated: bool = False) -> tuple[Tensor, ...]:
    """The flags are those of the second one."""
    flags = (torch.tensor([False, flag]) for flag in (terminated, truncated))
    return torch.tensor([1.0, 2.0]), torch.tensor([[2.0, 3.0], [5.0, 4.0]]), *flags


_terminated, _truncated = partial(_two_steps, terminated=True), partial(_two_steps, truncated=True)


def _below_0() -> tuple[Tensor, ...]:
    return torch.zeros(2), torch.tensor([[-3.0, -2.0], [-1.0, -4.0]]), *torch.zeros(2, 2).bool()


def _minibatch() -> tuple[Tensor, ...]:
    """Eight steps: one ends, one is cut off, one is both, the others go on."""
    terminated, truncated = torch.zeros(2, 8, dtype=torch.bool)
    terminated[[1, 4]] = truncated[[3, 4]] = True
    return normal(8), normal(8, 8, seed=1), terminated, truncated


# As many actions as transitions: a maximum over the wrong axis then is no error but a wrong answer.
ONE_STEP = Exercise(
    name="one_step_targets",
    reference=paper.one_step_targets,
    answer=one_step_targets,
    minutes=6,
    difficulty=1,
    importance=3,
    differentiable=False,
    probes=(
        _at("R = [1, 2], q_next = [[2, 3], [5, 4]], both steps go on", _two_steps, gamma=0.9),
        _at("R = [1, 2], q_next = [[2, 3], [5, 4]], the second step terminated", _terminated, gamma=0.9),
        _at("R = [1, 2], q_next = [[2, 3], [5, 4]], the second step truncated", _truncated, gamma=0.9),
        _at("R = [1, 2], q_next = [[2, 3], [5, 4]], the second step truncated", _truncated, gamma=0.5),
        _at("R = [0, 0], q_next = [[-3, -2], [-1, -4]]", _below_0, gamma=0.9),
        _at("a minibatch of B = 8 steps with ends of each kind, A = 8", _minibatch, gamma=0.97),
        _afterwards("a minibatch of B = 8 steps", _minibatch, gamma=0.97),
    ),
    hints=(
        "What is a state worth in which nothing follows? And one in which something would have followed, had the clock"
        " not run out?",
        "max_a is q_next.amax(1), one number for each transition. Where `terminated` is True, replace it by 0, but keep"
        " the reward. `truncated` is not needed.",
        skeleton(one_step_targets, "q_next.amax(1)", "gamma * best * ~terminated"),
    ),
    mistakes=mistakes(
        one_step_targets,
        """
        done-instead-of-terminated: ~terminated => ~(terminated | truncated)
            A truncated episode counts as ended, as with the old flag `done`: it was only cut off, and S' has a value,
            so look at `terminated` alone.

        truncated-instead-of-terminated: ~terminated => ~truncated
            The flags are exchanged: nothing follows where `terminated` is True; `truncated` makes no difference.

        terminal-bootstrapped: * ~terminated =>
            A terminal state is given a value: nothing follows it, so multiply the maximum by ~terminated.

        mask-inverted: ~terminated => terminated
            The mask is the wrong way round, only terminal states have a value: multiply by ~terminated.

        mask-on-everything: rewards + gamma * best => (rewards + gamma * best)
            The mask takes the last reward away, too, often the only one: put it on the value alone.

        mask-on-the-reward: rewards + gamma * best * ~terminated => rewards * ~terminated + gamma * best
            The mask is on the reward: the reward was received, it is the value of S' that a terminal state lacks.

        maximum-with-its-place: amax(1) => max(1)
            max(1) gives two tensors, the largest values and where they stand, and a pair cannot be multiplied by gamma:
            write q_next.max(1).values, or q_next.amax(1).

        mask-on-a-pair: amax(1) => max(1)
          + gamma * best * ~terminated => gamma * (best * ~terminated)
            max(1) gives two tensors, the largest values and where they stand, and a pair cannot be masked: write
            q_next.max(1).values, or q_next.amax(1).

        maximum-over-the-minibatch: amax(1) => amax(0)
            The maximum runs over the transitions, the first axis: take it over the actions, amax(1).

        one-maximum-for-all: amax(1) => max()
            One maximum serves all transitions: each has its own S', so take it along the actions, amax(1).

        number-of-the-action: amax(1) => argmax(1)
            argmax gives the number of the best action: its value is wanted, amax(1).

        mean-over-actions: amax(1) => mean(1)
            The values are averaged, which is the worth of random play: take the maximum over the actions.

        first-action: q_next.amax(1) => q_next[:, 0]
            The value of action 0 is taken in every state: take the maximum over the actions.

        maximum-starts-at-0: amax(1) => amax(1).clamp(min=0)
            Values below 0 become 0: a maximum that is searched from 0 upward misses them, so start from the first
            action.

        discount-forgotten: gamma * best => best
            The value is not discounted: it comes one step later than the reward, so multiply it by gamma.

        reward-discounted: rewards + gamma * best * ~terminated => gamma * (rewards + best * ~terminated)
            The reward is discounted as well: it comes at once, so multiply the value of S' alone by gamma.

        reward-forgotten: rewards + gamma => gamma
            The reward is missing: add it to the discounted value.

        changed-in-place: rewards + gamma => rewards.add_(gamma
          + ~terminated => ~terminated)
            The targets are right, but += changes the rewards that were given: write rewards + ..., a new tensor.

        values-zeroed-in-place: best = => q_next[terminated] = 0; best =
            The targets are right, but the network's values are overwritten with 0: multiply by ~terminated instead.
        """,
    ),
)


# ---- n-step targets -------------------------------------------------------------------------------------------------


def n_step_targets(rewards: Tensor, q_next: Tensor, *, gamma: float, n_steps: int, terminated: bool = True) -> Tensor:
    T, y = len(rewards), torch.zeros_like(rewards)
    for k in range(T):
        end = min(k + n_steps, T)
        y[k] = sum(gamma**i * reward for i, reward in enumerate(rewards[k:end]))
        if end < T or not terminated:
            y[k] += gamma ** (end - k) * q_next[end - 1].max()
    return y


def _mean_of_n_steps(rewards: Tensor, q_next: Tensor, *, gamma: float, n_steps: int, terminated: bool = True) -> Tensor:
    settings = {"gamma": gamma, "terminated": terminated}
    return sum(n_step_targets(rewards, q_next, n_steps=n + 1, **settings) for n in range(n_steps)) / n_steps


def _five_steps() -> tuple[Tensor, Tensor]:
    """Rewards 1 ... 5, and best values 10, 20, 30, 40, 50 behind the steps."""
    return torch.arange(1.0, 6.0), torch.stack([torch.zeros(5), 10 * torch.arange(1.0, 6.0)], 1)


def _ten_steps() -> tuple[Tensor, Tensor]:
    return normal(10), normal(10, 3, seed=1)


N_STEP = Exercise(
    name="n_step_targets",
    reference=paper.n_step_targets,
    answer=n_step_targets,
    minutes=15,
    importance=1,
    level="stretch",
    differentiable=False,
    probes=(
        _at("R = 1 ... 5, best values 10 ... 50", _five_steps, gamma=0.5, n_steps=2),
        _at("R = 1 ... 5, best values 10 ... 50", _five_steps, gamma=0.5, n_steps=3),
        _at("R = 1 ... 5, best values 10 ... 50", _five_steps, gamma=0.5, n_steps=3, terminated=False),
        _at("R = 1 ... 5, best values 10 ... 50", _five_steps, gamma=0.5, n_steps=1),
        _at("T = 10 random steps", _ten_steps, gamma=0.9, n_steps=4),
        _at("T = 10 random steps", _ten_steps, gamma=0.9, n_steps=4, terminated=False),
        _at("T = 10 random steps, all of them in the window", _ten_steps, gamma=0.9, n_steps=20, terminated=False),
        _at("T = 10 random steps, all of them in the window", _ten_steps, gamma=0.9, n_steps=20),
    ),
    hints=(
        "Sum what was really received for n steps; only then ask the network. Which state does it look at, and what if"
        " the episode ends before?",
        "The window of step k is rewards[k:end], end = min(k + n_steps, T), its i-th reward discounted by gamma^i. Row"
        " end - 1 of q_next is about S_end. Its maximum, times gamma^(end - k), counts unless S_end is terminal.",
        skeleton(
            n_step_targets,
            "min(k + n_steps, T)",
            "gamma**i * reward",
            "end < T or not terminated",
            "gamma ** (end - k) * q_next[end - 1].max()",
        ),
    ),
    mistakes=mistakes(
        n_step_targets,
        """
        one-step: min(k + n_steps, T) => k + 1
            These are one-step targets: take n_steps rewards before you ask the network.

        whole-return: min(k + n_steps, T) => T
            All rewards up to the end are summed: stop after n_steps of them, and add the value of the state there.

        row-one-too-late: q_next[end - 1] => q_next[min(end, T - 1)]
            Row k + n describes the state one step too late: row k is about S_(k+1), so S_(k+n) is in row k + n - 1.

        value-of-the-next-state: q_next[end - 1] => q_next[k]
            The value is that of S_(k+1), in row k: after n steps it is that of S_(k+n), in row k + n - 1.

        one-reward-too-few: rewards[k:end] => rewards[k : end - 1]
            The last reward of the window is missing: n steps have n rewards, R_k to R_(k+n-1).

        one-reward-too-many: rewards[k:end] => rewards[k : end + 1]
            There is a reward too many, and the value that follows contains it already: stop at R_(k+n-1).

        first-reward-left-out: rewards[k:end] => rewards[k + 1 : end + 1]
            The window begins one step too late: R_k is the reward of step k itself.

        rewards-not-discounted: gamma**i * reward for => reward for
            The rewards are added as they are: the i-th one after R_k comes i steps later, so multiply it by gamma^i.

        rewards-discounted-once-too-often: gamma**i => gamma ** (i + 1)
            Even R_k is discounted: it comes at once, so begin with gamma^0.

        value-not-discounted: gamma ** (end - k) * =>
            The value is not discounted: it lies n steps ahead, so multiply it by gamma^n.

        value-discounted-once: gamma ** (end - k) => gamma
            The value is discounted by gamma, as with one step: it lies n steps ahead, gamma^n.

        value-discounted-once-too-seldom: (end - k) => (end - k - 1)
            The value has the discount of the last reward: it comes one step after that, gamma^n.

        value-discounted-as-if-not-cut: (end - k) => n_steps
            Where fewer than n steps are left, the value is discounted by n all the same: count the steps that were
            taken, gamma^(end - k).

        terminal-bootstrapped: end < T or not terminated => True
            A terminal state is given a value: where the window reaches S_T and the episode was terminated, add none.

        truncated-not-bootstrapped: end < T or not terminated => end < T
            With terminated=False the last state counts as terminal: the episode was only cut off, so add its value.

        terminated-everywhere: end < T or not terminated => not terminated
            terminated=True takes the value from every step: only S_T is terminal, windows that end before it are not
            concerned.

        wrapped-round: enumerate(rewards[k:end]) => enumerate(rewards[(k + j) % T] for j in range(n_steps))
          + end < T or not terminated => True
          + gamma ** (end - k) * q_next[end - 1] => gamma**n_steps * q_next[(k + n_steps - 1) % T]
            Behind the end the windows go on at the start of the episode, as roll does: end them with the episode.

        one-step-near-the-end: min(k + n_steps, T) => k + (n_steps if k + n_steps <= T else 1)
            Where n steps do not fit, only one is taken: take those that are left.

        zero-near-the-end: in range(T) => in range(T - n_steps + 1)
            Where n steps do not fit, the target is left at 0, and just the last rewards are lost: take the steps that
            are left.

        averaged-over-n: =
            The targets of 1, 2, ... n steps are averaged, as in a lambda-return: only that of n steps is asked for.

        mean-over-actions: .max() => .mean()
            The values of the last state are averaged: take the maximum over the actions.

        number-of-the-action: .max() => .argmax()
            argmax gives the number of the best action: its value is wanted, max.
        """,
        averaged_over_n=_mean_of_n_steps,
    ),
)


# ---- targets from a temporary table ---------------------------------------------------------------------------------


def backward_targets(
    rewards: Tensor, q_next: Tensor, actions: Tensor, *, gamma: float, beta: float, terminated: bool = True
) -> Tensor:
    table, y = q_next.clone(), rewards.clone()  # (T, A), (T,)
    if not terminated:
        y[-1] += gamma * table[-1].max()
    for k in reversed(range(len(y) - 1)):
        a = actions[k + 1]
        table[k, a] = beta * y[k + 1] + (1 - beta) * table[k, a]
        y[k] = rewards[k] + gamma * table[k].max()
    return y


def _returns(
    rewards: Tensor, q_next: Tensor, actions: Tensor, *, gamma: float, beta: float, terminated: bool = True
) -> Tensor:
    y = rewards.clone()
    y[-1] += 0 if terminated else gamma * q_next[-1].max()
    for k in reversed(range(len(y) - 1)):
        y[k] += gamma * y[k + 1]
    return y


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
    return normal(12), normal(12, 4, seed=1), _integers(4, 12, seed=2)


def _one_step() -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor([2.0]), torch.tensor([[3.0, 4.0]]), torch.tensor([1])


FOUR_STEPS = "R = [0, 1, 0, 2], A = [0, 1, 0, 1], q_next = [[0.3, 0], [0.5, 0.4], [0.2, 0.6], [7, 8]]"

BACKWARD = Exercise(
    name="backward_targets",
    reference=paper.backward_targets,
    answer=backward_targets,
    minutes=15,
    difficulty=3,
    importance=3,
    differentiable=False,
    probes=(
        _at("the chain of five steps, q_next = 0", _chain, gamma=0.9, beta=0.5),
        _at(FOUR_STEPS, _worked, gamma=0.9, beta=0.5),
        _at(f"{FOUR_STEPS}, one-step targets", _worked, gamma=0.9, beta=0.0),
        _at(FOUR_STEPS, _worked, gamma=0.9, beta=1.0),
        _at("three steps in which the network prefers another action", _better_otherwise, gamma=0.5, beta=1.0),
        _at("T = 12 random steps, A = 4", _random_episode, gamma=0.95, beta=0.7),
        _at("T = 12 random steps, A = 4", _random_episode, gamma=0.95, beta=0.7, terminated=False),
        _at("R = [2], q_next = [[3, 4]], a single step", _one_step, gamma=0.5, beta=0.5),
        _at("R = [2], q_next = [[3, 4]], a single step", _one_step, gamma=0.5, beta=0.5, terminated=False),
        _afterwards("T = 12 random steps, A = 4", _random_episode, gamma=0.95, beta=0.7),
    ),
    hints=(
        "Row k says what the network thinks of S_(k+1). Which one of its entries does the target of step k + 1 know"
        " better, and why only that one?",
        "Clone q_next, let y start as a clone of rewards, and add gamma times the maximum of the last row if the"
        " episode was truncated. For k = T - 2 down to 0, the entry in row k of the action taken in S_(k+1), A_(k+1),"
        " becomes beta y_(k+1) + (1 - beta) times itself. Then take the row's maximum, discount it, and add R_k.",
        skeleton(
            backward_targets,
            "gamma * table[-1].max()",
            "reversed(range(len(y) - 1))",
            "actions[k + 1]",
            "beta * y[k + 1] + (1 - beta) * table[k, a]",
            "gamma * table[k].max()",
        ),
    ),
    mistakes=mistakes(
        backward_targets,
        """
        action-of-this-step: actions[k + 1] => actions[k]
            The entry of A_k is changed, but row k is about S_(k+1), and what was done there is A_(k+1).

        next-row: table[k, a] = beta => table[k + 1, a] = beta
          + (1 - beta) * table[k, a] => (1 - beta) * table[k + 1, a]
          + table[k].max() => table[k + 1].max()
            Row k + 1 is changed and looked at, but it is about S_(k+2): the row of S_(k+1) is k; only the action is
            that of step k + 1.

        maximum-of-the-next-row: table[k].max() => table[k + 1].max()
            The maximum is taken over row k + 1, about S_(k+2): step k leads to S_(k+1), which is row k.

        maximum-before-the-change: table[k].max() => q_next[k].max()
            These are one-step targets, whatever beta is, for no maximum sees y_(k+1): put it into row k of the table,
            not k + 1, and take the maximum of that row, not of q_next, after that.

        all-entries-changed: table[k, a] = beta => table[k] = beta
          + (1 - beta) * table[k, a] => (1 - beta) * table[k]
            All entries of the row are mixed with y, or its maximum is: only of A_(k+1) is known what came of it, so
            change that entry alone.

        largest-entry-changed: actions[k + 1] => table[k].argmax()
            The entry of the best action is changed: y_(k+1) tells what came of the action that was taken, A_(k+1).

        beta-swapped: beta * y[k + 1] + (1 - beta) * => (1 - beta) * y[k + 1] + beta *
            beta and 1 - beta are exchanged: beta = 0 keeps the network's value, beta = 1 takes what came back.

        overwritten: beta * y[k + 1] + (1 - beta) * table[k, a] => y[k + 1]
            The entry is overwritten with y, as for beta = 1: keep the part 1 - beta of the network's value.

        old-value-not-reduced: (1 - beta) * table[k, a] => table[k, a]
            beta y is added to the whole old value: reduce that to the part 1 - beta first.

        old-value-dropped: + (1 - beta) * table[k, a] =>
            The network's own value is lost: add (1 - beta) times the old entry.

        never-lowered: = beta * y => = max(table[k, a], beta * y
          + * table[k, a] => * table[k, a])
            The entry can only grow: what came back may be less than the network hoped for, so let it fall as well.

        discounted-twice: beta * y[k + 1] => beta * gamma * y[k + 1]
            y_(k+1) is discounted when it is put into the table, and again with the maximum: once is enough, there.

        reward-instead-of-target: beta * y[k + 1] => beta * rewards[k + 1]
            The reward R_(k+1) is put into the table, so that nothing gets farther than one step: put in y_(k+1).

        forward: reversed(range(len(y) - 1)) => range(len(y) - 1)
            The steps are gone through from first to last, when y_(k+1) is not known yet: begin at the end.

        first-step-left-out: reversed(range(len(y) - 1)) => range(len(y) - 2, 0, -1)
            The first step is left out, as range(T - 2, 0, -1) stops before 0: use reversed(range(T - 1)).

        monte-carlo: =
            These are the returns of the episode, whatever beta and the network say: mix y_(k+1) into the table, and
            take the maximum, where another action may be better.

        taken-action-instead-of-maximum: table[k].max() => table[k, a]
            Only the entry of the action that was taken goes on, as in a lambda-return: another one may have a larger
            value, so take the maximum of the row.

        mean-over-actions: table[k].max() => table[k].mean()
            The row is averaged: take its maximum.

        number-of-the-action: table[k].max() => table[k].argmax()
            argmax gives the number of the best action: its value is wanted, max.

        maximum-over-the-table: table[k].max() => table.max()
            The maximum runs over the whole table: only row k is about S_(k+1).

        discount-forgotten: gamma * table[-1].max() => table[-1].max()
          + gamma * table[k].max() => table[k].max()
            The maximum is not discounted: multiply it by gamma.

        reward-forgotten: rewards[k] + gamma => gamma
            Only the last step has its reward: add R_k to the discounted maximum.

        terminal-bootstrapped: if not terminated => if True
            The last target contains the network's value of a terminal state, which has none: it is the last reward.

        truncated-not-bootstrapped: if not terminated => if False
            With terminated=False the last state counts as terminal: the episode was only cut off, so add gamma times
            the maximum of the last row.

        truncated-not-discounted: gamma * table[-1].max() => table[-1].max()
            The value behind a truncation is not discounted: it comes one step later, so multiply it by gamma.

        terminated-at-every-step: gamma * table[k].max() => gamma * (not terminated) * table[k].max()
            terminated=True takes the value from every step: it is about the last state alone.

        last-reward-left-out: rewards.clone() => torch.zeros_like(rewards)
            The last target begins with 0: y of the last step is its reward, from which all others follow.

        network-output-changed: q_next.clone() => q_next
            The targets are right, but the network's output was changed: the table is a copy, q_next.clone().

        rewards-changed: rewards.clone() => rewards
            The targets are right, but they were written over the rewards: start with y = rewards.clone().
        """,
        monte_carlo=_returns,
    ),
)


# ---- minibatches from the end of an episode -------------------------------------------------------------------------


def backward_minibatches(steps: Tensor, filling: Tensor, size: int) -> Tensor:
    count = math.ceil(len(steps) / size)  # M
    missing = count * size - len(steps)
    joined = torch.cat([steps.flip(0), filling.flip(0)[:missing]])  # (M * size, ...)
    return joined.unflatten(0, (count, size))


def _numbered(T: int, F: int = 8) -> tuple[Tensor, Tensor]:
    """Steps 0 ... T - 1, and steps 100 ... to fill with."""
    return torch.arange(float(T)), 100 + torch.arange(float(F))


# Never is more missing than the episode has: to fill it with itself then is no error but a wrong answer.
MINIBATCHES = Exercise(
    name="backward_minibatches",
    reference=paper.backward_minibatches,
    answer=backward_minibatches,
    minutes=10,
    differentiable=False,
    probes=(
        Probe("steps 0 ... 9, filled from 100 ... 107, size 4", lambda f: f(*_numbered(10), 4)),
        Probe("steps 0 ... 7, filling 100 ... 107, size 4: nothing is missing", lambda f: f(*_numbered(8), 4)),
        Probe("steps 0 ... 2, filled from 100 ... 107, size 5: less than one minibatch", lambda f: f(*_numbered(3), 5)),
        Probe("a single step 0, filled from 100 ... 107, size 2", lambda f: f(*_numbered(1), 2)),
        Probe("steps 0 ... 4, filling 100 ... 107, size 1", lambda f: f(*_numbered(5), 1)),
        Probe("observations (6, 2), filled from (5, 2), size 4", lambda f: f(normal(6, 2), normal(5, 2, seed=1), 4)),
        Probe("actions (5,), filled from (6,), size 3", lambda f: f(_integers(4, 5), _integers(4, 6, seed=1), 3)),
    ),
    hints=(
        "Where is the reward? That is the end to begin at, and the start of the episode is what is left over.",
        "flip(0) reverses time. Put the last steps of `filling`, reversed as well, behind the reversed episode, as many"
        " as are missing from the next multiple of `size`, and cut the whole into rows.",
        skeleton(
            backward_minibatches,
            "math.ceil(len(steps) / size)",
            "count * size - len(steps)",
            "[steps.flip(0), filling.flip(0)[:missing]]",
        ),
    ),
    mistakes=mistakes(
        backward_minibatches,
        """
        in-order-of-time: steps.flip(0), filling.flip(0)[:missing] => steps, filling[len(filling) - missing :]
            The minibatches begin at the start of the episode: reverse the steps first, flip(0).

        pieces-in-order-of-time: (count, size)) => (count, size)).flip(1)
            Each piece is in the order of time: within a piece, too, the last step comes first, so reverse the whole.

        wrong-axis-reversed: steps.flip(0), filling.flip(0) => steps.flip(-1), filling.flip(-1)
            The last axis is reversed, which for observations is not time: flip(0).

        filling-first: steps.flip(0), filling.flip(0)[:missing] => filling.flip(0)[:missing], steps.flip(0)
            The filling comes first, so that the minibatches do not begin with the end of the episode: put it behind.

        remainder-dropped: math.ceil(len(steps) / size) => len(steps) // size
          + steps.flip(0), filling.flip(0)[:missing] => steps.flip(0)[: count * size]
            The steps that do not fill a minibatch are dropped: round the number of minibatches up and fill the last.

        one-minibatch-too-many: math.ceil(len(steps) / size) => len(steps) // size + 1
            An episode that fills its minibatches exactly gets one more, of nothing but filling: round T / size up
            instead of adding 1.

        all-of-the-filling: filling.flip(0)[:missing] => filling[-missing:].flip(0)
          + (count, size) => (-1, size)
            Where nothing is missing, filling[-missing:] is filling[0:], all of it: cut filling.flip(0)[:missing].

        filled-with-zeros: filling.flip(0)[:missing] => torch.zeros_like(filling[:missing])
            The last minibatch is filled with zeros, steps that never were: take steps of `filling`.

        filled-with-the-same-episode: filling.flip(0) => steps.flip(0)
            The last minibatch is filled with the same episode once more: take the steps of `filling`.

        filled-from-the-start: filling.flip(0)[:missing] => filling[:missing]
            The first steps of the other episode fill the last minibatch: its reward, too, is at its end.

        filled-from-the-start-reversed: filling.flip(0)[:missing] => filling[:missing].flip(0)
            The first steps of the other episode are taken, and then reversed: reverse it first, and then cut.

        filling-in-order-of-time: filling.flip(0)[:missing] => filling[len(filling) - missing :]
            The steps of the filling are in the order of time: they go from its end backward, too, flip(0).

        dealt-out: (count, size)) => (size, count)).transpose(0, 1)
            The steps are dealt out to the minibatches like cards: each is a piece without gaps, so cut into rows.

        size-and-number-exchanged: (count, size)) => (size, count))
            Size and number of the minibatches are exchanged: the first axis counts the minibatches.

        last-minibatch-first: (count, size)) => (count, size)).flip(0)
            The minibatch with the start of the episode comes first: the one with its end does.

        not-cut: joined.unflatten(0, (count, size)) => joined
            The steps are in the right order but in one piece: unflatten(0, (count, size)) cuts them into rows.

        numbers-counted-as-steps: joined.unflatten(0, (count, size)) => joined.reshape(-1, size)
            reshape(-1, size) tears observations apart, for it counts single numbers: unflatten the first axis alone.
        """,
    ),
)


# ---- human-normalized score -----------------------------------------------------------------------------------------


def human_normalized(score: float, *, random: float, human: float) -> float:
    return 100 * (score - random) / (human - random)


def _score(score: float, random: float, human: float, remark: str = "") -> Probe:
    where = f"score {score}, random {random}, human {human}{remark}"
    return Probe(where, lambda f: f(score, random=random, human=human))


SCORE = Exercise(
    name="human_normalized",
    reference=paper.human_normalized,
    answer=human_normalized,
    minutes=3,
    difficulty=1,
    importance=1,
    differentiable=False,
    probes=(
        _score(50.0, 0.0, 200.0),
        _score(11.0, -19.0, 11.0, ": as a human"),
        _score(5.0, 5.0, 25.0, ": as random play"),
        _score(70.0, 10.0, 40.0, ": better than a human"),
        _score(4.0, 10.0, 40.0, ": worse than random play"),
        _score(-30.0, -20.0, -4.0),
        _score(12, 9, 17),
    ),
    hints=(
        "Points differ from game to game. Which two scores of the same game could serve as 0 and as 100 percent?",
        "Measure from random play: how far is the score above it, and how far is the human? Divide the first distance"
        " by the second.",
        skeleton(human_normalized, "(score - random)", "(human - random)"),
    ),
    mistakes=mistakes(
        human_normalized,
        """
        no-percent: 100 * =>
            This is a fraction, 1 for a human: multiply by 100 for percent.

        random-play-forgotten: (score - random) / (human - random) => score / human
            This divides by the human score alone: random play is to be 0, so subtract it from both.

        subtracted-only-above: (human - random) => human
            Random play is subtracted from the score alone, so that a human does not get 100: subtract it below, too.

        subtracted-only-below: (score - random) => score
            Random play is subtracted from the human score alone, so that it does not get 0: subtract it above, too.

        parentheses-forgotten: (human - random) => human - random
            The division is done before the second subtraction: put human - random into parentheses.

        ends-exchanged: (score - random) / (human - random) => (score - human) / (random - human)
            Random play gets 100 and a human 0: measure from random, not from human.

        above-the-human: (score - random) => (score - human)
            This is by how much the score is above the human one: a human should get 100, so start from random.

        sign: (human - random) => (random - human)
            The sign is wrong: below the line stands human - random.

        divided-by-what-is-missing: (human - random) => (human - score)
            The divisor depends on the score: the scale is fixed, human - random.

        cut-at-100: 100 * (score - random) / (human - random) => min(100.0, 100 * (score - random) / (human - random))
            Scores above a human one are cut off at 100: agents do play better, leave the number as it is.

        cut-at-0: 100 * (score - random) / (human - random) => max(0.0, 100 * (score - random) / (human - random))
            Scores below random play are cut off at 0: leave the number negative.

        cut-at-both-ends: 100 * (score - random) / => min(100.0, max(0.0, 100 * (score - random) /
          + / (human - random) => / (human - random)))
            The score is kept between 0 and 100: agents play better than humans and worse than chance, do not cut.

        rounded-down: (score - random) / => (score - random) //
            The percentage is rounded down: divide with / instead of //.
        """,
    ),
)


# ---- a random action now and then -----------------------------------------------------------------------------------


def epsilon_greedy(q: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """For each row with probability epsilon any action, the best included, else the best one: (N, A) -> (N,)."""
    N, A = q.shape
    best = q.argmax(1)  # (N,)
    anything = torch.randint(A, (N,), generator=generator)
    is_random = torch.rand(N, generator=generator) < epsilon
    return torch.where(is_random, anything, best)


FOUR_VALUES = [1.0, 4.0, 2.0, 3.0]
DRAWN = 6000
"""Rows of a probe. A right answer, whatever its random numbers are, fails in less than one of a million cases."""


def _shares(rows: list[list[float]], epsilon: float, seed: int) -> Probe:
    """How often each action is taken in each kind of row, of which there are equally many: (kinds, A)."""
    values, each = torch.tensor(rows), DRAWN // len(rows)
    of_a_kind = f"{each} rows " if len(rows) > 1 else "rows "
    where = " and ".join(f"{of_a_kind}[{', '.join(f'{value:g}' for value in row)}]" for row in rows)

    def observe(f: Callable) -> Tensor:
        actions = f(values.repeat_interleave(each, 0), epsilon, torch.Generator().manual_seed(seed))
        _require_actions(actions, DRAWN)
        taken = actions.unflatten(0, (len(rows), each))[..., None] == torch.arange(4)  # (kinds, each, A)
        return _expected_if_close(taken.float().mean(1), _expected_shares(values, epsilon), each).squeeze(0)

    return Probe(f"N = {DRAWN}: {where}, epsilon = {epsilon:g}: the share of each action", observe, atol=_spread(each))


def _expected_shares(values: Tensor, epsilon: float) -> Tensor:
    return epsilon / 4 + (1 - epsilon) * F.one_hot(values.argmax(1), 4)


def _spread(draws: int) -> float:
    """6.5 standard deviations of a share of 1/4; with epsilon = 0.3 and 0.5 other shares have not much larger ones."""
    return 6.5 * math.sqrt(0.1875 / draws)


def _expected_if_close(shares: Tensor, expected: Tensor, draws: int) -> Tensor:
    return expected if torch.allclose(shares, expected, rtol=0, atol=_spread(draws)) else shares


def _require_actions(actions: Tensor, N: int) -> None:
    """An error, told from others by its text: what was returned then is compared instead of the shares."""
    if actions.shape != (N,) or actions.is_floating_point():
        shape = ", ".join("N" if size == N else str(size) for size in actions.shape)
        found = "numbers of actions" if torch.isin(actions, torch.arange(4)).all() else "numbers of no action"
        raise TypeError(f"{found}, of shape ({shape}) and type {actions.dtype}")


def _alone(f: Callable) -> Tensor:
    """The shares of the actions that a single agent takes in 200 calls."""
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(200):
        found.append(f(torch.tensor([FOUR_VALUES]), 0.5, generator))
        _require_actions(found[-1], 1)
    shares = (torch.cat(found)[:, None] == torch.arange(4)).float().mean(0)
    return _expected_if_close(shares, _expected_shares(torch.tensor([FOUR_VALUES]), 0.5)[0], 200)


def _randomness(f: Callable) -> str:
    """Where it comes from."""
    before = _states()
    first, again, other = (f(torch.zeros(50, 9), 1.0, torch.Generator().manual_seed(seed)) for seed in (7, 7, 10))
    if not torch.equal(first, again):
        return "the same state of the generator gives different actions"
    if torch.equal(first, other):
        return "another state of the generator gives the same actions"
    return "the generator alone decides" if _states() == before else "random numbers are drawn beside the generator's"


def _states() -> list:
    """Of the random numbers of the whole process."""
    _, key, *rest = np.random.get_state()
    return [torch.get_rng_state().tolist(), key.tolist(), rest, random.getstate()]


def _by_softmax(q: Tensor, generator: torch.Generator) -> Tensor:
    return torch.multinomial(q.softmax(1), 1, generator=generator).squeeze(1)


# With these seeds a single coin for all rows says "random", and a single action is not the best one, in whatever order
# the two are drawn: so a mistake in another's spelling is recognized.
GREEDY = Exercise(
    name="epsilon_greedy",
    reference=paper.epsilon_greedy,
    answer=epsilon_greedy,
    minutes=6,
    difficulty=1,
    importance=3,
    differentiable=False,
    probes=(
        _shares([FOUR_VALUES, [-1.0, -3.0, -4.0, -2.0]], 0.0, seed=1),
        _shares([FOUR_VALUES], 1.0, seed=86),
        _shares([FOUR_VALUES], 0.3, seed=501),
        Probe("generators with the seeds 7, 7 and 10, epsilon = 1", _randomness),
        Probe(
            "a single row [1, 4, 2, 3], epsilon = 0.5, 200 calls: the share of each action", _alone, atol=_spread(200)
        ),
    ),
    hints=(
        "Two questions for each row: does it explore this time, and if so, where to? Which random numbers answer them,"
        " and how many of each does it take?",
        "torch.rand(N, generator=generator) < epsilon is True with probability epsilon, for each row by itself."
        " torch.randint(A, (N,), generator=generator) draws any action, q.argmax(1) is the best one, and"
        " torch.where(condition, a, b) takes a where the condition is True.",
        skeleton(
            epsilon_greedy,
            "q.argmax(1)",
            "torch.randint(A, (N,), generator=generator)",
            "torch.rand(N, generator=generator) < epsilon",
            "is_random, anything, best",
        ),
    ),
    mistakes=mistakes(
        epsilon_greedy,
        """
        one-coin-for-all: torch.rand(N, => torch.rand(1,
            One coin decides for all rows, and all explore or none does: draw N numbers, torch.rand(N, ...).

        coin-the-wrong-way-round: is_random, anything, best => is_random, best, anything
            The best action is taken with probability epsilon, and a random one otherwise: it is the other way round.

        never-random: return torch.where(is_random, anything, best) => return best
            Always the best action is taken, whatever epsilon is: what is never tried is never learned.

        always-random: return torch.where(is_random, anything, best) => return anything
            Always a random action is taken, whatever epsilon is: with probability 1 - epsilon it is the best one.

        fair-coin: < epsilon => < 0.5
            The coin is a fair one, whatever epsilon is: compare the uniform number with epsilon.

        normal-instead-of-uniform: torch.rand(N => torch.randn(N
            A normal number is below epsilon with another probability than epsilon: draw a uniform one, torch.rand.

        best-never-drawn: torch.randint(A, => best + 1 + torch.randint(A - 1,
          + is_random, anything, best => is_random, anything % A, best
            A random action is drawn among the others: "any" is any of all A, the best included, each as likely.

        same-random-action-for-all: torch.randint(A, (N,), => torch.randint(A, (1,),
            All rows that explore take the same random action: draw one for each row, torch.randint(A, (N,), ...).

        one-draw-for-all: torch.rand(N, => torch.rand(1,
          + torch.randint(A, (N,), => torch.randint(A, (1,),
            One coin and one random action serve all rows: each row has a coin and an action of its own, draw N of both.

        if-for-many-rows: torch.where(is_random, anything, best) => anything if is_random else best
            `if` decides once, and here are N coins: torch.where(is_random, anything, best) decides for each row.

        one-number-for-both: torch.randint(A, (N,), generator=generator) => torch.rand(N, generator=generator)
          + torch.rand(N, generator=generator) < epsilon => anything < epsilon
          + is_random, anything, best => is_random, (A * anything).long(), best
            The number that decides whether to explore decides where to as well, and below epsilon it can only be a
            small one, which gives the first actions: draw a second number.

        last-action-never-drawn: torch.randint(A, => torch.randint(A - 1,
            The last action is never drawn: the upper bound of randint is left out already, so write A, not A - 1.

        first-action-never-drawn: torch.randint(A, => torch.randint(1, A,
            Action 0 is never drawn: actions are numbered from 0, so write torch.randint(A, ...).

        action-that-does-not-exist: torch.randint(A, => torch.randint(A + 1,
            Action A is drawn now and then, and there is none: they are 0 to A - 1, which torch.randint(A, ...) draws.

        best-of-each-column: argmax(1) => argmax(0)
            argmax(0) finds the best row of each action: the best action of each row is q.argmax(1).

        one-best-for-all: argmax(1) => argmax()
            argmax() without an axis finds one place in the whole table: each row has its own best, q.argmax(1).

        worst-action: argmax => argmin
            The action with the smallest value is taken: the best one has the largest, argmax.

        value-instead-of-number: q.argmax(1) => q.amax(1)
            The value of the best action is returned: its number is wanted, q.argmax(1).

        values-and-numbers: q.argmax(1) => q.max(1)
            max(1) gives two tensors, the largest values and where they stand: write q.argmax(1).

        softmax-instead-of-the-best: torch.where(is_random, anything, best) => _by_softmax(q, generator)
            Actions are drawn with probabilities from a softmax of the values, whatever epsilon is: take the best one
            with probability 1 - epsilon, and else any, with equal probabilities.

        softmax-for-the-random-ones: torch.randint(A, (N,), generator=generator) => _by_softmax(q, generator)
            The random actions follow a softmax of the values: each of the A actions should be as likely as any other.

        coin-for-each-action: torch.rand(N, => torch.rand((N, A),
            A coin is thrown for each action: one for each row decides whether it explores, torch.rand(N, ...).

        so-many-rows-exactly: torch.rand(N, => torch.randperm(N,
          + < epsilon => < int(epsilon * N)
            Always the same number of rows explores, and a single row never: each is to decide by a coin of its own.

        random-numbers-of-the-process: (N,), generator=generator => (N,)
          + rand(N, generator=generator) => rand(N)
            The random numbers, or some of them, are not the generator's, so that the run cannot be repeated: pass
            generator=generator to every function that draws.

        generator-seeded-anew: N, A = q.shape => N, A = q.shape; generator.manual_seed(0)
            The generator is seeded anew, so that the same numbers come at each call: only draw from it.

        column: return torch.where(is_random, anything, best) => return torch.where(is_random, anything, best)[:, None]
            The actions stand in a column, (N, 1): (N,) is wanted.

        every-row-with-every-other: argmax(1) => argmax(1, keepdim=True)
            (N, 1) and (N,) are broadcast to (N, N): leave keepdim=True out, then all are (N,).

        actions-as-floats: is_random, anything, best) => is_random, anything, best).float()
            The actions are floating-point numbers: they number the columns, so leave them integers.
        """,
    ),
)


# ---- whole episodes in a memory -------------------------------------------------------------------------------------


def remember_episode(memory: list, episode: Sized, capacity: int) -> list:
    """The memory and one more episode, from the oldest to the latest, of at most `capacity` steps together.

    len(episode) is its number of steps. The oldest go first, and whole; the list that was given stays as it is.
    """
    kept = [*memory, episode]
    while sum(len(each) for each in kept) > capacity:
        kept.pop(0)
    return kept


def _remembered(lengths: Sequence[int], new: int, capacity: int) -> Probe:
    """Episodes are tensors of as many equal numbers as they have steps: 0 the oldest, 1, 2, ..., the new one last."""
    episodes = [torch.full((steps,), float(number)) for number, steps in enumerate([*lengths, new])]
    where = f"episodes of {', '.join(map(str, lengths)) or 'no'} steps, one of {new} is added, capacity {capacity}"
    return Probe(where, lambda f: f([x.clone() for x in episodes[:-1]], episodes[-1].clone(), capacity))


REMEMBER = Exercise(
    name="remember_episode",
    reference=paper.remember_episode,
    answer=remember_episode,
    minutes=6,
    difficulty=1,
    differentiable=False,
    probes=(
        _remembered([3, 2], 4, 10),
        _remembered([], 2, 5),
        _remembered([3, 2], 4, 9),
        _remembered([3, 2, 1], 4, 8),
        _remembered([1, 2, 3], 5, 8),
        _remembered([2, 2], 6, 6),
        _remembered([1, 1], 1, 2),
        _remembered([6, 1, 1], 2, 7),
    ),
    hints=(
        "Which steps are told by an old network, and how many of them must go before there is room for the new ones?",
        "Put the new episode at the end of a new list. While the steps of all episodes together are more than"
        " `capacity`, take the first one away, whole.",
        skeleton(remember_episode, "[*memory, episode]", "sum(len(each) for each in kept)", "kept.pop(0)"),
    ),
    mistakes=mistakes(
        remember_episode,
        """
        never-forgets: while sum => while False and sum
            Nothing ever goes, so that the memory grows without end: take old episodes away until the rest has room.

        counted-in-episodes: sum(len(each) for each in kept) => len(kept)
            `capacity` counts steps, not episodes: add up the lengths.

        one-goes-for-one: while sum => if sum
            At most one episode goes, but one long episode may need the room of several: go on while it is too much.

        room-of-the-old-ones: for each in kept) > => for each in memory) >
          + kept.pop(0) => kept.pop(0); memory = memory[1:]
            The steps of the new episode are not counted: add it first, and then count.

        full-is-too-much: > capacity => >= capacity
            A memory that is exactly full counts as too full: `capacity` steps have room, so use > and not >=.

        latest-goes: kept.pop(0) => kept.pop()
            The latest episode goes, the very one that was added: take the oldest, which stands first.

        added-in-front: [*memory, episode] => [episode, *memory]
            The new episode stands first, where the oldest belongs: put it at the end.

        longest-goes: kept.pop(0) => kept.pop(max(range(len(kept)), key=lambda i: len(kept[i])))
            The longest episode goes: it is the oldest that should, for its actions come from an old network.

        cleared-when-full: kept.pop(0) => kept = [episode]
            All old episodes go as soon as there is too little room: take one after the other, until it is enough.

        cut-to-the-room: kept.pop(0) => kept[0] = kept[0][1:]; kept = kept if len(kept[0]) else kept[1:]
            The oldest episode is cut step by step: it goes as a whole, values should travel through all of it.
        """,
    ),
)


# ---- a gradient step ------------------------------------------------------------------------------------------------


def gradient_step(
    net: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    observations: Tensor,
    actions: Tensor,
    targets: Tensor,
) -> Tensor:
    """One step on the sum of Huber losses between Q(S, A) and the targets -> the loss before it.

    net(observations) is (..., N, A); actions and targets are (..., N). The loss is a scalar tensor without a gradient.
    """
    q = net(observations)  # (..., N, A)
    taken = q.gather(-1, actions[..., None]).squeeze(-1)  # (..., N)
    loss = F.huber_loss(taken, targets, reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _clipped_and_squared(taken: Tensor, targets: Tensor, reduction: str) -> Tensor:
    return 0.5 * (taken - targets).clamp(-1, 1).square().sum()


@torch.no_grad()
def _loss(net: nn.Module, observations: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
    taken = net(observations).gather(-1, actions[..., None]).squeeze(-1)
    return F.huber_loss(taken, targets, reduction="sum")


class _Linear(nn.Module):
    """From two numbers to the values of three actions, for `agents` (K,) or () beside each other, each by itself."""

    def __init__(self, *agents: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(normal(*agents, 2, 3)), nn.Parameter(normal(*agents, 1, 3, seed=1))

    def forward(self, observations: Tensor) -> Tensor:
        return observations @ self.weight + self.bias  # (..., N, 2) -> (..., N, 3)


def _stepped(*shape: int, steps: int = 1) -> Probe:
    """What comes of steps with minibatches of (..., N); errors lie on both sides of 1."""

    def observe(f: Callable) -> dict[str, object]:
        net = _Linear(*shape[:-1])
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        losses = []
        for number in range(steps):
            observations, following = normal(2, *shape, 2, seed=2 + 9 * number)
            actions = _integers(3, math.prod(shape), seed=number).view(shape)
            targets = normal(*shape, seed=3 + 9 * number) + 0.9 * net(following).amax(-1)
            losses.append(f(net, optimizer, observations, actions, targets.detach()))
        graph = [isinstance(loss, Tensor) and loss.requires_grad for loss in losses]
        found = {
            "the loss": torch.tensor(losses[-1]) if isinstance(losses[-1], float) else losses[-1],
            "whether the loss still carries a gradient": any(graph),
        }
        return {**found, "the weights of net": net.weight, "its biases": net.bias}

    agents = "" if len(shape) == 1 else f" for each of {shape[0]} agents, whose networks are stacked"
    where = f"{'a step' if steps == 1 else f'{steps} steps'} with N = {shape[-1]}{agents}"
    return Probe(where, observe)


# N is larger than A and K: what takes one axis for another then mostly is an error.
GRADIENT = Exercise(
    name="gradient_step",
    reference=paper.gradient_step,
    answer=gradient_step,
    minutes=8,
    importance=3,
    differentiable=False,
    changes=("net", "optimizer"),
    probes=(
        _stepped(1),
        _stepped(6),
        _stepped(5, steps=3),
        _stepped(3, 5),
        _stepped(3, 5, steps=2),
    ),
    hints=(
        "What does a gradient step need? The values that the network gives the actions that were taken, how far they"
        " are off, and three calls in the right order.",
        "net(observations) is (..., N, A), of which gather(-1, actions[..., None]).squeeze(-1) picks the actions taken,"
        ' along the last axis. The loss is F.huber_loss with reduction="sum". Then zero_grad,'
        " backward, step, and return the loss, detached.",
        skeleton(
            gradient_step,
            "gather(-1, actions[..., None]).squeeze(-1)",
            'F.huber_loss(taken, targets, reduction="sum")',
            "optimizer.zero_grad()",
            "loss.backward()",
            "optimizer.step()",
            "loss.detach()",
        ),
    ),
    mistakes=mistakes(
        gradient_step,
        """
        gradients-pile-up: optimizer.zero_grad() =>
            The gradients of earlier steps are added to those of the next: begin each with optimizer.zero_grad().

        weights-stay: optimizer.step() =>
            The weights do not move: after loss.backward() comes optimizer.step(), and zero_grad() before both of them.

        one-step-late: optimizer.step() =>
          + optimizer.zero_grad() => optimizer.step(); optimizer.zero_grad()
            The weights move before the gradient is there, each time by that of the step before: the order is
            zero_grad(), backward(), step().

        mean-of-the-minibatch: reduction="sum" => reduction="mean"
            The loss is the mean over the minibatch: here it is the sum, reduction="sum", as in the authors' code.

        squared-errors: F.huber_loss => F.mse_loss
            These are squared errors, which large ones rule, and with twice the slope: take F.huber_loss.

        half-squared-errors: F.huber_loss( => 0.5 * F.mse_loss(
            Half of the squared error is the paper's loss, but errors beyond 1 are to count linearly, as in the authors'
            code: take F.huber_loss.

        absolute-errors: F.huber_loss => F.l1_loss
            These are absolute errors, whose slope is as steep close to the target as far from it: take F.huber_loss.

        clipped-and-squared: F.huber_loss => _clipped_and_squared
            The errors are clipped before they are squared, and what is clipped has no gradient, so that nothing is
            learned from the largest ones: take F.huber_loss, which clips the slope instead.

        every-value-with-every-target: .squeeze(-1) =>
            Values (N, 1) and targets (N,) are broadcast to (N, N), each value is pulled towards every target: make the
            values (N,), with squeeze(-1).

        every-row-with-every-action: q.gather(-1, actions[..., None]).squeeze(-1) => q[..., actions]
            q[..., actions] takes the actions of all steps from every row, (N, N): each row has one, gather it.

        best-action: .gather(-1, actions[..., None]).squeeze(-1) => .amax(-1)
            The value of the best action is compared with the target, which tells what came of the action that was
            taken: gather that one.

        all-actions: .gather(-1, actions[..., None]).squeeze(-1) =>
          + (taken, targets, => (taken, targets[..., None].expand_as(taken),
            The values of all actions are pulled towards the target: it tells about the one that was taken, gather that.

        values-detached: q = net(observations) => q = net(observations).detach()
            The values carry no gradient: nothing between net and loss.backward() may detach them.

        for-one-agent-only: gather(-1, actions[..., None]).squeeze(-1) => gather(1, actions[:, None]).squeeze(1)
            With a first axis that counts agents, axis 1 is no longer that of the actions: gather along the last axis,
            gather(-1, actions[..., None]).squeeze(-1), which is right for one agent, too.

        axis-1-gathered: gather(-1, actions[..., None]).squeeze(-1) => gather(1, actions[..., None]).squeeze(-1)
            With a first axis that counts agents, axis 1 is no longer that of the actions: gather along the last axis,
            dim -1, which is right for one agent, too.

        rows-numbered: q.gather(-1, actions[..., None]).squeeze(-1) => q[torch.arange(len(actions)), actions]
            q[torch.arange(N), actions] numbers the rows of a single agent, and a first axis may count agents: gather
            along the last axis, dim -1.

        new-axis-in-the-middle: actions[..., None] => actions[:, None]
            actions[:, None] puts the new axis behind the first one, which with several agents is not the last: write
            actions[..., None].

        axis-1-squeezed: .squeeze(-1) => .squeeze(1)
            With several agents axis 1 is that of the steps, and stays: take away the last axis, squeeze(-1).

        agents-averaged: reduction="sum") => reduction="none").sum(-1).mean()
            The losses of the agents are averaged, so that each makes a smaller step the more there are: sum over all
            axes, then each gets the gradient of its own loss.

        a-loss-for-each-agent: reduction="sum") => reduction="none").sum(-1)
            A loss for each agent is no number, and backward() needs one: sum over all axes, the gradients of the agents
            stay apart since their weights are.

        loss-with-its-graph: loss.detach() => loss
            The loss that is returned still carries its graph, which stays in memory as long as somebody keeps it:
            return loss.detach().

        loss-after-the-step: loss.detach() => _loss(net, observations, actions, targets)
            The loss is that after the step: return the one that the step was made for, which costs no second pass.
        """,
    ),
)


# ---- copies for the target network ----------------------------------------------------------------------------------


def copy_to_target(net: nn.Module, target: nn.Module, updates: int, every: int) -> None:
    """After update number `updates`, 1, 2, ...: if it is a multiple of `every`, `target` gets the weights of `net`."""
    if updates % every == 0:
        target.load_state_dict(net.state_dict())


@torch.no_grad()
def _move(target: nn.Module, net: nn.Module, share: float) -> None:
    for weight, other in zip(target.parameters(), net.parameters(), strict=True):
        weight.lerp_(other, share)


def _one_weight(value: float) -> nn.Linear:
    net = nn.Linear(1, 1, bias=False)
    net.load_state_dict({"weight": torch.tensor([[float(value)]])})
    return net


def _seven_updates(f: Callable) -> dict[str, Tensor]:
    net, target, found = _one_weight(0), _one_weight(0), []
    for updates in range(1, 8):
        with torch.no_grad():
            net.weight.fill_(updates)
        f(net, target, updates, 3)
        found.append([target.weight.item(), net.weight.item()])
    of_target, of_net = torch.tensor(found).T
    return {"target after each of them": of_target, "net after each of them": of_net}


def _learned_on(f: Callable) -> float:
    net, target = _one_weight(1), _one_weight(0)
    f(net, target, 4, 2)
    with torch.no_grad():
        net.weight.fill_(5)
    return target.weight.item()


def _deeper(f: Callable) -> dict[str, Tensor]:
    net, target = (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)) for _ in range(2))
    for seed, (weight, other) in enumerate(zip(net.parameters(), target.parameters(), strict=True)):
        weight.data, other.data = normal(*weight.shape, seed=seed), normal(*weight.shape, seed=9 + seed)
    f(net, target, 10, 5)
    return {f"{name} of target": weight.detach() for name, weight in target.named_parameters()}


COPY = Exercise(
    name="copy_to_target",
    reference=paper.copy_to_target,
    answer=copy_to_target,
    minutes=3,
    difficulty=1,
    importance=2,
    differentiable=False,
    changes=("target",),
    probes=(
        Probe("every = 3, updates 1 to 7, the weight of net 1 to 7, that of target 0 at first", _seven_updates),
        Probe("every = 2, update 4: the weight of target when that of net has gone from 1 on to 5", _learned_on),
        Probe("every = 5, update 10, two networks of two layers", _deeper),
    ),
    hints=(
        "The target network stands still and then jumps. After which updates, and to where?",
        "updates % every is 0 at the multiples of `every`. There, target.load_state_dict(net.state_dict()) copies all"
        " weights; nothing has to be returned.",
        skeleton(copy_to_target, "updates % every", "target.load_state_dict(net.state_dict())"),
    ),
    mistakes=mistakes(
        copy_to_target,
        """
        copied-at-every-update: updates % every == 0 => True
            The weights are copied at every update, as if there were no target network: only at multiples of `every`.

        nothing-copied: target.load_state_dict(net.state_dict()) => target = net
            Nothing is copied, for `target = net` only gives another network the name `target` within this function:
            load the weights into it, target.load_state_dict(net.state_dict()).

        all-but-the-multiples: updates % every == 0 => updates % every
            updates % every is 0, and counts as False, at the multiples of `every`: compare it, == 0.

        one-update-late: % every == 0 => % every == 1
            The copies are made one update after each multiple of `every`, and after the very first one: the remainder
            of a multiple is 0.

        one-update-early: updates % every == 0 => (updates + 1) % every == 0
            The copies are made one update too early: updates are numbered from 1, so take updates % every.

        once-only: updates % every == 0 => updates == every
            The weights are copied once, after update number `every`, and never again: at each multiple, % and not ==.

        from-then-on: updates % every == 0 => updates >= every
            From update number `every` on the weights are copied each time: only at its multiples, updates % every == 0.

        quotient-instead-of-remainder: updates % every => updates // every
            updates // every is 0 for the first updates, and then never again: a multiple has the remainder 0, %.

        numbers-exchanged: updates % every => every % updates
            updates and every are exchanged: the remainder of updates divided by every is updates % every.

        wrong-way-round: target.load_state_dict(net.state_dict()) => net.load_state_dict(target.state_dict())
            The network gets the old weights of the target network, so that all it learned is lost: it is target that
            gets those of net.

        memory-shared: net.state_dict()) => net.state_dict(), assign=True)
            Both networks share their weights from then on, so that the target network learns along: copy the numbers,
            target.load_state_dict(net.state_dict()).

        one-layer-shared: target.load_state_dict(net.state_dict()) => target.weight = net.weight
            `weight` is that of a single layer, and an assignment makes both networks share it: copy the numbers of all
            layers, target.load_state_dict(net.state_dict()).

        averaged: target.load_state_dict(net.state_dict()) => _move(target, net, 0.5)
            Target network and network are averaged: the target network gets the weights as they are.

        moved-a-little-each-time: target.load_state_dict(net.state_dict()) => _move(target, net, 1 / every)
          + updates % every == 0 => True
            The target network follows a little at each update, as some later methods have it: here it stands still and
            then becomes a copy.
        """,
    ),
)

# as in the notebook
EXERCISES = (UPDATES, SWEEP, ONE_STEP, BACKWARD, GREEDY, REMEMBER, GRADIENT, COPY, N_STEP, MINIBATCHES, SCORE)
