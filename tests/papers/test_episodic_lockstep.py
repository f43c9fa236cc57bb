"""Agents in lockstep beside the same agents one after the other: the same ways, the same weights up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from corridor import Corridor
from tensors import seeded
from torch import Tensor, nn

from labkit.data.dataset import Split
from labkit.envs.maze import Maze, VectorMaze, draw_walls
from labkit.papers.deep_q_learning import DeepMindRMSprop, DQNAgent, Settings, dense_network, rollouts, train
from labkit.papers.episodic_backward_update import AdaptiveEBU, EBUAgent, backward_targets
from labkit.papers.episodic_lockstep import train_together

pytestmark = pytest.mark.usefixtures("one_thread")

WALLS = draw_walls(np.random.default_rng(0), size=4)
SIDE, STEPS, EVERY = 3, 200, 50
ADAM = partial(torch.optim.Adam, lr=1e-3, fused=True)
KINDS: dict[str, Callable[..., DQNAgent]] = {
    "DQN": DQNAgent,
    "3-step DQN": partial(DQNAgent, n_steps=3),
    "EBU": EBUAgent,
    "adaptive EBU": partial(AdaptiveEBU, betas=(0.0, 1.0), select_every=70),
}


def digits() -> Split:
    return Split(torch.rand(40, 1, SIDE, SIDE, generator=seeded()), torch.arange(40) % 10)


def agent(kind: str, seed: int = 0, ratio: float = 1.0, optimizer: Callable = ADAM, **more: object) -> DQNAgent:
    settings = Settings(
        gamma=0.9,
        batch_size=16,
        capacity=300,
        warm_up=40 + 10 * seed,
        updates_per_step=ratio,
        sync_every=7,
        epsilon_steps=300,
    )
    return KINDS[kind](dense_network(2 * SIDE**2, 8, 4, seeded(seed)), settings, seeded(seed), optimizer, **more)


def maze(random_moves: float = 0.0) -> Maze:
    return Maze(WALLS, digits(), max_steps=30, goal_reward=1.0, bump_reward=-0.1, random_moves=random_moves)


def weights_of(agent: DQNAgent) -> Tensor:
    """Of its networks and target networks, and what its optimizers remember."""
    parts = []
    for learner in agent.learners:
        parts += [*learner.network.parameters(), *learner.target.parameters()]
        parts += [x for state in learner.optimizer.state.values() for x in state.values()]
    return torch.cat([part.detach().flatten() for part in parts])


def state_of(agent: DQNAgent) -> dict:
    counts = [learner.updates for learner in agent.learners]
    return {"made": counts, "actor": agent.learners.index(agent.learner), "owed": agent.owed}


def alone(each: DQNAgent, env: Maze) -> Tensor:
    """`train` the agent; its weights at step STEPS."""
    kept = {}

    def look() -> dict:
        kept[each.steps] = weights_of(each)
        return state_of(each)

    train(each, env, STEPS, evaluate=look, every=EVERY)
    return kept[STEPS]


def same_way(together: DQNAgent, alone: DQNAgent) -> None:
    for name in ("step", "updates", "made", "actor", "owed"):
        assert together.history[name] == alone.history[name][: STEPS // EVERY]
    ended = len(together.history["episode_step"])
    assert ended > 5
    for name in ("episode_step", "episode_updates", "episode_length", "episode_return"):
        assert together.history[name] == alone.history[name][:ended]


RATES = (1.0, 0.25, 2.0, 0.5, 0.0)  # updates for each step


@pytest.mark.parametrize("optimizer", [ADAM, DeepMindRMSprop], ids=["Adam", "RMSprop"])
def test_each_agent_goes_the_way_that_it_goes_alone_at_its_own_rate(optimizer: Callable) -> None:
    plan = list(zip([*KINDS, "DQN"], range(5), RATES, strict=True))
    made = [[agent(kind, seed, ratio, optimizer) for kind, seed, ratio in plan] for _ in range(2)]
    envs = [[maze(random_moves=0.1 * seed) for _, seed, _ in plan] for _ in range(2)]

    def look(q_values: Callable[[np.ndarray], Tensor]) -> list[dict]:
        seen = np.random.default_rng(0).random((10, 2, SIDE, SIDE), dtype=np.float32)  # two for each agent
        expected = [each.q_values(part) for each, part in zip(made[0], np.split(seen, 5), strict=True)]
        torch.testing.assert_close(q_values(seen), torch.cat(expected))
        return [state_of(each) for each in made[0]]

    train_together(made[0], envs[0], STEPS, evaluate=look, every=EVERY)
    for together, each, env in zip(made[0], made[1], envs[1], strict=True):
        weights = alone(each, env)
        same_way(together, each)
        torch.testing.assert_close(weights_of(together), weights, rtol=1e-3, atol=1e-4)
    assert [each.updates > 0 for each in made[0]] == [True] * 4 + [False]


def test_afterwards_each_agent_goes_on_alone() -> None:
    several = [agent("EBU"), agent("DQN", 1)]
    train_together(several, [maze(), maze()], 200)
    for each in several:
        state = each.state_dict()
        assert state["learner"]["optimizer"]["state"][0]["step"] == each.updates
        before, other = weights_of(each), weights_of(several[several[0] is each])
        train(each, maze(), 250)
        assert not torch.equal(weights_of(each), before)
        assert torch.equal(weights_of(several[several[0] is each]), other)


def test_agents_learn_from_the_targets_that_they_were_given() -> None:
    asked = []

    def mine(*given: Tensor, **settings: object) -> Tensor:
        asked.append(settings["beta"])
        return backward_targets(*given, **settings)

    train_together([agent("EBU", backward=mine, beta=0.3), agent("DQN")], [maze(), maze()], 100)
    assert len(asked) > 1
    assert set(asked) == {0.3}


def test_each_agent_learns_the_way_along_a_corridor() -> None:
    settings = Settings(gamma=0.9, batch_size=16, capacity=2000, warm_up=50, sync_every=50, epsilon_steps=400)
    adam = partial(torch.optim.Adam, lr=1e-2, fused=True)
    several = [made(dense_network(2, 8, 4, seeded()), settings, seeded(), adam) for made in KINDS.values()]
    train_together(several, [Corridor() for _ in several], 600)
    test = gymnasium.vector.SyncVectorEnv([Corridor] * 3)
    for each in several:
        assert rollouts(each.q_values, test, seed=0).lengths.max() <= 5


# ---- rollouts of several agents -------------------------------------------------------------------------------------


def test_each_of_several_agents_walks_as_it_walks_alone() -> None:
    several, rules = [agent("EBU", seed) for seed in range(3)], {"max_steps": 40, "random_moves": 0.2}

    def q_values(seen: np.ndarray) -> Tensor:
        return torch.cat([each.q_values(part) for each, part in zip(several, np.split(seen, 3), strict=True)])

    def mazes(count: int) -> VectorMaze:
        return VectorMaze(np.stack([WALLS] * count), digits(), **rules)

    found = rollouts(q_values, mazes(15), seed=3, epsilon=0.5, agents=3)
    for k, each in enumerate(several):
        expected = rollouts(each.q_values, mazes(5), seed=3, epsilon=0.5)
        for all_, own in zip(found, expected, strict=True):
            assert torch.equal(all_[5 * k : 5 * k + 5], own)
    with pytest.raises(ValueError, match="cannot be dealt out"):
        rollouts(q_values, mazes(4), seed=3, agents=3)


# ---- what is refused ------------------------------------------------------------------------------------------------


def with_network(network: nn.Module) -> DQNAgent:
    return DQNAgent(network, Settings(), seeded(), ADAM)


def learned() -> DQNAgent:
    each = agent("DQN")
    train(each, maze(), 10)
    return each


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: with_network(dense_network(18, 9, 4, seeded())), "all of one shape"),
        (lambda: agent("DQN", optimizer=partial(torch.optim.Adam, lr=1e-3)), "share one optimizer"),
        (learned, "begin together"),
    ],
)
def test_agents_that_do_not_fit_together_are_refused(other: Callable[[], DQNAgent], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_together([agent("DQN"), other()], [maze(), maze()], 10)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Flatten(), nn.Conv2d(1, 1, 1)],
        [nn.Linear(2, 2)],
        [nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2)],
        [nn.Flatten(), nn.Linear(2, 2), nn.ReLU()],
        [nn.Flatten(), nn.Linear(2, 2, bias=False)],
        [nn.Flatten(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)],
    ],
    ids=str,
)
def test_networks_that_are_not_dense_are_refused(layers: list[nn.Module]) -> None:
    with pytest.raises(ValueError, match="are those of dense_network"):
        train_together([with_network(nn.Sequential(*layers))], [maze()], 10)


def test_a_network_of_one_layer_is_dense_and_one_of_another_kind_is_refused() -> None:
    train_together([with_network(nn.Sequential(nn.Flatten(), nn.Linear(2 * SIDE**2, 4)))], [maze()], 60)
    with pytest.raises(ValueError, match=r"must be nn\.Sequential"):
        train_together([with_network(nn.Linear(2, 2))], [maze()], 10)
