"""The replay against a plain list of all transitions, and against Gymnasium's own stacks of frames."""

from __future__ import annotations

import io
from collections import Counter, deque

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.wrappers import FrameStackObservation
from tensors import seeded

from labkit.papers.episode_replay import (
    Episode,
    EpisodeReplay,
    action_count,
    play_episode,
    remember_episode,
    require_fraction,
)


def episode(number: int, steps: int, terminated: bool = True) -> Episode:
    """Frames, actions and rewards that say of which episode and step they are: 1000 number + step."""
    told = 1000 * number + np.arange(steps + 1)
    return Episode(told, told[:-1] + 100_000, told[:-1].astype(np.float32), terminated)


def contents(replay: EpisodeReplay) -> list[int]:
    return [int(frame) for kept in replay.episodes for frame in kept.frames[:-1]]


class Counting(gymnasium.Env):
    """What is seen counts the steps since the reset; truncated after 5 steps, terminated if action 1 was taken."""

    observation_space, action_space = Box(0, 255, (2, 2), np.uint8), Discrete(2)

    def __init__(self, give=np.array) -> None:
        self.seen, self.give = np.zeros((2, 2), dtype=np.uint8), give

    def reset(self, *, seed=None, options=None):
        self.seed, self.seen[:] = seed, 0
        return self.give(self.seen), {}

    def step(self, action):
        self.seen += 1
        return self.give(self.seen), 0.5, action == 1, int(self.seen[0, 0]) == 5, {}


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_whole_episodes_are_kept_and_the_oldest_go_first() -> None:
    replay = EpisodeReplay(10)
    kept = [episode(number, steps) for number, steps in enumerate([4, 3, 3, 2, 7])]
    for each, expected in zip(kept, [kept[:1], kept[:2], kept[:3], kept[1:4], kept[3:5]], strict=True):
        replay.add(each)
        assert replay.episodes == expected
        assert len(replay) == sum(map(len, expected)) <= 10
    replay.add(longest := episode(9, 10))
    assert replay.episodes == [longest]


@pytest.mark.parametrize("seed", range(5))
def test_after_many_rounds_of_the_circle_it_holds_what_a_plain_list_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    replay, plain = EpisodeReplay(37), deque()
    for number in range(300):
        replay.add(added := episode(number, int(rng.integers(1, 20))))
        plain.append(added)
        while sum(map(len, plain)) > 37:
            plain.popleft()
        assert contents(replay) == [int(frame) for kept in plain for frame in kept.frames[:-1]]
        drawn = replay.sample(20, seeded(number), gamma=0.9)
        assert (drawn.following == drawn.observations + 1).all()  # the same episode, one step on
        assert (drawn.actions == drawn.observations + 100_000).all()
        assert set(drawn.observations.tolist()) <= set(contents(replay))


@pytest.mark.parametrize("seed", range(5))
def test_a_plain_memory_keeps_the_episodes_that_the_replay_keeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    replay, memory = EpisodeReplay(20), []
    for number in range(50):
        replay.add(added := episode(number, int(rng.integers(1, 21))))
        before = list(memory)
        after = remember_episode(memory, added, 20)
        assert memory == before
        memory = after
        assert memory == replay.episodes


def test_a_plain_memory_refuses_an_episode_that_it_has_no_room_for() -> None:
    with pytest.raises(ValueError, match="longer than the replay's capacity of 3"):
        remember_episode([episode(0, 2)], episode(1, 4), 3)


def test_each_transition_and_each_episode_is_drawn_equally_often() -> None:
    replay = EpisodeReplay(12)
    for number, steps in enumerate([5, 6, 1, 3, 7]):
        replay.add(episode(number, steps))
    generator = seeded()
    transitions = Counter(replay.sample(22_000, generator, gamma=0.9).observations.tolist())
    assert set(transitions) == set(contents(replay))
    assert all(abs(often - 2000) < 5 * 2000**0.5 for often in transitions.values())
    episodes = Counter(len(replay.sample_episode(generator)) for _ in range(3000))
    assert set(episodes) == {1, 3, 7}
    assert all(abs(often - 1000) < 5 * 1000**0.5 for often in episodes.values())


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("n_steps", [1, 3, 20])
def test_n_steps_end_with_the_episode_and_only_a_terminal_state_has_no_future(n_steps: int, terminated: bool) -> None:
    replay, gamma = EpisodeReplay(100), 0.9
    replay.add(kept := episode(0, 7, terminated))
    drawn = replay.sample(200, seeded(), gamma=gamma, n_steps=n_steps)
    for seen, _, returns, following, discount in zip(*drawn, strict=True):
        k = int(seen)
        end = min(k + n_steps, 7)
        assert returns == pytest.approx(sum(gamma**i * r for i, r in enumerate(kept.rewards[k:end])))
        assert following == end
        assert discount == pytest.approx(0 if terminated and end == 7 else gamma ** (end - k))
    assert drawn.returns.dtype == drawn.discounts.dtype == torch.float32


def test_equal_generators_draw_the_same_also_after_a_checkpoint() -> None:
    replay = EpisodeReplay(15)
    for number, steps in enumerate([5, 6, 1, 3, 7]):
        replay.add(episode(number, steps, terminated=number % 2 == 0))
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    again = EpisodeReplay(15)
    again.add(episode(99, 15))
    again.load_state_dict(torch.load(file, weights_only=True))
    assert contents(again) == contents(replay)
    for both in (replay, again):
        both.add(episode(5, 4))
    first, second = (both.sample(50, seeded(1), gamma=0.9, n_steps=2) for both in (replay, again))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert replay.sample_episode(seeded(2)).frames.tolist() == again.sample_episode(seeded(2)).frames.tolist()


# ---- frames ---------------------------------------------------------------------------------------------------------


def test_a_stack_of_frames_is_put_together_again_as_gymnasium_had_it() -> None:
    env = FrameStackObservation(Counting(), 3)
    seen = [env.reset()[0]] + [env.step(0)[0] for _ in range(5)]
    kept = play_episode(env, lambda _: 0, seed=0, longest=5, stack=3)
    assert kept.frames.shape == (6, 2, 2)  # each frame once
    for k in range(6):
        assert kept.observation(k).tolist() == seen[k].tolist()
    observations, actions, rewards = kept.last(2)
    assert observations.tolist() == np.stack(seen[3:]).tolist()
    assert (actions.tolist(), rewards.tolist()) == ([0, 0], [0.5, 0.5])


def test_a_frame_is_stored_once_in_the_bytes_it_has() -> None:
    replay = EpisodeReplay(1000)
    frames = np.zeros((101, 84, 84), dtype=np.uint8)
    replay.add(Episode(frames, np.zeros(100, dtype=np.int64), np.zeros(100, dtype=np.float32), True, stack=4))
    assert replay.nbytes == 101 * 84 * 84 + 100 * (8 + 4) + 1000 * 8
    assert replay.sample(5, seeded(), gamma=0.99).observations.shape == (5, 4, 84, 84)


# ---- playing --------------------------------------------------------------------------------------------------------


def test_an_episode_is_played_to_its_end_and_knows_which_end_it_is() -> None:
    env, seen, steps = Counting(give=lambda seen: seen), [], []

    def act(observation: np.ndarray) -> int:
        seen.append(int(observation[0, 0]))
        return int(len(seen) == 3)

    kept = play_episode(env, act, seed=7, longest=5, after_step=lambda: steps.append(len(seen)))
    assert env.seed == 7
    assert (seen, steps) == ([0, 1, 2], [1, 2, 3])
    assert kept.frames[:, 0, 0].tolist() == [0, 1, 2, 3]  # although the environment wrote over what it gave
    assert (kept.actions.tolist(), kept.terminated) == ([0, 0, 1], True)
    assert not play_episode(env, lambda _: 0, seed=7, longest=5).terminated


def test_an_episode_that_never_ends_is_stopped() -> None:
    with pytest.raises(ValueError, match="longer than the replay's capacity of 4 transitions"):
        play_episode(Counting(), lambda _: 0, seed=0, longest=4)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "actions", "rewards", "message"),
    [
        (1, [], [], "got 1 frames, 0 actions and 0 rewards"),
        (2, [0, 1], [0.0, 0.0], "T \\+ 1 frames"),
        (3, [0, 1], [0.0], "T rewards"),
        (3, [0, 1], [0.0, float("nan")], "NaN or infinite"),
        (2, [0], [float("inf")], "NaN or infinite"),
    ],
)
def test_what_is_no_episode_is_refused(frames: int, actions: list, rewards: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Episode(np.zeros(frames), np.array(actions), np.array(rewards), True)


def test_an_episode_of_one_step_is_one() -> None:
    replay = EpisodeReplay(1)
    replay.add(episode(3, 1))
    assert replay.sample_episode(seeded()).frames.tolist() == [3000, 3001]


def test_what_does_not_fit_and_what_is_not_there_is_refused() -> None:
    replay = EpisodeReplay(5)
    for draw in (lambda: replay.sample(3, seeded(), gamma=0.9), lambda: replay.sample_episode(seeded())):
        with pytest.raises(ValueError, match="replay is empty"):
            draw()
    with pytest.raises(ValueError, match="longer than the replay's capacity of 5"):
        replay.add(episode(0, 6))
    assert len(replay) == 0
    with pytest.raises(ValueError, match="at least one transition"):
        EpisodeReplay(0)


@pytest.mark.parametrize("space", [Box(-1, 1, (2,)), MultiDiscrete([2, 2]), Discrete(3, start=1)], ids=str)
def test_actions_that_cannot_be_numbered_from_0_are_refused(space: gymnasium.Space) -> None:
    with pytest.raises(ValueError, match="Discrete space from 0"):
        action_count(space)
    assert action_count(Discrete(3)) == 3


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_fraction_lies_between_0_and_1(value: float) -> None:
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\]"):
        require_fraction(value, "beta")
