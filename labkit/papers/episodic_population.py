"""Many small deep Q-learning agents at once: what each learns from, and one network for all of them.

Papers: S. Y. Lee, S. Choi, S.-Y. Chung, *Sample-Efficient Deep Reinforcement Learning via Episodic Backward Update*,
NeurIPS 2019, arXiv:1805.12375; and of its rivals, T. Schaul et al., *Prioritized Experience Replay*, ICLR 2016,
arXiv:1511.05952; M. G. Bellemare et al., *Unifying Count-Based Exploration and Intrinsic Motivation*, NIPS 2016,
arXiv:1606.01868, for Monte Carlo returns mixed into the target; R. S. Sutton, A. G. Barto, *Reinforcement Learning*,
2nd ed. (2018), section 7.1, for n steps.

Networks of a maze are so small that most of a step's time goes into calling the library. K agents that take their steps
together need one call where they needed K. Agents learn nothing from each other: each has its maze, its weights, its
memory. Transition t of an agent is what it did at step t = 0, 1, ...; an episode is some of them in a row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor, nn

from labkit.papers.deep_q_learning import as_input
from labkit.papers.episode_replay import integer, remember_episode, require_fraction
from labkit.papers.episodic_backward_update import backward_targets_batched

Values = Callable[[Tensor, Tensor], Tensor]  # agents (a,), observations (a, N, ...) -> (a, N, A)


class StackedNetwork(nn.Module):
    """K networks as one: (K, N, ...) -> (K, N, A), each its own part. Observations of bytes are divided by 255.

    A loss that adds up those of all agents has for each network the gradient of its own loss. Raises ValueError for
    networks other than those of `dense_network`, of any depth, or of different shapes.
    """

    def __init__(self, networks: Sequence[nn.Sequential]) -> None:
        super().__init__()
        layers = [[layer for layer in network if isinstance(layer, nn.Linear)] for network in networks]
        depth = len(layers[0])
        expected = [nn.Flatten, *[nn.Linear, nn.ReLU] * (depth - 1), nn.Linear]
        if any([type(layer) for layer in network] != expected for network in networks):
            raise ValueError(f"networks to be stacked are those of dense_network, got {networks[0]}")
        if len({str(network) for network in networks}) > 1:
            raise ValueError("networks to be stacked must have the same shape")
        of_each = list(zip(*layers, strict=True))
        self.weights = nn.ParameterList(torch.stack([layer.weight.detach() for layer in some]) for some in of_each)
        self.biases = nn.ParameterList(torch.stack([layer.bias.detach() for layer in some]) for some in of_each)

    def __len__(self) -> int:
        return len(self.weights[0])

    def forward(self, observations: Tensor) -> Tensor:
        return self._passed(observations, self.weights, self.biases)

    @torch.no_grad()
    def of(self, agents: Tensor, observations: Tensor) -> Tensor:
        """The values of some of the agents, by number, (a,): (a, N, ...) -> (a, N, A), without gradient."""
        first = int(agents[0])
        in_a_row = bool((agents[1:] - agents[:-1] == 1).all())
        rows = slice(first, first + len(agents)) if in_a_row else agents  # a slice copies nothing
        return self._passed(observations, [w[rows] for w in self.weights], [b[rows] for b in self.biases])

    def _passed(self, observations: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
        x = as_input(observations, weights[0].device).flatten(2)
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True), start=1):
            x = torch.baddbmm(bias[:, None], x, weight.mT)
            x = x.relu() if number < len(weights) else x
        return x


# ---- what the agents have seen --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Kept:
    """An episode of one agent: its transitions first ... first + steps - 1, which are kept in `Experience`."""

    first: int
    steps: int
    terminated: bool

    def __len__(self) -> int:
        return self.steps


class Experience:
    """All that K agents see in their environments, step by step, and the episodes that each remembers.

    `envs` are K environments with AutoresetMode.DISABLED: an episode that ends is begun anew by a reset, which takes no
    step. `remember(memory, episode, capacity)` is `remember_episode` or a function of the same meaning. `steps` is how
    many will be taken. Raises ValueError for environments that reset themselves.
    """

    def __init__(
        self,
        envs: VectorEnv,
        steps: int,
        *,
        seed: int,
        capacity: int,
        remember: Callable[[list[Kept], Kept, int], list[Kept]] = remember_episode,
    ) -> None:
        if envs.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
            raise ValueError("environments must not reset themselves: make them with autoreset_mode DISABLED")
        self.envs, self.capacity, self.remember = envs, capacity, remember
        self.seen, _ = envs.reset(seed=seed)  # what the agents see now, (K, ...)
        K = len(self.seen)
        self.before = np.zeros((K, steps, *self.seen.shape[1:]), dtype=self.seen.dtype)  # S_t
        self.after = np.zeros_like(self.before)  # S_(t+1), the last one of an episode, too
        self.actions = np.zeros((K, steps), dtype=np.int64)
        self.rewards = np.zeros((K, steps), dtype=np.float32)
        self.memories: list[list[Kept]] = [[] for _ in range(K)]
        self.began = np.zeros(K, dtype=int)  # the first transition of the running episode
        self.taken = 0  # steps

    def __len__(self) -> int:
        return len(self.memories)

    def step(self, actions: np.ndarray | Tensor) -> list[tuple[int, Kept]]:
        """A step of each agent, actions (K,); the episodes that ended with it, each with its agent's number."""
        t, actions = self.taken, np.asarray(actions)
        self.before[:, t], self.actions[:, t] = self.seen, actions
        self.seen, self.rewards[:, t], terminated, truncated, _ = self.envs.step(actions)
        self.after[:, t] = self.seen
        self.taken = t + 1
        ended = terminated | truncated
        if not ended.any():
            return []
        finished = []
        for k in ended.nonzero()[0].tolist():
            episode = Kept(int(self.began[k]), t + 1 - int(self.began[k]), bool(terminated[k]))
            self.memories[k] = self.remember(self.memories[k], episode, self.capacity)
            finished.append((k, episode))
        self.began[ended] = t + 1
        begun, _ = self.envs.reset(options={"reset_mask": ended})
        self.seen = self.seen.copy()
        self.seen[ended] = begun[ended]
        return finished

    def window(self, agents: slice) -> tuple[np.ndarray, np.ndarray]:
        """From which transition to which (not included) the memories of these agents reach, (a,) each."""
        memories = self.memories[agents]
        low = np.array([memory[0].first for memory in memories])
        return low, np.array([memory[-1].first + memory[-1].steps for memory in memories])

    def draw(self, agent: int, generator: torch.Generator) -> Kept:
        """One of the episodes that an agent remembers, each with equal probability."""
        memory = self.memories[agent]
        return memory[integer(len(memory), generator)]


# ---- what is learned from -------------------------------------------------------------------------------------------


class Lesson(NamedTuple):
    """A minibatch for each of some agents: numbers of transitions, and their targets, (a, B) each."""

    transitions: np.ndarray
    targets: Tensor


class Method:
    """How `count` agents, numbers `first` and up, learn: `keep` what they saw, then `lesson` says what to fit."""

    def begin(self, experience: Experience, first: int, count: int, gamma: float, generator: torch.Generator) -> None:
        require_fraction(gamma, "gamma")
        self.experience, self.gamma, self.generator = experience, gamma, generator
        self.first, self.agents, self.rows = first, torch.arange(first, first + count), slice(first, first + count)
        self.own = np.arange(first, first + count)[:, None]  # beside transitions (a, B)

    @property
    def joins(self) -> object:
        """Methods of which this is equal can be one, `together`, which asks networks once for all."""
        return self

    @classmethod
    def together(cls, methods: Sequence[Method], count: int) -> Method:
        """One method for the agents of several that join, `count` of each."""
        return methods[0]

    def keep(self, agent: int, episode: Kept) -> None:
        """Called with each episode that an agent has finished."""

    def lesson(self, size: int, net: Values, target: Values) -> Lesson:
        """`size` transitions for each agent, all of whom remember an episode, and their targets."""
        raise NotImplementedError


class Uniform(Method):
    """Transitions drawn uniformly, n-step targets; a share `mix` of a target is the return that was received.

    y = (1 - mix) (R_k + ... + gamma^(n-1) R_(k+n-1) + gamma^n max_a Q^(S_(k+n), a)) + mix G_k. An episode's end cuts
    the sum short, and what follows it counts unless it was terminated; G_k adds up the rewards to the episode's end.
    Raises ValueError for n_steps below 1, or mix outside [0, 1].
    """

    def __init__(self, n_steps: int | Sequence[int] = 1, mix: float | Sequence[float] = 0.0) -> None:
        self.n_steps, self.mix = np.array(n_steps), torch.tensor(mix, dtype=torch.float32)  # of all, or of each agent
        if self.n_steps.min() < 1:
            raise ValueError(f"n_steps must be at least 1, got {n_steps}")
        for share in self.mix.flatten().tolist():
            require_fraction(share, "mix")

    @property
    def joins(self) -> object:
        return Uniform

    @classmethod
    def together(cls, methods: Sequence[Uniform], count: int) -> Uniform:
        pairs = [(int(method.n_steps), float(method.mix)) for method in methods for _ in range(count)]
        return cls(*zip(*pairs, strict=True))

    def begin(self, experience: Experience, first: int, count: int, gamma: float, generator: torch.Generator) -> None:
        super().begin(experience, first, count, gamma, generator)
        shape = count, experience.actions.shape[1]
        self.n_of = np.broadcast_to(self.n_steps, count)
        self.mix_of = self.mix.expand(count)[:, None]
        self.received = np.zeros(shape, dtype=np.float32)  # of n steps
        self.ends = np.zeros(shape, dtype=np.int64)  # the transition behind which the network is asked
        self.discounts = np.zeros(shape, dtype=np.float32)  # of its answer
        self.returns = np.zeros(shape, dtype=np.float32)

    def keep(self, agent: int, episode: Kept) -> None:
        row, T = agent - self.first, len(episode)
        n = int(self.n_of[row])
        steps = slice(episode.first, episode.first + T)
        rewards = self.experience.rewards[agent, steps]
        padded = np.concatenate([rewards, np.zeros(n - 1, dtype=np.float32)])
        self.received[row, steps] = sum(self.gamma**i * padded[i : i + T] for i in range(n))
        ends = np.minimum(np.arange(T) + n, T)  # of the window, in steps of the episode
        gone = (ends == T) & episode.terminated
        self.ends[row, steps] = episode.first + ends - 1
        self.discounts[row, steps] = np.where(gone, 0.0, self.gamma ** (ends - np.arange(T)))
        to_go = 0.0
        for k in reversed(range(T) if self.mix_of[row] else ()):
            to_go = self.returns[row, episode.first + k] = rewards[k] + self.gamma * to_go

    def lesson(self, size: int, net: Values, target: Values) -> Lesson:
        low, high = self.experience.window(self.rows)
        chance = torch.rand(len(low), size, generator=self.generator, dtype=torch.float64).numpy()
        drawn = low[:, None] + (chance * (high - low)[:, None]).astype(np.int64)
        return Lesson(drawn, self.targets(drawn, target))

    def targets(self, drawn: np.ndarray, target: Values) -> Tensor:
        """y (a, B) of transitions (a, B)."""
        rows = self.own - self.first
        following = self.experience.after[self.own, self.ends[rows, drawn]]
        best = target(self.agents, torch.from_numpy(following)).amax(-1).cpu()
        parts = (torch.from_numpy(x[rows, drawn]) for x in (self.received, self.discounts, self.returns))
        received, discounts, returns = parts
        return (1 - self.mix_of) * (received + discounts * best) + self.mix_of * returns


class Prioritized(Uniform):
    """One-step targets of transitions drawn with probability proportional to p^alpha, p = |y - Q(S, A)| + 0.001.

    Errors are those of the last time that a transition was drawn; new ones get the largest so far. Its loss is weighted
    by (N P)^-correct, over the largest of the minibatch. Rather than a weight w beside each loss, the target is moved:
    Q - w clip(Q - y) has in the Huber loss the gradient of w times that for y, since w <= 1. Schaul et al. (2016),
    section 3.3 and Algorithm 1 (proportional); their 0.6 and 0.4, which they let rise to 1 and we do not.
    Raises ValueError for alpha or correct outside [0, 1].
    """

    SMALLEST = 0.001  # no transition is forgotten for good

    def __init__(self, alpha: float = 0.6, correct: float = 0.4) -> None:
        super().__init__()
        require_fraction(alpha, "alpha")
        require_fraction(correct, "correct")
        self.alpha, self.correct = alpha, correct

    joins, together = Method.joins, Method.together  # alone

    def begin(self, experience: Experience, first: int, count: int, gamma: float, generator: torch.Generator) -> None:
        super().begin(experience, first, count, gamma, generator)
        self.priorities = torch.zeros(count, experience.actions.shape[1])  # p^alpha; 0 for what is not remembered
        self.largest = torch.ones(count)

    def keep(self, agent: int, episode: Kept) -> None:
        super().keep(agent, episode)
        row = agent - self.first
        self.priorities[row, episode.first : episode.first + len(episode)] = self.largest[row]
        self.priorities[row, : self.experience.memories[agent][0].first] = 0  # forgotten since

    def lesson(self, size: int, net: Values, target: Values) -> Lesson:
        drawn = torch.multinomial(self.priorities[:, : self.experience.taken], size, True, generator=self.generator)
        y = self.targets(drawn.numpy(), target)
        seen = torch.from_numpy(self.experience.before[self.own, drawn.numpy()])
        actions = torch.from_numpy(self.experience.actions[self.own, drawn.numpy()])
        q = net(self.agents, seen).gather(-1, actions[..., None].to(y.device)).squeeze(-1).cpu()
        chance = self.priorities.gather(1, drawn) / self.priorities.sum(1, keepdim=True)
        weights = chance**-self.correct
        weights /= weights.amax(1, keepdim=True)  # N cancels
        priorities = ((y - q).abs() + self.SMALLEST) ** self.alpha
        self.priorities.scatter_(1, drawn, priorities)
        self.largest = torch.maximum(self.largest, priorities.amax(1))
        return Lesson(drawn.numpy(), q - weights * (q - y).clamp(-1, 1))


class Backward(Method):
    """Episodic backward update, Algorithm 2: targets of a whole episode, swept backward with the target network.

    An episode is drawn, reversed and cut into minibatches, which begin at its end and of which each lesson is one; the
    last is filled up with the last steps of further episodes. Targets are computed once, when an episode is drawn.
    `backward(rewards, q_next, actions, gamma=, beta=, terminated=)` computes them, one episode after the other, as
    `backward_targets`; without it all episodes drawn at a step are swept at once, which gives the same numbers.
    Raises ValueError for beta outside [0, 1].
    """

    def __init__(self, beta: float | Sequence[float] = 0.5, backward: Callable[..., Tensor] | None = None) -> None:
        self.beta, self.backward = torch.tensor(beta, dtype=torch.float64), backward  # of all, or of each agent
        for factor in self.beta.flatten().tolist():
            require_fraction(factor, "beta")

    @property
    def joins(self) -> object:
        return self if self.backward else Backward

    @classmethod
    def together(cls, methods: Sequence[Backward], count: int) -> Backward:
        return cls([float(method.beta) for method in methods for _ in range(count)], methods[0].backward)

    def begin(self, experience: Experience, first: int, count: int, gamma: float, generator: torch.Generator) -> None:
        super().begin(experience, first, count, gamma, generator)
        nothing = np.zeros(0, dtype=np.int64), torch.zeros(0)
        self.beta_of = self.beta.expand(count)
        self.waiting = [nothing] * count  # for each agent: transitions, and their targets, not learned from yet

    def lesson(self, size: int, net: Values, target: Values) -> Lesson:
        drawn = []  # episodes, each with the row of its agent and how many of its last steps are needed
        for row, (waiting, _) in enumerate(self.waiting):
            have = len(waiting)
            while have < size:
                episode = self.experience.draw(self.first + row, self.generator)
                needed = min(size - have, len(episode)) if have else len(episode)  # those after it only fill up
                drawn.append((row, episode, needed))
                have += needed
        if drawn:
            for (row, episode, needed), y in zip(drawn, self.swept(drawn, target), strict=True):
                transitions, targets = self.waiting[row]
                end = episode.first + len(episode)
                new = np.arange(end - 1, end - 1 - needed, -1)
                self.waiting[row] = np.concatenate([transitions, new]), torch.cat([targets, y.flip(0)[:needed]])
        now = [(transitions[:size], y[:size]) for transitions, y in self.waiting]
        self.waiting = [(transitions[size:], y[size:]) for transitions, y in self.waiting]
        transitions, y = zip(*now, strict=True)
        return Lesson(np.stack(transitions), torch.stack(y))

    def swept(self, drawn: Sequence[tuple[int, Kept, int]], target: Values) -> list[Tensor]:
        """The targets of episodes of some agents, (T,) each."""
        most = max(len(episode) for _, episode, _ in drawn)
        numbers = np.array([episode.first for _, episode, _ in drawn])[:, None] + np.arange(most)
        numbers = numbers.clip(max=self.experience.actions.shape[1] - 1)  # padding, which means nothing
        agents = np.array([self.first + row for row, _, _ in drawn])
        after, actions, rewards = (
            torch.from_numpy(x[agents[:, None], numbers])
            for x in (self.experience.after, self.experience.actions, self.experience.rewards)
        )
        q_next = target(torch.from_numpy(agents), after).cpu()  # (a, T, A)
        lengths = torch.tensor([len(episode) for _, episode, _ in drawn])
        betas = self.beta_of[[row for row, _, _ in drawn]]
        ended = [episode.terminated for _, episode, _ in drawn]
        if self.backward is None:
            mask = torch.arange(most) < lengths[:, None]
            settings = {"gamma": self.gamma, "beta": betas, "terminated": torch.tensor(ended)}
            y = backward_targets_batched(rewards, q_next, actions, mask, **settings)
            return [row[:T] for row, T in zip(y, lengths.tolist(), strict=True)]
        each = enumerate(zip(lengths.tolist(), betas.tolist(), ended, strict=True))
        columns = rewards, q_next, actions
        return [
            self.backward(*(x[i, :T] for x in columns), gamma=self.gamma, beta=beta, terminated=end)
            for i, (T, beta, end) in each
        ]


class Population:
    """The methods of K agents, `count` of each, that share an `Experience`; all randomness is `generator`'s.

    Neighbours that differ in numbers only are joined. Raises ValueError if environments are not as many as agents.
    """

    def __init__(
        self, methods: Sequence[Method], count: int, experience: Experience, gamma: float, generator: torch.Generator
    ) -> None:
        if len(methods) * count != len(experience):
            raise ValueError(f"{len(methods)} methods of {count} agents do not fit {len(experience)} environments")
        self.experience, self.methods, self.owner = experience, [], []
        for _, run in itertools.groupby(methods, key=lambda method: method.joins):
            several = list(run)
            method, first = several[0].together(several, count), len(self.owner)
            method.begin(experience, first, len(several) * count, gamma, generator)
            self.methods.append(method)
            self.owner += [method] * (len(several) * count)

    def keep(self, finished: Sequence[tuple[int, Kept]]) -> None:
        """Tell each method of the episodes that its agents have finished."""
        for agent, episode in finished:
            self.owner[agent].keep(agent, episode)

    def minibatch(self, size: int, net: StackedNetwork, target: StackedNetwork) -> tuple[Tensor, Tensor, Tensor]:
        """What all agents fit next: observations (K, size, ...), actions (K, size) and targets (K, size)."""
        lessons = [method.lesson(size, net.of, target.of) for method in self.methods]
        drawn = np.concatenate([lesson.transitions for lesson in lessons])
        agents = np.arange(len(drawn))[:, None]
        seen, actions = self.experience.before[agents, drawn], self.experience.actions[agents, drawn]
        return torch.from_numpy(seen), torch.from_numpy(actions), torch.cat([lesson.targets for lesson in lessons])
