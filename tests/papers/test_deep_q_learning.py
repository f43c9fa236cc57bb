"""DQN's parts: the optimizer by its formula, one gradient step by hand, the schedule, the rollouts."""

from __future__ import annotations

import copy
import dataclasses
import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.envs.maze import Maze, VectorMaze, distances, draw_walls
from labkit.papers.deep_q_learning import (
    DeepMindRMSprop,
    DQNAgent,
    QLearner,
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
from labkit.papers.episode_replay import Episode
from labkit.papers.episodic_backward_update import backward_targets

pytestmark = pytest.mark.usefixtures("one_thread")


def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


# ---- networks and optimizer -----------------------------------------------------------------------------------------


def test_the_network_of_2015_has_its_number_of_weights_and_the_weights_of_the_published_code() -> None:
    network = nature_network(4, seeded())
    assert network(torch.zeros(2, 4, 84, 84)).shape == (2, 4)
    assert sum(weights.numel() for weights in network.parameters()) == 1_686_180
    for module in network:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = math.sqrt(3 / module.weight[0].numel())
            assert 0.9 * bound < module.weight.abs().max().item() <= bound
            assert (module.bias == 0.1).all()


def test_equal_generators_make_equal_networks() -> None:
    first, second, third = (dense_network(6, 5, 4, seeded(seed)) for seed in (0, 0, 1))
    x = normal(3, 2, 3, dtype=torch.float32)
    assert first(x).shape == (3, 4)
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), third(x))


def test_rmsprop_is_centred_and_has_its_eps_inside_the_root() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]).double())
    optimizer = DeepMindRMSprop([weight], lr=0.5, rho=0.9, eps=0.01)
    expected, m, v = np.array([1.0, -2.0]), 0, 0
    for gradient in ([0.3, -4.0], [0.1, 2.0], [0.0, 2.0]):
        weight.grad = torch.tensor(gradient).double()
        optimizer.step()
        g = np.array(gradient)
        m, v = 0.9 * m + 0.1 * g, 0.9 * v + 0.1 * g**2
        expected = expected - 0.5 * g / np.sqrt(v - m**2 + 0.01)
    np.testing.assert_allclose(weight.detach().numpy(), expected)


def test_rmsprop_leaves_alone_what_has_no_gradient() -> None:
    weight = nn.Parameter(torch.ones(2))
    DeepMindRMSprop([weight]).step()
    assert weight.tolist() == [1, 1]


# ---- targets --------------------------------------------------------------------------------------------------------


def test_a_terminal_state_has_no_value_and_a_truncated_episode_goes_on() -> None:
    q_next = torch.tensor([[2.0, 3.0]] * 4)
    terminated, truncated = torch.tensor([[False, True, False, True], [False, False, True, True]])
    y = one_step_targets(torch.tensor([1.0, 1.0, 1.0, 0.0]), q_next, terminated, truncated, gamma=0.5)
    assert y.tolist() == [2.5, 1.0, 2.5, 0.0]


@pytest.mark.parametrize("terminated", [True, False])
def test_targets_of_one_step_are_those_of_n_steps_with_n_1_and_of_ebu_with_beta_0(terminated: bool) -> None:
    rewards, q_next = normal(20), normal(20, 4, seed=1)
    ends, cut = torch.zeros(2, 20, dtype=torch.bool)
    ends[-1], cut[-1] = terminated, not terminated
    y = one_step_targets(rewards, q_next, ends, cut, gamma=0.97)
    torch.testing.assert_close(n_step_targets(rewards, q_next, gamma=0.97, n_steps=1, terminated=terminated), y)
    actions = torch.randint(4, (20,), generator=seeded())
    torch.testing.assert_close(
        backward_targets(rewards, q_next, actions, gamma=0.97, beta=0.0, terminated=terminated), y
    )


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("n_steps", [1, 3, 7, 20])
def test_the_n_step_targets_of_an_episode_are_those_that_the_agent_learns_from(n_steps: int, terminated: bool) -> None:
    agent = DQNAgent(
        dense_network(2, 4, 4, seeded()), Settings(gamma=0.9, batch_size=200), seeded(), sgd, n_steps=n_steps
    )
    rewards = np.random.default_rng(1).normal(size=7).astype(np.float32)
    episode = dataclasses.replace(_walk(7), rewards=rewards, terminated=terminated)
    agent.replay.add(episode)
    seen = []
    agent.learner.fit = lambda *batch: seen.append(batch)
    agent.update()
    ((observations, _, targets),) = seen
    q_next = agent.learner.target_values(episode.frames[1:])
    y = n_step_targets(torch.from_numpy(rewards), q_next, gamma=0.9, n_steps=n_steps, terminated=terminated)
    k = (observations[:, None] == torch.from_numpy(episode.frames[:-1])).all(2).int().argmax(1)
    assert set(k.tolist()) == set(range(7))
    torch.testing.assert_close(targets, y[k])


RIGHT = {"rewards": torch.zeros(3), "q_next": torch.zeros(3, 2)}
FLAGS = {"terminated": torch.zeros(3).bool(), "truncated": torch.zeros(3).bool()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.1}, "gamma must lie in"),
        ({"rewards": torch.zeros(3, 1)}, "must be"),
        ({"q_next": torch.zeros(2, 3)}, "must be"),
        ({"rewards": torch.zeros(0), "q_next": torch.zeros(0, 2)}, "must be"),
        ({"q_next": torch.zeros(3, 0)}, "must be"),
        ({"rewards": torch.zeros(3).long()}, "floating point"),
        ({"rewards": torch.tensor([0, math.nan, 0])}, "reward is NaN"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"terminated": torch.zeros(3)}, "must be bool"),
        ({"truncated": torch.zeros(2).bool()}, "must be"),
    ],
)
def test_targets_of_input_that_makes_no_sense_are_refused(change: dict, message: str) -> None:
    if "n_steps" not in change:
        with pytest.raises(ValueError, match=message):
            one_step_targets(**RIGHT | FLAGS | {"gamma": 0.9} | change)
    if not change.keys() & FLAGS.keys():
        with pytest.raises(ValueError, match=message):
            n_step_targets(**RIGHT | {"gamma": 0.9, "n_steps": 2} | change)


# ---- a gradient step ------------------------------------------------------------------------------------------------


class Stacked(nn.Module):
    """The Linear networks of several agents as one module: (K, N, in) -> (K, N, out)."""

    def __init__(self, networks: list[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([network.weight.detach() for network in networks]))  # (K, out, in)
        self.bias = nn.Parameter(torch.stack([network.bias.detach() for network in networks])[:, None])

    def forward(self, observations: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, observations, self.weight.mT)


def _linear(seed: int = 0) -> nn.Linear:
    net = nn.Linear(2, 3)
    net.load_state_dict({"weight": normal(3, 2, seed=seed), "bias": normal(3, seed=seed + 1)})
    return net


def _minibatches(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Observations, actions and targets; some errors will be beyond 1."""
    observations, targets = normal(*shape, 2, seed=2).float(), 3 * normal(*shape, seed=3).float()
    return observations, torch.randint(3, shape, generator=seeded()), targets


def test_a_gradient_step_goes_down_the_clipped_errors_of_the_actions_taken_and_returns_the_loss_before_it() -> None:
    """For a linear network the gradient is written down at once: a clipped error times what was seen."""
    net = _linear()
    weight, bias = net.weight.detach().clone(), net.bias.detach().clone()
    observations, actions, targets = _minibatches(6)
    loss = gradient_step(net, sgd(net.parameters()), observations, actions, targets)
    errors = torch.stack([weight[a] @ s + bias[a] for s, a in zip(observations, actions, strict=True)]) - targets
    assert errors.abs().min() < 1 < errors.abs().max()
    torch.testing.assert_close(loss, torch.where(errors.abs() < 1, errors**2 / 2, errors.abs() - 0.5).sum())
    assert not loss.requires_grad
    clipped = errors.clamp(-1, 1)
    torch.testing.assert_close(net.weight.data, weight.index_add(0, actions, -0.1 * clipped[:, None] * observations))
    torch.testing.assert_close(net.bias.data, bias.index_add(0, actions, -0.1 * clipped))


def test_a_gradient_step_with_stacked_networks_gives_each_agent_the_steps_it_would_make_alone() -> None:
    networks = [_linear(seed) for seed in range(0, 8, 2)]
    together = Stacked(networks)
    optimizer, own = sgd(together.parameters()), [sgd(network.parameters()) for network in networks]
    observations, actions, targets = _minibatches(4, 5)
    for _ in range(3):
        loss = gradient_step(together, optimizer, observations, actions, targets)
        minibatches = zip(observations, actions, targets, strict=True)
        losses = [gradient_step(*learner, *each) for *learner, each in zip(networks, own, minibatches, strict=True)]
        torch.testing.assert_close(loss, torch.stack(losses).sum())
    for k, network in enumerate(networks):
        torch.testing.assert_close(together.weight[k], network.weight)
        torch.testing.assert_close(together.bias[k, 0], network.bias)


def test_targets_are_constants_even_if_the_network_itself_has_made_them() -> None:
    observations, actions, targets = _minibatches(6)
    nets, weights_of_target = [_linear(), _linear()], []
    for net, keeps_graph in zip(nets, (True, False), strict=True):
        made = targets + net(observations + 1).amax(1)
        gradient_step(net, sgd(net.parameters()), observations, actions, made if keeps_graph else made.detach())
        weights_of_target.append(net.weight)
    assert torch.equal(*weights_of_target)


@pytest.mark.parametrize(
    ("observations", "actions", "targets"),
    [((5, 2), (5, 1), (5,)), ((5, 2), (5,), (5, 1)), ((5, 2), (4,), (4,)), ((3, 5, 2), (5,), (5,))],
)
def test_a_gradient_step_refuses_shapes_that_torch_would_broadcast(observations, actions, targets) -> None:
    net = _linear()
    before = net.weight.detach().clone()
    with pytest.raises(ValueError, match=r"actions and targets \(..., N\), got"):
        gradient_step(
            net,
            sgd(net.parameters()),
            torch.zeros(observations),
            torch.zeros(actions, dtype=torch.int64),
            torch.zeros(targets),
        )
    assert torch.equal(net.weight, before)


# ---- copies for the target network ----------------------------------------------------------------------------------


def test_the_target_network_gets_the_weights_at_each_multiple_of_every_and_not_in_between() -> None:
    net, target, found = nn.Linear(1, 1), nn.Linear(1, 1), []
    target.weight.data.zero_()
    for updates in range(1, 8):
        net.weight.data.fill_(updates)
        assert copy_to_target(net, target, updates, 3) is None
        found.append(target.weight.item())
    assert found == [0, 0, 3, 3, 3, 6, 6]


def test_copies_are_copies_and_not_the_same_memory() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    target = copy.deepcopy(net).requires_grad_(False)
    for weights in net.parameters():
        weights.data += 1
    copy_to_target(net, target, 4, 2)
    kept = [weights.detach().clone() for weights in net.parameters()]
    for weights in net.parameters():
        weights.data += 1
    assert all(torch.equal(weights, before) for weights, before in zip(target.parameters(), kept, strict=True))
    assert not any(weights.requires_grad for weights in target.parameters())


@pytest.mark.parametrize("every", [0, -2])
def test_copies_after_every_zero_updates_are_refused(every: int) -> None:
    with pytest.raises(ValueError, match="every must be at least 1"):
        copy_to_target(nn.Linear(1, 1), nn.Linear(1, 1), 1, every)


# ---- learning -------------------------------------------------------------------------------------------------------


def test_one_step_follows_the_summed_huber_loss_of_the_taken_actions_alone() -> None:
    network = nn.Linear(2, 3, bias=False)
    network.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    learner = QLearner(network, Settings(sync_every=2), sgd)
    x, actions = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 1])
    learner.fit(x, actions, torch.tensor([2.5, -9.0]))  # errors 2 - 2.5 = -0.5, and 0 - -9 = 9, which counts as 1
    change = -0.1 * (-0.5 * x[0] + 1.0 * x[1])
    torch.testing.assert_close(
        network.weight.data,
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).index_add(0, torch.tensor([1]), change[None]),
    )


def test_the_target_network_is_copied_every_so_many_updates_and_never_in_between() -> None:
    learner = QLearner(nn.Linear(2, 2), Settings(sync_every=3), sgd)
    x, actions, targets = torch.ones(4, 2), torch.zeros(4).long(), torch.full((4,), 5.0)
    before = learner.target_values(x)
    for update in range(1, 7):
        learner.fit(x, actions, targets)
        if update % 3 == 0:
            before = learner.target_values(x)
            assert torch.equal(before, learner.q_values(x))
        else:
            assert torch.equal(learner.target_values(x), before)
            assert not torch.equal(before, learner.q_values(x))
    assert not any(weights.requires_grad for weights in learner.target.parameters())


def test_bytes_become_numbers_between_0_and_1_and_long_episodes_go_through_in_parts() -> None:
    learner = QLearner(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), Settings(), sgd)
    images = torch.randint(256, (600, 2, 2), dtype=torch.uint8, generator=seeded())
    with torch.no_grad():
        expected = learner.network[1](images.flatten(1) / 255)
    torch.testing.assert_close(learner.q_values(images).detach(), expected)
    torch.testing.assert_close(learner.target_values(images.numpy()), expected)


def test_n_step_targets_come_from_the_target_network() -> None:
    agent = DQNAgent(dense_network(2, 4, 4, seeded()), Settings(gamma=0.9, batch_size=5), seeded(), sgd, n_steps=3)
    seen = []
    agent.learner.fit = lambda *batch: seen.append(batch)
    agent.replay.add(_walk(6))
    generator = torch.Generator()
    generator.set_state(agent.generator.get_state())
    agent.update()
    drawn = agent.replay.sample(5, generator, gamma=0.9, n_steps=3)
    ((observations, actions, targets),) = seen
    assert torch.equal(observations, drawn.observations)
    assert torch.equal(actions, drawn.actions)
    best = agent.learner.target(drawn.following).amax(1)
    torch.testing.assert_close(targets, drawn.returns + drawn.discounts * best.detach())


def _walk(T: int) -> Episode:
    rng = np.random.default_rng(0)
    return Episode(rng.random((T + 1, 2)).astype(np.float32), rng.integers(4, size=T), np.ones(T, np.float32), True)


# ---- acting ---------------------------------------------------------------------------------------------------------


def test_epsilon_falls_in_a_line_and_then_stays() -> None:
    agent = DQNAgent(nn.Linear(2, 2), Settings(epsilon=(1.0, 0.2), epsilon_steps=100), seeded())
    seen = []
    for agent.steps in (0, 25, 50, 100, 1000):
        seen.append(agent.epsilon)
    assert seen == pytest.approx([1.0, 0.8, 0.6, 0.2, 0.2])


def test_without_epsilon_each_row_takes_its_best_action_and_with_epsilon_1_any_equally_often() -> None:
    q = normal(8000, 4)
    assert torch.equal(epsilon_greedy(q, 0.0, seeded()), q.argmax(1))
    actions = epsilon_greedy(q, 1.0, seeded())
    assert (actions.shape, actions.dtype) == ((8000,), torch.int64)
    np.testing.assert_allclose(actions.bincount() / 8000, [0.25] * 4, atol=0.025)
    assert (actions == q.argmax(1)).float().mean().item() == pytest.approx(0.25, abs=0.025)


def test_with_epsilon_in_between_each_row_has_its_own_coin_and_random_actions_include_the_best() -> None:
    q = torch.tensor([0.0, 0.0, 5.0, 0.0]).expand(8000, 4)
    actions = epsilon_greedy(q, 0.4, seeded())
    np.testing.assert_allclose(actions.bincount() / 8000, [0.1, 0.1, 0.7, 0.1], atol=0.025)
    best = (actions == 2).view(-1, 2)
    assert (best[:, 0] & best[:, 1]).float().mean().item() == pytest.approx(0.49, abs=0.04)  # of two rows


def test_all_randomness_of_epsilon_greedy_is_the_generators() -> None:
    q, before = normal(50, 4), torch.get_rng_state()
    first, again, other = (epsilon_greedy(q, 0.5, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    generator = seeded(1)
    assert torch.equal(epsilon_greedy(q, 0.5, generator), first)
    assert not torch.equal(epsilon_greedy(q, 0.5, generator), first)


@pytest.mark.parametrize(
    ("shape", "epsilon", "message"),
    [
        ((3, 2), 1.1, "epsilon must lie in"),
        ((3, 2), -0.1, "epsilon must lie in"),
        ((3, 2), math.nan, "epsilon must lie in"),
        ((2,), 0.5, "q must be"),
        ((1, 3, 2), 0.5, "q must be"),
        ((3, 0), 0.5, "q must be"),
    ],
)
def test_epsilon_greedy_refuses_what_is_no_probability_or_no_table_of_values(shape, epsilon, message) -> None:
    with pytest.raises(ValueError, match=message):
        epsilon_greedy(torch.zeros(shape), epsilon, seeded())


def test_actions_are_random_with_probability_epsilon_and_the_best_otherwise() -> None:
    network = nn.Linear(1, 4, bias=False)
    network.weight.data = torch.tensor([[0.0], [0.0], [5.0], [0.0]])
    agent = DQNAgent(network, Settings(epsilon=(0.4, 0.4)), seeded())
    often = np.bincount([agent.act(np.ones(1, dtype=np.float32), 4) for _ in range(4000)]) / 4000
    np.testing.assert_allclose(often, [0.1, 0.1, 0.7, 0.1], atol=0.025)


class Endless(gymnasium.Env):
    """Never ends, unless it is told to truncate."""

    observation_space, action_space = Box(0, 1, (2,)), Discrete(4)

    def reset(self, *, seed=None, options=None):
        self.age = 0
        return np.zeros(2, dtype=np.float32), {}

    def step(self, action):
        self.age += 1
        return np.zeros(2, dtype=np.float32), 1.0, False, False, {}


def test_truncated_episodes_are_kept_as_truncated_and_the_history_tells_of_each() -> None:
    agent = DQNAgent(dense_network(2, 4, 4, seeded()), Settings(capacity=50, warm_up=50), seeded())
    looks = []
    history = train(
        agent,
        gymnasium.wrappers.TimeLimit(Endless(), 20),
        50,
        evaluate=lambda: looks.append(agent.steps) or {"steps": agent.steps},
        every=15,
    )
    assert [kept.terminated for kept in agent.replay.episodes] == [False, False]
    assert history["episode_step"] == [20, 40, 60]
    assert history["episode_length"] == [20, 20, 20]
    assert history["episode_return"] == [20.0, 20.0, 20.0]
    assert history["step"] == history["steps"] == looks == [15, 30, 45, 60]
    assert history["updates"] == [0, 0, 0, 0]


def test_an_endless_episode_is_refused_when_it_no_longer_fits() -> None:
    agent = DQNAgent(dense_network(2, 4, 4, seeded()), Settings(capacity=30, warm_up=30), seeded())
    with pytest.raises(ValueError, match="limit episodes with"):
        train(agent, Endless(), 1000)


# ---- evaluation -----------------------------------------------------------------------------------------------------


def test_rollouts_with_true_values_walk_the_shortest_ways_and_end_once() -> None:
    walls = np.stack([draw_walls(np.random.default_rng(seed), size=6) for seed in range(4)])
    best = [int(distances(each, (5, 5))[0, 0]) for each in walls]
    q = torch.zeros(4, 36, 4)
    for number, each in enumerate(walls):
        left = np.pad(distances(each, (5, 5)).astype(float), 1, constant_values=-1)
        left[left < 0] = 99
        around = [left[:-2, 1:-1], left[1:-1, 2:], left[2:, 1:-1], left[1:-1, :-2]]  # up, right, down, left
        q[number] = -torch.tensor(np.stack(around)).flatten(1).T
    found = rollouts(lambda seen: q[torch.arange(4), torch.as_tensor(seen)], VectorMaze(walls, max_steps=60), seed=0)
    assert found.lengths.tolist() == best
    assert found.returns.tolist() == [1000] * 4
    assert found.terminated.all()


def test_rollouts_that_never_arrive_are_truncated_and_random_actions_are_drawn_from_the_seed() -> None:
    walls = np.zeros((5, 4, 4), dtype=bool)
    up = torch.tensor([1.0, 0, 0, 0]).repeat(5, 1)
    lost = rollouts(lambda _: up, VectorMaze(walls, max_steps=30), seed=0)
    assert lost.lengths.tolist() == [30] * 5
    assert lost.returns.tolist() == [-30] * 5
    assert not lost.terminated.any()
    first, second, third = (
        rollouts(lambda _: up, VectorMaze(walls, max_steps=300), seed=seed, epsilon=0.9) for seed in (1, 1, 2)
    )
    assert first.lengths.tolist() == second.lengths.tolist() != third.lengths.tolist()
    assert first.terminated.all()


def test_a_rollout_that_never_ends_is_stopped() -> None:
    up = torch.tensor([[1.0, 0, 0, 0]])
    with pytest.raises(ValueError, match="longer than 20 steps: limit it with"):
        rollouts(lambda _: up, gymnasium.vector.SyncVectorEnv([Endless]), seed=0, longest=20)
    with pytest.raises(ValueError, match="longer than 29 steps"):
        rollouts(lambda _: up, VectorMaze(np.zeros((1, 4, 4), dtype=bool), max_steps=30), seed=0, longest=29)
    found = rollouts(lambda _: up, VectorMaze(np.zeros((1, 4, 4), dtype=bool), max_steps=30), seed=0, longest=30)
    assert found.lengths.tolist() == [30]


def test_rollouts_need_numbered_actions() -> None:
    env = gymnasium.vector.SyncVectorEnv([_Continuous])
    with pytest.raises(ValueError, match="Discrete space from 0"):
        rollouts(lambda _: torch.zeros(1, 2), env, seed=0)


class _Continuous(gymnasium.Env):
    observation_space, action_space = Box(0, 1, (2,)), Box(-2, 2, (1,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.2}, "gamma must lie in"),
        ({"epsilon": (1.0, -0.1)}, "epsilon must lie in"),
        ({"batch_size": 0}, "at least 1"),
        ({"stack": 0}, "at least 1"),
        ({"capacity": 10, "warm_up": 11}, "learning would never begin"),
        ({"updates_per_step": -1.0}, "updates_per_step"),
        ({"updates_per_step": math.nan}, "updates_per_step"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**change)


def test_a_maze_with_stacked_frames_can_be_learned_from() -> None:
    env = gymnasium.wrappers.FrameStackObservation(_Seen(Maze(np.zeros((3, 3), dtype=bool), max_steps=40)), 2)
    settings = Settings(capacity=200, warm_up=20, batch_size=4, stack=2)
    agent = DQNAgent(dense_network(2, 8, 4, seeded()), settings, seeded())
    train(agent, env, 100)
    assert agent.updates > 0
    assert agent.replay.episodes[0].frames.shape[1:] == (1,)
    assert agent.replay.episodes[0].observation(0).shape == (2, 1)


class _Seen(gymnasium.ObservationWrapper):
    """The number of a cell as an array of one byte."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.observation_space = Box(0, 255, (1,), np.uint8)

    def observation(self, observation: int) -> np.ndarray:
        return np.array([observation], dtype=np.uint8)
