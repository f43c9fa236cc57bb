"""Episodic backward update (EBU): values go backward through a whole episode, from its end to its start.

Paper: S. Y. Lee, S. Choi, S.-Y. Chung, *Sample-Efficient Deep Reinforcement Learning via Episodic Backward Update*,
NeurIPS 2019, arXiv:1805.12375, and its published code, which has the deep version with one beta, and no other. Where we
do otherwise, or had to choose, the docstring says so.

Names are those of `episode_replay`: an episode of T steps has observations S_0 ... S_T, actions and rewards A_k, R_k,
k = 0 ... T - 1; gamma is the discount, beta the diffusion factor, Q^ the target network. This is the deep version; the
one with a table is in `episodic_backward_tables`, what agents need besides in `episode_replay` and `deep_q_learning`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labkit.papers.deep_q_learning import (
    DeepMindRMSprop,
    DQNAgent,
    Minibatch,
    QLearner,
    Rollouts,
    Settings,
    copy_to_target,
    dense_network,
    epsilon_greedy,
    gradient_step,
    n_step_targets,
    nature_network,
    one_step_targets,
    rollouts,
    train,
)
from labkit.papers.episode_replay import (
    Episode,
    EpisodeReplay,
    Transitions,
    play_episode,
    remember_episode,
    require_fraction,
)
from labkit.papers.episodic_backward_tables import (
    backward_q_learning,
    backward_sweep,
    simulate_uniform_updates,
    tabular_ebu,
    uniform_updates_mean,
    uniform_updates_pmf,
)

__all__ = [
    "AdaptiveEBU",
    "DQNAgent",
    "DeepMindRMSprop",
    "EBUAgent",
    "Episode",
    "EpisodeReplay",
    "Rollouts",
    "Settings",
    "Transitions",
    "backward_minibatches",
    "backward_q_learning",
    "backward_sweep",
    "backward_targets",
    "backward_targets_batched",
    "copy_to_target",
    "dense_network",
    "ebu_minibatches",
    "epsilon_greedy",
    "gradient_step",
    "human_normalized",
    "n_step_targets",
    "nature_network",
    "one_step_targets",
    "play_episode",
    "remember_episode",
    "rollouts",
    "simulate_uniform_updates",
    "tabular_ebu",
    "train",
    "uniform_updates_mean",
    "uniform_updates_pmf",
]

# ---- with a network: a temporary table of one episode ---------------------------------------------------------------


def backward_targets(
    rewards: Tensor, q_next: Tensor, actions: Tensor, *, gamma: float, beta: float, terminated: bool = True
) -> Tensor:
    """Algorithm 2, the targets y of one episode: rewards (T,), q_next (T, A), actions (T,) -> (T,).

    Row k of q_next is Q^(S_(k+1), .), what the target network says about the state after step k; the paper has it as
    column k. It is copied, never changed. From the end, y = R for the last step, and for k = T - 2, ..., 0

        Q~[k, A_(k+1)] = beta y_(k+1) + (1 - beta) Q~[k, A_(k+1)],    y_k = R_k + gamma max_a Q~[k, a]

    The action is that of the next step, the row is k, and the maximum is taken after the change. beta = 0 gives
    one-step targets; beta = 1 is not the return, since another action may have a larger value. The last row counts only
    if the episode was truncated (terminated=False; our choice, the code ends every episode alike): then the last target
    is R + gamma max_a Q^(S_T, a). Raises ValueError for gamma or beta outside [0, 1], an episode without a step, shapes
    that do not fit, actions that are not integers in 0 ... A - 1, rewards or values that are NaN or infinite.
    """
    _require_episodes(rewards, q_next, actions, 1)
    rewards, q_next = rewards.detach(), q_next.detach()
    _require_numbers(rewards, q_next[: len(q_next) - bool(terminated)], actions, q_next.shape[-1], gamma, beta)
    y, table, actions = rewards.tolist(), q_next.tolist(), actions.tolist()  # single numbers are faster as Python's
    if not terminated:
        y[-1] += gamma * max(table[-1])
    for k in reversed(range(len(y) - 1)):
        table[k][actions[k + 1]] = beta * y[k + 1] + (1 - beta) * table[k][actions[k + 1]]
        y[k] += gamma * max(table[k])
    return torch.tensor(y, dtype=rewards.dtype, device=rewards.device)


def backward_targets_batched(
    rewards: Tensor,
    q_next: Tensor,
    actions: Tensor,
    mask: Tensor | None = None,
    *,
    gamma: float,
    beta: float | Tensor,
    terminated: bool | Tensor = True,
) -> Tensor:
    """`backward_targets` of B episodes, no loop over T: rewards, actions (B, T), q_next (B, T, A) -> (B, T).

    `mask` (B, T) is True for the steps of an episode, which come first; what the padding behind them holds does not
    matter, and its targets are 0. beta and terminated may be one value, or (B,), one for each episode.

    With m = max of Q^ over all actions but A_(k+1) and q = Q^(S_(k+1), A_(k+1)), a step of the recursion is the map

        y_k = f_k(y_(k+1)), f_k(y) = max(c, a + b y); c = R_k + gamma m, a = R_k + gamma (1 - beta) q, b = gamma beta

    The composition of two such maps is one again, because b >= 0. So in round 1 each f_k is composed with f_(k+1), in
    round 2 with what has become of f_(k+2), then of f_(k+4), ...: after log2 T rounds with all that follow. The last
    step of an episode is a constant map. Raises ValueError as `backward_targets`, or if a mask has a gap.
    """
    _require_episodes(rewards, q_next, actions, 2)
    rewards, q_next = rewards.detach(), q_next.detach()
    B, T, A = q_next.shape
    mask = torch.ones_like(rewards, dtype=torch.bool) if mask is None else mask
    if mask.shape != rewards.shape or not mask[:, 0].all() or (mask[:, 1:] & ~mask[:, :-1]).any():
        raise ValueError("mask must be True for the steps of an episode, one or more, and False behind them, (B, T)")
    beta = torch.as_tensor(beta, dtype=torch.float64, device=rewards.device).expand(B)
    terminated = torch.as_tensor(terminated, device=rewards.device).expand(B)

    # Time comes first from here on, so that what is shifted in time lies together in memory.
    mask = mask.T.contiguous()  # (T, B)
    at_end = mask & ~torch.cat([mask[1:], torch.zeros_like(mask[:1])])  # the last step of each episode
    rewards, actions = (torch.where(mask, x.T, 0) for x in (rewards, actions))  # (T, B)
    unused = ~mask | (at_end & terminated)
    values = q_next.permute(2, 1, 0).contiguous().masked_fill(unused, 0)  # (A, T, B)
    _require_numbers(rewards, values, actions, A, gamma, beta)
    beta = beta.to(rewards.dtype)
    following = actions.roll(-1, 0)[None]  # A_(k+1), (1, T, B); of no meaning at the end
    own = values.gather(0, following)[0]  # (T, B)
    others = values.scatter_(0, following, torch.finfo(values.dtype).min).amax(0)  # a finite number: 0 * inf is NaN
    constant = rewards + gamma * torch.maximum(own, others)  # of the last step; values are 0 if it is terminal
    c = torch.where(at_end, constant, rewards + gamma * others)
    a = torch.where(at_end, constant, rewards + gamma * (1 - beta) * own)
    b = gamma * beta * ~at_end
    reach = 1
    while reach < T:
        n = T - reach
        c_next = torch.maximum(c[:n], torch.addcmul(a[:n], b[:n], c[reach:]))
        a_next, b_next = torch.addcmul(a[:n], b[:n], a[reach:]), b[:n] * b[reach:]
        c[:n], a[:n], b[:n] = c_next, a_next, b_next
        reach *= 2
    return torch.where(mask, torch.maximum(c, a), 0).T.contiguous()


def backward_minibatches(steps: Tensor, filling: Tensor, size: int) -> Tensor:
    """What belongs to the steps of an episode (T, ...), from its end to its start: (M, size, ...), M = ceil(T / size).

    The last minibatch is filled up with another episode, `filling` (F, ...), as in the published code; from its end is
    our choice. `EBUAgent` cuts observations, actions and targets like this. Raises ValueError for a size below 1, an
    episode without a step, or a filling that is too short.
    """
    count = math.ceil(len(steps) / size) if size >= 1 else 0  # M
    missing = count * size - len(steps)
    if count == 0 or missing > len(filling):
        raise ValueError(f"{len(steps)} steps and {len(filling)} to fill with do not make minibatches of {size}")
    return torch.cat([steps.flip(0), filling.flip(0)[:missing]]).unflatten(0, (count, size))


def ebu_minibatches(
    target: Callable[[Tensor], Tensor], draw: Callable[[], Episode], *, gamma: float, beta: float, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Algorithm 2 up to the gradient steps: observations (M, size, ...), actions and targets y, (M, size) each.

    An episode is drawn, T steps, and swept backward with the target network, which maps (N, ...) to (N, A). Its steps
    come from the last to the first, in M = ceil(T / size) minibatches. Only if T is no multiple of `size` further ones
    are drawn, until the last minibatch is full: each has targets of its own, and its last steps, reversed as well, fill
    the place that is left. `EBUAgent` learns from the same. Raises ValueError for a size below 1, or as
    `backward_targets`.
    """

    def targets(rewards: Tensor, following: Tensor, actions: Tensor, terminated: bool) -> Tensor:
        with torch.no_grad():
            q_next = target(following).cpu()  # (T, A)
        return backward_targets(rewards, q_next, actions, gamma=gamma, beta=beta, terminated=terminated)

    return _swept_minibatches(draw, targets, size)


def _swept_minibatches(draw: Callable[[], Episode], targets: Callable[..., Tensor], size: int) -> tuple[Tensor, ...]:
    """Those of `ebu_minibatches`, given targets(rewards, the observations after each step, actions, terminated)."""
    if size < 1:
        raise ValueError(f"a minibatch needs at least one step, got size {size}")
    parts, missing = [], None
    while missing != 0:
        episode = draw()
        steps = len(episode) if missing is None else min(missing, len(episode))  # the last ones
        observations, actions, rewards = episode.last(steps)
        y = targets(rewards, observations[1:], actions, episode.terminated)
        parts.append([x.flip(0) for x in (observations[:-1], actions, y)])
        missing = -steps % size if missing is None else missing - steps
    return tuple(torch.cat(column).unflatten(0, (-1, size)) for column in zip(*parts, strict=True))


# ---- agents ---------------------------------------------------------------------------------------------------------


class EBUAgent(DQNAgent):
    """The deep version: targets of a whole episode, swept backward, then gradient steps on pieces of it.

    As in the code, an episode is reversed and cut into minibatches, which begin at its end and of which each update
    uses one; its targets are computed once, with the target network of that moment; the last minibatch is filled with
    steps of another episode. Ours: every finished episode can be drawn, each with equal probability (the code never
    draws the first five and the last three), none of its steps is dropped (the code drops three), the filling steps are
    the last of their episode, and of more than one if it is too short.

    `backward` computes the targets; a function of the same meaning may take its place.
    Raises ValueError for beta outside [0, 1].
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Settings,
        generator: torch.Generator,
        optimizer: Callable[..., torch.optim.Optimizer] = DeepMindRMSprop,
        *,
        beta: float = 0.5,
        backward: Callable[..., Tensor] = backward_targets,
    ) -> None:
        require_fraction(beta, "beta")
        super().__init__(network, settings, generator, optimizer)
        self.beta, self.backward = beta, backward
        self.minibatches: list[Minibatch] = []  # of the drawn episode, those not used yet

    def draw(self) -> list[Minibatch | Transitions]:
        return [self.next_minibatch()]

    def next_minibatch(self) -> Minibatch:
        """The next piece, the first one of a new episode."""
        if not self.minibatches:
            draw = partial(self.replay.sample_episode, self.generator)
            columns = _swept_minibatches(draw, self.targets, self.settings.batch_size)
            self.minibatches = list(zip(*columns, strict=True))
        return self.minibatches.pop(0)

    def targets(self, rewards: Tensor, following: Tensor, actions: Tensor, terminated: bool) -> Tensor:
        """y (T,) for the rewards, the observations after each step, and the actions of an episode."""
        q_next = self.learner.target_values(following).cpu()
        return self.backward(rewards, q_next, actions, gamma=self.settings.gamma, beta=self.beta, terminated=terminated)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "minibatches": list(self.minibatches)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.minibatches = [tuple(minibatch) for minibatch in state["minibatches"]]


class AdaptiveEBU(EBUAgent):
    """K learners with diffusion factors of their own learn from one replay; the best one's weights go to all.

    All train on the same steps, with targets by their own target networks. One learner acts for a whole episode, in
    turn, and its score is the mean return of its episodes. After `select_every` steps in the environment or more, as
    soon as each has a score, the networks and target networks of all become copies of those with the best, and scores
    begin anew. There is no published code: that learners start alike and act in turn, the period, the mean, and that
    each keeps the state of its optimizer are our choices. `q_values` are those of the learner that leads at the time.
    Raises ValueError for no betas, or one outside [0, 1].
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Settings,
        generator: torch.Generator,
        optimizer: Callable[..., torch.optim.Optimizer] = DeepMindRMSprop,
        *,
        betas: Sequence[float] = tuple(k / 10 for k in range(11)),
        select_every: int = 50_000,
    ) -> None:
        if len(betas) == 0 or select_every < 1:
            raise ValueError("adaptive EBU needs at least one beta, and select_every to be at least 1")
        for beta in betas:
            require_fraction(beta, "each beta")
        super().__init__(network, settings, generator, optimizer)
        self.betas, self.select_every = torch.tensor(betas, dtype=torch.float64), select_every
        self.learners += [QLearner(copy.deepcopy(network), settings, optimizer) for _ in betas[1:]]
        self.leader = 0  # of the last selection
        self.selected_at = 0  # step
        self.scores: list[list[float]] = [[] for _ in betas]  # returns since then

    @property
    def leading(self) -> QLearner:
        return self.learners[self.best]

    @property
    def best(self) -> int:
        """The learner with the best score since the last selection; before the first score, the one selected last."""
        means = [sum(returns) / len(returns) if returns else -math.inf for returns in self.scores]
        return means.index(max(means)) if max(means) > -math.inf else self.leader

    def draw(self) -> list[Minibatch | Transitions]:
        observations, actions, targets = self.next_minibatch()  # targets (N, K)
        return [(observations, actions, y) for y in targets.unbind(1)]

    def targets(self, rewards: Tensor, following: Tensor, actions: Tensor, terminated: bool) -> Tensor:
        """y (T, K), a column for each learner."""
        q_next = torch.stack([learner.target_values(following).cpu() for learner in self.learners])  # (K, T, A)
        rewards, actions = (x.expand(len(self.learners), -1) for x in (rewards, actions))
        y = backward_targets_batched(
            rewards, q_next, actions, gamma=self.settings.gamma, beta=self.betas, terminated=terminated
        )
        return y.T

    def end_episode(self, total: float) -> None:
        actor = self.learners.index(self.learner)
        self.scores[actor].append(total)
        if self.steps - self.selected_at >= self.select_every and all(self.scores):
            self._select()
        self.learner = self.learners[(actor + 1) % len(self.learners)]

    def _select(self) -> None:
        self.leader, self.selected_at = self.best, self.steps
        self.scores = [[] for _ in self.learners]
        best = self.learners[self.leader]
        for learner in self.learners:
            if learner is not best:
                learner.network.load_state_dict(best.network.state_dict())
                learner.target.load_state_dict(best.target.state_dict())

    def state_dict(self) -> dict[str, Any]:
        selection = {name: copy.deepcopy(getattr(self, name)) for name in ("leader", "selected_at", "scores")}
        learners = [learner.state_dict() for learner in self.learners]
        return {**super().state_dict(), **selection, "learners": learners, "actor": self.learners.index(self.learner)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for learner, kept in zip(self.learners, state["learners"], strict=True):
            learner.load_state_dict(kept)
        for name in ("leader", "selected_at", "scores"):
            setattr(self, name, copy.deepcopy(state[name]))
        self.learner = self.learners[state["actor"]]


# ---- scores ---------------------------------------------------------------------------------------------------------


def human_normalized(score: float, *, random: float, human: float) -> float:
    """100 (score - random) / (human - random), in percent: 0 as random play, 100 as a human player of that game.

    Raises ValueError if the human scored as random play does.
    """
    if human == random:
        raise ValueError(f"a human score of {human} cannot be told from random play: this game has no such scale")
    return 100 * (score - random) / (human - random)


# ---- what is refused ------------------------------------------------------------------------------------------------


def _require_episodes(rewards: Tensor, q_next: Tensor, actions: Tensor, dimensions: int) -> None:
    """Shapes: rewards and actions (T,) or (B, T), q_next with one more for the actions."""
    fits = rewards.ndim == dimensions and q_next.shape[:-1] == rewards.shape == actions.shape
    if not fits or 0 in q_next.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (rewards, q_next, actions))
        wanted = "(T,), (T, A) and (T,)" if dimensions == 1 else "(B, T), (B, T, A) and (B, T)"
        raise ValueError(f"rewards, q_next and actions must be {wanted} with at least one step, got {shapes}")
    if not (rewards.is_floating_point() and q_next.is_floating_point()) or actions.is_floating_point():
        kinds = f"{rewards.dtype}, {q_next.dtype} and {actions.dtype}"
        raise ValueError(f"rewards and q_next must be floating point, actions integers: got {kinds}")


def _require_numbers(
    rewards: Tensor, values: Tensor, actions: Tensor, count: int, gamma: float, beta: float | Tensor
) -> None:
    require_fraction(gamma, "gamma")
    for each in beta.tolist() if isinstance(beta, Tensor) else [beta]:
        require_fraction(each, "beta")
    if not _is_finite(rewards):
        raise ValueError("a reward is NaN or infinite: check the environment")
    if not _is_finite(values):
        raise ValueError("q_next holds NaN or infinite values: the network has diverged, lower the learning rate")
    low, high = (int(end) for end in actions.aminmax())
    if not 0 <= low <= high < count:
        raise ValueError(f"actions must lie in 0 to {count - 1}, got {low} to {high}")


def _is_finite(x: Tensor) -> bool:
    """As x.isfinite().all(), but ten times as fast: a NaN or an infinite number is also a minimum or a maximum."""
    return x.numel() == 0 or all(math.isfinite(end) for end in x.aminmax())
