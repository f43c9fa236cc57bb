"""Deep Q-learning on a replay of whole episodes: what episodic backward update is built on, and compared with.

Papers: V. Mnih et al., *Human-level control through deep reinforcement learning*, Nature 518 (2015); n-step targets:
R. S. Sutton, A. G. Barto, *Reinforcement Learning*, 2nd ed. (2018), section 7.1. Where the lesson's paper (S. Y. Lee,
S. Choi, S.-Y. Chung, *Sample-Efficient Deep Reinforcement Learning via Episodic Backward Update*, NeurIPS 2019,
arXiv:1805.12375) has settings of its own, these are the ones of its published code.

Names are those of `episode_replay`; environments are Gymnasium's, with discrete actions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.papers.episode_replay import (
    Episode,
    EpisodeReplay,
    Transitions,
    action_count,
    integer,
    play_episode,
    require_fraction,
)

SEEDS = 2**31 - 1  # of episodes, 0 ... SEEDS - 1
Minibatch = tuple[Tensor, Tensor, Tensor]  # observations (N, ...), actions (N,), targets (N,)

# ---- networks -------------------------------------------------------------------------------------------------------


def nature_network(actions: int, generator: torch.Generator, frames: int = 4) -> nn.Sequential:
    """(N, frames, 84, 84) -> (N, actions). Mnih et al. (2015), methods; weights as in the code of Lee et al."""
    network = nn.Sequential(
        *(nn.Conv2d(frames, 32, 8, stride=4), nn.ReLU()),  # (N, 32, 20, 20)
        *(nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()),  # (N, 64, 9, 9)
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()),  # (N, 64 * 7 * 7)
        *(nn.Linear(64 * 7 * 7, 512), nn.ReLU()),
        nn.Linear(512, actions),
    )
    return initialized(network, generator)


def dense_network(inputs: int, hidden: int, actions: int, generator: torch.Generator) -> nn.Sequential:
    """(N, ...) of `inputs` numbers each -> (N, actions), with two hidden layers: for small images, our choice."""
    network = nn.Sequential(
        *(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU()),
        *(nn.Linear(hidden, hidden), nn.ReLU()),
        nn.Linear(hidden, actions),
    )
    return initialized(network, generator)


def initialized(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Weights drawn uniformly up to sqrt(3 / fan_in), He's rule with Lasagne's gain of 1, and biases 0.1."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="linear", generator=generator)
            nn.init.constant_(module.bias, 0.1)
    return network


class DeepMindRMSprop(torch.optim.Optimizer):
    """RMSprop as DeepMind and the code of Lee et al. have it: centred, and eps inside the root.

    m = rho m + (1 - rho) g; v = rho v + (1 - rho) g^2; w -= lr g / sqrt(v - m^2 + eps). torch.optim.RMSprop adds eps
    outside of the root, where the published 0.01 is another number.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float = 2.5e-4, rho: float = 0.95, eps: float = 0.01
    ) -> None:
        super().__init__(parameters, {"lr": lr, "rho": rho, "eps": eps})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            rho = group["rho"]
            for weight in group["params"]:
                gradient = weight.grad
                if gradient is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
                mean = state["mean"].mul_(rho).add_(gradient, alpha=1 - rho)
                square = state["square"].mul_(rho).addcmul_(gradient, gradient, value=1 - rho)
                root = (square - mean * mean + group["eps"]).sqrt_()
                weight.addcdiv_(gradient, root, value=-group["lr"])


# ---- targets --------------------------------------------------------------------------------------------------------


def one_step_targets(rewards: Tensor, q_next: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float) -> Tensor:
    """y = R + gamma max_a Q^(S', a), and y = R where S' is terminal: (B,), q_next (B, A), flags (B,) -> (B,).

    The flags are those that env.step returns. `truncated` makes no difference: an episode that was only cut off would
    have gone on, and S' has a value. Mnih et al. (2015), Algorithm 1, with the flags that Gymnasium came to later.
    Raises ValueError for shapes that do not fit, flags that are not bool, rewards that are not finite, or gamma outside
    [0, 1].
    """
    _require_steps(rewards, q_next, gamma, terminated, truncated)
    best = q_next.amax(1)  # (B,)
    return rewards + gamma * best.masked_fill(terminated, 0)


def n_step_targets(rewards: Tensor, q_next: Tensor, *, gamma: float, n_steps: int, terminated: bool = True) -> Tensor:
    """y_k = R_k + ... + gamma^(n-1) R_(k+n-1) + gamma^n max_a Q^(S_(k+n), a) of one episode: (T,), (T, A) -> (T,).

    Row k of q_next is Q^(S_(k+1), .). Where fewer than n steps are left, the sum ends with the episode, at S_T, whose
    value counts only if the episode was truncated, discounted by the steps that were left. Sutton & Barto (2018), 7.1;
    `DQNAgent` learns from the same numbers. Raises ValueError for shapes that do not fit, rewards that are not finite,
    n_steps below 1, or gamma outside [0, 1].
    """
    _require_steps(rewards, q_next, gamma, n_steps=n_steps)
    y = torch.zeros_like(rewards)
    for k in range(len(y)):
        end = min(k + n_steps, len(y))
        y[k] = sum(gamma**i * reward for i, reward in enumerate(rewards[k:end]))
        if end < len(y) or not terminated:
            y[k] += gamma ** (end - k) * q_next[end - 1].max()
    return y


def _require_steps(rewards: Tensor, q_next: Tensor, gamma: float, *flags: Tensor, n_steps: int = 1) -> None:
    fits = rewards.ndim == 1 and all(shape == rewards.shape for shape in (q_next.shape[:-1], *(x.shape for x in flags)))
    if not fits or 0 in q_next.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (rewards, q_next, *flags))
        raise ValueError(f"rewards (and flags) must be (N,), q_next (N, A), with at least one step, got {shapes}")
    if not (rewards.is_floating_point() and q_next.is_floating_point()):
        raise ValueError(f"rewards and q_next must be floating point, got {rewards.dtype} and {q_next.dtype}")
    if any(flag.dtype != torch.bool for flag in flags):
        raise ValueError("terminated and truncated must be bool: use .bool()")
    if not rewards.isfinite().all():
        raise ValueError("a reward is NaN or infinite: check the environment")
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    require_fraction(gamma, "gamma")


# ---- acting and learning --------------------------------------------------------------------------------------------


def epsilon_greedy(q: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """For each row with probability epsilon any action, else the best one: values (N, A) -> actions (N,), int64.

    Each row has a coin of its own; "any" is uniform over all A actions, the best included. All randomness is
    `generator`'s. Mnih et al. (2015), Algorithm 1. Raises ValueError for epsilon outside [0, 1], or q that is not
    (N, A) with at least one action.
    """
    require_fraction(epsilon, "epsilon")
    if q.ndim != 2 or q.shape[1] == 0:
        raise ValueError(f"q must be (N, A) with at least one action, got {tuple(q.shape)}")
    N, A = q.shape
    drawn = {"generator": generator, "device": generator.device}
    is_random = torch.rand(N, **drawn) < epsilon
    anything = torch.randint(A, (N,), **drawn)
    return torch.where(is_random.to(q.device), anything.to(q.device), q.argmax(1))


def gradient_step(
    net: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    observations: Tensor,
    actions: Tensor,
    targets: Tensor,
) -> Tensor:
    """One step on the sum of Huber losses between Q(S, A) and the targets; the loss before it, a scalar.

    net(observations) is (..., N, A), actions and targets are (..., N). Leading axes may count agents whose networks are
    stacked: a sum over independent networks gives each the gradient of its own loss. The targets are constants, no
    gradient passes through them, and the loss that is returned carries none. Lee et al. (2019), Algorithm 2, with the
    loss of their code: Huber with delta 1, summed. Raises ValueError for shapes that do not fit.
    """
    q = net(observations)  # (..., N, A)
    if not q.shape[:-1] == actions.shape == targets.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (q, actions, targets))
        raise ValueError(f"net(observations) must be (..., N, A), actions and targets (..., N), got {shapes}")
    taken = q.gather(-1, actions.to(q.device)[..., None]).squeeze(-1)  # (..., N)
    loss = F.huber_loss(taken, targets.detach().to(q.device), reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def copy_to_target(net: nn.Module, target: nn.Module, updates: int, every: int) -> None:
    """After update number `updates`, 1, 2, ...: if it is a multiple of `every`, `target` gets the weights of `net`.

    They are copied: what `net` learns later stays its own. Otherwise nothing happens. Mnih et al. (2015), Algorithm 1.
    Raises ValueError for `every` below 1.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    if updates % every == 0:
        target.load_state_dict(net.state_dict())


# ---- agents ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What all agents share; defaults are the code of Lee et al. Raises ValueError for values that make no sense."""

    gamma: float = 0.99
    batch_size: int = 32
    capacity: int = 1_000_000  # transitions in the replay
    warm_up: int = 50_000  # transitions that the replay must hold before learning begins
    updates_per_step: float = 1.0  # gradient updates for each step in the environment; Nature DQN: 0.25
    sync_every: int = 10_000  # updates between copies of the network to the target network
    epsilon: tuple[float, float] = (1.0, 0.1)  # probability of a random action, at first and in the end
    epsilon_steps: int = 1_000_000  # steps in between
    stack: int = 1  # frames in an observation, of which the replay keeps the last

    def __post_init__(self) -> None:
        require_fraction(self.gamma, "gamma")
        for value in self.epsilon:
            require_fraction(value, "epsilon")
        if min(self.batch_size, self.capacity, self.warm_up, self.sync_every, self.epsilon_steps, self.stack) < 1:
            raise ValueError("batch_size, capacity, warm_up, sync_every, epsilon_steps and stack must be at least 1")
        if self.warm_up > self.capacity:
            raise ValueError(f"learning would never begin: warm_up {self.warm_up} is above capacity {self.capacity}")
        if not 0 <= self.updates_per_step < math.inf:
            raise ValueError(f"updates_per_step must be at least 0 and finite, got {self.updates_per_step}")


def as_input(observations: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """What a network is given: bytes become numbers between 0 and 1."""
    x = torch.as_tensor(observations, device=device)
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


class QLearner:
    """A Q network, its target network theta^- and its optimizer. Observations of bytes are divided by 255."""

    def __init__(self, network: nn.Module, settings: Settings, optimizer: Callable[..., torch.optim.Optimizer]) -> None:
        self.network, self.sync_every, self.make_optimizer = network, settings.sync_every, optimizer
        self.target = copy.deepcopy(network).requires_grad_(False)
        self.optimizer = optimizer(network.parameters())
        self.device = next(network.parameters()).device
        self.updates = 0

    def q_values(self, observations: np.ndarray | Tensor) -> Tensor:
        """Q(S, .; theta), (N, ...) -> (N, A)."""
        return self.network(self._input(observations))

    @torch.no_grad()
    def target_values(self, observations: np.ndarray | Tensor) -> Tensor:
        """Q(S, .; theta^-), (N, ...) -> (N, A); not more than 256 at a time are looked at."""
        parts = torch.as_tensor(observations).split(256)
        return torch.cat([self.target(self._input(part)) for part in parts])

    def fit(self, observations: Tensor, actions: Tensor, targets: Tensor) -> None:
        """One gradient step on the sum of Huber losses between Q(S, A; theta) and the targets, (N,) each."""
        gradient_step(self.q_values, self.optimizer, observations, actions, targets)
        self.updates += 1
        copy_to_target(self.network, self.target, self.updates, self.sync_every)

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "target", "optimizer")}
        return {**parts, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("network", "target", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.updates = state["updates"]

    def _input(self, observations: np.ndarray | Tensor) -> Tensor:
        return as_input(observations, self.device)


class DQNAgent:
    """DQN with n-step targets, y = R_k + ... + gamma^(n-1) R_(k+n-1) + gamma^n max_a Q(S_(k+n), a; theta^-).

    Unlike the original, it draws from finished episodes only, as the agents do that it is compared with. `network`
    maps (N, ...) to (N, A); `optimizer` makes an optimizer from its parameters. All randomness is `generator`'s.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Settings,
        generator: torch.Generator,
        optimizer: Callable[..., torch.optim.Optimizer] = DeepMindRMSprop,
        *,
        n_steps: int = 1,
    ) -> None:
        if n_steps < 1:
            raise ValueError(f"n_steps must be at least 1, got {n_steps}")
        self.settings, self.generator, self.n_steps = settings, generator, n_steps
        self.learner = QLearner(network, settings, optimizer)  # the one that acts
        self.learners = [self.learner]  # those that learn
        self.replay = EpisodeReplay(settings.capacity)
        self.steps, self.updates, self.owed = 0, 0, 0.0
        self.history: dict[str, list[float]] = {}  # what `train` saw

    @property
    def epsilon(self) -> float:
        start, end = self.settings.epsilon
        return start + (end - start) * min(1.0, self.steps / self.settings.epsilon_steps)

    @property
    def leading(self) -> QLearner:
        """The learner that is evaluated."""
        return self.learner

    @torch.no_grad()
    def q_values(self, observations: np.ndarray | Tensor) -> Tensor:
        """(N, ...) -> (N, A)."""
        return self.leading.q_values(observations)

    @torch.no_grad()
    def act(self, observation: np.ndarray, actions: int) -> int:
        """An action for one observation, random with probability epsilon."""
        action = self.explore(actions)
        return int(self.learner.q_values(observation[None]).argmax()) if action is None else action

    def explore(self, actions: int) -> int | None:
        """A random action with probability epsilon, else none."""
        if float(torch.rand((), generator=self.generator)) < self.epsilon:
            return integer(actions, self.generator)
        return None

    def learn(self) -> None:
        """The updates that one more step in the environment entitles to, as soon as the replay holds enough."""
        for _ in range(self.due()):
            self.update()
            self.updates += 1

    def due(self) -> int:
        """How many updates that are; they count as made."""
        if len(self.replay) >= self.settings.warm_up:
            self.owed += self.settings.updates_per_step
        whole = int(self.owed)
        self.owed -= whole
        return whole

    def update(self) -> None:
        """One gradient step of each learner on one minibatch."""
        for learner, drawn in zip(self.learners, self.draw(), strict=True):
            if isinstance(drawn, Transitions):
                drawn = drawn.minibatch(learner.target_values(drawn.following))
            learner.fit(*drawn)

    def draw(self) -> list[Minibatch | Transitions]:
        """What each learner is to fit: a minibatch, or transitions whose targets need its target network's values."""
        size, gamma = self.settings.batch_size, self.settings.gamma
        return [self.replay.sample(size, self.generator, gamma=gamma, n_steps=self.n_steps)]

    def end_episode(self, total: float) -> None:
        """Called with the sum of rewards after each episode."""

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs, for torch.save; between episodes, that is, outside of `train`."""
        counts = {name: copy.deepcopy(getattr(self, name)) for name in ("steps", "updates", "owed", "history")}
        parts = {"learner": self.learner.state_dict(), "replay": self.replay.state_dict()}
        return {**counts, **parts, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; the agent must have been made with the same arguments."""
        self.learner.load_state_dict(state["learner"])
        self.replay.load_state_dict(state["replay"])
        self.generator.set_state(state["generator"])
        for name in ("steps", "updates", "owed", "history"):
            setattr(self, name, copy.deepcopy(state[name]))


# ---- training and evaluation ----------------------------------------------------------------------------------------


def train(
    agent: DQNAgent,
    env: gymnasium.Env,
    until: int,
    *,
    evaluate: Callable[[], dict[str, float]] | None = None,
    every: int = 1000,
) -> dict[str, list[float]]:
    """Let the agent act and learn, up to the end of the episode in which its step number `until` lies.

    Each episode begins with env.reset(seed=...), the seed drawn from the agent's generator. So a run that was stopped
    between episodes, saved and loaded, goes on as if it had not been stopped; Atari games played life by life, however,
    begin with a new game. Returns agent.history: per episode "episode_step" and "episode_updates" at its end,
    "episode_length", "episode_return"; and after each `every` steps "step", "updates" and what `evaluate` returns.
    Raises ValueError for actions that are not Discrete from 0, or an episode longer than the replay's capacity.
    """
    actions = action_count(env.action_space)

    def act(seen: np.ndarray) -> int:
        return agent.act(seen, actions)

    def after_step() -> None:
        agent.steps += 1
        agent.learn()
        if evaluate and agent.steps % every == 0:
            note(agent.history, step=agent.steps, updates=agent.updates, **evaluate())

    limits = {"longest": agent.replay.capacity, "stack": agent.settings.stack}
    while agent.steps < until:
        finish(agent, play_episode(env, act, seed=integer(SEEDS, agent.generator), after_step=after_step, **limits))
    return agent.history


def finish(agent: DQNAgent, episode: Episode) -> None:
    """Give an agent the episode that it has played."""
    agent.replay.add(episode)
    total = float(episode.rewards.sum())
    agent.end_episode(total)
    ends = {"episode_step": agent.steps, "episode_updates": agent.updates}
    note(agent.history, **ends, episode_length=len(episode), episode_return=total)


def note(history: dict[str, list[float]], **values: float) -> None:
    for name, value in values.items():
        history.setdefault(name, []).append(value)


class Rollouts(NamedTuple):
    """One episode in each of B environments."""

    returns: Tensor  # (B,) sum of rewards
    lengths: Tensor  # (B,) steps
    terminated: Tensor  # (B,) False for those that were truncated


def rollouts(
    q_values: Callable[[np.ndarray], Tensor],
    env: gymnasium.vector.VectorEnv,
    *,
    seed: int,
    epsilon: float = 0.0,
    longest: int = 100_000,
) -> Rollouts:
    """One episode in each environment with the actions of largest q_values(observations (B, ...)), (B, A).

    With probability `epsilon` an action is random. An agent is not changed, its generator not used. Raises ValueError
    for actions that are not Discrete from 0, or an episode of more than `longest` steps.
    """
    actions, generator = action_count(env.single_action_space), torch.Generator().manual_seed(seed)
    B = env.num_envs
    returns, lengths = torch.zeros(B), torch.zeros(B, dtype=torch.int64)
    terminated, running = torch.zeros(B, dtype=torch.bool), torch.ones(B, dtype=torch.bool)
    seen, _ = env.reset(seed=[seed + number for number in range(B)])
    for _ in range(longest):
        chosen = q_values(seen).argmax(1).cpu()
        is_random = torch.rand(B, generator=generator) < epsilon
        anything = torch.randint(actions, (B,), generator=generator)
        seen, rewards, ended, cut, _ = env.step(torch.where(is_random, anything, chosen).numpy())
        returns += running * torch.as_tensor(rewards)
        lengths += running
        terminated |= running & torch.as_tensor(ended)
        running &= ~torch.as_tensor(ended | cut)
        if not running.any():
            return Rollouts(returns, lengths, terminated)
    raise ValueError(f"an episode is longer than {longest} steps: limit it with gymnasium.wrappers.TimeLimit")
