"""The maze: Gymnasium's own checker, SciPy as an oracle of ways, and single mazes as an oracle of many at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path as shortest_by_scipy

import labkit.data
from labkit.data.dataset import Split
from labkit.envs.maze import DigitImages, Maze, VectorMaze, distances, draw_walls, optimal_q, shortest_path

UP, RIGHT, DOWN, LEFT = range(4)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def digits() -> Split:
    """Three images of each digit, 2 x 3, whose first pixel says 20 times the digit, and whose last pixel which one."""
    labels = torch.arange(30) % 10
    images = torch.zeros(30, 1, 2, 3)
    images[:, 0, 0, 0], images[:, 0, 1, 2] = 20 * labels / 255, torch.arange(30) / 255
    return Split(images, labels)


def place(seen: np.ndarray) -> list:
    """The row and column that images of the fixture show, for one observation or many."""
    return (seen[..., 0, 0] // 20).tolist()


# ---- walls and ways -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "density", "count"), [(10, 0.2, 20), (10, 0.5, 50), (5, 0.0, 0), (4, 0.3, 5)])
def test_walls_have_exactly_the_density_and_leave_a_way(size: int, density: float, count: int) -> None:
    for seed in range(5):
        walls = draw_walls(rng(seed), size=size, density=density)
        assert walls.shape == (size, size)
        assert walls.sum() == count
        assert distances(walls, (size - 1, size - 1))[0, 0] >= 2 * (size - 1)


def test_walls_stand_everywhere_but_at_start_and_goal_equally_often() -> None:
    often = np.mean([draw_walls(rng(seed), size=4, density=0.06) for seed in range(3000)], axis=0)  # one wall each
    assert often[0, 0] == often[-1, -1] == 0
    np.testing.assert_allclose(often.ravel()[1:-1], 1 / 14, atol=0.02)


def test_the_same_seed_draws_the_same_walls_and_another_seed_others() -> None:
    assert (draw_walls(rng(1)) == draw_walls(rng(1))).all()
    assert (draw_walls(rng(1)) != draw_walls(rng(2))).any()


@pytest.mark.parametrize("density", [0.2, 0.4])
@pytest.mark.parametrize("seed", range(5))
def test_distances_and_shortest_paths_are_those_of_scipy(density: float, seed: int) -> None:
    walls = draw_walls(rng(seed), size=8, density=density)
    free = ~walls.ravel()
    cells = np.arange(64)
    rows, columns = cells // 8, cells % 8
    apart = abs(rows[:, None] - rows) + abs(columns[:, None] - columns)
    expected = shortest_by_scipy(csr_array((apart == 1) & free & free[:, None]), unweighted=True)[-1]
    expected[~free] = np.inf
    found = distances(walls, (7, 7)).ravel()
    assert np.where(found < 0, np.inf, found).tolist() == expected.tolist()

    path = shortest_path(walls)
    assert len(path) - 1 == expected[0]
    assert (path[0], path[-1]) == ((0, 0), (7, 7))
    assert not any(walls[cell] for cell in path)
    assert all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in itertools.pairwise(path))


def test_a_path_may_begin_and_end_anywhere_and_needs_a_way() -> None:
    walls = np.array([[0, 1, 0], [0, 1, 0], [0, 1, 0]], dtype=bool)
    assert shortest_path(walls, (2, 0), (0, 0)) == [(2, 0), (1, 0), (0, 0)]
    assert distances(walls, (1, 1)).max() == -1
    with pytest.raises(ValueError, match="no way from"):
        shortest_path(walls)


@pytest.mark.parametrize(("size", "density"), [(10, 0.9), (10, -0.1), (10, float("nan")), (1, 0.0)])
def test_walls_that_leave_no_room_are_refused(size: int, density: float) -> None:
    with pytest.raises(ValueError, match=r"density must lie|at least 2 x 2"):
        draw_walls(rng(), size=size, density=density)


def test_walls_that_hardly_ever_leave_a_way_are_not_drawn_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.envs.maze.DRAWN_AT_MOST", 3)
    with pytest.raises(ValueError, match="no way through 3 mazes"):
        draw_walls(rng(), density=0.8)


def test_where_moves_are_certain_a_value_is_the_discounted_reward_at_the_end_of_a_shortest_way() -> None:
    walls = draw_walls(rng())
    left = distances(walls, (9, 9))  # moves
    values = optimal_q(walls, gamma=0.9, goal_reward=10.0, bump_reward=-0.1).max(1).reshape(10, 10)
    reached = left > 0
    np.testing.assert_allclose(values[reached], 10 * 0.9 ** (left[reached] - 1), atol=1e-8)
    assert (values[walls] == 0).all()
    assert values[9, 9] == 0


def test_a_bump_costs_its_reward_and_a_move_of_time() -> None:
    q = optimal_q(np.zeros((3, 3), dtype=bool), gamma=0.5, goal_reward=8.0, bump_reward=-1.0)
    assert q[0].tolist() == pytest.approx([-1 + 0.5, 0.5 * 2, 0.5 * 2, -1 + 0.5])  # V of the start: 8 / 2 ** 3 = 1
    assert q[5].tolist() == pytest.approx([0.5 * 4, -1 + 0.5 * 8, 8, 0.5 * 4])


def test_where_moves_are_random_values_are_the_mean_returns_of_whoever_follows_them() -> None:
    walls, gamma = draw_walls(rng(), size=4, density=0.2), 0.9
    settings = {"random_moves": 0.3, "goal_reward": 1.0, "bump_reward": -0.2}
    q = optimal_q(walls, gamma=gamma, **settings)
    env = Maze(walls, max_steps=200, **settings)
    returns = []
    for seed in range(2000):
        (state, _), total, discount, done = env.reset(seed=seed), 0.0, 1.0, False
        while not done:
            state, reward, terminated, truncated, _ = env.step(int(q[state].argmax()))
            total, discount, done = total + discount * reward, discount * gamma, terminated or truncated
        returns.append(total)
    assert np.mean(returns) == pytest.approx(q[0].max(), abs=4 * np.std(returns) / len(returns) ** 0.5)


def test_values_need_a_discount_and_a_maze_with_a_way() -> None:
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, 1\), got 1"):
        optimal_q(np.zeros((3, 3)), gamma=1)
    with pytest.raises(ValueError, match="there is no way"):
        optimal_q(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]), gamma=0.9)


# ---- one maze -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*does not have a spec.*", "ignore:.*not having a spec.*")
@pytest.mark.parametrize("kind", ["digits", "position"])
@pytest.mark.parametrize("random_moves", [0.0, 0.3])
def test_the_maze_passes_gymnasiums_checker(digits: Split, kind: str, random_moves: float) -> None:
    images = digits if kind == "digits" else None
    check_env(Maze(draw_walls(rng()), images, random_moves=random_moves, render_mode="rgb_array"))


def test_moves_bumps_and_the_goal_have_their_rewards() -> None:
    env = Maze(np.array([[0, 1], [0, 0]], dtype=bool))
    assert env.reset(seed=0) == (0, {})
    assert env.step(UP) == (0, -1.0, False, False, {})  # the border
    assert env.step(LEFT) == (0, -1.0, False, False, {})
    assert env.step(RIGHT) == (0, -1.0, False, False, {})  # the wall
    assert env.step(DOWN) == (2, 0.0, False, False, {})
    assert env.step(DOWN) == (2, -1.0, False, False, {})
    assert env.step(UP) == (0, 0.0, False, False, {})
    env.step(DOWN)
    assert env.step(RIGHT) == (3, 1000.0, True, False, {})


def test_an_episode_is_truncated_after_its_last_step_unless_that_reaches_the_goal() -> None:
    env = Maze(np.zeros((2, 2), dtype=bool), max_steps=2, goal_reward=5.0, bump_reward=-0.5)
    env.reset(seed=0)
    assert env.step(UP)[1:4] == (-0.5, False, False)
    assert env.step(RIGHT)[1:4] == (0.0, False, True)
    env.reset()
    env.step(RIGHT)
    assert env.step(DOWN)[1:4] == (5.0, True, False)


def test_one_sees_the_digits_of_the_row_and_of_the_column(digits: Split) -> None:
    walls = draw_walls(rng())
    env = Maze(walls, digits)
    seen, _ = env.reset(seed=0)
    assert (seen.shape, seen.dtype, place(seen)) == ((2, 2, 3), np.uint8, [0, 0])
    path = shortest_path(walls)
    for (row, column), (row_next, column_next) in itertools.pairwise(path):
        move = [(-1, 0), (0, 1), (1, 0), (0, -1)].index((row_next - row, column_next - column))
        seen, _, terminated, _, _ = env.step(move)
        assert place(seen) == [row_next, column_next]
    assert terminated


def test_each_image_of_a_digit_is_seen_equally_often_whenever_a_cell_is_seen(digits: Split) -> None:
    env = Maze(np.zeros((2, 2), dtype=bool), digits, max_steps=10_000)
    env.reset(seed=0)
    seen = np.stack([env.step(UP)[0] for _ in range(3000)])  # always in row 0 and column 0
    which, often = np.unique(seen[:, :, 1, 2], return_counts=True)
    assert which.tolist() == [0, 10, 20]
    np.testing.assert_allclose(often / 6000, 1 / 3, atol=0.03)
    assert abs(np.corrcoef(seen[:, 0, 1, 2], seen[:, 1, 1, 2])[0, 1]) < 0.06


def test_images_keep_their_grey_values(digits: Split) -> None:
    images = DigitImages(digits, 10)
    for digit in range(10):
        drawn = images(np.full(3, digit), np.array([0.0, 0.5, 0.999]))
        expected = (255 * digits.images[digits.labels == digit, 0]).round()
        assert drawn.tolist() == expected.tolist()


def test_real_digits_are_seen_as_they_are() -> None:
    split = labkit.data.load("mnist").train
    seen, _ = Maze(draw_walls(rng()), split).reset(seed=0)
    assert (seen.shape, seen.dtype) == ((2, 28, 28), np.uint8)
    zeros = (255 * split.images[split.labels == 0, 0]).round().byte().numpy()
    assert all((zeros == image).all((1, 2)).any() for image in seen)


def test_random_moves_go_in_each_direction_with_a_quarter_of_their_probability() -> None:
    env = Maze(np.zeros((3, 3), dtype=bool), random_moves=0.4, max_steps=10)
    ends = []
    for seed in range(4000):
        env.reset(seed=seed)
        env.cell = (1, 1)
        ends.append(env.step(RIGHT)[0])
    cells, often = np.unique(ends, return_counts=True)
    assert cells.tolist() == [1, 3, 5, 7]  # above, left, right, below
    np.testing.assert_allclose(often / 4000, [0.1, 0.1, 0.7, 0.1], atol=0.025)


def test_the_same_seed_tells_the_same_story(digits: Split) -> None:
    def story(seed: int) -> list:
        env = Maze(draw_walls(rng()), digits, random_moves=0.5, max_steps=50)
        first, _ = env.reset(seed=seed)
        return [first.tolist()] + [env.step(k % 4)[0].tolist() for k in range(50)]

    assert story(3) == story(3)
    assert story(3) != story(4)


def test_a_picture_shows_walls_goal_and_oneself() -> None:
    env = Maze(np.array([[0, 1], [0, 0]], dtype=bool), render_mode="rgb_array")
    env.reset(seed=0)
    colours = env.render()[8::16, 8::16]
    assert colours.shape == (2, 2, 3)
    assert len(np.unique(colours.reshape(4, 3), axis=0)) == 4
    env.step(DOWN)
    assert (env.render()[8::16, 8::16][1, 0] == colours[0, 0]).all()
    assert Maze(env.walls).render() is None


@pytest.mark.parametrize("kind", [Maze, VectorMaze])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"walls": np.zeros((1, 3, 4), dtype=bool)}, "walls must be"),
        ({"walls": np.array([[[0, 1], [1, 0]]], dtype=bool)}, "no way"),
        ({"walls": np.array([[[1, 0], [0, 0]]], dtype=bool)}, "no way"),
        ({"random_moves": 1.5}, "random_moves must lie"),
        ({"random_moves": float("nan")}, "random_moves must lie"),
        ({"max_steps": 0}, "max_steps"),
        ({"walls": np.zeros((1, 11, 11), dtype=bool), "digits": True}, "images of the digits 0 to 10"),
    ],
)
def test_a_maze_that_makes_no_sense_is_refused(kind: type, change: dict, message: str, digits: Split) -> None:
    settings = {"walls": np.zeros((1, 3, 3), dtype=bool), "digits": None} | change
    walls, images = settings.pop("walls"), settings.pop("digits") and digits
    with pytest.raises(ValueError, match=message):
        kind(walls[0] if kind is Maze else walls, images, **settings)


def test_one_maze_takes_the_walls_of_one_and_many_take_those_of_many() -> None:
    with pytest.raises(ValueError, match="walls must be"):
        Maze(np.zeros((1, 3, 3), dtype=bool))
    with pytest.raises(ValueError, match="walls must be"):
        VectorMaze(np.zeros((3, 3), dtype=bool))


@pytest.mark.parametrize("action", [-1, 4])
def test_an_unknown_action_is_refused(action: int) -> None:
    env, many = Maze(np.zeros((3, 3), dtype=bool)), VectorMaze(np.zeros((2, 3, 3), dtype=bool))
    env.reset(seed=0), many.reset(seed=0)
    with pytest.raises(ValueError, match="actions are 0 up"):
        env.step(action)
    with pytest.raises(ValueError, match="actions are 0 up"):
        many.step(np.array([0, action]))


# ---- many mazes at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["digits", "position"])
@pytest.mark.parametrize("random_moves", [0.0, 0.3])
def test_many_mazes_at_once_do_step_by_step_what_single_ones_do(digits: Split, kind: str, random_moves: float) -> None:
    images = digits if kind == "digits" else None
    walls = np.stack([draw_walls(rng(seed), size=4, density=0.2) for seed in range(5)])
    settings = {"random_moves": random_moves, "max_steps": 17, "goal_reward": 10.0}
    many = VectorMaze(walls, images, **settings)
    single = SyncVectorEnv([lambda each=each: Maze(each, images, **settings) for each in walls])
    assert many.observation_space == single.observation_space
    assert many.action_space == single.action_space
    assert many.metadata["autoreset_mode"] == single.metadata["autoreset_mode"]

    assert many.reset(seed=7)[0].tolist() == single.reset(seed=7)[0].tolist()
    ends = np.zeros(2, dtype=int)
    for actions in rng().integers(4, size=(4 * VectorMaze.BLOCK, 5)):
        got, expected = many.step(actions), single.step(actions)
        for ours, theirs in zip(got[:4], expected[:4], strict=True):
            assert ours.dtype == theirs.dtype
            assert ours.tolist() == theirs.tolist()
        ends += got[2].sum(), got[3].sum()
    assert ends.min() > 5  # both ways to end an episode were seen
    assert many.reset()[0].tolist() == single.reset()[0].tolist()  # in the middle of episodes, without a seed
    assert many.reset(seed=[5, 4, 3, 2, 1])[0].tolist() == single.reset(seed=[5, 4, 3, 2, 1])[0].tolist()


def test_random_moves_may_be_more_probable_in_one_maze_than_in_the_next() -> None:
    walls, slips = np.stack([draw_walls(rng(seed), size=4) for seed in range(3)]), [0.0, 0.3, 1.0]
    many = VectorMaze(walls, random_moves=np.array(slips))
    single = SyncVectorEnv([lambda e=e, p=p: Maze(e, random_moves=p) for e, p in zip(walls, slips, strict=True)])
    assert many.reset(seed=7)[0].tolist() == single.reset(seed=7)[0].tolist()
    for actions in rng().integers(4, size=(100, 3)):
        assert many.step(actions)[0].tolist() == single.step(actions)[0].tolist()
    with pytest.raises(ValueError, match="random_moves must lie in"):
        VectorMaze(walls, random_moves=np.array([0.0, 0.3, 1.1]))


def test_what_was_seen_does_not_change_with_the_next_step(digits: Split) -> None:
    many = VectorMaze(np.zeros((2, 3, 3), dtype=bool), digits)
    first, _ = many.reset(seed=0)
    before = first.tolist()
    many.step(np.array([RIGHT, DOWN]))
    assert first.tolist() == before


# ---- mazes that stay at their ends ----------------------------------------------------------------------------------


def open_mazes(count: int, **settings: object) -> VectorMaze:
    return VectorMaze(np.zeros((count, 2, 2), dtype=bool), autoreset_mode=AutoresetMode.DISABLED, **settings)


def test_a_step_in_an_ended_maze_is_refused_until_it_is_reset() -> None:
    many = open_mazes(2)
    many.reset(seed=0)
    many.step(np.array([RIGHT, UP]))
    assert many.step(np.array([DOWN, UP]))[2].tolist() == [True, False]
    for _ in range(2):
        with pytest.raises(ValueError, match="an episode is over: reset it"):
            many.step(np.array([UP, UP]))
    many.reset(options={"reset_mask": np.array([True, False])})
    assert many.step(np.array([RIGHT, RIGHT]))[0].tolist() == [1, 1]


def test_a_masked_reset_begins_those_mazes_and_no_others() -> None:
    many = open_mazes(3, max_steps=4)
    many.reset(seed=0)
    many.step(np.array([RIGHT, RIGHT, DOWN]))
    many.step(np.array([DOWN, UP, UP]))
    seen, _ = many.reset(options={"reset_mask": np.array([True, False, True])})
    assert seen.tolist() == [0, 1, 0]
    many.step(np.array([UP, UP, UP]))
    *_, truncated, _ = many.step(np.array([UP, UP, UP]))
    assert truncated.tolist() == [False, True, False]  # only the second has gone on counting


def test_with_masked_resets_many_mazes_do_what_gymnasiums_do() -> None:
    walls = np.stack([draw_walls(rng(seed), size=3, density=0.1) for seed in range(4)])
    settings = {"max_steps": 9, "goal_reward": 10.0}
    many = VectorMaze(walls, autoreset_mode=AutoresetMode.DISABLED, **settings)
    lone = [lambda each=each: Maze(each, **settings) for each in walls]
    single = SyncVectorEnv(lone, autoreset_mode=AutoresetMode.DISABLED)
    assert many.metadata["autoreset_mode"] == single.metadata["autoreset_mode"]
    assert many.reset(seed=7)[0].tolist() == single.reset(seed=7)[0].tolist()
    ends = np.zeros(2, dtype=int)
    for actions in rng().integers(4, size=(200, 4)):
        got, expected = many.step(actions), single.step(actions)
        for ours, theirs in zip(got[:4], expected[:4], strict=True):
            assert ours.tolist() == theirs.tolist()
        ends += got[2].sum(), got[3].sum()
        if (ended := got[2] | got[3]).any():
            begun = [env.reset(options={"reset_mask": ended.copy()})[0].tolist() for env in (many, single)]
            assert begun[0] == begun[1]
    assert ends.min() > 5


def test_a_maze_that_was_reset_by_a_mask_shows_images_of_its_start(digits: Split) -> None:
    many = VectorMaze(np.zeros((2, 3, 3), dtype=bool), digits, autoreset_mode=AutoresetMode.DISABLED)
    many.reset(seed=0)
    many.step(np.array([RIGHT, DOWN]))
    seen, _ = many.reset(options={"reset_mask": np.array([False, True])})
    assert place(seen) == [[0, 1], [0, 0]]


def test_other_ways_to_reset_are_refused() -> None:
    with pytest.raises(ValueError, match="resets at the next step or not by itself"):
        VectorMaze(np.zeros((1, 2, 2), dtype=bool), autoreset_mode=AutoresetMode.SAME_STEP)
