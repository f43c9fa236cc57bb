"""Many agents at once, each beside what it would be alone: one network, one environment, targets of whole episodes."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.envs.maze import Maze, VectorMaze
from labkit.envs.probes import PROBES, VectorProbe
from labkit.papers.deep_q_learning import (
    copy_to_target,
    dense_network,
    epsilon_greedy,
    gradient_step,
    n_step_targets,
    one_step_targets,
)
from labkit.papers.episodic_backward_update import backward_minibatches, backward_targets
from labkit.papers.episodic_population import (
    Backward,
    Experience,
    Kept,
    Method,
    Population,
    Prioritized,
    StackedNetwork,
    Uniform,
)

pytestmark = pytest.mark.usefixtures("one_thread")

GAMMA, SIZE = 0.9, 3  # the discount, and that of the mazes, which are open and show the number of a cell
ADAM = partial(torch.optim.Adam, lr=1e-2, fused=True)

# ---- one network for all --------------------------------------------------------------------------------------------


def networks(count: int, hidden: int = 5) -> list[nn.Sequential]:
    return [dense_network(18, hidden, 4, seeded(k)) for k in range(count)]


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (*shape, 2, 3, 3), generator=seeded(seed), dtype=torch.uint8)


def test_a_stack_gives_each_agent_the_values_of_its_own_network() -> None:
    alone, seen = networks(4), images(4, 7)
    stack = StackedNetwork(alone)
    assert len(stack) == 4
    expected = torch.stack([network(x / 255) for network, x in zip(alone, seen, strict=True)])
    torch.testing.assert_close(stack(seen), expected)
    torch.testing.assert_close(stack(seen / 255), expected)  # numbers stay as they are


@pytest.mark.parametrize("agents", [[0, 1, 2, 3], [1, 2], [2], [0, 2], [3, 1], [1, 1], [2, 3, 3, 0]], ids=str)
def test_some_of_the_agents_give_the_values_of_their_networks_whatever_their_order(agents: list[int]) -> None:
    alone, seen = networks(4), images(len(agents), 7)
    got = StackedNetwork(alone).of(torch.tensor(agents), seen)
    torch.testing.assert_close(got, torch.stack([alone[k](x / 255) for k, x in zip(agents, seen, strict=True)]))
    assert not got.requires_grad


def test_steps_of_a_stack_are_the_steps_of_each_network_alone() -> None:
    alone = networks(3)
    stack = StackedNetwork(alone)
    together, each = ADAM(stack.parameters()), [ADAM(network.parameters()) for network in alone]
    for step in range(3):
        seen, actions = images(3, 6, seed=step), torch.randint(4, (3, 6), generator=seeded(step))
        y = normal(3, 6, seed=step, dtype=torch.float32)
        loss = gradient_step(stack, together, seen, actions, y)
        losses = [gradient_step(alone[k], each[k], seen[k] / 255, actions[k], y[k]) for k in range(3)]
        torch.testing.assert_close(loss, sum(losses))
    of_each = [network.parameters() for network in alone]
    for row, own in enumerate(of_each):
        ours = [x[row] for pair in zip(stack.weights, stack.biases, strict=True) for x in pair]
        for x, expected in zip(ours, own, strict=True):
            torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-6)


def test_a_stack_has_weights_of_its_own() -> None:
    alone, seen = networks(2), images(2, 3)
    stack = StackedNetwork(alone)
    before = stack(seen)
    with torch.no_grad():
        alone[0][1].weight.zero_()
    assert torch.equal(stack(seen), before)


def test_networks_of_any_depth_are_stacked() -> None:
    alone = [nn.Sequential(nn.Flatten(), nn.Linear(18, 4)) for _ in range(2)]
    seen = images(2, 3)
    torch.testing.assert_close(StackedNetwork(alone)(seen)[1], alone[1](seen[1] / 255))


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Flatten(), nn.Conv2d(1, 1, 1)],
        [nn.Linear(2, 2)],
        [nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2)],
        [nn.Flatten(), nn.Linear(2, 2), nn.ReLU()],
        [nn.Flatten(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)],
    ],
    ids=str,
)
def test_networks_that_are_not_dense_are_not_stacked(layers: list[nn.Module]) -> None:
    with pytest.raises(ValueError, match="are those of dense_network"):
        StackedNetwork([nn.Sequential(*layers)])


def test_networks_of_different_shapes_are_not_stacked() -> None:
    with pytest.raises(ValueError, match="must have the same shape"):
        StackedNetwork([*networks(1), *networks(1, hidden=6)])


# ---- what agents see ------------------------------------------------------------------------------------------------


def mazes(count: int, kind: str = "VectorMaze") -> VectorEnv:
    """Open mazes that cut an episode off after 7 moves: the goal is 4 away, so random play ends in both ways."""
    walls, rules = np.zeros((SIZE, SIZE), dtype=bool), {"max_steps": 7, "goal_reward": 3.0, "bump_reward": -0.5}
    if kind == "VectorMaze":
        return VectorMaze(np.stack([walls] * count), autoreset_mode=AutoresetMode.DISABLED, **rules)
    return SyncVectorEnv([lambda: Maze(walls, **rules)] * count, autoreset_mode=AutoresetMode.DISABLED)


def random_actions(steps: int, count: int) -> np.ndarray:
    """(steps, count), most of them to the right or down."""
    return np.random.default_rng(0).choice(4, (steps, count), p=[0.1, 0.4, 0.4, 0.1])


def played(
    count: int, steps: int = 60, capacity: int = 1000, room: int = 0, kind: str = "VectorMaze"
) -> tuple[Experience, list[tuple[int, Kept]]]:
    """Agents that have taken `steps` random steps, and may take `room` more; the episodes that they finished."""
    experience = Experience(mazes(count, kind), steps + room, seed=0, capacity=capacity)
    finished = [each for actions in random_actions(steps, count) for each in experience.step(actions)]
    return experience, finished


def alone(actions: Sequence[int]) -> list[tuple[list, bool]]:
    """The finished episodes of an agent alone in its maze: S, A, R and S' of each step, and whether it terminated."""
    env, episodes = mazes(1, "SyncVectorEnv").envs[0], []
    (seen, _), steps = env.reset(seed=0), []
    for action in actions:
        following, reward, terminated, truncated, _ = env.step(action)
        steps.append((seen, action, reward, following))
        seen = following
        if terminated or truncated:
            episodes.append((steps, terminated))
            (seen, _), steps = env.reset(), []
    return episodes


@pytest.mark.parametrize("kind", ["VectorMaze", "SyncVectorEnv"])
def test_the_episodes_that_are_kept_are_those_of_each_agent_alone(kind: str) -> None:
    experience, finished = played(4, kind=kind)
    assert len(experience) == 4
    for k, memory in enumerate(experience.memories):
        assert [each for agent, each in finished if agent == k] == memory
        columns = experience.before[k], experience.actions[k], experience.rewards[k], experience.after[k]
        got = []
        for each in memory:
            steps = slice(each.first, each.first + len(each))
            got.append((list(zip(*(x[steps].tolist() for x in columns), strict=True)), each.terminated))
        assert got == alone(random_actions(60, 4)[:, k])
    ends = Counter(each.terminated for _, each in finished)
    assert min(ends[True], ends[False]) > 3


def test_an_agent_begins_anew_while_the_others_go_on() -> None:
    experience = Experience(mazes(2), 6, seed=0, capacity=10)
    right, down, up = 1, 2, 0
    ways = [(right, up), (right, right), (down, down), (down, right)]
    assert [experience.step(np.array(each)) for each in ways[:3]] == [[], [], []]
    ((agent, episode),) = experience.step(np.array(ways[3]))
    assert (agent, episode.first, len(episode), episode.terminated) == (0, 0, 4, True)
    assert experience.after[0, 3] == SIZE**2 - 1  # the goal was seen
    assert experience.seen.tolist() == [0, 1 + SIZE + 1]
    experience.step(np.array((down, right)))
    assert experience.before[:, 4].tolist() == [0, 5]
    assert experience.rewards[:, 3].tolist() == [3.0, 0.0]


def test_an_episode_that_was_cut_off_is_not_terminated_and_begins_anew_all_the_same() -> None:
    experience = Experience(mazes(1), 20, seed=0, capacity=20)
    finished = [each for _ in range(20) for each in experience.step(np.array([3]))]  # against the wall
    assert [(each.first, len(each), each.terminated) for _, each in finished] == [(0, 7, False), (7, 7, False)]


def test_environments_that_reset_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="must not reset themselves"):
        Experience(VectorMaze(np.zeros((1, SIZE, SIZE), dtype=bool)), 10, seed=0, capacity=10)


def test_only_the_latest_episodes_are_remembered_as_many_as_there_is_room_for() -> None:
    experience, finished = played(3, capacity=20)
    for k, memory in enumerate(experience.memories):
        every = [each for agent, each in finished if agent == k]
        fits = [n for n in range(len(every)) if sum(map(len, every[-n:])) <= 20]
        assert memory == every[-max(fits) :] != every
    low, high = experience.window(slice(1, 3))
    assert low.tolist() == [memory[0].first for memory in experience.memories[1:]]
    assert (high - low).tolist() == [sum(map(len, memory)) for memory in experience.memories[1:]]


def test_how_agents_remember_is_a_function_that_is_given() -> None:
    asked = []

    def only_the_last(memory: list[Kept], episode: Kept, capacity: int) -> list[Kept]:
        asked.append(capacity)
        return [episode]

    experience = Experience(mazes(1), 40, seed=0, capacity=33, remember=only_the_last)
    finished = [each for actions in random_actions(40, 1) for _, each in experience.step(actions)]
    assert asked == [33] * len(finished)
    assert experience.memories == [finished[-1:]]


def test_each_remembered_episode_is_drawn_equally_often() -> None:
    experience, _ = played(2, capacity=20)
    generator = seeded()
    drawn = Counter(experience.draw(1, generator).first for _ in range(3000))
    memory = experience.memories[1]
    assert set(drawn) == {each.first for each in memory}
    assert all(abs(often - 3000 / len(memory)) < 5 * 3000**0.5 / len(memory) ** 0.5 for often in drawn.values())


# ---- what is learned from -------------------------------------------------------------------------------------------

Targets = Callable[..., Tensor]  # rewards (T,), q_next (T, A), actions (T,), terminated -> (T,)


def tables(count: int, seed: int = 0) -> Tensor:
    """Values of each agent, cell and action: what a network would say."""
    return 2 * normal(count, SIZE**2, 4, seed=seed, dtype=torch.float32)


def says(q: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda agents, cells: q[agents[:, None], cells]


def begun(method: Method, experience: Experience, finished: Sequence, first: int = 0, count: int | None = None):
    """The method, told of all episodes of its agents."""
    count = len(experience) - first if count is None else count
    method.begin(experience, first, count, GAMMA, seeded(1))
    for agent, episode in finished:
        if first <= agent < first + count:
            method.keep(agent, episode)
    return method


def expected_of(targets: Targets, experience: Experience, agent: int, q: Tensor) -> dict[int, float]:
    """The target of each remembered transition of an agent, by the paper's function of a whole episode."""
    found = {}
    for each in experience.memories[agent]:
        steps = slice(each.first, each.first + len(each))
        given = (x[agent, steps] for x in (experience.rewards, experience.after, experience.actions))
        rewards, after, actions = (torch.from_numpy(x) for x in given)
        y = targets(rewards, q[agent, after], actions, each.terminated)
        found |= dict(zip(range(steps.start, steps.stop), y.tolist(), strict=True))
    return found


def one_step(rewards: Tensor, q_next: Tensor, actions: Tensor, terminated: bool) -> Tensor:
    ends = torch.arange(len(rewards)) == len(rewards) - 1
    return one_step_targets(rewards, q_next, ends & terminated, ends & (not terminated), gamma=GAMMA)


def n_steps(n: int) -> Targets:
    return lambda rewards, q_next, actions, terminated: n_step_targets(
        rewards, q_next, gamma=GAMMA, n_steps=n, terminated=terminated
    )


def received(rewards: Tensor, q_next: Tensor, actions: Tensor, terminated: bool) -> Tensor:
    """The discounted return of each step."""
    return torch.stack([sum(GAMMA**i * r for i, r in enumerate(rewards[k:])) for k in range(len(rewards))])


def mixed(mix: float) -> Targets:
    return lambda *episode: (1 - mix) * one_step(*episode) + mix * received(*episode)


@pytest.mark.parametrize(
    ("method", "targets"),
    [
        (lambda: Uniform(), one_step),
        (lambda: Uniform(1), n_steps(1)),
        (lambda: Uniform(3), n_steps(3)),
        (lambda: Uniform(50), n_steps(50)),
        (lambda: Uniform(mix=0.3), mixed(0.3)),
        (lambda: Uniform(mix=1.0), received),
        (lambda: Prioritized(alpha=0.0, correct=0.0), None),
    ],
    ids=["one step", "n = 1", "n = 3", "n = 50", "mixed", "return", "prioritized"],
)
@pytest.mark.parametrize("first", [0, 2])
def test_uniform_targets_are_those_of_the_episode_a_transition_is_part_of(
    method: Callable[[], Method], targets: Targets | None, first: int
) -> None:
    experience, finished = played(4, capacity=30)
    q, q_target = tables(4), tables(4, seed=1)
    lesson = begun(method(), experience, finished, first).lesson(600, says(q), says(q_target))
    assert lesson.transitions.shape == lesson.targets.shape == (4 - first, 600)
    assert lesson.targets.dtype == torch.float32
    for row, (drawn, y) in enumerate(zip(lesson.transitions.tolist(), lesson.targets.tolist(), strict=True)):
        expected = expected_of(targets or one_step, experience, first + row, q_target)
        assert set(drawn) == set(expected)  # all that is remembered, and nothing else
        if targets is None:  # what is fitted with the Huber loss is at most 1 away
            agent = first + row
            seen, actions = experience.before[agent, drawn], experience.actions[agent, drawn]
            own = q[agent, seen, actions].tolist()
            assert y == pytest.approx([o - max(-1, min(1, o - expected[t])) for o, t in zip(own, drawn, strict=True)])
        else:
            assert y == pytest.approx([expected[t] for t in drawn], abs=1e-5)


def test_each_agent_may_have_its_own_number_of_steps_and_mix() -> None:
    experience, finished = played(3)
    q = tables(3)
    method = begun(Uniform([1, 3, 1], [0.0, 0.0, 0.4]), experience, finished)
    lesson = method.lesson(50, says(q), says(q))
    for k, targets in enumerate([one_step, n_steps(3), mixed(0.4)]):
        expected = expected_of(targets, experience, k, q)
        assert lesson.targets[k].tolist() == pytest.approx([expected[t] for t in lesson.transitions[k]], abs=1e-5)


def test_each_transition_is_drawn_equally_often() -> None:
    experience, finished = played(2, capacity=20)
    method = begun(Uniform(), experience, finished)
    drawn = Counter(method.lesson(20_000, says(tables(2)), says(tables(2))).transitions[1].tolist())
    N = sum(map(len, experience.memories[1]))
    assert len(drawn) == N
    assert all(abs(often - 20_000 / N) < 5 * (20_000 / N) ** 0.5 for often in drawn.values())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda: Uniform(0), "n_steps must be at least 1"),
        (lambda: Uniform([3, 0]), "n_steps must be at least 1"),
        (lambda: Uniform(mix=1.1), r"mix must lie in \[0, 1\]"),
        (lambda: Uniform(mix=[0.5, -0.1]), r"mix must lie in \[0, 1\]"),
        (lambda: Prioritized(alpha=-1), r"alpha must lie in \[0, 1\]"),
        (lambda: Prioritized(correct=2), r"correct must lie in \[0, 1\]"),
        (lambda: Backward(1.5), r"beta must lie in \[0, 1\]"),
        (lambda: Backward([0.5, float("nan")]), r"beta must lie in \[0, 1\]"),
        (lambda: Uniform().begin(played(1)[0], 0, 1, 1.1, seeded()), r"gamma must lie in \[0, 1\]"),
    ],
)
def test_methods_that_make_no_sense_are_refused(method: Callable[[], Method], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method()


# ---- by priority ----------------------------------------------------------------------------------------------------


def errors_of(experience: Experience, agent: int, q: Tensor, q_target: Tensor) -> dict[int, float]:
    """|y - Q(S, A)| of each remembered transition."""
    places = experience.before[agent], experience.actions[agent]
    expected = expected_of(one_step, experience, agent, q_target)
    return {t: abs(y - q[agent, places[0][t], places[1][t]].item()) for t, y in expected.items()}


def test_transitions_are_drawn_by_priority_new_ones_as_the_largest_and_forgotten_ones_never() -> None:
    alpha, count = 0.7, 40_000
    experience, finished = played(2, steps=30, capacity=25, room=10)
    q, q_target = tables(2), tables(2, seed=1)
    method = begun(Prioritized(alpha), experience, finished)
    first = method.lesson(1000, says(q), says(q_target)).transitions[1]
    known = {t: (error + 0.001) ** alpha for t, error in errors_of(experience, 1, q, q_target).items()}
    assert set(first.tolist()) == set(known)  # each was seen, so each has its priority from here on
    assert max(known.values()) > 1

    before = experience.memories[1]
    for actions in random_actions(10, 2):
        for agent, episode in experience.step(actions):
            method.keep(agent, episode)
    new = [
        t for each in experience.memories[1] if each not in before for t in range(each.first, each.first + len(each))
    ]
    remembered = {t for each in experience.memories[1] for t in range(each.first, each.first + len(each))}
    assert new
    assert not set(known) <= remembered
    weights = {t: p for t, p in known.items() if t in remembered} | dict.fromkeys(new, max(known.values()))
    drawn = Counter(method.lesson(count, says(q), says(q_target)).transitions[1].tolist())
    assert set(drawn) <= remembered == set(weights)
    for t, weight in weights.items():
        chance = weight / sum(weights.values())
        assert abs(drawn[t] - count * chance) < 5 * (count * chance) ** 0.5


def test_a_moved_target_has_the_gradient_of_the_weighted_huber_loss() -> None:
    alpha, correct = 0.6, 0.4
    experience, finished = played(2)
    q, q_target = tables(2).requires_grad_(), tables(2, seed=1)
    method = begun(Prioritized(alpha, correct), experience, finished)
    net, target = says(q.detach()), says(q_target)
    method.lesson(1000, net, target)  # from here on priorities differ
    lesson = method.lesson(64, net, target)

    agents = torch.arange(2)[:, None]
    drawn = lesson.transitions
    taken = q[
        agents, torch.from_numpy(experience.before)[agents, drawn], torch.from_numpy(experience.actions)[agents, drawn]
    ]
    expected = [expected_of(one_step, experience, k, q_target) for k in range(2)]
    y = torch.tensor([[expected[k][t] for t in drawn[k].tolist()] for k in range(2)])
    weights = []
    for k in range(2):
        p = {t: (error + 0.001) ** alpha for t, error in errors_of(experience, k, q, q_target).items()}
        N, total = len(p), sum(p.values())
        each = torch.tensor([(N * p[t] / total) ** -correct for t in drawn[k].tolist()])
        weights.append(each / each.max())
    weighted = (torch.stack(weights) * F.huber_loss(taken, y, reduction="none")).sum()
    (wanted,) = torch.autograd.grad(weighted, q, retain_graph=True)
    (got,) = torch.autograd.grad(F.huber_loss(taken, lesson.targets, reduction="sum"), q)
    assert ((taken - y).abs() > 1).any()
    assert ((taken - y).abs() < 1).any()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


# ---- backward -------------------------------------------------------------------------------------------------------


def swept(beta: float) -> Targets:
    return lambda rewards, q_next, actions, terminated: backward_targets(
        rewards, q_next, actions, gamma=GAMMA, beta=beta, terminated=terminated
    )


@pytest.mark.parametrize("backward", [None, backward_targets], ids=["at once", "one by one"])
@pytest.mark.parametrize(("size", "beta"), [(1, 0.5), (4, 0.5), (7, 1.0), (20, 0.3), (20, 0.0)])
def test_episodes_are_learned_from_their_ends_in_minibatches_filled_with_the_ends_of_others(
    size: int, beta: float, backward: Callable | None
) -> None:
    experience, finished = played(3)
    q, drawn, draw = tables(3), [], experience.draw

    def noted(agent: int, generator: torch.Generator) -> Kept:
        drawn.append(draw(agent, generator))
        return drawn[-1]

    experience.draw = noted
    method = begun(Backward(beta, backward), experience, finished, first=1, count=1)
    y = expected_of(swept(beta), experience, 1, q)
    counts = set()
    for _ in range(12):  # each time an episode, from its end to its beginning
        drawn.clear()
        lessons = [method.lesson(size, None, says(q))]
        count = math.ceil(len(drawn[0]) / size)
        lessons += [method.lesson(size, None, says(q)) for _ in range(count - 1)]
        steps, *others = (torch.arange(each.first, each.first + len(each)) for each in drawn)
        filling = torch.cat([*reversed(others), steps[:0]])  # those of the first that was drawn are its end
        assert sum(map(len, others[:-1])) < count * size - len(steps) or not others  # none is drawn in vain
        expected = backward_minibatches(steps, filling, size)
        assert torch.from_numpy(np.concatenate([each.transitions for each in lessons])).equal(expected)
        got = torch.cat([each.targets for each in lessons])
        torch.testing.assert_close(got, torch.tensor([[y[int(t)] for t in row] for row in expected]))
        counts.add((count, len(others)))
    assert len(counts) > 1  # episodes of several lengths, or several to fill up with


def test_episodes_of_all_agents_are_swept_at_once_with_the_numbers_of_one_after_the_other() -> None:
    experience, finished = played(4)
    q, betas, asked = tables(4), [0.0, 0.25, 0.5, 1.0], set()

    def one_by_one(*episode: Tensor, **settings: object) -> Tensor:
        asked.add(settings["beta"])
        return backward_targets(*episode, **settings)

    at_once = begun(Backward(betas), experience, finished)
    each = begun(Backward(betas, one_by_one), experience, finished)
    for _ in range(10):
        got, expected = (method.lesson(5, None, says(q)) for method in (at_once, each))
        assert (got.transitions == expected.transitions).all()
        torch.testing.assert_close(got.targets, expected.targets, rtol=1e-6, atol=1e-6)
    assert asked == set(betas)


def test_targets_are_computed_when_an_episode_is_drawn_and_wait_from_then_on() -> None:
    experience, finished = played(1)
    method, q = begun(Backward(0.5), experience, finished), tables(1)
    asked = []

    def target(agents: Tensor, cells: Tensor) -> Tensor:
        asked.append(len(agents))
        return says(q)(agents, cells)

    lessons = [method.lesson(1, None, target).transitions.item() for _ in range(60)]
    ends = {each.first + len(each) - 1 for each in experience.memories[0]}
    assert sum(asked) == len(asked) == sum(t in ends for t in lessons)  # once for each episode, of 4 steps or more


# ---- a population ---------------------------------------------------------------------------------------------------


def population(
    methods: Sequence[Method], count: int, *, steps: int = 60, generator_seed: int = 3
) -> tuple[Population, Experience]:
    experience = Experience(mazes(len(methods) * count), steps, seed=0, capacity=40)
    agents = Population(methods, count, experience, GAMMA, seeded(generator_seed))
    for actions in random_actions(steps, len(experience)):
        agents.keep(experience.step(actions))
    return agents, experience


def stands_for(q: Tensor) -> SimpleNamespace:
    """A network that says what the tables say."""
    return SimpleNamespace(of=says(q))


def test_each_agent_learns_from_its_own_steps_by_its_own_method() -> None:
    kinds = {"one step": Uniform(), "three": Uniform(3), "backward": Backward(0.5), "mixed": Uniform(mix=0.5)}
    agents, experience = population(list(kinds.values()), 2)
    q = tables(8)
    seen, actions, y = agents.minibatch(40, stands_for(tables(8, seed=1)), stands_for(q))
    assert seen.shape == actions.shape == y.shape == (8, 40)
    rules = [one_step, n_steps(3), swept(0.5), mixed(0.5)]
    for k in range(8):
        expected = expected_of(rules[k // 2], experience, k, q)
        own = {(int(experience.before[k, t]), int(experience.actions[k, t]), round(v, 4)) for t, v in expected.items()}
        got = zip(seen[k].tolist(), actions[k].tolist(), y[k].tolist(), strict=True)
        for cell, action, value in got:
            assert any((cell, action) == (c, a) and abs(value - v) < 2e-4 for c, a, v in own)


def test_a_method_is_told_of_the_episodes_of_its_agents_only() -> None:
    class Told(Uniform):
        joins, together = Method.joins, Method.together

        def keep(self, agent: int, episode: Kept) -> None:
            super().keep(agent, episode)
            self.told = [*getattr(self, "told", []), agent]

    methods = [Told(), Told(), Told()]
    agents, _ = population(methods, 2)
    assert [sorted(set(method.told)) for method in methods] == [[0, 1], [2, 3], [4, 5]]
    assert sum(len(method.told) for method in methods) == len(played(6)[1])
    assert len(agents.methods) == 3


class UniformApart(Uniform):
    joins, together = Method.joins, Method.together


class BackwardApart(Backward):
    joins, together = Method.joins, Method.together


@pytest.mark.parametrize(
    ("joined", "apart", "numbers"),
    [(Uniform, UniformApart, [(1, 0.0), (3, 0.25), (2, 1.0)]), (Backward, BackwardApart, [(0.0,), (0.5,), (1.0,)])],
    ids=["uniform", "backward"],
)
def test_neighbours_that_are_joined_give_the_numbers_that_they_give_apart(
    joined: type[Method], apart: type[Method], numbers: list[tuple]
) -> None:
    (one, _), (several, _) = (population([kind(*each) for each in numbers], 2) for kind in (joined, apart))
    assert (len(one.methods), len(several.methods)) == (1, 3)
    q = stands_for(tables(6))
    for _ in range(10):
        for got, expected in zip(one.minibatch(5, q, q), several.minibatch(5, q, q), strict=True):
            torch.testing.assert_close(got, expected)


def test_only_neighbours_of_one_kind_are_joined() -> None:
    methods = [Uniform(), Uniform(3), Backward(), Backward(1.0), Uniform(), Prioritized(), Prioritized()]
    agents, _ = population(methods, 1)
    assert [type(method) for method in agents.methods] == [Uniform, Backward, Uniform, Prioritized, Prioritized]
    agents, _ = population([Backward(0.5, backward_targets), Backward(1.0, backward_targets), Backward()], 1)
    assert len(agents.methods) == 3  # who can tell whether two functions are the same?


def test_methods_that_do_not_fit_the_environments_are_refused() -> None:
    experience = Experience(mazes(5), 10, seed=0, capacity=10)
    with pytest.raises(ValueError, match="2 methods of 3 agents do not fit 5 environments"):
        Population([Uniform(), Backward()], 3, experience, GAMMA, seeded())


def test_the_same_generator_draws_the_same_minibatches_and_another_one_others() -> None:
    def minibatch(seed: int) -> list:
        agents, _ = population([Uniform(), Prioritized(), Backward()], 2, generator_seed=seed)
        return [x.tolist() for x in agents.minibatch(30, stands_for(tables(6)), stands_for(tables(6)))]

    assert minibatch(3) == minibatch(3)
    assert minibatch(3) != minibatch(4)


@pytest.mark.parametrize("name", PROBES)
def test_agents_of_all_kinds_learn_what_a_probe_asks_of_them(name: str) -> None:
    methods, g = [Uniform(), Uniform(3), Prioritized(), Backward(0.5)], seeded(2)
    net = StackedNetwork([dense_network(1, 16, 2, seeded(k)) for k in range(4)])
    target, optimizer = copy.deepcopy(net), ADAM(net.parameters())
    experience = Experience(VectorProbe(name, 4), 250, seed=0, capacity=100)
    agents = Population(methods, 1, experience, GAMMA, g)
    for step in range(250):
        with torch.no_grad():
            q = net(torch.from_numpy(experience.seen)[:, None])[:, 0]
        agents.keep(experience.step(epsilon_greedy(q, max(0.2, 1 - step / 100), g)))
        if step >= 40:
            gradient_step(net, optimizer, *agents.minibatch(16, net, target))
            copy_to_target(net, target, step, 10)
    seen, truth = (torch.from_numpy(x) for x in VectorProbe(name, 1).expected(GAMMA))
    values = net.of(torch.arange(4), seen.expand(4, *seen.shape))
    torch.testing.assert_close(values, truth.expand_as(values), rtol=0, atol=0.1)
