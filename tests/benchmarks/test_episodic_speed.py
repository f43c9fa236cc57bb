"""Episodic backward update: targets beside the textbook's loop over steps, agents beside Stable-Baselines3, and memory.

The agents play the same maze with the same network, batch size, optimizer and number of updates for each step.
"""

from __future__ import annotations

import gc
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
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
    dense_network,
    train,
)
from labkit.papers.episodic_lockstep import train_together

EPISODES, STEPS, ACTIONS = 64, 200, 4
SIDE, HIDDEN, WARM_UP, PLAYED = 7, 64, 500, 1_500  # of the agents
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


def six_agents() -> list[DQNAgent]:
    """Three of each kind, which have not begun yet."""
    settings = Settings(gamma=0.9, capacity=50_000, warm_up=WARM_UP, sync_every=100, epsilon_steps=WARM_UP + PLAYED)
    agents = []
    for seed in range(3):
        for kind in (DQNAgent, EBUAgent):
            g = torch.Generator().manual_seed(seed)
            agents.append(kind(dense_network(2 * SIDE**2, HIDDEN, ACTIONS, g), settings, g, ADAM))
    return agents


def one_after_the_other(agents: list[DQNAgent]) -> None:
    for agent in agents:
        train(agent, maze(), WARM_UP + PLAYED)


def in_lockstep(agents: list[DQNAgent]) -> None:
    train_together(agents, [maze() for _ in agents], WARM_UP + PLAYED)


@pytest.mark.parametrize("way", [in_lockstep, one_after_the_other], ids=lambda way: way.__name__)
def test_six_agents_in_the_maze(benchmark, capsys, way) -> None:
    benchmark.pedantic(way, setup=lambda: ((six_agents(),), {}), rounds=2)
    seconds[way.__name__] = benchmark.stats.stats.min
    if way is one_after_the_other:
        ratio = seconds["one_after_the_other"] / seconds["in_lockstep"]
        with capsys.disabled():
            print(f"\nsix agents, {WARM_UP + PLAYED} steps each: in lockstep {seconds['in_lockstep']:.1f} s, ", end="")
            print(f"one after the other {ratio:.1f} times that")
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
