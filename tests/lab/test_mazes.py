"""What is measured and drawn of agents in mazes, by agents of which it is known: the best one, and one that bumps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from torch import Tensor

from labkit.data.dataset import Split
from labkit.envs.maze import distances, draw_walls, optimal_q, shortest_path
from labkit.lab.checkpoint import load, save
from labkit.lab.mazes import (
    BLUE,
    DARK,
    ORANGE,
    Finished,
    MazeTests,
    draw_maze,
    greedy_way,
    maze_picture,
)
from labkit.papers.deep_q_learning import dense_network
from labkit.papers.episodic_population import StackedNetwork

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE, GAMMA, LONGEST, WALKS = 5, 0.9, 60, 60
REWARDS = {"goal_reward": 1.0, "bump_reward": -0.1}
WALLS = np.stack([draw_walls(np.random.default_rng(seed), size=SIZE) for seed in range(3)])
SHORTEST = np.array([len(shortest_path(walls)) - 1 for walls in WALLS])
UP = 0


def digits() -> Split:
    """Two images of each digit, of which the first pixel says 20 times the digit."""
    labels = torch.arange(20) % 10
    images = torch.zeros(20, 1, 2, 3)
    images[:, 0, 0, 0], images[:, 0, 1, 1] = 20 * labels / 255, torch.arange(20) / 255
    return Split(images, labels)


class Knows:
    """A stack of agents with tables of values, (K, cells, actions), that read the cell off the images."""

    def __init__(self, tables: Tensor) -> None:
        self.tables = tables

    def of(self, agents: Tensor, observations: Tensor) -> Tensor:
        row, column = (observations[..., 0, 0] // 20).long().unbind(-1)  # (a, N) each
        return self.tables[agents[:, None], SIZE * row + column]


def truth(slip: float = 0.0) -> Tensor:
    """Q* of each maze, (3, cells, 4)."""
    each = [optimal_q(walls, gamma=GAMMA, random_moves=slip, **REWARDS) for walls in WALLS]
    return torch.from_numpy(np.stack(each)).float()


def bumping() -> Tensor:
    return torch.eye(4)[UP].expand(3, SIZE**2, 4)


def measuring(slips: np.ndarray | None = None, walks: int = WALKS) -> MazeTests:
    rules = {"gamma": GAMMA, "walks": walks, "longest": LONGEST, "rewards": REWARDS}
    return MazeTests(WALLS, digits(), np.zeros(3) if slips is None else slips, **rules)


# ---- what is measured -----------------------------------------------------------------------------------------------


def test_whoever_knows_the_true_values_arrives_on_hardly_more_than_the_shortest_way_and_is_right() -> None:
    found = measuring()(Knows(truth()))
    assert found["arrived"].tolist() == [1, 1, 1]
    # Of 100 actions 5 are random and 3 or 4 of these wrong; each costs two moves at most.
    assert (found["way"] >= 1).all()
    assert (found["way"] < 1.25).all()
    assert (found["way"] > 1).any()
    np.testing.assert_allclose(found["excess"], 0, atol=1e-6)
    np.testing.assert_allclose(found["above"], 0, atol=1e-6)


def test_whoever_bumps_never_arrives_and_each_walk_counts_as_the_longest() -> None:
    found = measuring()(Knows(bumping()))
    assert found["arrived"].tolist() == [0, 0, 0]
    assert found["way"].tolist() == pytest.approx(LONGEST / SHORTEST)


def test_each_agent_is_measured_in_its_own_maze() -> None:
    both = truth()
    both[1] = bumping()[1]
    found, best, worst = (measuring()(Knows(q)) for q in (both, truth(), bumping()))
    for name in ("way", "arrived"):
        assert found[name].tolist() == [best[name][0], worst[name][1], best[name][2]]


def test_low_values_take_from_the_excess_but_count_as_off_and_not_as_above() -> None:
    change = torch.zeros(3, SIZE**2, 1)
    change[0], change[1] = 0.5, -0.25
    change[2, 0] = 3.0  # the start
    change[2, -2] = -1.0 if not WALLS[2].flat[-2] else 0  # before the goal
    found = measuring()(Knows(truth() + change))
    cells = (distances(WALLS[2], (SIZE - 1, SIZE - 1)) > 0).sum()
    assert found["excess"].tolist() == pytest.approx([0.5, -0.25, (3 + change[2, -2].item()) / cells], abs=1e-6)
    assert found["off"].tolist() == pytest.approx([0.5, 0.25, (3 - change[2, -2].item()) / cells], abs=1e-6)
    assert found["above"].tolist() == pytest.approx([0.5, 0, 3 / cells], abs=1e-6)


def test_cells_without_a_way_and_walls_do_not_count() -> None:
    q = truth()
    for k, walls in enumerate(WALLS):
        q[k, torch.from_numpy(distances(walls, (SIZE - 1, SIZE - 1)).ravel() <= 0)] = 100.0
    found = measuring(walks=2)(Knows(q))
    np.testing.assert_allclose(found["excess"], 0, atol=1e-6)


def test_where_moves_slip_true_values_are_others_and_ways_are_longer() -> None:
    slips = np.array([0.0, 0.5, 0.5])
    q = torch.stack([truth(slip)[k] for k, slip in enumerate(slips)])
    found, straight = measuring(slips)(Knows(q)), measuring(slips)(Knows(truth()))
    np.testing.assert_allclose(found["excess"], 0, atol=1e-6)
    assert straight["excess"][0] == pytest.approx(0, abs=1e-6)
    assert (straight["excess"][1:] > 0.01).all()
    assert (found["way"][1:] > 1.25).all()


def test_an_agent_that_is_alone_is_measured_as_one_of_many() -> None:
    rules = {"gamma": GAMMA, "walks": 5, "longest": LONGEST, "rewards": REWARDS}
    one, net = MazeTests(WALLS[:1], digits(), np.zeros(1), **rules), Knows(truth() + 0.1)
    expected = {name: float(values[0]) for name, values in one(net).items()}
    asked = []

    def q_values(observations: Tensor) -> Tensor:
        asked.append(observations.ndim)
        return net.of(torch.arange(1), observations[None])[0]

    assert one.of_one(q_values) == expected
    assert set(expected) == {"way", "arrived", "excess", "above", "off"}
    assert set(asked) == {4}


def test_the_values_of_an_agent_are_those_of_the_cells_from_which_there_is_a_way_and_else_zero() -> None:
    tests, q = measuring(), torch.full((3, SIZE**2, 4), 7.0)
    for k, walls in enumerate(WALLS):
        there_is_a_way = torch.from_numpy(distances(walls, (SIZE - 1, SIZE - 1)).ravel() > 0)
        assert torch.equal(tests.values(Knows(q), k), q[k] * there_is_a_way[:, None])


def test_agents_that_are_done_come_back_from_a_checkpoint_with_what_was_measured(tmp_path: Path) -> None:
    def agents(seed: int) -> Finished:
        g = torch.Generator().manual_seed(seed)
        return Finished(StackedNetwork([dense_network(2, 3, 4, g) for _ in range(2)]))

    trained, fresh = agents(0), agents(1)
    trained.measured = {"way": [torch.tensor([1.5, 2.0])]}
    save(tmp_path / "agents.safetensors", trained.state_dict())
    fresh.load_state_dict(load(tmp_path / "agents.safetensors"))
    seen = torch.rand(2, 5, 2)
    assert torch.equal(fresh.net(seen), trained.net(seen))
    assert fresh.measured["way"][0].tolist() == [1.5, 2.0]


# ---- ways -----------------------------------------------------------------------------------------------------------


def best_of(q: np.ndarray) -> Callable[[np.ndarray], int]:
    return lambda cell: int(q[cell @ (SIZE, 1)].argmax())


@pytest.mark.parametrize("k", range(3))
def test_a_greedy_way_along_true_values_is_a_shortest_one(k: int) -> None:
    way = greedy_way(WALLS[k], best_of(truth()[k].numpy()))
    assert len(way) - 1 == SHORTEST[k]
    assert (way[0].tolist(), way[-1].tolist()) == ([0, 0], [SIZE - 1, SIZE - 1])
    assert not any(WALLS[k][tuple(cell)] for cell in way)
    assert all(np.abs(b - a).sum() == 1 for a, b in itertools.pairwise(way))


def test_a_way_that_never_arrives_ends_after_the_longest() -> None:
    assert [cell.tolist() for cell in greedy_way(WALLS[0], lambda _: UP, longest=7)] == [[0, 0]] * 8
    assert len(greedy_way(WALLS[0], lambda _: UP)) == 101


def test_the_longest_way_that_is_allowed_may_arrive() -> None:
    best = best_of(truth()[0].numpy())
    assert greedy_way(WALLS[0], best, longest=SHORTEST[0])[-1].tolist() == [SIZE - 1, SIZE - 1]
    assert greedy_way(WALLS[0], best, longest=SHORTEST[0] - 1)[-1].tolist() != [SIZE - 1, SIZE - 1]


# ---- pictures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def ax() -> Axes:
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_a_drawn_maze_says_how_long_its_way_is_and_has_an_arrow_where_there_is_a_value(ax: Axes) -> None:
    q = truth()[0].numpy()
    assert draw_maze(ax, WALLS[0], q) == SHORTEST[0]
    arrows = [each for each in ax.get_children() if isinstance(each, Annotation)]
    assert len(arrows) == (~WALLS[0]).sum() - 1 == (q.max(1) != 0).sum()
    line = ax.lines[0]
    assert len(line.get_xdata()) - 1 == SHORTEST[0]
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (SIZE - 1, SIZE - 1)


def test_arrows_point_where_the_best_action_goes(ax: Axes) -> None:
    walls, q = np.zeros((2, 2), dtype=bool), np.zeros((4, 4))
    q[0, 1] = 1.0  # from the start to the right
    draw_maze(ax, walls, q)
    (arrow,) = (each for each in ax.get_children() if isinstance(each, Annotation))
    assert arrow.xy[0] > arrow.xyann[0]
    assert arrow.xy[1] == arrow.xyann[1]


def test_a_way_that_never_arrives_is_minus_one(ax: Axes) -> None:
    assert draw_maze(ax, WALLS[0], bumping()[0].numpy()) == -1


def test_a_picture_has_dark_walls_deeper_blue_for_higher_values_and_one_marked_cell() -> None:
    walls = np.array([[0, 1], [0, 0]], dtype=bool)
    picture = maze_picture(walls, np.array([1.0, 0.0, 4.0, -2.0]), marked=(1, 1))
    assert picture[0, 1].tolist() == [DARK] * 3
    assert picture[1, 1].tolist() == list(ORANGE)
    assert picture[1, 0].tolist() == pytest.approx(BLUE)
    assert picture[0, 0].tolist() == pytest.approx((1 + np.array(BLUE)) / 2)  # the root of a quarter
    paler = maze_picture(walls, np.array([1.0, 0.0, 4.0, -2.0]), most=16.0)
    assert paler[1, 0].tolist() == pytest.approx((1 + np.array(BLUE)) / 2)
    assert paler[1, 1].tolist() == [1, 1, 1]
    assert (maze_picture(walls, np.zeros(4))[~walls] == 1).all()
