"""The probes: true values by value iteration on what their own steps show."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from labkit.envs.probes import PROBES, VectorProbe

COUNT = 32


def observed(name: str) -> dict[tuple[float, int], tuple[float, float, bool]]:
    """What each state and action led to in episodes of random actions: reward, next state, whether it was the end."""
    env, rng, found = VectorProbe(name, COUNT), np.random.default_rng(0), {}
    seen, _ = env.reset(seed=1)  # other chance than that of the actions
    for _ in range(20):
        actions = rng.integers(2, size=COUNT)
        following, rewards, terminated, truncated, _ = env.step(actions)
        assert not truncated.any()
        columns = (x.tolist() for x in (seen[:, 0], actions, rewards, following[:, 0], terminated))
        for state, action, *led_to in zip(*columns, strict=True):
            assert found.setdefault((state, action), tuple(led_to)) == tuple(led_to)  # nothing is left to chance
        seen = following
        seen[terminated] = env.reset(options={"reset_mask": terminated})[0][terminated]
    return found


@pytest.mark.parametrize("gamma", [0.5, 0.9])
@pytest.mark.parametrize("name", PROBES)
def test_the_values_that_are_expected_are_those_of_value_iteration(name: str, gamma: float) -> None:
    led_to = observed(name)
    q = dict.fromkeys(led_to, 0.0)
    for _ in range(3):  # no episode is longer than two steps
        best = {state: max(q[state, action] for action in (0, 1)) for state, _ in q}
        q = {key: reward + gamma * (not over) * best.get(state, 0) for key, (reward, state, over) in led_to.items()}
    states, values = VectorProbe(name, 1).expected(gamma)
    told = {(state, a): row[a] for (state,), row in zip(states.tolist(), values.tolist(), strict=True) for a in (0, 1)}
    assert told == pytest.approx(q)
    assert (states.dtype, values.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(("name", "steps"), [(name, 2 if name == "two steps" else 1) for name in PROBES])
def test_an_episode_ends_after_its_reward(name: str, steps: int) -> None:
    env = VectorProbe(name, 3)
    env.reset(seed=0)
    ends = [env.step(np.ones(3, dtype=int))[2].tolist() for _ in range(steps)]
    assert ends == [[False] * 3] * (steps - 1) + [[True] * 3]


def test_only_the_masked_ones_begin_anew() -> None:
    env = VectorProbe("two steps", 4)
    assert env.reset(seed=0)[0].tolist() == [[0]] * 4
    assert env.step(np.zeros(4, dtype=int))[0].tolist() == [[1]] * 4
    begun, _ = env.reset(options={"reset_mask": np.array([True, False, True, False])})
    assert begun.tolist() == [[0], [1], [0], [1]]
    _, rewards, terminated, _, _ = env.step(np.zeros(4, dtype=int))
    assert rewards.tolist() == [0, 1, 0, 1]
    assert terminated.tolist() == [False, True, False, True]


@pytest.mark.parametrize("name", ["which state", "both"])
def test_whoever_begins_anew_sees_one_number_or_the_other_equally_often_and_the_rest_keep_theirs(name: str) -> None:
    env = VectorProbe(name, 1000)
    first, _ = env.reset(seed=0)
    mask = np.arange(1000) < 500
    second, _ = env.reset(options={"reset_mask": mask})
    assert (second[~mask] == first[~mask]).all()
    assert (second[mask] != first[mask]).mean() == pytest.approx(0.5, abs=0.1)
    assert set(np.unique(first)) == {-1, 1}
    assert first.mean() == pytest.approx(0, abs=0.15)


def test_what_was_seen_does_not_change_and_the_same_seed_shows_the_same() -> None:
    env = VectorProbe("both", 50)
    first, _ = env.reset(seed=3)
    before = first.copy()
    env.step(np.ones(50, dtype=int))
    env.reset()
    assert (first == before).all()
    assert (env.reset(seed=3)[0] == first).all()
    assert (env.reset(seed=4)[0] != first).any()


@pytest.mark.parametrize("name", PROBES)
def test_what_is_seen_lies_in_the_spaces_that_are_told(name: str) -> None:
    env = VectorProbe(name, 5)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert env.observation_space.contains(env.reset(seed=0)[0])
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="'three steps' is no probe: take one of a reward, which state, two steps"):
        VectorProbe("three steps", 1)
