"""A maze that shows where one stands as two images of digits, the row and the column, after Lee et al. (2019).

The paper's code for it was never published. What second-hand accounts agree on: 10 x 10 cells, start in one corner and
goal in the opposite one, four actions, +1000 at the goal, -1 for bumping into a wall, 0 otherwise, walls at a density
of 20 % or 50 %, drawn again until there is a way, some moves at random. Our choices, where the accounts are silent:

- A wall fills a cell, and the border is a wall. Of all cells exactly `density` are walls, never start or goal.
- A random move takes one of the four directions, the chosen one among them, with equal probability.
- Whoever bumps stays. An episode is truncated after `max_steps` moves; the goal terminates it.
- Each time a cell is seen, both digits are drawn again from the images of that digit.

Every reset and every step uses one row of four uniform numbers (is the move random, where to, which image of the row,
of the column), so that `VectorMaze` can draw many rows at once and still do what single mazes do.
"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from scipy import ndimage

from labkit.data.dataset import Split

Cell = tuple[int, int]  # row, column

MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])  # actions 0 ... 3: up, right, down, left
DRAWN_AT_MOST = 20_000  # mazes, until one has a way; some seconds
DRAWS = 4  # uniform numbers for each reset and step

# ---- walls and ways -------------------------------------------------------------------------------------------------


def draw_walls(rng: np.random.Generator, *, size: int = 10, density: float = 0.2) -> np.ndarray:
    """Walls of a random maze with a way from (0, 0) to (size - 1, size - 1): booleans (size, size), True for a wall.

    round(density * size^2) walls are drawn without replacement, again until there is a way. At 50 % of 10 x 10 cells
    about one draw in 160 has one. Raises ValueError for a size below 2, for more walls than leave room for a
    way, or if 20,000 draws have none.
    """
    if size < 2:
        raise ValueError(f"a maze needs at least 2 x 2 cells, got size {size}")
    most = 1 - (2 * size - 1) / size**2  # of the cells; the others are a shortest way
    if not 0 <= density <= most:
        raise ValueError(f"density must lie between 0 and {most:.2f} at size {size}, got {density}")
    for _ in range(DRAWN_AT_MOST):
        walls = np.zeros(size**2, dtype=bool)
        walls[1 + rng.choice(size**2 - 2, round(density * size**2), replace=False)] = True
        walls = walls.reshape(size, size)
        areas, _ = ndimage.label(~walls)
        if areas[0, 0] == areas[-1, -1]:
            return walls
    raise ValueError(f"no way through {DRAWN_AT_MOST:,} mazes of density {density}: choose a lower density")


def distances(walls: np.ndarray, goal: Cell) -> np.ndarray:
    """Moves from each cell to `goal` by breadth-first search, (H, W) integers; -1 where there is no way, or a wall."""
    found = np.full(walls.shape, -1)
    front = np.zeros(walls.shape, dtype=bool)
    front[goal] = not walls[goal]
    moves = 0
    while front.any():
        found[front] = moves
        front = ndimage.binary_dilation(front) & ~walls & (found < 0)
        moves += 1
    return found


def shortest_path(walls: np.ndarray, start: Cell | None = None, goal: Cell | None = None) -> list[Cell]:
    """Cells of a shortest way, both ends included; from corner to corner by default. Raises ValueError for none.

    Of equally short ways the first in the order of the actions.
    """
    cell = start or (0, 0)
    left = distances(walls, goal or (walls.shape[0] - 1, walls.shape[1] - 1))
    if left[cell] < 0:
        raise ValueError(f"there is no way from {cell} to the goal: draw the walls with draw_walls")
    path = [cell]
    while left[cell]:
        neighbours = [neighbour for move in MOVES if (neighbour := _inside(walls, cell, move)) is not None]
        cell = next(neighbour for neighbour in neighbours if left[neighbour] == left[cell] - 1)
        path.append(cell)
    return path


def _inside(walls: np.ndarray, cell: Cell, move: np.ndarray) -> Cell | None:
    """The cell after a move, or None where that is a wall or outside."""
    row, column = cell[0] + int(move[0]), cell[1] + int(move[1])
    if 0 <= row < walls.shape[0] and 0 <= column < walls.shape[1] and not walls[row, column]:
        return row, column
    return None


def optimal_q(
    walls: np.ndarray,
    *,
    gamma: float,
    random_moves: float = 0.0,
    goal_reward: float = 1000.0,
    bump_reward: float = -1.0,
) -> np.ndarray:
    """Q* of a `Maze` with these settings by value iteration, (size^2, 4): what the best agent would expect.

    State row * size + column, as the maze numbers them. Rows of walls, and of the goal, where an episode ends, are 0.
    Values are those of episodes without a limit, to 1e-9. Raises ValueError for gamma outside [0, 1), or as `Maze`.
    """
    walls = _checked(walls, 2, random_moves, 1)
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma must lie in [0, 1), got {gamma}")
    size = len(walls)
    cells = np.argwhere(~walls)[:-1]  # (N, 2), all but the goal, which is the last
    ahead = cells[:, None] + MOVES  # (N, 4, 2)
    bumped = np.pad(walls, 1, constant_values=True)[ahead[..., 0] + 1, ahead[..., 1] + 1]
    ahead = np.where(bumped[..., None], cells[:, None], ahead)
    rewards = np.where((ahead == size - 1).all(-1), goal_reward, np.where(bumped, bump_reward, 0.0))
    states, following = cells @ (size, 1), ahead @ (size, 1)  # numbers
    q, change = np.zeros((size**2, len(MOVES))), np.inf
    while change > 1e-9 * (1 - gamma):
        chosen = rewards + gamma * q.max(1)[following]  # (N, 4), of a move that is not random
        new = (1 - random_moves) * chosen + random_moves * chosen.mean(1, keepdims=True)
        change = np.abs(new - q[states]).max()
        q[states] = new
    return q


# ---- what is seen ---------------------------------------------------------------------------------------------------


class DigitImages:
    """The images of the digits 0 ... n - 1 as bytes, to draw from. Raises ValueError if a digit has none."""

    def __init__(self, digits: Split, n: int) -> None:
        labels = digits.labels.numpy()
        self.counts = np.bincount(labels, minlength=n)[:n]
        if not self.counts.all():
            raise ValueError(f"a maze of size {n} needs images of the digits 0 to {n - 1}: make it smaller")
        self.first = self.counts.cumsum() - self.counts
        self._first, self._counts = self.first.tolist(), self.counts.tolist()
        order = labels.argsort(kind="stable")[: self.counts.sum()]
        self.images = (255 * digits.images[order, 0]).round().byte().numpy()  # (N, H, W), sorted by digit

    def __call__(self, digits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One image of each digit, chosen by a number in [0, 1): (...), (...) -> (..., H, W) bytes."""
        return self.images[self.first[digits] + (uniform * self.counts[digits]).astype(int)]

    def pair(self, digits: Cell, uniform: list[float]) -> np.ndarray:
        """The same for two digits, (2, H, W): in a single maze the call above takes most of a step's time."""
        return self.images[[self._first[d] + int(u * self._counts[d]) for d, u in zip(digits, uniform, strict=True)]]


def _spaces(size: int, images: DigitImages | None) -> tuple[Discrete | Box, Discrete]:
    seen = Discrete(size**2) if images is None else Box(0, 255, (2, *images.images.shape[1:]), np.uint8)
    return seen, Discrete(len(MOVES))


def _checked(walls: np.ndarray, dimensions: int, random_moves: float | np.ndarray, max_steps: int) -> np.ndarray:
    walls = np.asarray(walls, dtype=bool)
    if walls.ndim != dimensions or walls.shape[-1] != walls.shape[-2]:
        wanted = "(size, size)" if dimensions == 2 else "(B, size, size)"
        raise ValueError(f"walls must be booleans {wanted}, got shape {walls.shape}")
    if not (np.min(random_moves) >= 0 and np.max(random_moves) <= 1) or max_steps < 1:
        raise ValueError(f"random_moves must lie in [0, 1], max_steps be at least 1: got {random_moves}, {max_steps}")
    for maze in walls.reshape(-1, *walls.shape[-2:]):
        shortest_path(maze)  # refuses a maze without a way
    return walls


def _require_actions(actions: np.ndarray | int, low: int, high: int) -> None:
    if low < 0 or high >= len(MOVES):
        raise ValueError(f"actions are 0 up, 1 right, 2 down, 3 left, got {actions}")


# ---- one maze -------------------------------------------------------------------------------------------------------


class Maze(gymnasium.Env):
    """One maze, from (0, 0) to the opposite corner. Actions: 0 up, 1 right, 2 down, 3 left.

    `walls` (size, size) booleans, as from `draw_walls`; they stay. With `digits`, images (N, 1, H, W) with their
    labels, one sees (2, H, W) bytes, the row's digit and the column's; without, the number row * size + column, for
    tables. `random_moves` is the probability that a move is random. Raises ValueError for walls without a way or not
    square, a probability outside [0, 1], max_steps below 1, or a digit without images.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own convention)

    def __init__(
        self,
        walls: np.ndarray,
        digits: Split | None = None,
        *,
        random_moves: float = 0.0,
        goal_reward: float = 1000.0,
        bump_reward: float = -1.0,
        max_steps: int = 1000,
        render_mode: str | None = None,
    ) -> None:
        self.walls = _checked(walls, 2, random_moves, max_steps)
        self.random_moves, self.max_steps, self.render_mode = random_moves, max_steps, render_mode
        self.goal_reward, self.bump_reward = goal_reward, bump_reward
        self.goal = (len(self.walls) - 1, len(self.walls) - 1)
        self.images = None if digits is None else DigitImages(digits, len(self.walls))
        self.observation_space, self.action_space = _spaces(len(self.walls), self.images)
        free = [(int(row), int(column)) for row, column in np.argwhere(~self.walls)]
        self._ahead = {cell: [_inside(self.walls, cell, move) for move in MOVES] for cell in free}

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray | int, dict]:
        super().reset(seed=seed)
        self.cell, self.steps = (0, 0), 0
        return self._seen(self.np_random.random(DRAWS).tolist()), {}

    def step(self, action: int) -> tuple[np.ndarray | int, float, bool, bool, dict]:
        _require_actions(action, action, action)
        uniform = self.np_random.random(DRAWS).tolist()  # single numbers are faster as Python's
        if uniform[0] < self.random_moves:
            action = int(uniform[1] * len(MOVES))
        cell = self._ahead[self.cell][action]
        bumped, self.cell = cell is None, cell or self.cell
        self.steps += 1
        terminated = self.cell == self.goal
        reward = self.goal_reward if terminated else self.bump_reward if bumped else 0.0
        return self._seen(uniform), reward, terminated, not terminated and self.steps >= self.max_steps, {}

    def _seen(self, uniform: list[float]) -> np.ndarray | int:
        if self.images is None:
            return self.cell[0] * len(self.walls) + self.cell[1]
        return self.images.pair(self.cell, uniform[2:])  # (2, H, W)

    def render(self) -> np.ndarray | None:
        """The maze from above, (16 size, 16 size, 3) bytes: walls dark, the goal green, oneself orange."""
        if self.render_mode is None:
            return None
        picture = np.where(self.walls[..., None], 60, 235).repeat(3, axis=2).astype(np.uint8)
        picture[self.goal], picture[self.cell] = (0, 158, 115), (213, 94, 0)
        return picture.repeat(16, axis=0).repeat(16, axis=1)


# ---- many mazes at once ---------------------------------------------------------------------------------------------


class VectorMaze(VectorEnv):
    """B mazes at once, each with walls of its own, (B, size, size): `SyncVectorEnv` of `Maze`, to the bit, but faster.

    Observations (B, 2, H, W) bytes, or (B,) numbers without `digits`; rewards, terminated, truncated (B,). After the
    end of an episode the next step resets that maze, whatever the action, with reward 0 (AutoresetMode.NEXT_STEP). An
    integer seed s seeds maze i with s + i. `random_moves` may be one number for all, or (B,). With
    `autoreset_mode=AutoresetMode.DISABLED` mazes stay at their ends until reset(options={"reset_mask": (B,) booleans})
    begins those anew; a step in an ended maze is refused. Raises ValueError as `Maze` does.
    """

    BLOCK = 64  # rows of uniform numbers that each maze draws at a time

    def __init__(
        self,
        walls: np.ndarray,
        digits: Split | None = None,
        *,
        random_moves: float | np.ndarray = 0.0,
        goal_reward: float = 1000.0,
        bump_reward: float = -1.0,
        max_steps: int = 1000,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        if autoreset_mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
            raise ValueError(f"a VectorMaze resets at the next step or not by itself, got {autoreset_mode}")
        self.walls = _checked(walls, 3, random_moves, max_steps)
        self.num_envs, self.size = self.walls.shape[:2]
        self.random_moves, self.max_steps = random_moves, max_steps
        self.goal_reward, self.bump_reward = goal_reward, bump_reward
        self.images = None if digits is None else DigitImages(digits, self.size)
        self.single_observation_space, self.single_action_space = _spaces(self.size, self.images)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {"autoreset_mode": autoreset_mode}
        self._framed = np.pad(self.walls, ((0, 0), (1, 1), (1, 1)), constant_values=True)  # the border is a wall, too
        self._which = np.arange(self.num_envs)
        self._rngs = [gymnasium.utils.seeding.np_random()[0] for _ in self._which]
        self._row = self.BLOCK

    def reset(self, *, seed: int | list[int] | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        if seed is not None:
            seeds = [seed + maze for maze in range(self.num_envs)] if isinstance(seed, int) else seed
            self._rngs = [gymnasium.utils.seeding.np_random(each)[0] for each in seeds]
            self._row = self.BLOCK
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            self.cells[mask], self.steps[mask], self.ended[mask] = 0, 0, False
            return self._seen(self._uniform()), {}
        self.cells = np.zeros((self.num_envs, 2), dtype=int)
        self.steps = np.zeros(self.num_envs, dtype=int)
        self.ended = np.zeros(self.num_envs, dtype=bool)
        return self._seen(self._uniform()), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        _require_actions(actions, np.min(actions), np.max(actions))
        if self.ended.any() and self.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
            raise ValueError('an episode is over: reset it with options={"reset_mask": ...} first')
        uniform = self._uniform()  # (B, DRAWS)
        is_random = uniform[:, 0] < self.random_moves
        actions = np.where(is_random, (uniform[:, 1] * len(MOVES)).astype(int), actions)
        cells = self.cells + MOVES[actions]  # (B, 2)
        bumped = self._framed[self._which, cells[:, 0] + 1, cells[:, 1] + 1]
        cells[bumped] = self.cells[bumped]
        begins = self.ended  # these do not move, they begin anew
        cells[begins] = 0
        self.cells = cells
        self.steps = np.where(begins, 0, self.steps + 1)
        terminated = (cells == self.size - 1).all(1) & ~begins
        truncated = (self.steps >= self.max_steps) & ~terminated
        rewards = np.where(terminated, self.goal_reward, np.where(bumped & ~begins, self.bump_reward, 0.0))
        self.ended = terminated | truncated
        return self._seen(uniform), rewards, terminated, truncated, {}

    def _uniform(self) -> np.ndarray:
        """The next row of each maze's uniform numbers, (B, DRAWS)."""
        if self._row == self.BLOCK:
            self._drawn = np.stack([rng.random((self.BLOCK, DRAWS)) for rng in self._rngs], axis=1)
            self._row = 0
        self._row += 1
        return self._drawn[self._row - 1]

    def _seen(self, uniform: np.ndarray) -> np.ndarray:
        if self.images is None:
            return self.cells[:, 0] * self.size + self.cells[:, 1]
        return self.images(self.cells, uniform[:, 2:])
