# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lesson 06 · Episodic backward update
#
# | | |
# |---|---|
# | **For** | whoever trains networks with PyTorch and wants to know why deep reinforcement learning needs so many tries, and what helps |
# | **Afterwards you can** | count how long a reward takes to travel through a table, write an agent that learns with a replay memory and a target network, with one-step and with backward targets, find its faulty part with tiny environments, and compare agents fairly |
# | **You need** | expectation and probability, PyTorch; no reinforcement learning: section 1 has what is needed |
# | **Time** | core: 120 minutes with the exercises; further: 50 minutes |
# | **Level** | intermediate |
# | **Paper** | S. Y. Lee, S. Choi, S.-Y. Chung, *Sample-Efficient Deep Reinforcement Learning via Episodic Backward Update*, NeurIPS 2019, arXiv:1805.12375 |
# | **The review** | a review of the paper, in Korean |
#
# **Claims that you will test.** Some hold, some do not, some depend on how one measures. (EBU is the paper's method, episodic backward update; DQN is what it improves on. All words are explained on the way.)
#
# | claim | source | section |
# |---|---|---|
# | A backward sweep finds the way through a chain of five after five updates, where uniform draws need many more | paper, review | 2 |
# | With a table, sweeps need fewer updates than uniform draws, in mazes with 20 % and with 50 % walls | paper | 3 |
# | Where moves are random, a step size below 1 brings the start's value nearer to the truth | paper | Further |
# | A step drawn uniformly rarely carries the goal's reward | review | 5, 6 |
# | At equal numbers of updates EBU finds shorter ways than one-step DQN, than five-step DQN, than prioritized replay, than mixed-in returns | paper; ours | 6 |
# | At the published ratio of updates, half of EBU's lead in our mazes or more is due to more updates; it also leads where both update at every fourth step | after Kielak; ours | 6 |
# | Where moves are random, a diffusion factor of 1 over-estimates, and 0.5 finds shorter ways than 1 | paper | 7 |
# | Where moves are certain, 0.5 finds shorter ways than 0, and values are the nearer to the truth, the larger the factor | paper; ours | 7 |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# `profile` chooses the scale.
# At `quick` mazes have 6 x 6 cells, at `full` the paper's 10 x 10, and an Atari 2600 game is played (extra `atari`); `paper` takes the published lengths, on a GPU, and resumes if it is run by `labkit run 06 --profile paper`.
# You can skip the configuration.

# %% tags=["parameters"]
profile = "quick"  # "quick" (small mazes), "full" (mazes of 10 x 10, an Atari game) or "paper" (a GPU)
seed = 0  # another seed: other mazes, other weights, other luck

# %%
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from zlib import crc32

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode
from torch import nn

# %%
import labkit
import labkit.data
from labkit.data.dataset import Split
from labkit.envs.maze import DigitImages, Maze, VectorMaze, draw_walls, optimal_q, shortest_path
from labkit.envs.probes import PROBES, VectorProbe
from labkit.lab.figures import PALETTE, as_png, in_numbers, panels
from labkit.lab.mazes import Finished, MazeTests, draw_maze, greedy_way, maze_picture
from labkit.lab.training import in_stretches
from labkit.lab.widgets import image_choices
from labkit.papers import episodic_backward_update as paper
from labkit.papers.deep_q_learning import dense_network, initialized
from labkit.papers.episodic_backward_update import AdaptiveEBU, DQNAgent, EBUAgent, EpisodeReplay, Settings
from labkit.papers.episodic_population import Backward, Experience, Population, Prioritized, StackedNetwork, Uniform

lab = labkit.start("06_episodic_backward_update", profile=profile, seed=seed)
torch.set_num_threads(1)  # these networks are so small that a second thread costs more than it brings


# %%
@dataclass(frozen=True)
class Plan:
    steps: int  # of each agent in its environment
    warm_up: int  # steps before learning begins; no episode is longer
    exploring: int  # steps from then on, over which random actions get rarer, down to one in ten
    sync: int  # updates between copies to the target network
    lr: float  # Adam's step size
    ratio: float = 1.0  # updates for each step


# %%
@dataclass(frozen=True)
class Config:
    runs: int  # simulated runs of the chain
    tables: int  # mazes for agents with a table
    noisy_episodes: int  # episodes of agents with a table where moves are random
    size: int  # cells of a maze's side, for deep agents
    longest: int  # steps of an episode there
    tested: int  # steps of a test walk
    plan: Plan  # how deep agents learn
    eval_every: int  # steps between tests
    agents: int  # of each kind in the main comparison, each in a maze of its own
    fewer: int  # of each kind in the others, in the first of these mazes
    often: int  # updates between copies to the target network, where they are frequent
    hidden: int  # units of each hidden layer
    images: int  # of each digit: few, so that an agent meets each often


# %%
quick = Config(
    runs=10_000,
    tables=3,
    noisy_episodes=300,
    size=6,
    longest=200,
    tested=100,
    plan=Plan(steps=1500, warm_up=200, exploring=600, sync=25, lr=3e-3),
    eval_every=150,
    agents=16,
    fewer=8,
    often=5,
    hidden=32,
    images=8,
)

# %%
full = replace(
    quick,
    runs=100_000,
    tables=20,
    noisy_episodes=2000,
    size=10,
    longest=500,
    tested=200,
    plan=Plan(steps=8000, warm_up=1000, exploring=3000, sync=50, lr=2e-3),
    eval_every=500,
    often=10,
    hidden=64,
)

# %%
long = replace(
    full,
    tables=50,
    noisy_episodes=5000,
    longest=1000,
    plan=Plan(steps=200_000, warm_up=1000, exploring=100_000, sync=250, lr=1e-3),
    eval_every=2000,
    agents=50,
    fewer=10,
    often=50,
    hidden=256,
    images=5000,
)
config = lab.choose(quick=quick, full=full, paper=long)

# %% [markdown]
# ## 1 · Reinforcement learning in a nutshell
#
# Do you know what Q-learning with a replay memory and a target network is? Then go on with section 2.
#
# ![An agent, a small network Q with a value for each action and an older copy of it as target network, sends actions to a maze and gets back states and rewards. Below, a strip of states, actions and rewards makes up an episode; whole episodes lie in a replay memory, from which Q learns.](figures/06_episodic_backward_update/agent.svg)
#
# At time $k$ an **agent** is in a **state** $S_k$, takes an **action** $A_k$, receives a **reward** $R_k$ and finds itself in $S_{k+1}$.
# That is a **transition** $(S, A, R, S')$, or a step; from start to end is an **episode**.
# What the agent wants is a large **return**, $R_k + \gamma R_{k+1} + \gamma^2 R_{k+2} + \dots$: the sum of rewards, later ones **discounted** by $\gamma$, between 0 and 1, for each step.
# What it can change is its **policy**: which action it takes in which state.
#
# The **value** $Q^*(S, A)$ is the return that can be expected if $A$ is taken in $S$ and the best is done from then on.
# If you know it, you need no plan: the best policy is to take the action of largest value.
# Values hang together, by the **Bellman equation**:
#
# $$Q^*(S_k, A_k) = \mathbb E\big[R_k + \gamma \max_a Q^*(S_{k+1}, a)\big].$$
#
# **Q-learning** turns it into an update: set the entry of a table to what the right-hand side says with the table as it is.
# Here is a corridor of three cells; action 1 goes on, and from cell 2 it reaches the goal, with a reward of 1.
# Let $\gamma$ be 0.9.
# We make the updates of one walk from start to goal:

# %% tags=["nbval-check-output"]
gamma = 0.9
q = torch.zeros(4, 2)  # cells 0, 1, 2 and the goal, 3; actions 0 back, 1 on
for state, reward in ((0, 0.0), (1, 0.0), (2, 1.0)):
    q[state, 1] = reward + gamma * q[state + 1].max()
print("after one walk:  ", [round(value, 2) for value in q[:3, 1].tolist()])
print("the true values: ", [round(gamma**k, 2) for k in (2, 1, 0)])

# %% [markdown]
# Only the last cell has learned: when the others were updated, what lay ahead of them was not known yet.
#
# The other words that you will meet, each with a line of code as a sketch:
#
# | word | what it is | sketched in code |
# |---|---|---|
# | **bootstrapping** | a value is learned from another value, which may be wrong itself | `reward + gamma * q[next].max()` |
# | **exploration**, **epsilon-greedy** | with probability $\epsilon$ any action, else the best one: whoever never tries learns nothing new | `anything if rand() < epsilon else q[state].argmax()` |
# | **off-policy** | the maximum is about the best policy, whichever one made the step: so old and random steps teach as well | `q[next].max()`, not `q[next, taken]` |
# | **replay memory** | all these steps, kept and drawn from over and over | `memory.append(episode)` |
# | **target network** | for values by a network: an older copy, which says what `q[next]` is, so that the network does not chase its own tail | `target = deepcopy(net)` |
#
# **DQN** (deep Q-network; Mnih et al., 2015) is all of these together.
#
# ## 2 · Why a reward travels slowly
#
# DQN was trained for 200 million frames of each Atari game: more than 38 days of play, at 60 frames a second.
# The review names two causes.
# Rewards are rare, so most of what is learned from carries none.
# And at first all values are zero, so that even a step right before a reward teaches nothing *until the reward itself has been learned*.
# A reward travels backward, one step at a time, and only when the right step happens to be drawn.
#
# ![A walk s1, s2, s3, s2, s3, s4 with a reward of 1 on its last step, and five updates in two orders. Backward, four of the five teach something and all states have learned of the reward; of the five drawn uniformly only two do, and the start has not yet learned of it.](figures/06_episodic_backward_update/chain.svg)
#
# (That is how we read the review's example.)
# Simpler still: a chain of five transitions straight ahead, a reward of 1 at the end of the last, and one episode in the memory.
# Watch what ten uniform draws do ($\gamma = 1$; a number for each transition):

# %% tags=["nbval-check-output"]
q = [0, 0, 0, 0, 0, 0]  # the sixth is the end, which has no value
for i in torch.randint(5, (10,), generator=torch.Generator().manual_seed(2)).tolist():
    reward = 1 if i == 4 else 0
    q[i] = reward + q[i + 1]
    print("transition", i + 1, "drawn:", q[:5])

# %% [markdown]
# A draw teaches something only if it is the one transition just before what is known; all others are wasted.
# A **backward sweep** takes the transitions from the last to the first and wastes none: after five updates the whole way is known.
#
# ### Exercise 1 · How long do uniform draws take?
#
# Let an episode have $T$ steps.
# The way has $N$ transitions; the episode made the first of them $c_1$ times, the second $c_2$ times, and so on (the list `copies`), and besides `others` steps that lead back, so $T = \sum_i c_i + \text{others}$.
# At any time only one transition of the way can teach something, and a draw hits it with probability $c_i / T$.
# (What happens with probability $p$ takes $1/p$ tries on average.)
# How many draws are needed on average until all $N$ are known, from the last to the first?


# %% tags=["exercise"]
def uniform_updates_mean(copies, others=0):
    """How often each transition of the way is in the episode, and how many further steps -> mean number of updates."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
uniform_updates_mean = lab.check(uniform_updates_mean)

# %%
lab.predict("chain", "How many uniform updates does the chain of five need on average?", number="updates")

# %%
chain = [1] * 5
simulated = paper.simulate_uniform_updates(chain, config.runs, lab.generator("chain"))
exact = paper.uniform_updates_pmf(chain, most=80)  # P(U = u), u = 0 ... 80
lab.record("chain/mean of the runs", simulated.double().mean(), "updates")
lab.record("chain/more than 40", 1 - exact[:41].sum())
lab.reveal("chain", uniform_updates_mean(chain), within=0.1)

# %%
figure, (left, right) = panels(1, 2, width=4.6)
counted = torch.bincount(simulated, minlength=81)[:81] / config.runs
left.bar(range(81), counted, width=1, color=PALETTE[3], label="runs")
left.plot(range(81), exact, color=PALETTE[2], linestyle="-", label="exact")
left.axvline(5, color=PALETTE[0], linestyle="--", label="backward")
left.set(xlabel="updates until the way is known", ylabel="probability")
left.legend(frameon=False)
lengths = range(1, 21)
right.plot(lengths, [uniform_updates_mean([1] * n) for n in lengths], marker="o", label="uniform, on average")
right.plot(lengths, lengths, marker="s", label="backward")
right.set(xlabel="transitions of the chain", ylabel="updates", xticks=[1, 5, 10, 15, 20])
right.legend(frameon=False)
lab.show(
    figure,
    alt=f"Left, the distribution of the number of uniform updates for a chain of five, {simulated.double().mean():.1f} on average: a hump from 5 to beyond 60 with its peak near 20, where the simulated bars follow the exact curve; a vertical line at 5 marks the backward sweep. "
    "Right, updates by length of the chain: a parabola up to 400 at 20 transitions for uniform draws, a straight line up to 20 for the sweep.",
)

# %% [markdown]
# The number of draws is a sum of waiting times, so its distribution is known exactly.
# For $N$ transitions the mean is $N^2$: the longer the way, the worse.
#
# Real first episodes do not march to the goal, they wander, and pass the same transitions many times.
# By your formula uniform draws then need $\sum_i 1 / c_i$ times as many updates as the episode has steps: a smaller factor than $N$, of a longer episode.
# The last transition ends the episode, so $c_N = 1$; all other terms can shrink.
# The sweep gains as well: it may know the way long before it has come to the episode's start.
# So we count its updates until then, and, less kindly, all $T$ that it makes.
# Let the agent go left or right at random:


# %%
def wander(n, rng):
    """A random walk through a chain: the transition made at each step, 0 ... n - 1, or -1 for a step back."""
    walk, place = [], 0
    while place < n:
        ahead = rng.random() < 0.5
        walk.append(place if ahead else -1)
        place = place + 1 if ahead else max(0, place - 1)
    return walk


def sweep_updates(walk, n):
    """Updates of a backward sweep until all n transitions of the way are known, the first as the last of them."""
    missing, updates = n - 1, 0
    while missing >= 0:
        updates += 1
        missing -= walk[-updates] == missing
    return updates


# %%
rng = np.random.default_rng(lab.generator("wander").initial_seed())
for n in (5, 20):
    ratios = []
    for walk in (wander(n, rng) for _ in range(1000)):
        uniform = uniform_updates_mean([walk.count(i) for i in range(n)], walk.count(-1))
        ratios.append([uniform / sweep_updates(walk, n), uniform / len(walk)])
    until_known, whole = np.mean(ratios, axis=0)
    lab.record(f"chain/ratio of {n}, wandering", until_known)
    lab.record(f"chain/ratio of {n}, whole sweep", whole)
lab.tell(
    "In chains of 5 and 20, with straight episodes, uniform draws need 5 and 20 times as many updates as a sweep. With episodes that wander it is {chain/ratio of 5, wandering:.1f} and {chain/ratio of 20, wandering:.1f} times until the way is known, and {chain/ratio of 5, whole sweep:.1f} and {chain/ratio of 20, whole sweep:.1f} times the whole sweep. The advantage depends on how an agent explores, and on what one counts."
)
lab.claim("chain")

# %% [markdown]
# ## 3 · Backward with a table
#
# ### Exercise 2 · One sweep
#
# The paper's first algorithm draws a whole episode of $T$ steps, $k = 0, \dots, T - 1$, and updates from its end to its start:
#
# $$Q(S_k, A_k) \leftarrow (1 - \alpha)\, Q(S_k, A_k) + \alpha \big(R_k + \gamma \max_a Q(S_{k+1}, a)\big), \qquad k = T - 1, \dots, 0.$$
#
# With the step size $\alpha = 1$ it simply sets the entry.
# If the episode was **terminated**, as by reaching the goal, nothing comes after it, and the last maximum is 0.
# If not (`terminated=False`: it was only cut off), the last maximum counts like the others.
# Return a new table; leave the old one as it is.


# %% tags=["exercise"]
def backward_q_learning(q, states, actions, rewards, *, gamma, alpha=1.0, terminated=True):
    """Table (S, A), states (T + 1,), actions and rewards (T,) -> the table after one backward sweep, (S, A)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
backward_q_learning = lab.check(backward_q_learning)

# %% [markdown]
# An episode may pass a state twice.
# Below it goes 0, 1, 0, 1, 2, with action 1 for "on" and 0 for "back", and the reward comes at the end.
# One sweep, $\gamma = 0.9$; rows are states, columns actions:

# %% tags=["nbval-check-output"]
states, actions, rewards = torch.tensor([0, 1, 0, 1, 2]), torch.tensor([1, 0, 1, 1]), torch.tensor([0.0, 0, 0, 1])
print(backward_q_learning(torch.zeros(3, 2), states, actions, rewards, gamma=0.9))

# %% [markdown]
# Even the detour got its value: 0.81 for going back from state 1, since one may return.
#
# ### Mazes
#
# Now something with choices: a start in the upper left corner, a goal in the lower right one, four actions (0 up, 1 right, 2 down, 3 left).
# Reaching the goal ends the episode with a reward of 10; bumping into a wall or the border costs 0.1, and one stays where one is.
# We set $\gamma = 0.9$.
# A fifth or a half of the cells are walls, drawn at random, again until there is a way.
# (The authors' code for mazes is not published; these rewards are ours, and `labkit.envs.maze` lists our other choices.)
#
# Breadth-first search gives the shortest way.
# And since we know the maze, **value iteration** gives $Q^*$: it applies the Bellman equation to all states and actions, again and again, until nothing changes.

# %%
GAMMA = 0.9
REWARDS = {"goal_reward": 10.0, "bump_reward": -0.1}


def maze(index, density=0.2, size=10):
    """The walls of one of this run's mazes, (size, size)."""
    rng = np.random.default_rng(lab.generator(f"maze {index} of density {density} and size {size}").initial_seed())
    return draw_walls(rng, size=size, density=density)


# %%
figure, axes = panels(1, 2, width=3.8, height=3.8)
ways = {}
for ax, density in zip(axes, (0.2, 0.5), strict=True):
    walls = maze(0, density)
    ways[f"{density:.0%} walls"] = draw_maze(ax, walls, optimal_q(walls, gamma=GAMMA, **REWARDS))
    ax.set_title(f"{density:.0%} walls: {ways[f'{density:.0%} walls']} moves")
lab.show(
    figure,
    alt=f"Two mazes of 10 by 10 cells from above, with a fifth and with half of the cells as dark walls. The values of the free cells grow towards the goal, a deeper blue; an arrow in each cell points to the best neighbour, and a line marks a shortest way from the upper left to the lower right corner. Its moves: {in_numbers(ways, 0)}.",
)

# %% [markdown]
# The blue is $\max_a Q^*$, what each cell is worth (its square root is drawn).
# Whoever follows the arrows takes a shortest way, the line.
#
# ### One episode, swept
#
# Let an agent walk at random until it finds the goal.
# Then learn from this one episode, once with a backward sweep and once with as many uniform draws.
# Both make the same kind of update, equally often; what differs is which transitions come, and in which **order**:


# %%
def at_random(draw, state):
    """Any of the four actions."""
    return int(torch.randint(4, (), generator=draw))


walls = maze(0)
env = Maze(walls, max_steps=20_000, **REWARDS)
episode = paper.play_episode(env, partial(at_random, lab.generator("walk")), seed=seed, longest=20_000)
T = len(episode)
lab.record("sweep/length of the episode", T, "steps")


# %%
def learned(order):
    """The table after one-step updates with the episode's transitions in this order; frames hold 10 row + column."""
    q = np.zeros((100, 4))
    for k in order:
        best = q[episode.frames[k + 1]].max()  # the goal's row stays 0
        q[episode.frames[k], episode.actions[k]] = episode.rewards[k] + GAMMA * best
    return q


orders = {
    "backward": range(T - 1, -1, -1),
    "uniform": torch.randint(T, (T,), generator=lab.generator("draws")).tolist(),
}

# %%
lab.predict(
    "reach",
    "Of the cells that the episode visited, what share has a positive value after as many uniform draws?",
    choices=["below a quarter", "a quarter to a half", "more than half"],
)

# %%
figure, axes = panels(1, 4, width=2.7, height=3)
for ax, part in zip(axes, (0.02, 0.3, 1.0), strict=False):
    ax.imshow(maze_picture(walls, learned(orders["backward"][: round(part * T)]).max(1)))
    ax.set(xticks=[], yticks=[], title=f"backward\n{round(part * T)} updates")
axes[3].imshow(maze_picture(walls, learned(orders["uniform"]).max(1)))
axes[3].set(xticks=[], yticks=[], title=f"uniform\n{T} updates")
for name, order in orders.items():
    known = (learned(order).max(1) > 0).sum() / len(set(episode.frames[:-1].tolist()))
    lab.record(f"sweep/cells with a value, {name}", known)
lab.show(
    figure,
    alt=f"The same maze four times. With a backward sweep over an episode of {T} steps the blue of positive values spreads from the goal over the visited cells, in three stages; at the end {lab.metrics['sweep/cells with a value, backward']:.0%} of them have a value. After as many uniform updates {lab.metrics['sweep/cells with a value, uniform']:.0%} have.",
)
share = lab.metrics["sweep/cells with a value, uniform"]
lab.reveal("reach", "below a quarter" if share < 0.25 else "a quarter to a half" if share < 0.5 else "more than half")


# %% tags=["widget"]
def swept(order, updates):
    """The maze after so many updates in one order, the cell of the latest one in orange."""
    k = orders[order][updates - 1]
    cell = divmod(int(episode.frames[k]), 10)
    return maze_picture(walls, learned(orders[order][:updates]).max(1), cell)


moments = sorted({*range(1, min(T, 40)), *np.linspace(1, T, 60).astype(int).tolist()})
image_choices(swept, {"order": list(orders), "updates": moments}, width=320, scale=32)

# %% [markdown]
# Move `updates` slowly.
# Backward, the orange cell runs the episode in reverse and leaves values behind; uniformly it jumps about and leaves none, until it happens to hit the edge of the blue.
#
# ### A table in mazes
#
# Now agents that act by what they know: the best action, and with probability 0.1 a random one.
# After each episode one backward sweep over an episode drawn from the memory, or as many uniform updates as that episode has steps.
# We count updates until the **greedy** way (always the best action) is a shortest one.
# Whoever has not found it after 200 episodes is counted with 200,000 updates, the most that it can have made.

# %%
NEVER = 200_000  # 200 episodes of at most 1000 steps: nobody makes more updates


def updates_needed(walls, number, backward, episodes=200):
    """Updates until the greedy way is a shortest one; `NEVER` if it never is."""
    shortest, found = len(shortest_path(walls)) - 1, []

    def look(q, updates):
        way = greedy_way(walls, lambda cell: int(q[cell @ (10, 1)].argmax()), shortest)
        if (way[-1] == 9).all():  # in no more moves than the shortest
            found.append(updates)
        return bool(found)  # then it is over

    env = Maze(walls, max_steps=1000, **REWARDS)
    options = {"gamma": GAMMA, "generator": lab.generator(f"table {number}"), "after_episode": look}
    paper.tabular_ebu(env, episodes=episodes, backward=backward, **options)
    return found[0] if found else NEVER


# %%
needed = {
    density: np.array(
        [[updates_needed(maze(m, density), m, way) for way in (True, False)] for m in range(config.tables)]
    )
    for density in (0.2, 0.5)
}
for density, pairs in needed.items():
    name = f"table/{density:.0%} walls"
    lab.record(f"{name}/backward", np.median(pairs[:, 0]), "updates")
    lab.record(f"{name}/uniform", np.median(pairs[:, 1]), "updates")
    lab.record(f"{name}/mazes in which backward needs fewer", (pairs[:, 0] < pairs[:, 1]).mean())

# %%
figure, ax = panels(width=4.4, height=3.8)
for (density, pairs), marker in zip(needed.items(), "os", strict=True):
    ax.loglog(*pairs.T, marker, label=f"{density:.0%} walls")
ends = [0.8 * min(pairs.min() for pairs in needed.values()), 1.2 * max(pairs.max() for pairs in needed.values())]
ticks = [tick for tick in (100, 300, 1000, 3000, 10_000, 30_000, 100_000) if ends[0] < tick < ends[1]]
ax.plot(ends, ends, color="#717581", linestyle=":", label="equal")
ax.set(xlabel="updates, backward", ylabel="updates, uniform", xlim=ends, ylim=ends)
ax.set(xticks=ticks, xticklabels=ticks, yticks=ticks, yticklabels=ticks)
ax.minorticks_off()
ax.legend(frameon=False)
lost = sum((pairs == NEVER).sum() for pairs in needed.values())
medians = {n[6:]: value for n, value in lab.metrics.items() if n.startswith("table/") and "mazes" not in n}
lab.show(
    figure,
    alt=f"Updates until the greedy way is a shortest one, a point for each maze, backward on the horizontal axis and uniform on the vertical one, both logarithmic. A dotted diagonal marks equality; points above it are mazes in which backward needs fewer. No shortest way was found within 200 episodes, so that 200,000 is drawn, {lost} times. The medians: {in_numbers(medians, 0)}.",
)
lab.claim("table-20")
lab.claim("table-50")

# %% [markdown]
# ## 4 · Targets for a network
#
# A maze seen through its cell numbers fits into a table, an Atari game does not.
# So let a network $Q(S, \cdot\,; \theta)$ give the values, with a target network $\hat Q$, its older copy with parameters $\theta^-$.
# The network is pulled towards a **target** $y_k$: what the step and $\hat Q$ say that $Q(S_k, A_k)$ should be.
# Methods differ in this target.
# One extreme, **Monte Carlo**, asks the network nothing and takes the return that the episode received from there on.
#
# ![The end of an episode four times: one-step and three-step targets add one or three rewards and then ask the target network, and miss the reward at the end. Monte Carlo adds all rewards and asks nobody; the backward target adds all rewards, asks at every step, and mixes.](figures/06_episodic_backward_update/targets.svg)
#
# ### Exercise 3 · One-step targets, and two kinds of ends
#
# $$y = R + \gamma \max_a \hat Q(S', a), \qquad \text{and } y = R \text{ where } S' \text{ is terminal.}$$
#
# A Gymnasium environment tells two kinds of ends apart.
# **Terminated**: the goal is reached, nothing comes after.
# **Truncated**: a time limit cut the episode off; $S'$ is a state like any other, and has a value.
# Treating both alike teaches the agent that the world ends where its patience did.
# (If both flags are set, the end is a terminal one.)


# %% tags=["exercise"]
def one_step_targets(rewards, q_next, terminated, truncated, *, gamma):
    """Rewards (B,), values of the next states (B, A), two flags (B,) -> targets (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
one_step_targets = lab.check(one_step_targets)

# %% [markdown]
# ### Exercise 4 · Backward targets
#
# A sweep with a network cannot change values on its way: learning takes many gradient steps.
# The paper's second algorithm sweeps a small **temporary table** instead, $\tilde Q$, one row of action values for each step of the episode, made by the target network.
#
# ![An episode of four steps swept from right to left: each target enters, with share beta, the row before it at the action taken next, and the largest entry of that row, after the change, gives the next target. The targets are 2, 1.17, 1.7515 and 0.788175.](figures/06_episodic_backward_update/table.svg)
#
# Copy $\tilde Q_k = \hat Q(S_{k+1}, \cdot\,)$, $k = 0, \dots, T - 1$, and begin at the end with $y_{T-1} = R_{T-1}$ (if the episode was truncated, plus $\gamma \max_a \tilde Q_{T-1}[a]$).
# Then for $k = T - 2, \dots, 0$:
#
# $$\tilde Q_k[A_{k+1}] \leftarrow \beta\, y_{k+1} + (1 - \beta)\, \tilde Q_k[A_{k+1}], \qquad y_k = R_k + \gamma \max_a \tilde Q_k[a].$$
#
# The **diffusion factor** $\beta \in [0, 1]$ says how much of the new target goes into the table.
# Mind the indices: row $k$ holds the values of the state *after* step $k$, and the action taken there is $A_{k+1}$.
# One entry of a row changes, and the maximum is taken after the change.
# And copy: the network's output must stay as it is.


# %% tags=["exercise"]
def backward_targets(rewards, q_next, actions, *, gamma, beta, terminated=True):
    """One episode: rewards (T,), values of the states after each step (T, A), actions (T,) -> targets (T,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
backward_targets = lab.check(backward_targets)

# %% [markdown]
# The episode of the diagram, with three diffusion factors:

# %% tags=["nbval-check-output"]
rewards, actions = torch.tensor([0.0, 1, 0, 2]), torch.tensor([0, 1, 0, 1])
q_next = torch.tensor([[0.3, 0.0], [0.5, 0.4], [0.2, 0.6], [0.0, 0.0]])
for beta in (0.0, 0.5, 1.0):
    y = backward_targets(rewards, q_next, actions, gamma=0.9, beta=beta)
    print(f"beta = {beta}:", [round(each, 6) for each in y.tolist()])
returns = paper.n_step_targets(rewards, q_next, gamma=0.9, n_steps=4)
print("returns:   ", [round(each, 6) for each in returns.tolist()])

# %% [markdown]
# - $\beta = 0$ gives one-step targets: nothing is written.
# - $\beta = 1$ writes the targets themselves. Here they equal the returns; in general they do not: wherever another action has a larger value in the table, the maximum takes that one.
#
# **How far does a reward reach?**
# If all values are still 0, a positive reward $n$ steps ahead contributes $(\beta\gamma)^n$ of itself to a target.
# So $\beta$ is a second discount, but only for the *news*: with a smaller one it takes more sweeps until early steps have it in full.
# Where moves are certain, the values that it all ends with do not depend on $\beta$.
#
# Below is an episode of 30 steps of which only the last has a reward.
# The target network has learned a little already: what it says of the actions taken is half of what is true.

# %%
steps = torch.arange(30)
q_next = torch.stack([0.5 * 0.9 ** (28.0 - steps), torch.zeros(30)], 1)  # of the action taken, and of the other
actions = torch.zeros(30, dtype=torch.int64)
rewards = F.one_hot(torch.tensor(29), 30).float()


def reach_figure(betas):
    """The targets of the episode with several diffusion factors, beside n-step targets of five steps."""
    figure, ax = panels(width=6.4, height=3.2)
    five = paper.n_step_targets(rewards, q_next, gamma=0.9, n_steps=5)
    ax.plot(steps, five, color="#717581", linestyle="none", marker="x", label="5 steps")
    for beta in betas:
        y = backward_targets(rewards, q_next, actions, gamma=0.9, beta=beta)
        ax.plot(steps, y, marker=".", label=f"$\\beta$ = {beta:g}")
    ax.set(xlabel="step of the episode", ylabel="target", ylim=(-0.02, 1.05))
    ax.legend(frameon=False, loc="upper left")
    return figure


# %%
lab.show(
    reach_figure((0.0, 0.5, 1.0)),
    alt="Targets by step of an episode with a reward of 1 at its end, for beta 0, 0.5 and 1 and for five-step targets as crosses. All rise towards the end. With beta 0 all but the last stay at half of what is true; with beta 1 all are as high as the truth, 0.05 at the first step; with beta 0.5 they leave the truth within a few steps and approach the curve of beta 0. The crosses jump from the truth to the lower curve five steps before the end.",
)

# %% tags=["widget"]
image_choices(lambda beta: as_png(reach_figure((beta,))), {"beta": [round(k / 20, 2) for k in range(21)]}, width=560)

# %% [markdown]
# Read the figure from right to left, as the sweep goes.
# With $\beta = 0$ each step knows only the next state's old value.
# Five-step targets, the crosses, carry the news exactly five steps.
# With $\beta = 0.5$ the news fades by half with each step; with $\beta = 1$ it goes all the way.
#
# ## 5 · Write the agent
#
# Four more pieces, and you have one.
#
# ![A loop of five boxes: epsilon_greedy, the maze, remember_episode, backward_targets and gradient_step, which changes the network that epsilon_greedy reads. copy_to_target renews the target network that backward_targets asks; all boxes but the maze and the two networks are yours to write.](figures/06_episodic_backward_update/loop.svg)
#
# ### Exercise 5 · Explore
#
# For several states at once: toss a coin for each state; with probability $\epsilon$ it gets any of the $A$ actions, each as likely as the others, else the best one.
# Take all random numbers from `generator`.


# %% tags=["exercise"]
def epsilon_greedy(q, epsilon, generator):
    """Values (N, A), a probability, a torch.Generator -> actions (N,), integers."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
epsilon_greedy = lab.check(epsilon_greedy)

# %% [markdown]
# ### Exercise 6 · Remember
#
# A memory is a list of whole episodes, the oldest first; `len(episode)` is the number of its steps.
# It has room for `capacity` steps.
# An episode that has lost its first steps teaches nothing about its start, so old ones go whole.


# %% tags=["exercise"]
def remember_episode(memory, episode, capacity):
    """A list of episodes and a new one -> a new list, of at most `capacity` steps together, the oldest episode first."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
remember_episode = lab.check(remember_episode)

# %% [markdown]
# ### Exercise 7 · Learn
#
# One gradient step on a minibatch: pull $Q(S, A; \theta)$, the value of the action that was *taken*, towards its target.
# The loss is the authors': the **sum** over the minibatch of Huber losses, half the squared error up to an error of 1, linear beyond.
#
# Write it so that it works for a minibatch $(B, \dots)$ and for those of $K$ agents at once, $(K, B, \dots)$: index from the last axis.
# `net` then answers with $(K, B, A)$, each agent by weights of its own.
# A loss that adds up all agents has for each of them the gradient of its own loss, so they learn side by side without knowing of each other.


# %% tags=["exercise"]
def gradient_step(net, optimizer, observations, actions, targets):
    """Observations (..., B, *), actions and targets (..., B); net(observations) is (..., B, A) -> the loss before the step, without gradient."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
gradient_step = lab.check(gradient_step)

# %% [markdown]
# ### Exercise 8 · Renew the target network
#
# Called after each update, with the number of updates so far.
# After every `every`-th of them the weights of `net` are copied into `target`.


# %% tags=["exercise"]
def copy_to_target(net, target, updates, every):
    """Copy the weights of net into target if `updates` is a multiple of `every`."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
copy_to_target = lab.check(copy_to_target)


# %% [markdown]
# ### All together
#
# This is the agent, or rather $K$ of them at once: the first axis counts agents, each has its environment, its weights and its memory.
# `Experience` makes the steps and keeps them.
# `Population` draws for each agent what it learns from; for EBU that is an episode, swept by your `backward_targets`, then reversed and cut into minibatches of 32, of which each update takes the next.


# %%
def exploration(step, plan):
    """How probable a random action is: 1 during the warm-up, then falling to 0.1."""
    return 1 - 0.9 * min(1.0, max(0, step - plan.warm_up) / plan.exploring)


def train(net, methods, envs, plan, g, watch=lambda step, net: None, size=32, act=epsilon_greedy, learn=gradient_step):
    """Let the agents of `net` act and learn in `envs`, len(net) / len(methods) of them by each method."""
    target, optimizer = deepcopy(net), torch.optim.Adam(net.parameters(), lr=plan.lr, fused=True)
    draw = int(torch.randint(2**31, (), generator=g))
    experience = Experience(envs, plan.steps, seed=draw, capacity=100_000, remember=remember_episode)
    agents = Population(methods, len(net) // len(methods), experience, GAMMA, g)
    updates = 0
    for step in range(1, plan.steps + 1):
        with torch.no_grad():
            q = net(torch.from_numpy(experience.seen)[:, None])[:, 0]  # (K, A)
        agents.keep(experience.step(act(q, exploration(step, plan), g)))
        while updates < int(plan.ratio * (step - plan.warm_up)):
            learn(net, optimizer, *agents.minibatch(size, net, target))
            updates += 1
            copy_to_target(net, target, updates, plan.sync)
        watch(step, net)
    return experience


# %% [markdown]
# ### Does it work? Five probes
#
# Before you let an agent into a maze, give it problems in which little can go wrong.
# Each of these takes it a second, and tests something that those before it do not:
#
# 1. **a reward**: there is always a reward of 1. Fails if nothing is learned at all.
# 2. **which state**: one sees 1 or -1, and that is the reward. Fails if states and targets do not belong together.
# 3. **two steps**: the reward comes after the second. Fails if values do not travel, or are not discounted.
# 4. **which action**: one action is worth -1, the other 1. Fails if actions are not tried, or are mixed up.
# 5. **both**: which state and which action, 2 and 4, at once.


# %%
def probed(name, targets=backward_targets, **parts):
    """An agent in a probe: how far its values are from the truth at worst, of the best action or of both."""
    g = lab.generator(f"probe {name}")
    net = StackedNetwork([dense_network(1, 16, 2, g)])
    plan = Plan(steps=200, warm_up=40, exploring=100, sync=10, lr=1e-2)
    train(net, [Backward(0.5, targets)], VectorProbe(name, 1), plan, g, size=8, **parts)
    seen, truth = (torch.from_numpy(x) for x in VectorProbe(name, 1).expected(GAMMA))
    values = net.of(torch.arange(1), seen[None])[0]
    matters = name in ("which action", "both")
    return ((values - truth) if matters else values.amax(-1) - truth.amax(-1)).abs().max().item()


for name in PROBES:
    off = probed(name)
    print(f"{name:13} largest error {off:.2f}", "as it should be" if off < 0.05 else "SOMETHING IS WRONG")

# %% [markdown]
# Now break one part at a time:


# %%
def forgetful(net, optimizer, observations, actions, targets):
    """A gradient step that forgets which action was taken."""
    loss = F.huber_loss(net(observations).amax(-1), targets, reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


broken = {
    "the weights never move": {"learn": lambda *given: None},
    "targets are rewards only": {"targets": lambda rewards, *others, **settings: rewards},
    "the discount is forgotten": {"targets": lambda *given, **s: backward_targets(*given, **{**s, "gamma": 1.0})},
    "the action taken is forgotten": {"learn": forgetful},
    "it never explores": {"act": lambda q, epsilon, g: q.argmax(1)},
}
rows = [
    f"| {what} | " + " | ".join("ok" if probed(name, **parts) < 0.05 else "**fails**" for name in PROBES) + " |"
    for what, parts in broken.items()
]
lab.tell("\n".join([f"| broken | {' | '.join(PROBES)} |", "|---" * (1 + len(PROBES)) + "|", *rows]))

# %% [markdown]
# Read a row from the left: the first probe that fails is where to look.
# (Luck may let a broken agent pass.)
#
# ### What there is to learn from
#
# How rare is the goal's reward, in a draw of one step? Under random play, in a maze of 10 x 10:

# %%
play, env = partial(at_random, lab.generator("long walks")), Maze(maze(0), max_steps=1000, **REWARDS)
walks = [paper.play_episode(env, play, seed=k, longest=1000) for k in range(20)]
wide = sum((walk.rewards > 0).sum() for walk in walks) / sum(len(walk) for walk in walks)
lab.record("rewarded/10 x 10", wide, unit="share of the steps")
lab.tell(
    f"Of 20 walks of up to 1,000 random steps {sum(walk.terminated for walk in walks)} arrive, "
    "and {rewarded/10 x 10:.2%} of all steps reach the goal. An episode that ends there has that reward right where the sweep begins; one that was cut off has none, wherever one begins."
)

# %% [markdown]
# ## 6 · Your agent walks the maze
#
# A state is seen as two pictures of handwritten digits, its row and its column, drawn anew at each visit.
# An agent must learn to read while it learns to walk.


# %%
def digits_for_mazes():
    """A few images of each digit: the middle 24 x 24 pixels, three by three averaged."""
    train = labkit.data.load("mnist").train
    chosen = torch.cat([(train.labels == digit).nonzero()[: config.images, 0] for digit in range(10)])
    return Split(F.avg_pool2d(train.images[chosen][..., 2:26, 2:26], 3), train.labels[chosen])


digits = digits_for_mazes()

# %%
figure, axes = panels(1, 4, width=2.3, height=1.8)
chances = torch.rand(4, 2, generator=lab.generator("looks")).numpy()  # which image of each digit
for ax, cell, chance in zip(axes, ((0, 0), (2, 3), (4, 5), (4, 5)), chances, strict=True):
    seen = [np.pad(image, 1) for image in DigitImages(digits, config.size)(np.array(cell), chance)]
    ax.imshow(np.hstack(seen), cmap="gray_r")
    ax.set(xticks=[], yticks=[], title=f"cell {cell}")
lab.show(
    figure,
    alt="What an agent sees in four visits: two handwritten digits of 8 by 8 pixels side by side, for row and column, of the cells (0, 0), (2, 3) and twice (4, 5), where other images of the same digits are shown the second time.",
)

# %% [markdown]
# ### Equal terms
#
# Five kinds of agents learn in the same mazes, with the same network (two hidden layers), the same initial weights, optimizer (Adam), minibatches of 32, exploration, period of the target network, and the *same number of updates*, one for each step.
#
# | agent | what it learns from |
# |---|---|
# | **EBU** | your backward targets, $\beta = 0.5$, of whole episodes |
# | **1-step DQN** | one-step targets of transitions drawn uniformly |
# | **5-step DQN** | the rewards of five steps, and what the target network says of the state after them |
# | **prioritized** | one-step targets; transitions with a large error are drawn more often (Schaul et al., 2016; their exponents 0.6 and 0.4, the second kept constant) |
# | **mixed** | three quarters of a one-step target and a quarter of the Monte Carlo return, what the episode received (Bellemare et al., 2016) |
#
# Agent $i$ of each kind walks in maze $i$ and has the same weights at first.
# At regular intervals each is tested on four walks with 5 % random actions.
# We report their mean length over the shortest way. A walk that does not arrive counts as the time limit, 100 steps at `quick` and 200 at `full`.
# The claims judge the mean over *all* tests of the training, which rewards whoever learns early; their rivals judge the last quarter.
#
# No setting was tuned for any one of the five.
# EBU differs from DQN in its draws, too: whole episodes, each as likely as the others, in minibatches of neighbouring steps, with targets as old as the draw. Section 7 has a control for that, $\beta = 0$.

# %%
KINDS = {
    "EBU": Backward(0.5, backward_targets),  # your targets
    "1-step DQN": Uniform(),
    "5-step DQN": Uniform(n_steps=5),
    "mixed": Uniform(mix=0.25),
    "prioritized": Prioritized(),
}


# %%
def learn(name, kinds, count, *, density=0.2, slips=None, **changed):
    """Train `count` agents of each kind: what was measured, (evaluations, count), and the values of the first kind's."""
    plan, g = Plan(**{**vars(config.plan), **changed}), lab.generator(name)
    walls = np.stack([maze(m, density, config.size) for m in range(count)] * len(kinds))
    slip = np.repeat([(slips or {}).get(kind, 0.0) for kind in kinds], count)
    options = {"max_steps": config.longest, "random_moves": slip, "autoreset_mode": AutoresetMode.DISABLED, **REWARDS}
    envs = VectorMaze(walls, digits, **options)
    alike = [dense_network(2 * 8 * 8, config.hidden, 4, lab.generator(f"weights {i}")) for i in range(count)]
    done = Finished(StackedNetwork(alike * len(kinds)))
    tests = MazeTests(walls, digits, slip, gamma=GAMMA, walks=4, longest=config.tested, rewards=REWARDS)

    def watch(step, net):
        if step % config.eval_every == 0:
            for measure, values in tests(net).items():
                done.measured.setdefault(measure, []).append(torch.from_numpy(values))
            done.measured.setdefault("values", []).append(torch.stack([tests.values(net, i) for i in range(count)]))

    def work(stop):
        experience = train(done.net, list(kinds.values()), envs, plan, g, watch)
        done.measured["rewarded"] = [torch.from_numpy((experience.rewards > 0).mean(1))]

    in_stretches(work, done, [plan.steps], lab.checkpoint(name))
    measured = {measure: torch.stack(values).numpy() for measure, values in done.measured.items()}  # (E, K)
    values, parts = measured.pop("values"), {kind: slice(k * count, (k + 1) * count) for k, kind in enumerate(kinds)}
    return {kind: {m: x[:, part] for m, x in measured.items()} for kind, part in parts.items()}, values


# %%
lab.predict("first", "Whose ways will be the shortest on average, over the whole training?", choices=list(KINDS))

# %%
equal, cell_values = learn("equal", KINDS, config.agents)


def record_ways(group, found):
    """The way relative to the shortest, averaged over all tests and over the last quarter, for each kind."""
    for kind, measured in found.items():
        ways, last = measured["way"], -(len(measured["way"]) // 4)
        lab.record(f"{group}/{kind}/way", ways.mean())
        lab.record(f"{group}/{kind}/way at the end", ways[last:].mean())
        lab.record(f"{group}/{kind}/arrived at the end", measured["arrived"][last:].mean())


record_ways("equal", equal)
lab.record("rewarded/agents that learn", equal["EBU"]["rewarded"].mean(), unit="share of the steps")
lab.reveal("first", min(KINDS, key=lambda kind: lab.metrics[f"equal/{kind}/way"]))

# %%
x = config.eval_every * np.arange(1, len(equal["EBU"]["way"]) + 1)
LINES, COLORS = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), PALETTE[:3] + PALETTE[4:6]  # no grey
STYLES = dict(zip(KINDS, zip(LINES, COLORS, strict=True), strict=True))


def spread(ax, values, label, style="-", color=None, band=True):
    """The mean over agents, (evaluations, agents), and the band between their quartiles."""
    (line,) = ax.plot(x, values.mean(1), label=label, linestyle=style, color=color)
    if band:
        low, high = np.quantile(values, (0.25, 0.75), axis=1)
        ax.fill_between(x, low, high, color=line.get_color(), alpha=0.18, linewidth=0)


# %%
figure, axes = panels(1, 2, width=4.8, height=3.6, sharey=True)
for kind, look in STYLES.items():
    if kind in ("EBU", "1-step DQN", "5-step DQN"):
        spread(axes[0], equal[kind]["way"], kind, *look)
    if kind in ("EBU", "prioritized", "mixed"):
        spread(axes[1], equal[kind]["way"], kind, *look)
for ax in axes:
    ax.axvline(config.plan.warm_up + config.plan.exploring, color="#717581", linewidth=0.8)
    ax.set(xlabel="steps, and nearly as many updates", yscale="log", yticks=[1, 2, 5, 10], yticklabels=[1, 2, 5, 10])
    ax.legend(frameon=False, loc="lower left")
axes[0].set_ylabel("way / shortest way")
ends = {kind: lab.metrics[f"equal/{kind}/way at the end"] for kind in KINDS}
areas = {kind: lab.metrics[f"equal/{kind}/way"] for kind in KINDS}
lab.show(
    figure,
    alt=f"Two panels, left EBU, 1-step and 5-step DQN, right EBU, prioritized and mixed: the way relative to the shortest one, on a logarithmic axis, by steps, means over {config.agents} agents of each kind with a band between their quartiles; a vertical line marks where random actions have become rare. Over the whole training: {in_numbers(areas)}. In the last quarter: {in_numbers(ends)}.",
    headline="ways",
)
lab.at_full("ways")
lab.claim("rare")

# %% [markdown]
# ### What has it learned?
#
# Of your EBU agents take the one in the middle: half of them found shorter ways at the end.
# Here it is before it began to learn, halfway and at the end, beside what is true: shade and arrows are its values and best actions, the line its greedy way.
# For each cell it is shown the same picture of each digit.

# %%
late = equal["EBU"]["way"][-(len(x) // 4) :].mean(0)  # (agents,)
middle = int(late.argsort()[config.agents // 2])
its_walls = maze(middle, 0.2, config.size)
truth = optimal_q(its_walls, gamma=GAMMA, **REWARDS)
moments = dict(zip(x.tolist(), cell_values[:, middle], strict=True))  # after so many steps: (cells, 4)
figure, axes = panels(1, 4, width=2.9, height=3.2)
moves = {}
for ax, step in zip(axes, [list(moments)[k] for k in (0, len(x) // 2, -1)], strict=False):
    moves[f"after {step} steps"] = draw_maze(ax, its_walls, moments[step], most=10)
    ax.set_title(f"after {step} steps")
moves["true values"] = draw_maze(axes[3], its_walls, truth, most=10)
axes[3].set_title("true")
lab.show(
    figure,
    alt=f"The maze of the agent in the middle four times, with values as shades of blue, an arrow for the best action of each cell, and the greedy way from the start as a line: at three moments of the training and as they truly are. Moves of the greedy way (-1: it does not arrive): {in_numbers(moves, 0)}.",
    headline="values",
)
lab.at_full("values")


# %% tags=["widget"]
def walking(after, move):
    """The agent as it stood after so many steps of training, at one move of its greedy way."""
    q = moments[after]
    way = greedy_way(its_walls, lambda cell: int(q[cell @ (config.size, 1)].argmax()), 39)
    return maze_picture(its_walls, q.max(1).clip(0), tuple(way[min(move, len(way) - 1)]), most=10)


image_choices(walking, {"after": list(moments), "move": list(range(40))}, width=320, scale=48)

# %% [markdown]
# Choose a moment, then let the orange agent walk with `move` (click it and hold the right arrow key).
# Does it reach the lower right, and from which moment on?
#
# ### Is it the target network, or the number of updates?
#
# With one-step targets news goes back one step per copy of the target network. With EBU it goes back a whole episode, though early on only $(\beta\gamma)^n$ of it is left after $n$ steps.
# So part of a lead may be a matter of this period, which is our choice: once more with copies five times as often.
#
# And updates count.
# The authors' code makes one update for every step in the environment, DQN as published one for every four: beside it, EBU makes four times as many gradient steps.
# (Kielak, 2020, says of model-based methods that such differences explain much of their data efficiency.)
# So once more with an update at every fourth step for both, and so with a quarter of the copies, too; beside EBU at every step that is the published ratio.

# %%
pair = {"EBU": Backward(0.5), "1-step DQN": Uniform()}  # the library's backward targets, the same numbers in less time
copies, _ = learn("copies", pair, config.fewer, sync=config.often)
seldom, _ = learn("seldom", pair, config.fewer, ratio=0.25)
record_ways("copies", copies)
record_ways("seldom", seldom)
same = {kind: {m: values[:, : config.fewer] for m, values in equal[kind].items()} for kind in KINDS}
record_ways("same mazes", {kind: same[kind] for kind in pair})

# %%
figure, axes = panels(1, 3, width=3.6, height=3.3, sharey=True)
runs = {"as above": same, "copies more often": copies, "an update at every fourth step": seldom}
for ax, (title, measured) in zip(axes, runs.items(), strict=True):
    spread(ax, measured["EBU"]["way"], "EBU")
    spread(ax, measured["1-step DQN"]["way"], "1-step DQN", "--")
    ax.set(xlabel="steps", title=title, yscale="log", yticks=[1, 2, 5, 10], yticklabels=[1, 2, 5, 10])
axes[0].set_ylabel("way / shortest way")
axes[0].legend(frameon=False, loc="lower left")
groups = ("same mazes", "copies", "seldom")
leads = {group: lab.metrics[f"{group}/1-step DQN/way"] - lab.metrics[f"{group}/EBU/way"] for group in groups}
lab.record_all({f"{group}/lead": lead for group, lead in leads.items()})
published = lab.metrics["seldom/1-step DQN/way"] - lab.metrics["same mazes/EBU/way"]
lab.record("published ratio/lead", published)
lab.show(
    figure,
    alt=f"Way relative to the shortest one by steps, EBU and one-step DQN in the same {config.fewer} mazes: as above, with copies to the target network five times as often, and with an update at every fourth step. The lead of EBU, mean over the training: {in_numbers(leads | {'published ratio': published})}.",
)
lab.claim("beats-one-step")
lab.claim("beats-five-step")
lab.claim("beats-prioritized")
lab.claim("beats-mixed")
lab.claim("more-updates")
lab.claim("quarter")

# %%
lab.tell(
    "The published ratio sets EBU's left-hand curve against the one-step curve on the right: a lead of {published ratio/lead:.1f} shortest ways in place of {same mazes/lead:.1f} at equal updates, and {seldom/lead:.1f} where both update seldom. With more copies it is {copies/lead:.1f}."
)

# %% [markdown]
# Prioritized replay looks for surprising transitions one at a time: it can find the edge of what is known, as a sweep does, but must be told by the network, update after update, where the edge has moved.
# Mixed-in returns carry the reward back over the whole episode at once, as EBU does, and need no table; their price is that exploration's detours are part of every target.
#
# ## 7 · How much to believe
#
# $\beta = 0$ throws away what the sweep found; $\beta = 1$ believes it all.
# The target network is wrong at first, and wrong in a biased way: of several noisy values the **maximum** is too high on average, even if each is right on average.
# A sweep with $\beta = 1$ takes a maximum at every step of the episode, one on top of the other.
# The paper's remedy is a factor in between.
#
# So the same mazes with three factors, once with certain moves and once with one move in five going in a random direction.
# Beside the ways we measure the **excess**: what an agent thinks a cell is worth (the largest $Q$) minus what it is worth by value iteration, averaged over the cells.
# At first an agent thinks that all cells are worth about 0, so its excess begins at minus their mean true value; over-estimation is an excess above 0.
# Cells above and below the truth cancel in it, so the panels on the right show how far values are **off**, whichever way.

# %%
lab.predict(
    "bias",
    "At the end, with $\\beta = 1$ and random moves: on average over the cells, are values...",
    choices=["too low", "within 0.3 of the truth", "too high"],
)

# %%
slips = {("certain", 0.0): 0.0, ("certain", 1.0): 0.0} | {("random", beta): 0.2 for beta in (0.0, 0.5, 1.0)}
found, _ = learn("betas", {key: Backward(key[1]) for key in slips}, config.fewer, slips=slips)
found["certain", 0.5] = same["EBU"]
found = {(moves, beta): found[moves, beta] for moves in ("certain", "random") for beta in (0.0, 0.5, 1.0)}
record_ways("beta", {f"{moves}/{beta:g}": measured for (moves, beta), measured in found.items()})
for (moves, beta), measured in found.items():
    last = -(len(x) // 4)
    excess = measured["excess"][last:].mean()
    lab.record(f"beta/{moves}/{beta:g}/excess", excess)
    for measure in ("off", "above"):
        lab.record(f"beta/{moves}/{beta:g}/{measure}", measured[measure][last:].mean())
bias = lab.metrics["beta/random/1/excess"]
lab.reveal("bias", "too low" if bias < -0.3 else "too high" if bias > 0.3 else "within 0.3 of the truth")
lab.tell(
    "The control: with $\\beta = 0$ EBU has the targets of one-step DQN; only its draws, and the age of its targets, differ. In the same mazes their ways are {beta/certain/0/way:.1f} and {same mazes/1-step DQN/way:.1f} shortest ways long over the training, {beta/certain/0/way at the end:.1f} and {same mazes/1-step DQN/way at the end:.1f} at the end. What separates EBU at $\\beta = 0.5$ from its own control is due to the sweep."
)

# %%
figure, axes = panels(2, 3, width=3.4, height=3)
labels = {"way": "way / shortest way", "excess": "excess of the values", "off": "off the true values"}
for row, moves in zip(axes, ("certain", "random"), strict=True):
    for ax, (measure, label) in zip(row, labels.items(), strict=True):
        for beta, style in ((1.0, "-"), (0.5, "--"), (0.0, ":")):
            spread(ax, found[moves, beta][measure], f"$\\beta$ = {beta:g}", style)
        ax.set(title=f"{moves} moves", ylabel=label, xlabel="steps", xticks=(0, x[-1] // 2, x[-1]))
    row[0].set(yscale="log", yticks=[1, 2, 5, 10], yticklabels=[1, 2, 5, 10])
    row[1].axhline(0, color="black", linewidth=0.8)
axes[0, 0].legend(frameon=False, loc="lower left")
numbers = {
    f"{moves} moves, beta {beta:g}, {what}": lab.metrics[f"beta/{moves}/{beta:g}/{what}"]
    for (moves, beta), what in product(found, ("way at the end", "excess", "off"))
}
lab.show(
    figure,
    alt=f"Six panels by steps, for EBU with three diffusion factors, means over {config.fewer} agents with a band between quartiles: above with certain moves, below with random ones; from left to right the way relative to the shortest one on a logarithmic axis, the mean excess of the values over the true ones, and the mean absolute difference. In the last quarter: {in_numbers(numbers)}.",
    headline="bias",
)
lab.at_full("bias")
lab.claim("over-estimates")
lab.claim("half-beats-one")
lab.claim("half-beats-zero")
lab.claim("nearer")

# %% [markdown]
# Read the panels of a row together.
# An excess far below 0 means values that have not been learned yet, not modesty.
# And an excess says how *wrong* values are, not how bad the actions are: if all values of a cell are too high by the same amount, the best action stays the best.
# A random move costs steps even to the best agent, so compare ways within one kind of moves only.
#
# ## 8 · Where the paper, the review and the code disagree
#
# - **The chain.** The review draws four states and speaks of five transitions. Section 2 reads that as one step back.
# - **Episodes.** The code never draws the first five or the last three, drops the first three steps of each, and takes a time limit for a terminal end.
# - **RMSprop.** The code's is not PyTorch's.
#
# Further measures what these change.
#
# ## 9 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. A one-step update teaches something only at the edge of what is known. Order decides how fast the edge moves.
# 2. How much a sweep gains depends on the episodes, and on what one counts.
# 3. $\beta$ sets how far news travels within one sweep. The maximum carries a bias up, more with 1 than with 0.5.
# 4. Count steps *and* updates. A method that is better per step may only have learned more often. Over the seeds EBU leads where updates, and copies, are few; with one at each step its lead is undecided.
# 5. Test an agent's parts in worlds where only one thing can go wrong.

# %%
lab.progress()

# %% [markdown]
# ## Further
#
# Another 50 minutes: three more exercises, what takes longer to run, Atari, and where paper and code disagree.
#
# ### Exercise 9 · n-step targets
#
# An old way to let a reward travel faster is to look $n$ steps ahead (Sutton & Barto, 2018, section 7.1):
#
# $$y_k = R_k + \gamma R_{k+1} + \dots + \gamma^{n-1} R_{k+n-1} + \gamma^n \max_a \hat Q(S_{k+n}, a).$$
#
# Where fewer than $n$ steps are left, the sum ends with the episode, at $S_T$; its value counts only if the episode was truncated.
# Row $k$ of `q_next` holds $\hat Q(S_{k+1}, \cdot)$.
# Mind which row belongs to $S_{k+n}$, and with which power of $\gamma$.


# %% tags=["exercise"]
def n_step_targets(rewards, q_next, *, gamma, n_steps, terminated=True):
    """One episode: rewards (T,), values of the states after each step (T, A) -> targets (T,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
n_step_targets = lab.check(n_step_targets)

# %% [markdown]
# n-step targets have a price: the rewards in between are those of the actions that were *taken*, exploration and all, not of the best ones.
# Here is a chain of five again, all values still 0:

# %% tags=["nbval-check-output"]
rewards, nothing = torch.tensor([0.0, 0, 0, 0, 1]), torch.zeros(5, 2)
for n in (1, 3, 5):
    print(n, "steps:", [round(y, 4) for y in n_step_targets(rewards, nothing, gamma=0.9, n_steps=n).tolist()])

# %% [markdown]
# ### Exercise 10 · From an episode to minibatches
#
# The authors' code reverses a sampled episode, so that its *last* step comes first, cuts it into pieces of 32, and fills the last piece with steps of a second episode.
# Ours fills it with the *last* steps of the second episode, reversed as well: its very last one first.
# Cut an episode like this. If $T$ is a multiple of `size`, nothing is missing and nothing is filled in; `filling` is always long enough.


# %% tags=["exercise"]
def backward_minibatches(steps, filling, size):
    """Steps of an episode (T, ...) and of another (F, ...), both in the order of time -> (M, size, ...), M = ceil(T / size)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
backward_minibatches = lab.check(backward_minibatches)

# %% [markdown]
# ### A table where moves are random
#
# Setting an entry to what one episode said is fine where the same action always leads to the same place.
# Let one move in five now go in a random direction.
# A lucky slip then looks like the merit of the action.
# The paper's theorem, that tables learned backward converge to $Q^*$, therefore asks for step sizes $\alpha_n$ that shrink in the usual way of stochastic approximation: $\sum \alpha_n = \infty$, so that every place can be reached, and $\sum \alpha_n^2 < \infty$, so that chance averages out. (We could not check its exact wording.)
# Here the true values are known, so watch what the start is thought to be worth:

# %%
lab.predict(
    "alpha", "With a step size of 1, the start will be valued...", choices=["too low", "about right", "too high"]
)

# %%
slippery_walls = maze(0)
slippery = optimal_q(slippery_walls, gamma=GAMMA, random_moves=0.2, **REWARDS)[0].max()
if_certain = optimal_q(slippery_walls, gamma=GAMMA, **REWARDS)[0].max()
worth = {1.0: [], 0.3: [], 0.1: []}


def note_start(values, q, updates):
    """Keep what the start is thought to be worth."""
    values.append(q[0].max().item())


for alpha in worth:
    env = Maze(slippery_walls, max_steps=1000, random_moves=0.2, **REWARDS)
    options = {"gamma": GAMMA, "alpha": alpha, "generator": lab.generator("slippery")}
    paper.tabular_ebu(env, episodes=config.noisy_episodes, after_episode=partial(note_start, worth[alpha]), **options)
    late = np.mean(worth[alpha][-config.noisy_episodes // 4 :])
    lab.record(f"slippery/alpha {alpha:g}/value of the start", late)
    lab.record(f"slippery/alpha {alpha:g}/error", abs(late - slippery))
thought = lab.metrics["slippery/alpha 1/value of the start"] / slippery
lab.reveal("alpha", "too low" if thought < 0.95 else "too high" if thought > 1.05 else "about right")

# %%
figure, ax = panels(width=6)
for alpha, values in worth.items():
    ax.plot(range(1, config.noisy_episodes + 1), values, label=f"$\\alpha$ = {alpha:g}")
for height, name, style in ((slippery, "true", "-"), (if_certain, "if moves were certain", ":")):
    ax.axhline(height, color="black", linewidth=0.8, linestyle=style)
    ax.annotate(name, (1.01, height), xycoords=("axes fraction", "data"), va="center", fontsize=10)
ax.set(xlabel="episodes", ylabel="value of the start", ylim=(0, None))
ax.legend(frameon=False, loc="lower right")
late = {f"alpha {alpha:g}": lab.metrics[f"slippery/alpha {alpha:g}/value of the start"] for alpha in worth}
lab.show(
    figure,
    alt=f"What the start is thought to be worth, by episodes, for three step sizes. In the last quarter: {in_numbers(late)}. A solid horizontal line at {slippery:.2f} is its true value, a dotted one at {if_certain:.2f} what it would be worth if moves were certain.",
)
lab.claim("step-size")

# %% [markdown]
# With a step size of 1 the maximum over actions picks the one that was luckiest last time, and the sweep carries that luck to all steps before it.
# So the agent can come to believe in a world in which slips do not hurt: compare its curve with the dotted line.
# It falls back only while every good action of some cell on its way had bad luck last time.
# That is the over-estimation of section 7, in its purest form.
#
# ### Many episodes at once
#
# The recursion of backward targets is sequential in time.
# The library has a version for a batch of episodes of different lengths, which composes the maps $y_{k+1} \mapsto y_k$ pairwise and needs no loop over time; the agents of the later comparisons learned from it, those of the main comparison and of the probes from yours.
# Do your targets and its agree, with padding?

# %%
g = lab.generator("batch")
sizes, most = [1, 7, 30, 64], 64
mask = torch.arange(most) < torch.tensor(sizes)[:, None]  # (4, 64)
batch = (
    torch.randn(4, most, generator=g),
    torch.randn(4, most, 3, generator=g),
    torch.randint(3, (4, most), generator=g),
)
at_once = paper.backward_targets_batched(*batch, mask, gamma=0.9, beta=0.5)
alone = [backward_targets(*(x[i, :n] for x in batch), gamma=0.9, beta=0.5) for i, n in enumerate(sizes)]
gap = max((at_once[i, :n] - y).abs().max().item() for i, (n, y) in enumerate(zip(sizes, alone, strict=True)))
lab.record("batched/largest difference", round(gap, 5))
lab.tell("They differ by {batched/largest difference:g} at most, rounded to five decimals.")

# %% [markdown]
# ### A look into the memory
#
# Here are episodes of random play in a small maze of 5 x 5, cut off after 60 steps:

# %%
small_walls = draw_walls(np.random.default_rng(lab.generator("small maze").initial_seed()), size=5, density=0.2)
memory, draw = EpisodeReplay(100_000), lab.generator("random play")
env = Maze(small_walls, max_steps=60, **REWARDS)
while sum(episode.terminated for episode in memory.episodes) < 5:
    start = int(torch.randint(2**31, (), generator=draw))
    memory.add(paper.play_episode(env, partial(at_random, draw), seed=start, longest=60))
shown = memory.episodes[-12:]


def memory_picture(row, updates, beta=0.9):
    """Episodes as rows, their steps as columns; the swept one has its targets in blue, the step in hand in orange."""
    episode = shown[row]
    rewards, actions = torch.from_numpy(episode.rewards), torch.from_numpy(episode.actions)
    y = backward_targets(rewards, torch.zeros(len(episode), 4), actions, gamma=GAMMA, beta=beta)
    image = np.ones((2 * len(shown), 61, 3))  # a white line between episodes
    for i, each in enumerate(shown):
        image[2 * i, : len(each)] = 0.8
        if each.terminated:
            image[2 * i, len(each)] = (0.0, 0.62, 0.45)  # the goal
    done = range(max(0, len(episode) - updates), len(episode))
    shade = (y.clamp(min=0) / y.max().clamp(min=1e-9))[list(done)].numpy()[:, None] ** 0.3
    image[2 * row, done] = 1 - shade * (1 - np.array([0.10, 0.35, 0.75]))
    image[2 * row, done[0]] = (0.95, 0.55, 0.0)
    return image


# %%
complete = [row for row, episode in enumerate(shown) if episode.terminated]
row = complete[-1]
figure, axes = panels(2, 1, width=8, height=2.2, sharex=True)
for ax, updates in zip(axes, (3, len(shown[row])), strict=True):
    ax.imshow(memory_picture(row, updates), aspect="auto")
    ax.set(yticks=[], ylabel="episodes", title=f"{updates} updates of the sweep")
axes[1].set_xlabel("step")
lab.show(
    figure,
    alt=f"The replay memory twice, with beta 0.9: {len(shown)} episodes as grey rows, the later steps to the right, a green end where the goal was reached, none where an episode was cut off after 60 steps. In one row of {len(shown[row])} steps the sweep has come three steps from the end in the upper picture, and to the start in the lower one, leaving blue targets that fade to the left or break off.",
)

# %% tags=["widget"]
image_choices(
    memory_picture,
    {"row": complete, "updates": list(range(1, 61)), "beta": [0.0, 0.25, 0.5, 0.75, 0.9, 1.0]},
    width=480,
    scale=12,
)

# %% [markdown]
# Each row is an episode; green is a goal; rows without green were cut off.
# The orange step is in hand, those behind it have their targets, in blue, compressed so that small ones show. (The values of the target network are all taken to be 0 here, as early in training.)
# Where (with $\beta$ above 0; the figure has 0.9) the blue breaks off before the start, the agent had bumped into a wall, and the loss of 0.1 was more than what was left of the news: the maximum takes another action, of value 0, and the news ends there.
#
# ### Half of it walls, and adaptive EBU
#
# With 50 % walls ways are narrow, and a random walk gets lost in dead ends.
#
# **Adaptive EBU** leaves the choice of $\beta$ to the agent: it trains several learners at once, each with a $\beta$ of its own, all on the same episodes.
# They act in turn; from time to time all take the weights of the one with the best score.
# (There is no code for it, and we could not confirm details. *Our choices:* each acts for one episode, in turn; a score is the mean return since weights were last copied; networks and target networks are copied, the optimizers' states are not.)
# Mind the bill: as many gradient steps as learners, for the same steps in the environment.


# %%
LEARNERS = {"full": (0.0, 0.25, 0.5, 0.75, 1.0), "paper": tuple(k / 10 for k in range(11))}.get(profile)  # factors
SELECT = 1500 if profile == "full" else 10_000  # steps after which all take the weights of the best


def adaptive_agents(count):
    """What is measured of `count` agents with adaptive EBU, each in its maze, (evaluations, count)."""
    plan, found = config.plan, []
    shared = {"gamma": GAMMA, "capacity": 100_000, "epsilon_steps": plan.warm_up + plan.exploring}
    settings = Settings(**shared, warm_up=plan.warm_up, sync_every=plan.sync)
    adam = partial(torch.optim.Adam, lr=plan.lr, fused=True)
    for m in range(count):
        walls, g = maze(m, 0.2, config.size), lab.generator(f"adaptive {m}")
        first = dense_network(2 * 8 * 8, config.hidden, 4, lab.generator(f"weights {m}"))
        agent = AdaptiveEBU(first, settings, g, adam, betas=LEARNERS, select_every=SELECT)
        look = MazeTests(walls[None], digits, np.zeros(1), gamma=GAMMA, walks=4, longest=config.tested, rewards=REWARDS)
        env = Maze(walls, digits, max_steps=config.longest, **REWARDS)
        work = partial(paper.train, agent, env, evaluate=partial(look.of_one, agent.q_values), every=config.eval_every)
        in_stretches(work, agent, [plan.steps], lab.checkpoint(f"adaptive-{m}"))
        found.append([agent.history[measure][: len(x)] for measure in ("way", "arrived")])
    return dict(zip(("way", "arrived"), np.array(found).transpose(1, 2, 0), strict=True))


# %%
if LEARNERS:
    ADAPTIVE = 2  # agents: each costs as much as all its learners
    dense, _ = learn("dense", pair, config.fewer, density=0.5)
    record_ways("50 % walls", dense)
    adaptive = {"adaptive EBU": adaptive_agents(ADAPTIVE)}
    record_ways("adaptive", adaptive)
    few = {f"EBU, {beta:g}": found["certain", beta]["way"][:, :ADAPTIVE] for beta in (0.0, 0.5, 1.0)}

# %%
if LEARNERS:
    figure, axes = panels(1, 2, width=4.8, height=3.3, sharey=True)
    for kind, style in (("EBU", "-"), ("1-step DQN", "--")):
        spread(axes[0], dense[kind]["way"], kind, style)
    for (label, values), style in zip(few.items(), (":", "--", "-."), strict=True):
        spread(axes[1], values, label, style, band=False)
    spread(axes[1], adaptive["adaptive EBU"]["way"], "adaptive EBU", band=False)
    for ax, title in zip(axes, ("50 % walls", f"adaptive, {ADAPTIVE} mazes of 20 % walls"), strict=True):
        ax.set(xlabel="steps", title=title, yscale="log", yticks=[1, 2, 5, 10], yticklabels=[1, 2, 5, 10])
        ax.legend(frameon=False, loc="lower left", fontsize=9)
    axes[0].set_ylabel("way / shortest way")
    ends = {kind: lab.metrics[f"50 % walls/{kind}/way at the end"] for kind in pair}
    ends |= {label: values[-(len(x) // 4) :].mean() for label, values in few.items()}
    ends["adaptive EBU"] = lab.metrics["adaptive/adaptive EBU/way at the end"]
    lab.show(
        figure,
        alt=f"Way relative to the shortest one by steps, on a logarithmic axis. Left, EBU and one-step DQN in mazes with 50 % walls; right, adaptive EBU with {len(LEARNERS)} learners beside EBU with fixed factors, in the same {ADAPTIVE} mazes. In the last quarter: {in_numbers(ends)}.",
        headline="harder",
    )
lab.at_full("harder")

# %% [markdown]
# Adaptive EBU may lead a fixed factor only because a better one is among its learners; which is best one knows only afterwards.
# Two mazes settle nothing.
#
# ### Atari
#
# #### Exercise 11 · Scores that compare
#
# A game of Pong is worth up to 21 points, one of Breakout hundreds.
# To average over games, scores are put on a scale of their own for each game: 0 for random play, 100 for a human tester, in percent.


# %% tags=["exercise"]
def human_normalized(score, *, random, human):
    """A score, that of random play and a human's -> percent, 0 for random play and 100 for the human."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
human_normalized = lab.check(human_normalized)

# %% [markdown]
# The abstract says: the same mean and the same median human-normalized score as DQN after 200 million frames, with 5 % and 10 % of the samples, over 49 games.
# Among the rivals there are **Retrace** (Munos et al., 2016), which weights the corrections along an episode by how likely its target policy is to take the actions, relative to the one that took them, at most 1, and **optimality tightening** (He et al., 2017), which adds bounds on values by what was received before and after a step.
# Numbers that circulate with it, and that **we could not confirm**, are after 10 million frames, mean and median in percent: EBU 254 and 52, adaptive EBU 348 and 51, optimality tightening 163 and 49, prioritized replay 156 and 40, Retrace 94 and 42, DQN 134 and 40; and DQN after 200 million, 241 and 94.
# If these are right, the two percentages must mean different lengths of training: at 10 million frames (5 %) the mean has caught up, but the median has not.
# The review adds that EBU beats DQN in 39 of 49 games; we know no other source for that.
#
# A twentieth of the samples is not a twentieth of the updates.
# EBU makes one for each step of four frames, DQN one for four steps.
# (And as an example of the scale: DQN's Breakout score in Mnih et al., 2015, was 401.2; random play had 1.7, their human tester 31.8.)

# %% tags=["nbval-check-output"]
print(f"DQN in Breakout: {human_normalized(401.2, random=1.7, human=31.8):.0f} %")
ebu_updates, dqn_updates = 10e6 / 4, 200e6 / 4 / 4
print(
    f"EBU, 10 million frames: {ebu_updates / 1e6:.1f} million updates; DQN, 200 million: {dqn_updates / 1e6:.1f} million"
)
print(f"{10 / 200:.0%} of the samples, {ebu_updates / dqn_updates:.0%} of the updates")

# %% [markdown]
# #### A game, for a while
#
# At `full` (with the extra `atari`) EBU and one-step DQN play for a small part of the paper's 2.5 million decisions (10 million frames), with an update at every fourth decision for both.
# To fit into minutes, frames are 42 x 42 pixels and the network is small.
# At `paper` settings are the published ones: 84 x 84, the network of Mnih et al., the RMSprop of the code, an update at every step for EBU and at every fourth for DQN, so *unequal* updates.
#
# A score means little by itself.
# Its rivals are random play, and the best score of an agent that always takes the same action (with 5 % random ones): some games are played well by leaning on one key.
# On Breakout, at 40,000 decisions, both agents stayed below that.
# So the game is CrazyClimber, in which a climber goes up the front of a skyscraper. Of six games in which we trained agents this shortly, in trial runs of one seed each (Breakout, Boxing, Gopher, Krull, Q*bert and this one), it was the only one in which they beat both rivals.


# %%
@dataclass(frozen=True)
class Game:
    name: str  # of an Atari game
    steps: int  # decisions of the agent, four frames each
    side: int  # pixels of a frame's side; 84 takes the published network
    warm_up: int  # decisions before learning begins
    exploring: int  # decisions over which random actions get rarer
    sync: int  # updates between copies to the target network
    eval_every: int  # decisions between evaluations
    games: int  # games played for each evaluation
    longest: int = 4500  # decisions of a game
    ratio: float = 0.25  # updates for each decision
    lr: float = 3e-4  # Adam's step size
    gamma: float = 0.9  # 0.99 as published, which asks for more patience than there is at `full`
    published: bool = False  # take the published optimizer; EBU updates at every step, DQN at every fourth


games = {
    "full": Game("CrazyClimber", 25_000, 42, 1000, 8000, 250, 2500, 4, longest=500),
    "paper": Game("CrazyClimber", 2_500_000, 84, 50_000, 1_000_000, 10_000, 62_500, 30, gamma=0.99, published=True),
}
game = games.get(profile)


# %%
def pixel_network(actions, side, g):
    """Frames (N, 4, side, side) -> values (N, actions): as published for 84 pixels, a small one for 42."""
    if side == 84:
        return paper.nature_network(actions, g)
    layers = nn.Conv2d(4, 16, 8, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2), nn.ReLU(), nn.Flatten()
    return initialized(nn.Sequential(*layers, nn.Linear(288, 128), nn.ReLU(), nn.Linear(128, actions)), g)


def whole_games(game):
    """Environments for whole games, whose rewards are the score."""
    from labkit.envs.atari import make_atari

    one = partial(make_atari, game.name, training=False, side=game.side, max_steps=game.longest)
    return gymnasium.vector.SyncVectorEnv([one] * game.games)


# %%
def play_and_learn(kind, game):
    """Train an agent on a game; the mean score of whole games at each evaluation."""
    from labkit.envs.atari import make_atari

    env = make_atari(game.name, training=True, side=game.side, max_steps=game.longest)
    whole, g = whole_games(game), lab.generator(f"{game.name} agent")
    network = pixel_network(int(env.action_space.n), game.side, g).to(lab.device)
    rule = paper.DeepMindRMSprop if game.published else partial(torch.optim.Adam, lr=game.lr, fused=True)
    ratio = 1.0 if game.published and kind is EBUAgent else game.ratio
    sizes = {"gamma": game.gamma, "warm_up": game.warm_up, "sync_every": game.sync, "epsilon_steps": game.exploring}
    agent = kind(network, Settings(**sizes, updates_per_step=ratio, stack=4), g, rule)

    def measure():
        return {"score": paper.rollouts(agent.q_values, whole, seed=1, epsilon=0.05).returns.mean().item()}

    stops = range(game.eval_every, game.steps + 1, game.eval_every)
    work = partial(paper.train, agent, env, evaluate=measure, every=game.eval_every)
    in_stretches(work, agent, stops, lab.checkpoint(f"{game.name}-{kind.__name__}-{crc32(repr(game).encode())}"))
    return agent.history["score"]


# %%
def rivals_in(game):
    """The mean score of random play, and the best of an agent that always takes the same action, but for 5 %."""
    whole = whole_games(game)
    always = torch.eye(int(whole.single_action_space.n))  # a row of values for each action that may be preferred

    def score(row, epsilon):
        walked = paper.rollouts(lambda seen: row.expand(len(seen), -1), whole, seed=1, epsilon=epsilon)
        return walked.returns.mean().item()

    return {"random play": score(always[0], 1.0), "one action": max(score(row, 0.05) for row in always)}


# %%
if game:
    scores, rivals = {}, rivals_in(game)
    for label, kind in (("EBU", EBUAgent), ("1-step DQN", DQNAgent)):
        scores[label] = play_and_learn(kind, game)
        lab.record(f"{game.name}/{label}/mean score", np.mean(scores[label]), "points")
        lab.record(f"{game.name}/{label}/last scores", np.mean(scores[label][-2:]), "points")
    lab.record_all({f"{game.name}/{name}": value for name, value in rivals.items()}, unit="points")
else:
    print("no Atari at this profile: run the lesson at `full`, with the extra `atari`")

# %%
if game:
    figure, (left, right) = panels(1, 2, width=4.6, height=3.4)
    screen = whole_games(game)
    frames, _ = screen.reset(seed=0)
    left.imshow(frames[0, -1], cmap="gray")
    left.set(xticks=[], yticks=[], title=f"{game.name}, as the agent sees it")
    for (label, values), style in zip(scores.items(), ("-", "--"), strict=True):
        right.plot(game.eval_every * np.arange(1, len(values) + 1) / 1000, values, style, marker="o", label=label)
    for (name, height), style in zip(rivals.items(), ("-.", ":"), strict=True):
        right.axhline(height, color="black", linewidth=0.9, linestyle=style, label=name)
    right.set(xlabel="thousands of decisions", ylabel="points per game")
    right.legend(frameon=False, fontsize=9)
    last = {label: lab.metrics[f"{game.name}/{label}/last scores"] for label in scores}
    lab.show(
        figure,
        alt=f"Left, a frame of {game.name} in {game.side} x {game.side} pixels. Right, points per game by decisions, one agent of each kind, with lines for random play and for the best that one and the same action gets. In the last two evaluations: {in_numbers(last | rivals)}.",
        headline="atari",
    )
lab.at_full("atari")

# %% [markdown]
# At `full`: one game, one agent of each kind, a hundredth of the published decisions, and a $\gamma$ of 0.9 in place of 0.99: this shows how far so many steps get beside random play, no more.
# In each of our five seeds at `full` both ended above random play, and one-step DQN above EBU.
# Whether EBU plays better than DQN after as many frames as the paper took is **undecided** here.
#
# ### What the differences of section 8 change
#
# **How many states has the chain?** The review draws states $s_1$ to $s_4$ and speaks of five transitions. Four states are three transitions, four with an end behind them. Five fit if the last state is the end and the episode went back once, $s_1, s_2, s_3, s_2, s_3, s_4$: one step back must be made good, so it costs two. (This is our reading, and what the diagram of section 2 shows.)
# By your formula, `uniform_updates_mean([1, 2, 1], 1)`, uniform draws then need 12.5 updates, for five straight transitions 25; a sweep makes five in both.
#
# **Which episodes are drawn?** The code draws two numbers of $n$ finished episodes by `choice(range(5, n - 3), 2)`: the first five and the last three never come; with eight or fewer the draw is an error; with nine it is the same episode twice.
# Later the memory is full and written over in a circle, but episodes are still counted by place in memory, so "first" and "last" lose their meaning, and one episode is half old and half new.
# Ours keeps whole episodes and draws each with equal probability.
#
# **The first three steps of each episode are dropped** there, as they fill the stack of frames. In a maze without walls, sweep 200 episodes without their first three steps; once of random play, once of an agent that walks straight to the goal. What is the start thought to be worth?

# %% tags=["nbval-check-output"]
draw = torch.Generator().manual_seed(0)
moves = {"random": partial(at_random, draw), "straight": lambda state: 1 if state % 5 < 4 else 2}  # right, then down
for name, act in moves.items():
    q = torch.zeros(25, 4, dtype=torch.float64)
    for number in range(200):
        whole = paper.play_episode(Maze(np.zeros((5, 5)), **REWARDS), act, seed=number, longest=2000)
        if len(whole) > 3:
            rest = paper.Episode(whole.frames[3:], whole.actions[3:], whole.rewards[3:], whole.terminated)
            paper.backward_sweep(q, rest, gamma=GAMMA)
    print(f"{name} play: {q[0].max().item():.3f}, truly {10 * GAMMA**7:.3f}")

# %% [markdown]
# A random walk comes back to the start and learns it then. Whoever leaves at once never does.
#
# **Ends.** The code stores every end as terminal, time limits included. Take a chain of two states without any end, a reward of 1 at every step, cut off after ten steps. Its true value is $1 / (1 - 0.9) = 10$:

# %% tags=["nbval-check-output"]
looping = paper.Episode(np.arange(11) % 2, np.zeros(10, dtype=int), np.ones(10), terminated=False)
for truth in (False, True):
    q = torch.zeros(2, 1, dtype=torch.float64)
    for _ in range(100):
        paper.backward_sweep(q, paper.Episode(looping.frames, looping.actions, looping.rewards, truth), gamma=GAMMA)
    print("taken as terminated:" if truth else "taken as truncated: ", round(q[0].item(), 3))

# %% [markdown]
# **RMSprop.** The code's RMSprop subtracts the squared mean gradient and adds $\epsilon = 0.01$ *inside* the root. PyTorch's `RMSprop(centered=True)` adds it outside. The first step on a gradient of 0.01, in units of the step size, with either:

# %% tags=["nbval-check-output"]
makers = {
    "inside": lambda w: paper.DeepMindRMSprop(w, lr=1.0, rho=0.95, eps=0.01),
    "outside": lambda w: torch.optim.RMSprop(w, lr=1.0, alpha=0.95, eps=0.01, centered=True),
}
for name, maker in makers.items():
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.full((1,), 0.01)
    maker([weight]).step()
    print(f"eps {name}: step of {-weight.item():.3f}")

# %% [markdown]
# More than eight times as long. The published step size goes with the published rule only; so does its loss, which is *summed* over the minibatch of 32: with a mean, gradients are 32 times smaller, and beside a fixed $\epsilon$ that is another algorithm.

# %% [markdown]
# ### Going further
#
# - **Core.** Give one-step DQN four updates for each of EBU's. Do the curves meet, and where?
# - **Core.** Let the maze start anywhere (a `gymnasium.Wrapper` will do). Is the backward sweep still of use?
# - **Stretch.** Write a sweep without the maximum, the $\lambda$-return, and compare its excess with that of EBU at $\beta = \lambda$.
# - **Stretch.** Replace the maximum by double Q-learning's (choose with $\theta$, evaluate with $\theta^-$). What becomes of the excess at $\beta = 1$?
# - **Bonus.** Choose another game for `full`, above.
#
# ### References
#
# - S. Y. Lee, S. Choi, S.-Y. Chung: *Sample-Efficient Deep Reinforcement Learning via Episodic Backward Update*, NeurIPS 2019, arXiv:1805.12375; code: [github.com/suyoung-lee/Episodic-Backward-Update](https://github.com/suyoung-lee/Episodic-Backward-Update).
# - V. Mnih et al.: *Human-level control through deep reinforcement learning*, Nature 518, 2015.
# - R. S. Sutton, A. G. Barto: *Reinforcement Learning: An Introduction*, 2nd edition, MIT Press, 2018.
# - T. Schaul, J. Quan, I. Antonoglou, D. Silver: *Prioritized Experience Replay*, ICLR 2016, arXiv:1511.05952.
# - M. G. Bellemare et al.: *Unifying Count-Based Exploration and Intrinsic Motivation*, NIPS 2016, arXiv:1606.01868.
# - R. Munos, T. Stepleton, A. Harutyunyan, M. G. Bellemare: *Safe and Efficient Off-Policy Reinforcement Learning* (Retrace), NIPS 2016, arXiv:1606.02647.
# - F. S. He, Y. Liu, A. G. Schwing, J. Peng: *Learning to Play in a Day: Faster Deep Reinforcement Learning by Optimality Tightening*, ICLR 2017, arXiv:1611.01606.
# - K. Kielak: *Do recent advancements in model-based deep reinforcement learning really improve data efficiency?*, 2020, arXiv:2003.10181.
# - M. Towers et al.: *Gymnasium: A Standard Interface for Reinforcement Learning Environments*, 2024, arXiv:2407.17032.
