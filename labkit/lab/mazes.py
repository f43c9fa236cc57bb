"""How well agents do in mazes of digits, and how that looks: what lesson 06 measures and draws of its agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from labkit.data.dataset import Split
from labkit.envs.maze import MOVES, DigitImages, VectorMaze, distances, optimal_q, shortest_path
from labkit.lab.figures import PALETTE
from labkit.papers.deep_q_learning import rollouts
from labkit.papers.episodic_population import StackedNetwork

DARK, BLUE, ORANGE = 0.25, (0.10, 0.35, 0.75), (0.95, 0.55, 0.0)


class MazeTests:
    """What is measured of K agents, each in its maze, walls (K, size, size), with moves that slip with `slips` (K,).

    Called with their stacked network it returns, (K,) each: "way", the mean length of `walks` walks with 5 % random
    actions over that of the shortest way, a walk that does not arrive counting as `longest`; "arrived", the share of
    walks that do; and of the values max_a Q minus those of value iteration, averaged over all cells from which there
    is a way: "excess"; "above", with 0 where a value is too low; and "off", the absolute differences, which do not
    cancel. `rewards` are those of the maze.
    """

    def __init__(
        self,
        walls: np.ndarray,
        digits: Split,
        slips: np.ndarray,
        *,
        gamma: float,
        walks: int,
        longest: int,
        rewards: dict[str, float],
    ) -> None:
        self.walls, self.walks = walls, walks
        each = np.repeat(walls, walks, axis=0), digits
        self.env = VectorMaze(*each, max_steps=longest, random_moves=np.repeat(slips, walks), **rewards)
        self.shortest = np.array([len(shortest_path(maze)) - 1 for maze in walls])
        self.look, size = DigitImages(digits, walls.shape[-1]), walls.shape[-1]
        self.cells = [np.argwhere(distances(maze, (size - 1, size - 1)) > 0) for maze in walls]
        known: dict[tuple, np.ndarray] = {}
        self.worth = []
        for maze, slip, cells in zip(walls, slips.tolist(), self.cells, strict=True):
            key = maze.tobytes(), slip
            if key not in known:
                known[key] = optimal_q(maze, gamma=gamma, random_moves=slip, **rewards).max(1)
            self.worth.append(known[key][cells @ (size, 1)])

    def values(self, net: StackedNetwork, agent: int) -> Tensor:
        """Q of one agent at each cell, seen by the middle image of each digit; 0 where there is no way. (size^2, 4)."""
        cells, size = self.cells[agent], self.walls.shape[-1]
        seen = torch.from_numpy(self.look(cells, np.full(cells.shape, 0.5)))
        known = net.of(torch.tensor([agent]), seen[None])[0].cpu()
        return known.new_zeros(size**2, known.shape[1]).index_copy(0, torch.from_numpy(cells @ (size, 1)), known)

    def of_one(self, q_values: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The same of an agent that is alone, given its values (N, ...) -> (N, A)."""

        class Alone:
            def of(self, agents: Tensor, observations: Tensor) -> Tensor:
                return q_values(observations[0])[None]

        return {name: float(values[0]) for name, values in self(Alone()).items()}

    def __call__(self, net: StackedNetwork) -> dict[str, np.ndarray]:
        K = len(self.walls)

        def values(seen: np.ndarray) -> Tensor:
            return net.of(torch.arange(K), torch.from_numpy(seen).unflatten(0, (K, self.walks))).flatten(0, 1)

        walked = rollouts(values, self.env, seed=1, epsilon=0.05)
        lengths, arrived = (x.view(K, -1).double().mean(1).numpy() for x in (walked.lengths, walked.terminated))
        size = self.walls.shape[-1]
        known = [self.values(net, k).amax(1).numpy()[cells @ (size, 1)] for k, cells in enumerate(self.cells)]
        off = [each - worth for each, worth in zip(known, self.worth, strict=True)]
        return {
            "way": lengths / self.shortest,
            "arrived": arrived,
            "excess": np.array([each.mean() for each in off]),
            "above": np.array([each.clip(min=0).mean() for each in off]),
            "off": np.array([np.abs(each).mean() for each in off]),
        }


class Finished:
    """What a checkpoint keeps of agents that are done: the weights of their network, and what was measured of them."""

    def __init__(self, net: StackedNetwork) -> None:
        self.net = net
        self.measured: dict[str, list[Tensor]] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "measured": self.measured}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.measured = state["measured"]


def greedy_way(walls: np.ndarray, best: Callable[[np.ndarray], int], longest: int = 100) -> list[np.ndarray]:
    """The cells that one passes with the action best(cell) in each, from the start; up to the goal, or `longest`."""
    size, cell = len(walls), np.array([0, 0])
    way = [cell]
    while (cell != size - 1).any() and len(way) <= longest:
        ahead = cell + MOVES[best(cell)]
        inside = (ahead >= 0).all() and (ahead < size).all() and not walls[tuple(ahead)]
        cell = ahead if inside else cell
        way.append(cell)
    return way


# ---- pictures -------------------------------------------------------------------------------------------------------


def maze_picture(
    walls: np.ndarray, values: np.ndarray, marked: Sequence[int] | None = None, most: float | None = None
) -> np.ndarray:
    """The maze from above, (size, size, 3): walls dark, the higher a value, the deeper the blue, one cell orange.

    `values` (size * size,), of which the root is drawn, since values fall by a tenth with each move; `most` is drawn
    deepest, by default the largest.
    """
    shade = (values / max(most or values.max(), 1e-9)).clip(0, 1).reshape(walls.shape)[..., None] ** 0.5
    shown = 1 - shade * (1 - np.array(BLUE))
    shown[walls] = DARK
    if marked is not None:
        shown[tuple(marked)] = ORANGE
    return shown


def draw_maze(ax: Axes, walls: np.ndarray, q: np.ndarray, *, most: float | None = None) -> int:
    """A maze with the values q (size * size, 4), an arrow for the best action of each cell that has a way and a value.

    The greedy way from the start is drawn as a line. Returns its length; -1 if it never arrives.
    """
    size = len(walls)
    ax.imshow(maze_picture(walls, q.max(1), most=most))
    for row, column in np.argwhere(distances(walls, (size - 1, size - 1)) > 0):
        values = q[row * size + column]
        if values.max() != 0:
            down, right = 0.3 * MOVES[values.argmax()]
            where = {"xy": (column + right, row + down), "xytext": (column - right, row - down)}
            ax.annotate("", **where, arrowprops={"arrowstyle": "->", "color": "black", "linewidth": 0.9})
    walked = greedy_way(walls, lambda cell: int(q[cell @ (size, 1)].argmax()))
    arrives = (walked[-1] == size - 1).all()
    line = np.array(walked)
    ax.plot(line[:, 1], line[:, 0], color=PALETTE[1], linewidth=3, alpha=0.8)
    ax.plot(size - 1, size - 1, marker="*", color=PALETTE[1], markersize=12, markeredgecolor="black")
    ax.set(xticks=[], yticks=[])
    return len(walked) - 1 if arrives else -1
