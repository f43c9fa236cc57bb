"""Episodic backward update: targets beside the textbook's loop over steps, agents beside Stable-Baselines3, and memory.

The agents play the same maze with the same network, batch size, optimizer and number of updates for each step.
"""

from __future__ import annotations

import copy
import gc
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import DQN
from torch import Tensor, nn

from labkit.data.dataset import Split
from labkit.envs.maze import Maze, VectorMaze, draw_walls
from labkit.papers.episodic_backward_update import (
    DQNAgent,
    EBUAgent,
    Episode,
    EpisodeReplay,
    Settings,
    backward_targets,
    backward_targets_batched,
    copy_to_target,
    dense_network,
    epsilon_greedy,
    gradient_step,
    train,
)
from labkit.papers.episodic_population import Backward, Experience, Population, StackedNetwork, Uniform

EPISODES, STEPS, ACTIONS = 64, 200, 4
SIDE, HIDDEN, WARM_UP, PLAYED, LEARNED = 7, 64, 500, 1_500, 500  # of the agents, the last two in steps
pytestmark = pytest.mark.usefixtures("one_thread")  # tensors as small as these are only slowed down by a second one
ADAM = partial(torch.optim.Adam, lr=1e-3, fused=True)
seconds: dict[str, float] = {}  # what was done: the fastest round


# ---- targets --------------------------------------------------------------------------------------------------------


def episodes() -> tuple[Tensor, Tensor, Tensor]:
    """Rewards (B, T), q_next (B, T, A), actions (B, T)."""
    generator = torch.Generator().manual_seed(0)
    shape = (EPISODES, STEPS)
    rewards, q_next = (torch.randn(size, generator=generator) for size in (shape, (*shape, ACTIONS)))
    return rewards, q_next, torch.randint(ACTIONS, shape, generator=generator)


def by_textbook(rewards: Tensor, q_next: Tensor, actions: Tensor, *, gamma: float, beta: float) -> Tensor:
    """Step by step, on tensors."""
    table, y = q_next.clone(), rewards.clone()
    for k in reversed(range(len(y) - 1)):
        taken = actions[k + 1]
        table[k, taken] = beta * y[k + 1] + (1 - beta) * table[k, taken]
        y[k] = rewards[k] + gamma * table[k].max()
    return y


def one_by_one(targets, rewards: Tensor, q_next: Tensor, actions: Tensor) -> Tensor:
    return torch.stack([targets(*each, gamma=0.9, beta=0.5) for each in zip(rewards, q_next, actions, strict=True)])


def test_targets_of_all_episodes_at_once(benchmark) -> None:
    given = episodes()
    y = benchmark(backward_targets_batched, *given, gamma=0.9, beta=0.5)
    torch.testing.assert_close(y, one_by_one(backward_targets, *given), rtol=1e-4, atol=1e-5)
    seconds["batched"] = benchmark.stats.stats.min


@pytest.mark.parametrize("targets", [backward_targets, by_textbook], ids=lambda targets: targets.__name__)
def test_targets_one_episode_after_the_other(benchmark, capsys, targets) -> None:
    benchmark.pedantic(one_by_one, (targets, *episodes()), rounds=3, warmup_rounds=1)
    assert "batched" in seconds, "nothing to compare with: run this file as a whole"
    ratio = benchmark.stats.stats.min / seconds["batched"]
    with capsys.disabled():
        print(
            f"\ntargets of {EPISODES} episodes of {STEPS} steps: {1000 * seconds['batched']:.2f} ms, "
            f"{targets.__name__} {ratio:.0f} times that"
        )
    if targets is by_textbook:
        assert ratio > 20


# ---- the maze -------------------------------------------------------------------------------------------------------


def digits() -> Split:
    """Noise in place of digits: how an image looks does not matter to the time."""
    images = torch.rand(1000, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return Split(images, torch.arange(1000) % 10)


@pytest.mark.parametrize("kind", ["VectorMaze", "SyncVectorEnv"])
def test_steps_of_64_mazes(benchmark, capsys, kind: str) -> None:
    walls = np.stack([draw_walls(np.random.default_rng(seed)) for seed in range(64)])
    split = digits()
    env = (
        VectorMaze(walls, split) if kind == "VectorMaze" else SyncVectorEnv([lambda w=w: Maze(w, split) for w in walls])
    )
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(4, size=(100, 64))
    benchmark.pedantic(lambda: [env.step(each) for each in actions], rounds=5, warmup_rounds=1)
    seconds[kind] = benchmark.stats.stats.min / 6400
    if kind == "SyncVectorEnv":
        ratio = seconds["SyncVectorEnv"] / seconds["VectorMaze"]
        with capsys.disabled():
            print(f"\na step of one of 64 mazes: {1e6 * seconds['VectorMaze']:.1f} us, SyncVectorEnv {ratio:.0f} times")


# ---- agents ---------------------------------------------------------------------------------------------------------


def maze() -> Maze:
    return Maze(draw_walls(np.random.default_rng(0)), digits(), max_steps=200)


def steps_of(kind: str):
    """A function that plays PLAYED steps, with one update each."""
    if kind == "Stable-Baselines3":
        model = DQN(
            "MlpPolicy",
            maze(),
            learning_rate=1e-3,
            buffer_size=50_000,
            learning_starts=WARM_UP,
            batch_size=32,
            gamma=0.9,
            train_freq=1,
            gradient_steps=1,
            target_update_interval=100,
            exploration_fraction=1.0,
            policy_kwargs={"net_arch": [HIDDEN, HIDDEN], "activation_fn": nn.ReLU},
            device="cpu",
            seed=0,
        )
        model.learn(WARM_UP + 50)
        return lambda: model.learn(PLAYED, reset_num_timesteps=False)
    settings = Settings(
        gamma=0.9,
        capacity=50_000,
        warm_up=WARM_UP,
        sync_every=100,
        epsilon_steps=WARM_UP + PLAYED,
        updates_per_step=1.0,
    )
    generator = torch.Generator().manual_seed(0)
    network = dense_network(2 * SIDE**2, HIDDEN, ACTIONS, generator)
    adam = lambda parameters: torch.optim.Adam(parameters, lr=1e-3)  # noqa: E731
    agent = (DQNAgent if kind == "DQNAgent" else EBUAgent)(network, settings, generator, adam)
    env = maze()
    train(agent, env, WARM_UP + 50)
    return lambda: train(agent, env, agent.steps + PLAYED)


@pytest.mark.parametrize("kind", ["DQNAgent", "EBUAgent", "Stable-Baselines3"])
def test_steps_of_an_agent_in_the_maze(benchmark, capsys, kind: str) -> None:
    benchmark.pedantic(steps_of(kind), rounds=3)
    seconds[kind] = benchmark.stats.stats.min / PLAYED
    if kind == "Stable-Baselines3":
        ours = {name: seconds[name] for name in ("DQNAgent", "EBUAgent")}
        with capsys.disabled():
            print(f"\nsteps a second with one update each: Stable-Baselines3's DQN {1 / seconds[kind]:.0f}")
            for name, each in ours.items():
                print(f"{name} {1 / each:.0f}, {seconds[kind] / each:.2f} times as many")


def alone(kind: type[DQNAgent], seed: int) -> DQNAgent:
    """An agent that has not begun yet."""
    settings = Settings(gamma=0.9, capacity=50_000, warm_up=WARM_UP, sync_every=100, epsilon_steps=WARM_UP + LEARNED)
    g = torch.Generator().manual_seed(seed)
    return kind(dense_network(2 * SIDE**2, HIDDEN, ACTIONS, g), settings, g, ADAM)


def one_after_the_other() -> int:
    """Eight agents with DQN, eight with EBU; how many updates they made."""
    agents = [alone(kind, seed) for kind in (DQNAgent, EBUAgent) for seed in range(8)]
    for agent in agents:
        train(agent, maze(), WARM_UP + LEARNED)
    return sum(agent.updates for agent in agents)


def in_a_population() -> int:
    """The same sixteen at once."""
    g = torch.Generator().manual_seed(0)
    net = StackedNetwork([dense_network(2 * SIDE**2, HIDDEN, ACTIONS, g) for _ in range(16)])
    target, optimizer = copy.deepcopy(net), ADAM(net.parameters())
    walls = np.stack([maze().walls] * 16)
    env = VectorMaze(walls, digits(), max_steps=200, autoreset_mode=AutoresetMode.DISABLED)
    experience = Experience(env, WARM_UP + LEARNED, seed=0, capacity=50_000)
    agents = Population([Uniform(), Backward(0.5)], 8, experience, 0.9, g)
    for step in range(1, WARM_UP + LEARNED + 1):
        with torch.no_grad():
            q = net(torch.from_numpy(experience.seen)[:, None])[:, 0]
        agents.keep(experience.step(epsilon_greedy(q, 1 - 0.9 * step / (WARM_UP + LEARNED), g)))
        if step > WARM_UP:
            gradient_step(net, optimizer, *agents.minibatch(32, net, target))
            copy_to_target(net, target, step - WARM_UP, 100)
    return 16 * LEARNED


@pytest.mark.parametrize("way", [in_a_population, one_after_the_other], ids=lambda way: way.__name__)
def test_sixteen_agents_in_the_maze(benchmark, capsys, way) -> None:
    made = benchmark.pedantic(way, rounds=2)
    seconds[way.__name__] = benchmark.stats.stats.min / made
    if way is one_after_the_other:
        ratio = seconds["one_after_the_other"] / seconds["in_a_population"]
        with capsys.disabled():
            print(
                f"\nupdates a second of sixteen agents: {1 / seconds['in_a_population']:.0f} in a population, ", end=""
            )
            print(f"{ratio:.1f} times as many as one after the other")
        assert ratio > 1.5


# ---- the replay -----------------------------------------------------------------------------------------------------


def test_a_million_frames_of_atari_fit_into_less_than_7_and_a_half_gb(capsys) -> None:
    stored, length = 50_000, 200
    gc.collect()
    tracemalloc.start()
    replay = EpisodeReplay(stored)
    for _ in range(stored // length):
        frames = np.zeros((length + 1, 84, 84), dtype=np.uint8)
        actions, rewards = np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.float32)
        replay.add(Episode(frames, actions, rewards, True, stack=4))
    measured, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(replay) == stored
    million = measured * 1_000_000 / stored
    with capsys.disabled():
        print(f"\n{stored:,} frames of 84 x 84: {measured / 1e6:.0f} MB, a million {million / 1e9:.2f} GB")
    assert million < 7.5e9


@pytest.mark.parametrize("size", [1_000, 100_000])
def test_a_minibatch_is_drawn_as_fast_from_many_transitions_as_from_few(benchmark, capsys, size: int) -> None:
    replay, generator = EpisodeReplay(size), torch.Generator().manual_seed(0)
    frames, rewards = np.zeros((101, 2, SIDE, SIDE), dtype=np.uint8), np.zeros(100, dtype=np.float32)
    for _ in range(size // 100):
        replay.add(Episode(frames, np.zeros(100, dtype=np.int64), rewards, True))
    benchmark(lambda: (replay.sample(32, generator, gamma=0.9), replay.sample_episode(generator)))
    seconds[f"of {size}"] = benchmark.stats.stats.min
    if size == 100_000:
        ratio = seconds["of 100000"] / seconds["of 1000"]
        with capsys.disabled():
            print(f"\na minibatch of 1,000 steps: {1e6 * seconds['of 1000']:.0f} us, of 100,000 {ratio:.2f} times")
