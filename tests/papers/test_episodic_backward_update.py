"""The backward update against cases worked out by hand, the plain recursion, and what the paper's idea promises."""

from __future__ import annotations

import io
import math
from functools import partial

import gymnasium
import numpy as np
import pytest
import scipy.stats
import torch
from corridor import Corridor
from gymnasium.spaces import Box, Discrete
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.envs.maze import Maze, VectorMaze, draw_walls, shortest_path
from labkit.exercises import episodic_backward_update as lesson
from labkit.papers import episodic_backward_update as paper
from labkit.papers.episodic_backward_update import (
    AdaptiveEBU,
    DQNAgent,
    EBUAgent,
    Episode,
    EpisodeReplay,
    Settings,
    backward_minibatches,
    backward_q_learning,
    backward_sweep,
    backward_targets,
    backward_targets_batched,
    dense_network,
    ebu_minibatches,
    gradient_step,
    rollouts,
    simulate_uniform_updates,
    tabular_ebu,
    train,
    uniform_updates_mean,
    uniform_updates_pmf,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def plain_targets(rewards: Tensor, q_next: Tensor, actions: Tensor, gamma: float, beta: float, terminated: bool):
    """Algorithm 2 word for word, with a table that has an action in each row and a step in each column."""
    T = len(rewards)
    table, y = q_next.T.clone(), torch.zeros_like(rewards)  # (A, T)
    y[T - 1] = rewards[T - 1] + (0 if terminated else gamma * table[:, T - 1].max())
    for k in range(T - 2, -1, -1):
        table[actions[k + 1], k] = beta * y[k + 1] + (1 - beta) * table[actions[k + 1], k]
        y[k] = rewards[k] + gamma * table[:, k].max()
    return y


def random_episode(T: int, A: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards (T,), q_next (T, A), actions (T,)."""
    return normal(T, seed=seed), normal(T, A, seed=seed + 1), torch.randint(A, (T,), generator=seeded(seed))


def returns(rewards: Tensor, gamma: float) -> Tensor:
    """The discounted sum of rewards from each step on."""
    found = rewards.clone()
    for k in reversed(range(len(found) - 1)):
        found[k] += gamma * found[k + 1]
    return found


# ---- targets of one episode -----------------------------------------------------------------------------------------

CHAIN = {0.0: [0, 0, 0, 0, 1], 0.5: [0.04100625, 0.091125, 0.2025, 0.45, 1], 1.0: [0.6561, 0.729, 0.81, 0.9, 1]}


@pytest.mark.parametrize("beta", CHAIN)
def test_on_the_chain_of_five_steps_a_reward_n_steps_ahead_counts_beta_gamma_to_the_n(beta: float) -> None:
    rewards, q_next = torch.tensor([0, 0, 0, 0, 1.0]).double(), torch.zeros(5, 2).double()
    y = backward_targets(rewards, q_next, torch.tensor([1, 0, 1, 1, 0]), gamma=0.9, beta=beta)
    torch.testing.assert_close(y, torch.tensor(CHAIN[beta]).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(y.flip(0), (beta * 0.9) ** torch.arange(5.0).double(), rtol=0, atol=1e-6)


WORKED = {0.0: [0.27, 1.45, 0.54, 2], 0.5: [0.788175, 1.7515, 1.17, 2], 1.0: [2.358, 2.62, 1.8, 2]}


@pytest.mark.parametrize("anything", [9.0, math.nan])
@pytest.mark.parametrize("beta", WORKED)
def test_the_worked_case_in_which_actions_differ(beta: float, anything: float) -> None:
    q_next = torch.tensor([[0.3, 0], [0.5, 0.4], [0.2, 0.6], [anything, anything]]).double()  # Q^ of s2, s3, s4, s5
    rewards, actions = torch.tensor([0, 1.0, 0, 2]).double(), torch.tensor([0, 1, 0, 1])
    y = backward_targets(rewards, q_next, actions, gamma=0.9, beta=beta)
    torch.testing.assert_close(y, torch.tensor(WORKED[beta]).double(), rtol=0, atol=1e-6)
    batched = backward_targets_batched(rewards[None], q_next[None], actions[None], gamma=0.9, beta=beta)
    torch.testing.assert_close(batched[0], y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_beta_0_gives_one_step_targets_on_random_input(seed: int, terminated: bool) -> None:
    rewards, q_next, actions = random_episode(20, 4, seed)
    done = torch.zeros(20).double()
    done[-1] = terminated
    y = backward_targets(rewards, q_next, actions, gamma=0.97, beta=0.0, terminated=terminated)
    torch.testing.assert_close(y, rewards + 0.97 * q_next.amax(1) * (1 - done), rtol=0, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_gamma_0_gives_the_rewards(beta: float) -> None:
    rewards, q_next, actions = random_episode(20, 4, 0)
    assert torch.equal(backward_targets(rewards, q_next, actions, gamma=0.0, beta=beta, terminated=False), rewards)


def test_an_episode_of_one_step_has_its_reward_and_if_truncated_the_value_of_what_follows() -> None:
    rewards, q_next, actions = torch.tensor([2.0]), torch.tensor([[3.0, 4.0]]), torch.tensor([1])
    assert backward_targets(rewards, q_next, actions, gamma=0.5, beta=0.5).tolist() == [2.0]
    assert backward_targets(rewards, q_next, actions, gamma=0.5, beta=0.5, terminated=False).tolist() == [4.0]


def test_the_value_behind_a_truncation_goes_backward_like_a_reward() -> None:
    rewards, q_next = torch.zeros(4).double(), torch.zeros(4, 2).double()
    q_next[-1] = torch.tensor([-1.0, 10.0])
    settings = {"gamma": 0.9, "beta": 0.5}
    y = backward_targets(rewards, q_next, torch.zeros(4).long(), **settings, terminated=False)
    torch.testing.assert_close(y, 9 * 0.45 ** torch.arange(3, -1, -1).double())
    assert backward_targets(rewards, q_next, torch.zeros(4).long(), **settings).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_where_no_value_is_above_its_one_step_target_targets_do_not_fall_with_beta(seed: int) -> None:
    rewards, q_next, actions = random_episode(15, 3, seed)
    for k in reversed(range(14)):  # the taken action is worth no more than what one step further is known
        known = rewards[k + 1] + (0 if k == 13 else 0.9 * q_next[k + 1].max())
        q_next[k, actions[k + 1]] = known - q_next[k, actions[k + 1]].abs()
    ys = torch.stack([backward_targets(rewards, q_next, actions, gamma=0.9, beta=b / 10) for b in range(11)])
    assert (ys.diff(dim=0) >= -1e-9).all()
    assert (ys.diff(dim=0) > 1e-3).any()


@pytest.mark.parametrize("seed", range(5))
def test_where_no_value_is_above_the_return_no_target_is_and_beta_1_reaches_it(seed: int) -> None:
    rewards, surplus, actions = random_episode(15, 3, seed)
    g = returns(rewards, 0.9)
    q_next = torch.cat([g[1:], torch.zeros(1).double()])[:, None] - surplus.abs()
    ys = torch.stack([backward_targets(rewards, q_next, actions, gamma=0.9, beta=b / 10) for b in range(11)])
    assert (ys <= g + 1e-9).all()
    torch.testing.assert_close(ys[-1], g)


def test_values_below_the_return_alone_do_not_keep_a_target_from_falling_with_beta() -> None:
    rewards, q_next = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([[0.9], [0.0], [0.0]])  # returns 0.81, 0.9, 1
    first = [
        backward_targets(rewards, q_next, torch.zeros(3).long(), gamma=0.9, beta=beta)[0].item() for beta in (0, 0.5, 1)
    ]
    assert first == pytest.approx([0.81, 0.6075, 0.81])


def test_beta_1_is_not_the_return_where_another_action_has_a_larger_value() -> None:
    rewards, q_next = torch.tensor([0.0, 1.0]), torch.tensor([[5.0, 0.0], [0.0, 0.0]])
    assert backward_targets(rewards, q_next, torch.tensor([0, 1]), gamma=0.5, beta=1.0).tolist() == [2.5, 1.0]
    assert backward_targets(rewards, q_next, torch.tensor([0, 0]), gamma=0.5, beta=1.0).tolist() == [0.5, 1.0]


def test_where_the_taken_action_stays_the_best_beta_is_the_lambda_of_a_lambda_return() -> None:
    rewards, values, actions = random_episode(15, 3, 0)
    rewards, taken = rewards.abs(), values[:, 0].abs()
    q_next = values.clamp(max=0) - 1
    q_next[torch.arange(14), actions[1:]] = taken[:14]
    y = backward_targets(rewards, q_next, actions, gamma=0.9, beta=0.7)
    for k in range(14):
        assert y[k].item() == pytest.approx((rewards[k] + 0.9 * (0.7 * y[k + 1] + 0.3 * taken[k])).item())


def test_the_first_action_is_of_no_account_and_each_later_one_is() -> None:
    rewards, q_next, actions = random_episode(5, 3, 1)
    y = backward_targets(rewards, q_next, actions, gamma=0.9, beta=0.9)
    changed = {}
    for k in range(5):
        others = actions.clone()
        others[k] = (others[k] + 1) % 3
        changed[k] = (backward_targets(rewards, q_next, others, gamma=0.9, beta=0.9) != y).tolist()
    assert changed[0] == [False] * 5
    assert all(changed[k][k - 1] and not any(changed[k][k:]) for k in (1, 3, 4))


@pytest.mark.parametrize("targets", [backward_targets, backward_targets_batched])
@pytest.mark.parametrize(("T", "A"), [(9, 4), (1, 4), (9, 1)])
def test_the_networks_output_is_never_changed_and_targets_have_no_gradient(targets, T: int, A: int) -> None:
    rewards, q_next, actions = random_episode(T, A, 0)
    if targets is backward_targets_batched:
        rewards, q_next, actions = rewards[None], q_next[None], actions[None]
    given = q_next.requires_grad_() * 1  # as a network gives it
    before = [x.clone() for x in (rewards, given, actions)]
    y = targets(rewards, given, actions, gamma=0.9, beta=0.5, terminated=True)
    assert not y.requires_grad
    assert all(torch.equal(x, y) for x, y in zip((rewards, given, actions), before, strict=True))


# ---- targets of many episodes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminated", [True, False])
def test_the_batched_targets_of_a_single_step_leave_the_table_as_it_was(terminated: bool) -> None:
    q_next = torch.tensor([[[1.0, 2.0]]])
    given = q_next.clone()
    backward_targets_batched(torch.ones(1, 1), q_next, torch.zeros(1, 1, dtype=torch.long), gamma=0.9, beta=0.5,
                             terminated=terminated)  # fmt: skip
    assert torch.equal(q_next, given)


@pytest.mark.parametrize("A", [1, 2, 5])
@pytest.mark.parametrize("longest", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_the_batched_version_equals_the_loop_whatever_the_padding_holds(A: int, longest: int, gamma: float) -> None:
    B = 6
    lengths = torch.randint(1, longest + 1, (B,), generator=seeded(longest))
    lengths[0] = longest
    betas, terminated = torch.linspace(0, 1, B), torch.arange(B) % 2 == 0
    mask = torch.arange(longest) < lengths[:, None]
    rewards, q_next = torch.full((B, longest), math.nan).double(), torch.full((B, longest, A), math.nan).double()
    actions, expected = torch.full((B, longest), -7), torch.zeros(B, longest).double()
    for i, T in enumerate(lengths.tolist()):
        episode = random_episode(T, A, seed=i)
        rewards[i, :T], q_next[i, :T], actions[i, :T] = episode
        expected[i, :T] = plain_targets(*episode, gamma, betas[i].item(), terminated[i].item())
        looped = backward_targets(*episode, gamma=gamma, beta=betas[i].item(), terminated=terminated[i].item())
        torch.testing.assert_close(looped, expected[i, :T], rtol=0, atol=1e-6)
    y = backward_targets_batched(rewards, q_next, actions, mask, gamma=gamma, beta=betas, terminated=terminated)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)


def test_long_episodes_in_single_precision_lose_none_of_it() -> None:
    rewards, q_next, actions = (
        torch.stack(x) for x in zip(*(random_episode(500, 4, seed) for seed in range(3)), strict=True)
    )
    expected = torch.stack(
        [plain_targets(*episode, 0.99, 0.9, True) for episode in zip(rewards, q_next, actions, strict=True)]
    )
    y = backward_targets_batched(rewards.float(), q_next.float(), actions, gamma=0.99, beta=0.9)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), expected, rtol=1e-6, atol=1e-5)
    one = backward_targets(rewards[0].float(), q_next[0].float(), actions[0], gamma=0.99, beta=0.9)
    assert one.dtype == torch.float32
    torch.testing.assert_close(one.double(), expected[0], rtol=1e-6, atol=1e-6)


# ---- targets that are refused ---------------------------------------------------------------------------------------

RIGHT = {"rewards": torch.zeros(3), "q_next": torch.zeros(3, 2), "actions": torch.zeros(3).long()}
WRONG = [
    ({"gamma": 1.1}, "gamma must lie in"),
    ({"gamma": math.nan}, "gamma must lie in"),
    ({"beta": -0.1}, "beta must lie in"),
    ({"beta": math.nan}, "beta must lie in"),
    ({"rewards": torch.zeros(0), "q_next": torch.zeros(0, 2), "actions": torch.zeros(0).long()}, "at least one step"),
    ({"q_next": torch.zeros(3, 0)}, "at least one step"),
    ({"q_next": torch.zeros(2, 3)}, "must be"),
    ({"rewards": torch.zeros(4)}, "must be"),
    ({"actions": torch.zeros(2).long()}, "must be"),
    ({"actions": torch.zeros(3)}, "actions integers"),
    ({"rewards": torch.zeros(3).long()}, "floating point"),
    ({"rewards": torch.tensor([0, math.nan, 0])}, "reward is NaN"),
    ({"rewards": torch.tensor([0, 0, math.inf])}, "reward is NaN"),
    ({"q_next": torch.tensor([[0.0, math.nan]] * 3)}, "network has diverged"),
    ({"q_next": torch.tensor([[math.nan, 0.0]] * 3)}, "network has diverged"),
    ({"actions": torch.tensor([0, 1, 2])}, "lie in 0 to 1, got 0 to 2"),
    ({"actions": torch.tensor([0, -1, 1])}, "lie in 0 to 1, got -1 to 1"),
]


@pytest.mark.parametrize("targets", [backward_targets, backward_targets_batched])
@pytest.mark.parametrize(("change", "message"), WRONG)
def test_input_that_makes_no_sense_is_refused_in_one_sentence(targets, change: dict, message: str) -> None:
    given = {"gamma": 0.9, "beta": 0.5} | RIGHT | change
    if targets is backward_targets_batched:
        given = {name: x[None] if isinstance(x, Tensor) else x for name, x in given.items()}
    with pytest.raises(ValueError, match=message):
        targets(**given)


@pytest.mark.parametrize("mask", [[[True, False, True]], [[False, True, True]], [[False] * 3], [[True, True]]])
def test_a_mask_with_a_gap_is_refused(mask: list) -> None:
    given = {name: x[None] for name, x in RIGHT.items()}
    with pytest.raises(ValueError, match="mask must be True"):
        backward_targets_batched(**given, mask=torch.tensor(mask), gamma=0.9, beta=0.5)


# ---- the chain ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("N", [1, 2, 5, 10])
def test_on_a_chain_of_n_uniform_updates_take_n_squared_on_average_and_are_negative_binomial(N: int) -> None:
    assert uniform_updates_mean([1] * N) == pytest.approx(N**2)
    pmf, updates = uniform_updates_pmf([1] * N, 60 * N**2), torch.arange(60 * N**2 + 1)
    assert pmf.sum().item() == pytest.approx(1)
    assert (pmf * updates).sum().item() == pytest.approx(N**2)
    expected = scipy.stats.nbinom(N, 1 / N).pmf(updates.numpy() - N)  # failures before the N-th success
    np.testing.assert_allclose(pmf.numpy(), expected, atol=1e-12)


def test_a_step_back_in_the_episode_changes_the_chances() -> None:
    # s1 -> s2 -> s3 -> s2 -> s3 -> s4: five steps, of which s2 -> s3 was made twice and s3 -> s2 leads back.
    assert uniform_updates_mean([1, 2, 1], others=1) == pytest.approx(5 + 2.5 + 5)
    pmf = uniform_updates_pmf([1, 2, 1], 400, others=1)
    assert pmf[:3].tolist() == [0, 0, 0]
    assert pmf[3].item() == pytest.approx(0.2 * 0.4 * 0.2)
    assert (pmf * torch.arange(401)).sum().item() == pytest.approx(12.5)


@pytest.mark.parametrize(("copies", "others"), [([1] * 5, 0), ([1, 2, 1], 1), ([3], 4)])
def test_q_learning_itself_takes_as_many_updates_as_the_analysis_says(copies: list[int], others: int) -> None:
    taken = simulate_uniform_updates(copies, 20_000, seeded(), others)
    pmf = uniform_updates_pmf(copies, int(taken.max()), others)
    often = torch.bincount(taken).double() / len(taken)
    assert (often.cumsum(0) - pmf.cumsum(0)).abs().max() < 1.95 / len(taken) ** 0.5  # Kolmogorov-Smirnov, 0.1 %
    assert taken.min() >= len(copies)


@pytest.mark.parametrize("copies", [[], [1, 0, 1]])
def test_a_path_that_was_never_walked_is_refused(copies: list[int]) -> None:
    for ask in (
        uniform_updates_mean,
        lambda c: uniform_updates_pmf(c, 5),
        lambda c: simulate_uniform_updates(c, 2, seeded()),
    ):
        with pytest.raises(ValueError, match="once or more"):
            ask(copies)


# ---- with a table ---------------------------------------------------------------------------------------------------


def chain(N: int, terminated: bool = True) -> Episode:
    rewards = np.zeros(N, dtype=np.float32)
    rewards[-1] = 1
    return Episode(np.arange(N + 1), np.zeros(N, dtype=np.int64), rewards, terminated)


@pytest.mark.parametrize("N", [1, 5, 20])
def test_one_backward_sweep_reaches_the_start_of_a_chain(N: int) -> None:
    q = torch.zeros(N + 1, 2).double()
    backward_sweep(q, chain(N), gamma=0.9)
    assert q[0].tolist() == pytest.approx([0.9 ** (N - 1), 0])
    assert q[:, 1].abs().max() == 0


def test_a_sweep_from_start_to_end_would_reach_one_step_only() -> None:
    q, forward = torch.zeros(6, 2).double(), chain(5)
    backwards = Episode(forward.frames, forward.actions, forward.rewards, True)
    for _ in range(2):
        backward_sweep(q, Episode(np.array([4, 5]), np.array([0]), np.array([1.0]), True), gamma=0.9)
    assert (q[:, 0] > 0).sum() == 1
    backward_sweep(q, backwards, gamma=0.9)
    assert (q[:, 0] > 0).sum() == 5


def test_a_step_size_averages_and_a_truncated_episode_goes_on() -> None:
    q = torch.tensor([[1.0, 4.0], [2.0, 0.0], [6.0, 8.0]]).double()
    backward_sweep(q, chain(2, terminated=False), gamma=0.5, alpha=0.25)
    last = 0.75 * 2 + 0.25 * (1 + 0.5 * 8)
    assert q.tolist() == [[0.75 * 1 + 0.25 * 0.5 * last, 4.0], [last, 0.0], [6.0, 8.0]]
    backward_sweep(q, chain(2), gamma=0.5)
    assert q.tolist() == [[0.5, 4.0], [1.0, 0.0], [6.0, 8.0]]


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_the_plain_sweep_equals_the_fast_one_and_leaves_the_old_table_alone(alpha: float, terminated: bool) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        walk = rng.integers(6, size=31), rng.integers(3, size=30), rng.normal(size=30).astype(np.float32)
        q = normal(6, 3, seed=seed)
        before = q.clone()
        steps = [torch.from_numpy(x) for x in walk]
        plain = backward_q_learning(q, *steps, gamma=0.9, alpha=alpha, terminated=terminated)
        assert torch.equal(q, before)
        backward_sweep(q, Episode(*walk, terminated), gamma=0.9, alpha=alpha)
        torch.testing.assert_close(plain, q)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.1}, "gamma must lie in"),
        ({"alpha": -0.1}, "alpha must lie in"),
        ({"states": torch.tensor([0, 1])}, "an episode has"),
        ({"states": torch.tensor([0]), "actions": torch.zeros(0).long(), "rewards": torch.zeros(0)}, "an episode has"),
        ({"rewards": torch.tensor([0, math.nan])}, "reward that is NaN"),
    ],
)
def test_a_sweep_over_what_is_no_episode_is_refused(change: dict, message: str) -> None:
    walk = {"states": torch.tensor([0, 1, 2]), "actions": torch.zeros(2).long(), "rewards": torch.zeros(2)}
    with pytest.raises(ValueError, match=message):
        backward_q_learning(torch.zeros(3, 2), **walk | {"gamma": 0.9} | change)


def solved_after(walls: np.ndarray, backward: bool, seed: int) -> int:
    """Updates until the greedy policy reaches the goal of a maze on a shortest way; the maze is deterministic."""
    first: list[int] = []
    test = VectorMaze(walls[None], max_steps=len(shortest_path(walls)) - 1)

    def look(q: Tensor, updates: int) -> bool:
        if rollouts(lambda s: q[torch.as_tensor(s)], test, seed=0).terminated.all():
            first.append(updates)
        return bool(first)

    tabular_ebu(Maze(walls), episodes=40, gamma=0.9, generator=seeded(seed), backward=backward, after_episode=look)
    return first[0] if first else 10**9


@pytest.mark.parametrize("density", [0.2, 0.5])
def test_in_most_mazes_backward_sweeps_need_fewer_updates_than_uniform_ones(density: float) -> None:
    mazes = [draw_walls(np.random.default_rng(seed), size=6, density=density) for seed in range(8)]
    fewer = [solved_after(walls, True, seed) < solved_after(walls, False, seed) for seed, walls in enumerate(mazes)]
    assert sum(fewer) >= 6


def test_uniform_updates_are_as_many_as_backward_ones_and_the_same_seed_gives_the_same_table() -> None:
    env, seen = Maze(draw_walls(np.random.default_rng(0), size=4), random_moves=0.2, max_steps=30), []

    def run(backward: bool, seed: int = 0) -> Tensor:
        updates = []
        settings = {"episodes": 5, "gamma": 0.9, "alpha": 0.5, "epsilon": 1.0}
        q = tabular_ebu(
            env,
            **settings,
            generator=seeded(seed),
            backward=backward,
            after_episode=lambda _, n: updates.append(n),
        )
        seen.append(updates)
        return q

    assert torch.equal(run(True), run(True))
    assert not torch.equal(run(True), run(True, seed=1))
    assert run(False).shape == (16, 4)
    assert len(seen[-1]) == 5
    assert seen[-1][0] == seen[0][0]  # the same first episode


def test_the_training_of_a_table_ends_when_it_is_told_to() -> None:
    env, seen = Maze(draw_walls(np.random.default_rng(0), size=4), max_steps=30), []

    def look(q: Tensor, updates: int) -> bool:
        seen.append((q.clone(), updates))
        return len(seen) == 3

    q = tabular_ebu(env, episodes=9, gamma=0.9, generator=seeded(), after_episode=look)
    assert len(seen) == 3
    assert torch.equal(q, seen[2][0])
    assert torch.equal(q, tabular_ebu(env, episodes=3, gamma=0.9, generator=seeded()))


class WithSpaces(gymnasium.Env):
    def __init__(self, observations: gymnasium.Space, actions: gymnasium.Space) -> None:
        self.observation_space, self.action_space = observations, actions


def test_a_table_needs_numbered_states_and_actions() -> None:
    settings = {"episodes": 1, "gamma": 0.9, "generator": seeded()}
    with pytest.raises(ValueError, match="numbered states"):
        tabular_ebu(WithSpaces(Box(0, 1, (2,)), Discrete(2)), **settings)
    with pytest.raises(ValueError, match="Discrete space from 0"):
        tabular_ebu(WithSpaces(Discrete(2), Box(0, 1, (2,))), **settings)
    with pytest.raises(ValueError, match="longer than the replay's capacity of 2"):
        tabular_ebu(Maze(np.zeros((3, 3), dtype=bool)), **settings, capacity=2)


@pytest.mark.parametrize("name", ["gamma", "alpha", "epsilon"])
def test_settings_of_a_table_are_fractions(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must lie in"):
        tabular_ebu(Maze(np.zeros((3, 3), dtype=bool)), **{"episodes": 1, "gamma": 0.9, "generator": seeded(), name: 2})


# ---- the deep agents ------------------------------------------------------------------------------------------------

SETTINGS = Settings(gamma=0.9, batch_size=8, capacity=200, warm_up=20, sync_every=5, epsilon_steps=100)


def adam(parameters) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-2, fused=True)


def network(seed: int = 0) -> nn.Module:
    return dense_network(2, 8, 4, seeded(seed))


def agent(kind: type, seed: int = 0, settings: Settings = SETTINGS, **more: object) -> DQNAgent:
    return kind(network(), settings, seeded(seed), adam, **more)


def random_walk(T: int, seed: int = 0, terminated: bool = True) -> Episode:
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=T).astype(np.float32)
    return Episode(rng.random((T + 1, 2)).astype(np.float32), rng.integers(4, size=T), rewards, terminated)


@pytest.mark.parametrize("terminated", [True, False])
def test_an_episode_is_reversed_cut_into_minibatches_and_filled_from_the_end_of_others(terminated: bool) -> None:
    ebu = agent(EBUAgent, beta=0.7)
    ebu.replay.add(walk := random_walk(19, terminated=terminated))
    minibatches = [ebu.next_minibatch() for _ in range(3)]
    observations, actions, targets = (torch.cat(column) for column in zip(*minibatches, strict=True))
    assert len(actions) == 24
    assert ebu.minibatches == []

    frames, taken, rewards = (torch.from_numpy(x) for x in (walk.frames, walk.actions, walk.rewards))
    order = [*range(18, -1, -1), *range(18, 13, -1)]  # the episode, and the last five steps of another: here, the same
    assert torch.equal(observations, frames[:-1][order])
    assert torch.equal(actions, taken[order])
    q_next = ebu.learner.target_values(frames[1:])
    y = backward_targets(rewards, q_next, taken, gamma=0.9, beta=0.7, terminated=terminated)
    torch.testing.assert_close(targets, y[order])


def test_a_minibatch_is_filled_with_several_short_episodes_and_a_full_one_with_none() -> None:
    ebu = agent(EBUAgent)
    for seed in range(3):
        ebu.replay.add(random_walk(3, seed))
    assert [len(x) for x in ebu.next_minibatch()] == [8, 8, 8]
    ebu = agent(EBUAgent)
    ebu.replay.add(random_walk(16))
    ebu.next_minibatch()
    assert len(ebu.minibatches) == 1


@pytest.mark.parametrize("T", [3, 8, 19])
def test_the_minibatches_of_an_agent_are_those_of_the_plain_function(T: int) -> None:
    ebu = agent(EBUAgent)
    ebu.replay.add(walk := random_walk(T))
    frames, taken, rewards = (torch.from_numpy(x) for x in (walk.frames, walk.actions, walk.rewards))
    y = backward_targets(rewards, ebu.learner.target_values(frames[1:]), taken, gamma=0.9, beta=0.5)
    filling = [torch.cat([x] * 3) for x in (frames[:-1], taken, y)]  # the replay has no other episode
    expected = [backward_minibatches(x, other, 8) for x, other in zip((frames[:-1], taken, y), filling, strict=True)]
    for number in range(math.ceil(T / 8)):
        for found, pieces in zip(ebu.next_minibatch(), expected, strict=True):
            torch.testing.assert_close(found, pieces[number])
    assert ebu.minibatches == []
    assert {len(pieces) for pieces in expected} == {math.ceil(T / 8)}


@pytest.mark.parametrize(("T", "F", "size"), [(0, 5, 2), (3, 5, 0), (3, 1, 5)])
def test_minibatches_that_cannot_be_made_are_refused(T: int, F: int, size: int) -> None:
    with pytest.raises(ValueError, match="do not make minibatches"):
        backward_minibatches(torch.zeros(T), torch.zeros(F), size)


# ---- Algorithm 2 without an agent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("lengths", [(5, 3), (6,), (1, 1, 9), (2, 7)])
def test_the_minibatches_of_a_drawn_episode_are_its_steps_from_the_end_and_then_those_of_the_next_ones(
    lengths: tuple[int, ...], terminated: bool
) -> None:
    walks = [random_walk(T, seed, terminated) for seed, T in enumerate(lengths)]
    drawn, q = iter(walks), network()
    found = ebu_minibatches(q, drawn.__next__, gamma=0.9, beta=0.3, size=3)
    expected = []
    for walk in walks:
        frames, actions, rewards = (torch.from_numpy(x) for x in (walk.frames, walk.actions, walk.rewards))
        y = plain_targets(rewards, q(frames[1:]).detach(), actions, 0.9, 0.3, terminated)
        expected += reversed([*zip(frames, actions, y, strict=False)])
    M = math.ceil(lengths[0] / 3)
    assert next(drawn, None) is None
    assert not found[2].requires_grad
    for column, steps in zip(found, zip(*expected[: 3 * M], strict=True), strict=True):
        torch.testing.assert_close(column, torch.stack(steps).unflatten(0, (M, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0, -1])
def test_minibatches_without_a_step_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="at least one step"):
        ebu_minibatches(network(), lambda: random_walk(3), gamma=0.9, beta=0.5, size=size)


def test_steps_go_down_the_clipped_errors_of_each_minibatch_in_turn() -> None:
    """For a linear network the gradient is written down at once: a clipped error times what was seen."""
    net, target, walk = nn.Linear(2, 4), nn.Linear(2, 4), random_walk(6)
    for seed, weights in enumerate([*net.parameters(), *target.parameters()]):
        weights.data = normal(*weights.shape, seed=seed).float()
    weight, bias = net.weight.detach().clone().double(), net.bias.detach().clone().double()
    kept = [x.clone() for x in target.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    minibatches = [*zip(*ebu_minibatches(target, lambda: walk, gamma=0.9, beta=0.5, size=3), strict=True)]
    found = [gradient_step(net, optimizer, *minibatch) for minibatch in minibatches]
    for loss, (seen, actions, y) in zip(found, minibatches, strict=True):
        errors = [(weight[a] @ s.double() + bias[a] - t).item() for s, a, t in zip(seen, actions, y, strict=True)]
        assert loss.item() == pytest.approx(sum(e * e / 2 if abs(e) < 1 else abs(e) - 0.5 for e in errors), rel=1e-5)
        for e, s, a in zip(errors, seen, actions, strict=True):
            weight[a] -= 0.1 * max(-1, min(1, e)) * s.double()
            bias[a] -= 0.1 * max(-1, min(1, e))
    torch.testing.assert_close(net.weight.double(), weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net.bias.double(), bias, rtol=1e-5, atol=1e-6)
    assert not any(loss.requires_grad for loss in found)
    assert all(torch.equal(x, before) for x, before in zip(target.parameters(), kept, strict=True))


def test_an_agent_and_the_plain_steps_go_to_the_same_weights() -> None:
    ebu, plain = agent(EBUAgent), agent(EBUAgent)
    ebu.replay.add(walk := random_walk(19))
    for _ in range(3):
        ebu.update()
    mine = plain.learner
    for minibatch in zip(*ebu_minibatches(mine.target_values, lambda: walk, gamma=0.9, beta=0.5, size=8), strict=True):
        gradient_step(mine.q_values, mine.optimizer, *minibatch)
    for one, other in zip(ebu.learner.network.parameters(), mine.network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


class WithPlainMinibatches(EBUAgent):
    """An agent whose minibatches come from `ebu_minibatches`."""

    def next_minibatch(self):
        if not self.minibatches:
            draw = partial(self.replay.sample_episode, self.generator)
            size, gamma = self.settings.batch_size, self.settings.gamma
            columns = ebu_minibatches(self.learner.target_values, draw, gamma=gamma, beta=self.beta, size=size)
            self.minibatches = list(zip(*columns, strict=True))
        return self.minibatches.pop(0)


class WithOwnSteps(WithPlainMinibatches):
    """An agent that in addition learns, and copies its network, by a learner's functions."""

    def update(self) -> None:
        learner, minibatch = self.learner, self.next_minibatch()
        lesson.gradient_step(learner.q_values, learner.optimizer, *minibatch)
        learner.updates += 1
        lesson.copy_to_target(learner.network, learner.target, learner.updates, self.settings.sync_every)


@pytest.mark.parametrize("kind", [WithPlainMinibatches, WithOwnSteps])
def test_an_agent_of_plain_minibatches_and_a_learners_steps_goes_the_way_of_the_other(kind: type) -> None:
    own, other = agent(kind), agent(EBUAgent)
    histories = [train(each, Corridor(), 150) for each in (own, other)]
    assert own.learner.updates == other.learner.updates > 0
    assert histories[0] == histories[1]
    for part in ("network", "target"):
        for one, same in zip(*(getattr(each.learner, part).parameters() for each in (own, other)), strict=True):
            torch.testing.assert_close(one, same)


def test_an_agent_with_a_learners_steps_learns_the_way_along_a_corridor() -> None:
    settings = Settings(gamma=0.9, batch_size=16, capacity=2000, warm_up=50, sync_every=50, epsilon_steps=400)
    own = agent(WithOwnSteps, settings=settings)
    train(own, Corridor(), 600)
    test = gymnasium.vector.SyncVectorEnv([Corridor] * 3)
    assert rollouts(own.q_values, test, seed=0).lengths.max() <= 5


# ---- agents ---------------------------------------------------------------------------------------------------------


def test_targets_are_computed_once_for_each_drawn_episode() -> None:
    ebu = agent(EBUAgent)
    ebu.replay.add(random_walk(16))
    ebu.next_minibatch()
    pending = [x.clone() for x in ebu.minibatches[0]]
    for weights in ebu.learner.target.parameters():
        weights.data += 1
    assert all(torch.equal(x, y) for x, y in zip(ebu.next_minibatch(), pending, strict=True))


def test_ebu_of_beta_0_learns_from_the_targets_of_one_step_dqn() -> None:
    ebu, dqn = agent(EBUAgent, beta=0.0), agent(DQNAgent)
    walk = random_walk(8, terminated=False)
    for each in (ebu, dqn):
        each.replay.add(walk)
    observations, actions, targets = ebu.next_minibatch()
    drawn = dqn.replay.sample(200, seeded(), gamma=0.9)
    expected = drawn.returns + drawn.discounts * dqn.learner.target_values(drawn.following).amax(1)
    of_step = {tuple(seen.tolist()): y.item() for seen, y in zip(drawn.observations, expected, strict=True)}
    for seen, action, y in zip(observations, actions, targets, strict=True):
        assert y.item() == pytest.approx(of_step[tuple(seen.tolist())], abs=1e-6)
        assert action in walk.actions


def test_a_function_of_the_same_meaning_may_compute_the_targets() -> None:
    asked = []

    def mine(rewards: Tensor, q_next: Tensor, actions: Tensor, *, gamma: float, beta: float, terminated: bool):
        asked.append((len(rewards), gamma, beta, terminated))
        return rewards

    ebu = agent(EBUAgent, beta=0.25, backward=mine)
    ebu.replay.add(walk := random_walk(8, terminated=False))
    assert ebu.next_minibatch()[2].tolist() == walk.rewards[::-1].tolist()
    assert asked == [(8, 0.9, 0.25, False)]


def test_each_learner_of_adaptive_ebu_has_the_targets_of_its_own_beta_and_network() -> None:
    adaptive = agent(AdaptiveEBU, betas=(0.0, 0.4, 1.0))
    for number, learner in enumerate(adaptive.learners):
        learner.target.load_state_dict(network(seed=number).state_dict())
    adaptive.replay.add(walk := random_walk(8))
    _, _, targets = adaptive.next_minibatch()
    assert targets.shape == (8, 3)
    frames, actions, rewards = (torch.from_numpy(x) for x in (walk.frames, walk.actions, walk.rewards))
    for learner, beta, found in zip(adaptive.learners, (0.0, 0.4, 1.0), targets.T, strict=True):
        q_next = learner.target_values(frames[1:])
        expected = backward_targets(rewards, q_next, actions, gamma=0.9, beta=beta)
        torch.testing.assert_close(found.flip(0), expected, rtol=1e-5, atol=1e-6)


def weights_of(module: nn.Module) -> list:
    return [weights.tolist() for weights in module.state_dict().values()]


def test_adaptive_ebu_has_eleven_betas_that_act_in_turn_and_all_become_the_best() -> None:
    adaptive = agent(AdaptiveEBU, select_every=60)
    np.testing.assert_allclose(adaptive.betas, np.linspace(0, 1, 11))
    adaptive.replay.add(random_walk(24))
    for _ in range(3):  # after a single one two betas may be within the last digit of each other
        adaptive.update()
    assert len({str(weights_of(learner.network)) for learner in adaptive.learners}) == 11
    for episode in range(11):
        assert adaptive.learner is adaptive.learners[episode]
        adaptive.steps += 5
        adaptive.end_episode(total=10.0 if episode == 3 else float(episode) - 20)
    assert adaptive.best == 3
    for number, learner in enumerate(adaptive.learners):  # each now prefers another action
        learner.network[-1].bias.data = 100.0 * torch.eye(4)[number % 4]
    adaptive.steps = 10**6
    adaptive.settings = Settings(epsilon=(0.0, 0.0))
    assert adaptive.act(np.zeros(2, dtype=np.float32), 4) == 0  # learner 0 acts, although another one leads
    adaptive.steps = 55
    seen = torch.rand(5, 2, generator=seeded())
    assert torch.equal(adaptive.q_values(seen), adaptive.learners[3].q_values(seen))
    best = weights_of(adaptive.learners[3].network), weights_of(adaptive.learners[3].target)
    adaptive.steps += 5
    adaptive.end_episode(total=9.0)  # of learner 0; now 60 steps are over
    assert all((weights_of(each.network), weights_of(each.target)) == best for each in adaptive.learners)
    assert (adaptive.leader, adaptive.best, adaptive.scores) == (3, 3, [[] for _ in range(11)])
    assert adaptive.learner is adaptive.learners[1]


def test_adaptive_ebu_selects_only_when_each_learner_has_a_score() -> None:
    adaptive = agent(AdaptiveEBU, betas=(0.0, 0.5, 1.0), select_every=10)
    for total, scores in ((5.0, [[5.0], [], []]), (1.0, [[5.0], [1.0], []])):
        adaptive.steps += 100  # far more than select_every
        adaptive.end_episode(total)
        assert adaptive.scores == scores
    adaptive.end_episode(7.0)
    assert (adaptive.leader, adaptive.scores) == (2, [[], [], []])


KINDS = [
    (DQNAgent, {}),
    (DQNAgent, {"n_steps": 3}),
    (EBUAgent, {}),
    (AdaptiveEBU, {"betas": (0.0, 1.0), "select_every": 60}),
]
over_kinds = pytest.mark.parametrize(("kind", "more"), KINDS, ids=["DQN", "3-step DQN", "EBU", "adaptive EBU"])


@over_kinds
def test_the_same_seed_gives_the_same_learning_curve_and_another_one_another(kind: type, more: dict) -> None:
    def curve(seed: int) -> dict:
        learning = agent(kind, seed, **more)
        seen = torch.tensor([[0.4, 0.2]])
        return train(learning, Corridor(), 75, evaluate=lambda: {"q": learning.q_values(seen).max().item()}, every=25)

    first = curve(0)
    assert first == curve(0)
    assert first != curve(1)
    assert len(first["q"]) >= 3


@over_kinds
def test_a_run_that_was_stopped_saved_and_loaded_goes_on_as_if_it_had_not_been(kind: type, more: dict) -> None:
    whole, first, second = (agent(kind, **more) for _ in range(3))
    train(whole, Corridor(), 150)
    train(first, Corridor(), 75)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    train(second, Corridor(), 150)
    assert second.history == whole.history
    assert (second.steps, second.updates) == (whole.steps, whole.updates)
    assert weights_of(second.learner.network) == weights_of(whole.learner.network)
    assert first.updates > 0


@pytest.mark.parametrize("ratio", [0.25, 1.0, 2.0])
@over_kinds
def test_there_are_as_many_updates_for_each_step_as_was_asked_for(kind: type, more: dict, ratio: float) -> None:
    settings = Settings(batch_size=4, capacity=500, warm_up=20, updates_per_step=ratio, sync_every=7)
    learning = agent(kind, settings=settings, **more)
    history = train(learning, Corridor(), 100)
    begins = next(step for step in history["episode_step"] if step >= 20)  # the replay is filled between episodes
    assert learning.updates == int((learning.steps - begins) * ratio)
    assert learning.learner.updates == learning.updates


@pytest.mark.parametrize("kind", [DQNAgent, EBUAgent, AdaptiveEBU])
def test_an_environment_with_continuous_actions_is_refused(kind: type) -> None:
    with pytest.raises(ValueError, match="Discrete space from 0"):
        train(agent(kind), WithSpaces(Box(0, 1, (2,)), Box(-1, 1, (1,))), 10)


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        (EBUAgent, {"beta": 1.5}, "beta must lie in"),
        (EBUAgent, {"beta": math.nan}, "beta must lie in"),
        (AdaptiveEBU, {"betas": ()}, "at least one beta"),
        (AdaptiveEBU, {"betas": (0.5, -1.0)}, "each beta must lie in"),
        (AdaptiveEBU, {"select_every": 0}, "select_every"),
        (DQNAgent, {"n_steps": 0}, "n_steps must be at least 1"),
    ],
)
def test_agents_that_make_no_sense_are_refused(kind: type, more: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent(kind, **more)


def test_scores_are_measured_between_random_play_and_a_human() -> None:
    assert paper.human_normalized(50.0, random=0.0, human=200.0) == 25.0
    assert paper.human_normalized(-20.0, random=-20.0, human=10.0) == 0.0
    assert paper.human_normalized(40.0, random=-20.0, human=10.0) == 200.0
    with pytest.raises(ValueError, match="cannot be told from random play"):
        paper.human_normalized(1.0, random=2.0, human=2.0)


def test_all_that_it_lists_can_be_imported_from_the_module() -> None:
    assert all(hasattr(paper, name) for name in paper.__all__)
    assert {"backward_targets", "EpisodeReplay", "tabular_ebu", "DQNAgent", "EBUAgent", "AdaptiveEBU"} <= {
        *paper.__all__
    }
    assert EpisodeReplay is paper.EpisodeReplay
