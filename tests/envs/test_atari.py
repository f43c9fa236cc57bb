"""Atari games with their wrappers, where the extra `atari` is installed, and what is said where it is not."""

from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from labkit.envs.atari import EpisodicLife, make_atari


class Lives:
    """Stands for the emulator: it only knows how many lives are left."""

    def __init__(self) -> None:
        self.left = 0

    def lives(self) -> int:
        return self.left


class GameOfTwoLives(gymnasium.Env):
    """Action 1 loses a life; what is seen is the number of the game, and how many steps it is old."""

    observation_space, action_space = Box(0, 100, (2,), np.int64), Discrete(2)

    def __init__(self) -> None:
        self.ale, self.game, self.seeds = Lives(), 0, []

    def reset(self, *, seed=None, options=None):
        self.game, self.age, self.ale.left = self.game + 1, 0, 2
        self.seeds.append(seed)
        return np.array([self.game, 0]), {}

    def step(self, action):
        self.age += 1
        self.ale.left -= action
        return np.array([self.game, self.age]), 1.0, self.ale.left == 0, self.age == 6, {}


def test_a_lost_life_ends_the_episode_and_the_next_one_goes_on_with_the_same_game() -> None:
    env = EpisodicLife(GameOfTwoLives())
    assert env.reset(seed=1)[0].tolist() == [1, 0]
    assert env.step(0)[2:4] == (False, False)
    assert env.step(1)[2:4] == (True, False)
    assert env.reset(seed=2)[0].tolist() == [1, 3]  # one step further, to see the new life
    assert env.step(1)[2:4] == (True, False)
    assert env.reset(seed=3)[0].tolist() == [2, 0]
    assert env.unwrapped.seeds == [1, 3]


def test_a_truncated_game_is_over() -> None:
    env = EpisodicLife(GameOfTwoLives())
    env.reset()
    assert [env.step(0)[2:4] for _ in range(6)][-2:] == [(False, False), (False, True)]
    assert env.reset()[0].tolist() == [2, 0]


def test_a_game_that_is_cut_off_between_two_lives_begins_anew() -> None:
    env = EpisodicLife(GameOfTwoLives())
    env.reset()
    for action in (0, 0, 0, 0, 1):
        env.step(action)
    assert env.reset()[0].tolist() == [2, 0]


def test_without_the_extra_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ModuleNotFoundError, match="extra `atari`"):
        make_atari("Pong", training=True)


# ---- with the emulator ----------------------------------------------------------------------------------------------


def game(name: str, **settings: object) -> gymnasium.Env:
    pytest.importorskip("ale_py", reason="the extra `atari` is not installed")
    pytest.importorskip("cv2", reason="the extra `atari` is not installed")
    return make_atari(name, **settings)


def play(env: gymnasium.Env, seed: int, steps: int) -> list[tuple]:
    actions = np.random.default_rng(seed).integers(env.action_space.n, size=steps)
    seen, _ = env.reset(seed=seed)
    story = [(seen,)]
    for action in actions:
        seen, reward, terminated, truncated, info = env.step(action)
        story.append((seen, reward, terminated, truncated, info["lives"]))
        if terminated or truncated:
            env.reset()
    return story


def test_one_sees_the_last_four_grey_frames_and_the_oldest_comes_first() -> None:
    env = game("Breakout", training=True)
    assert env.observation_space == Box(0, 255, (4, 84, 84), np.uint8)
    assert env.action_space == Discrete(4)
    (before,), *after = play(env, 0, 8)
    assert (before == before[0]).all()
    for seen, *_ in after:
        assert (seen[:3] == before[1:]).all()
        before = seen
    assert len(np.unique(before)) > 3


def test_in_training_each_lost_life_ends_an_episode_of_one_game() -> None:
    story = play(game("Breakout", training=True), 0, 300)
    lives = [step[4] for step in story[1:]]
    ended = [step[2] for step in story[1:]]
    assert ended.count(True) >= 4
    for before, now, end in zip(lives, lives[1:], ended[1:], strict=False):
        assert end == (now < before)


def test_in_testing_an_episode_is_a_game() -> None:
    story = play(game("Breakout", training=False), 0, 300)
    assert all(end == (lives == 0) for _, _, end, _, lives in story[1:])
    assert any(end for _, _, end, _, _ in story[1:])


def test_rewards_are_clipped_in_training_only() -> None:
    def rewards(training: bool) -> set[float]:
        return {step[1] for step in play(game("SpaceInvaders", training=training), 0, 200)[1:]}

    assert rewards(True) == {0.0, 1.0}
    assert max(rewards(False)) >= 5


def test_a_game_is_cut_off_after_its_last_decision() -> None:
    env = game("Breakout", training=False, max_steps=20)
    env.reset(seed=0)
    truncated = False
    while not truncated:
        *_, terminated, truncated, info = env.step(0)
    assert (terminated, info["episode_frame_number"]) == (False, 4 * 20)


def test_the_same_seed_plays_the_same_game() -> None:
    def seen(seed: int) -> list:
        return [step[0].tolist() for step in play(game("Breakout", training=True), seed, 20)]

    assert seen(1) == seen(1)
    assert seen(1) != seen(2)


def test_an_unknown_game_is_gymnasiums_own_error() -> None:
    with pytest.raises(gymnasium.error.Error):
        game("Tetris99", training=True)
