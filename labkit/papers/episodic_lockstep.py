"""Several deep Q-learning agents in lockstep: what `train` does to each alone, with one pass for the networks of all.

Networks of a maze are so small that most of a step's time goes into calling the library, not into arithmetic. Agents
that differ in their targets, weights, luck or maze, but not in the shape of their networks, take each step together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from labkit.papers.deep_q_learning import SEEDS, DQNAgent, Minibatch, QLearner, as_input, finish, note
from labkit.papers.episode_replay import Transitions, Walk, action_count, integer


class StackedLearners:
    """K learners whose networks are one: its weights have a first axis K, and a learner's own weights are views of it.

    Their optimizer must treat each weight by itself, as Adam and RMSprop do; it keeps a state for each learner, which
    `release` hands over. Raises ValueError for networks other than those of `dense_network` (of any depth), for ones
    of different shapes, or for optimizers that differ.
    """

    def __init__(self, learners: Sequence[QLearner]) -> None:
        self.learners, first = list(learners), learners[0].network
        if any(str(learner.network) != str(first) for learner in learners) or not isinstance(first, nn.Sequential):
            raise ValueError("networks of agents in lockstep must be nn.Sequential, all of one shape")
        layers, depth = list(first), len(first) // 2
        expected = [nn.Flatten, *[nn.Linear, nn.ReLU] * (depth - 1), nn.Linear]
        if [type(layer) for layer in layers] != expected or any(layer.bias is None for layer in layers[1::2]):
            raise ValueError(f"networks of agents in lockstep are those of dense_network, of any depth, got {first}")
        if any(learner.make_optimizer is not learners[0].make_optimizer for learner in learners):
            raise ValueError("agents in lockstep share one optimizer: make them with the same object")
        self.values, self.weights = _joined([learner.network for learner in learners])  # (K, P), (K, ...) each
        self.targets, self.target_weights = _joined([learner.target for learner in learners])
        self.rows = [nn.Parameter(row) for row in self.values]  # (P,) for each learner, in the same memory
        self.row_of = {learner: k for k, learner in enumerate(learners)}
        self.optimizer = learners[0].make_optimizer(self.rows)

    @torch.no_grad()
    def q_values(self, learners: Sequence[QLearner], observations: Tensor) -> Tensor:
        """Q(S, .; theta) of some of the learners, L in number: (L, N, ...) -> (L, N, A)."""
        rows = [self.row_of[learner] for learner in learners]
        everyone = rows == list(range(len(self.learners)))
        return _passed(observations, self.weights if everyone else [weight[rows] for weight in self.weights])[-1]

    @torch.no_grad()
    def gradients(self, observations: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        """Of the sum of Huber losses, (K, P): (K, N, ...), (K, N) and (K, N). Backpropagation as autograd has it."""
        *inputs, q = _passed(observations, self.weights)
        error = (q.gather(2, actions[..., None]) - targets[..., None]).clamp_(-1, 1)
        delta = torch.zeros_like(q).scatter_(2, actions[..., None], error)  # dL / d output, (K, N, out)
        of_each = []
        for x, weight in zip(reversed(inputs), reversed(self.weights[::2]), strict=True):
            of_each += [delta.sum(1), torch.bmm(delta.mT, x)]
            if len(of_each) < len(self.weights):
                delta = torch.bmm(delta, weight).mul_(x > 0)  # behind the ReLU
        return torch.cat([gradient.flatten(1) for gradient in reversed(of_each)], 1)

    @torch.no_grad()
    def with_targets(self, drawn: Sequence[Minibatch | Transitions | None]) -> list[Minibatch | None]:
        """The minibatch of each learner, after one pass for all whose targets need values."""
        following = [each.following for each in drawn if isinstance(each, Transitions)]
        if not following:
            return list(drawn)
        asked = [each.following if isinstance(each, Transitions) else following[0] for each in drawn]
        values = _passed(torch.stack(asked), self.target_weights)[-1]  # (K, N, A)
        return [
            each.minibatch(q) if isinstance(each, Transitions) else each for each, q in zip(drawn, values, strict=True)
        ]

    def fit(self, drawn: Sequence[Minibatch | Transitions | None]) -> None:
        """`QLearner.fit` for each learner that something was drawn for; the others stay as they are."""
        minibatches = self.with_targets(drawn)
        some = next(minibatch for minibatch in minibatches if minibatch)
        columns = zip(*(minibatch or some for minibatch in minibatches), strict=True)
        given = (torch.stack(column).to(self.values.device) for column in columns)
        for row, gradient, minibatch in zip(self.rows, self.gradients(*given), minibatches, strict=True):
            row.grad = gradient if minibatch else None  # an optimizer leaves alone what has no gradient
        self.optimizer.step()
        for k, (learner, minibatch) in enumerate(zip(self.learners, minibatches, strict=True)):
            if minibatch:
                learner.updates += 1
                if learner.updates % learner.sync_every == 0:
                    self.targets[k] = self.values[k]

    def release(self) -> None:
        """Give each learner the state of its optimizer: from here on it may learn alone."""
        for learner, row in zip(self.learners, self.rows, strict=True):
            begin = 0
            for weight in learner.network.parameters():
                end = begin + weight.numel()
                learner.optimizer.state[weight] = {
                    name: x[begin:end].view_as(weight).clone() if x.shape == row.shape else x.clone()
                    for name, x in self.optimizer.state[row].items()
                }
                begin = end


def _joined(networks: Sequence[nn.Module]) -> tuple[Tensor, list[Tensor]]:
    """All weights of K networks (K, P), and each weight (K, ...); all are views of one tensor, the networks', too."""
    together = torch.stack([parameters_to_vector(network.parameters()).detach() for network in networks])
    weights, begin = [], 0
    for several in zip(*(network.parameters() for network in networks), strict=True):
        end = begin + several[0].numel()
        weights.append(together[:, begin:end].unflatten(1, several[0].shape))
        for own, weight in zip(several, weights[-1], strict=True):
            own.data = weight
        begin = end
    return together, weights


def _passed(observations: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """What each Linear is given, (K, N, in), and at last the values, (K, N, A)."""
    inputs = [as_input(observations, weights[0].device).flatten(2)]
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        x = torch.baddbmm(bias[:, None], inputs[-1], weight.mT)
        inputs.append(x.relu_() if len(inputs) < len(weights) // 2 else x)
    return inputs


def train_together(
    agents: Sequence[DQNAgent],
    envs: Sequence[gymnasium.Env],
    until: int,
    *,
    evaluate: Callable[[Callable[[np.ndarray], Tensor]], Sequence[dict[str, float]]] | None = None,
    every: int = 1000,
) -> list[dict[str, list[float]]]:
    """`train` for several new agents, each in its environment: all make step 1, then all make step 2, up to `until`.

    Each agent draws from its own generator what it would draw alone, so that it goes the same way, up to rounding. Only
    the end differs: after step `until`, in the middle of an episode, which is not noted. `evaluate` is given a function
    for `rollouts`, the values of all agents: (B, ...) -> (B, A), the first B / agents rows the first agent's, and so
    on; it returns what was measured of each agent. Returns their histories. Raises ValueError as `train` and
    `StackedLearners`, or for an agent that has taken steps or learned before.
    """

    def values(observations: np.ndarray) -> Tensor:
        seen = torch.from_numpy(observations).unflatten(0, (len(agents), -1))
        return stack.q_values([agent.leading for agent in agents], seen).flatten(0, 1)

    if any(agent.steps or agent.learner.updates for agent in agents):
        raise ValueError("an agent has begun already: agents in lockstep begin together")
    stack = StackedLearners([learner for agent in agents for learner in agent.learners])
    actions = [action_count(env.action_space) for env in envs]
    walks = [_begin(agent, env) for agent, env in zip(agents, envs, strict=True)]
    for step in range(1, until + 1):
        _act(stack, agents, walks, actions)
        _learn(stack, agents)
        if evaluate and step % every == 0:
            for agent, measured in zip(agents, evaluate(values), strict=True):
                note(agent.history, step=step, updates=agent.updates, **measured)
        for k, (agent, walk) in enumerate(zip(agents, walks, strict=True)):
            if walk.over:
                finish(agent, walk.episode())
                walks[k] = _begin(agent, walk.env)
    stack.release()
    return [agent.history for agent in agents]


def _begin(agent: DQNAgent, env: gymnasium.Env) -> Walk:
    seed = integer(SEEDS, agent.generator)
    return Walk(env, seed=seed, longest=agent.replay.capacity, stack=agent.settings.stack)


def _act(stack: StackedLearners, agents: Sequence[DQNAgent], walks: Sequence[Walk], actions: Sequence[int]) -> None:
    """A step of each agent."""
    chosen = [agent.explore(count) for agent, count in zip(agents, actions, strict=True)]
    if None in chosen:
        seen = torch.from_numpy(np.stack([walk.seen for walk in walks]))[:, None]  # (agents, 1, ...)
        best = stack.q_values([agent.learner for agent in agents], seen).argmax(2)[:, 0].tolist()
        chosen = [b if action is None else action for b, action in zip(best, chosen, strict=True)]
    for agent, walk, action in zip(agents, walks, chosen, strict=True):
        walk.step(action)
        agent.steps += 1


def _learn(stack: StackedLearners, agents: Sequence[DQNAgent]) -> None:
    """The updates that are due to each agent."""
    due = [agent.due() for agent in agents]
    for number in range(max(due)):
        drawn: list[Minibatch | Transitions | None] = []
        for agent, count in zip(agents, due, strict=True):
            learns = number < count
            drawn += agent.draw() if learns else [None] * len(agent.learners)
            agent.updates += learns
        stack.fit(drawn)
