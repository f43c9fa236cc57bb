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
# | **Afterwards you can** | count how long a reward takes to travel through a table, write Q-learning with a replay, its one-step, n-step and episodic backward targets, treat the end of an episode and its interruption differently, and compare agents at equal steps *and* equal updates |
# | **You need** | expectation and probability, PyTorch; no reinforcement learning, which is introduced here |
# | **Time** | 150 minutes with the exercises; at `quick` the notebook itself runs in about a minute |
# | **Level** | intermediate |
# | **Paper** | S. Y. Lee, S. Choi, S.-Y. Chung, *Sample-Efficient Deep Reinforcement Learning via Episodic Backward Update*, NeurIPS 2019, arXiv:1805.12375 |
# | **Also** | a review of the paper, in Korean; the authors' code ([suyoung-lee/Episodic-Backward-Update](https://github.com/suyoung-lee/Episodic-Backward-Update)), which has the Atari version with one diffusion factor and no mazes; Mnih et al. (2015) on DQN; Kielak (2020) on what more updates for each step do |
#
# **Claims that you will test.** (EBU is the paper's method, episodic backward update; DQN is what it improves on. The lesson explains these and all other words on its way.)
#
# | claim | source | section |
# |---|---|---|
# | A backward sweep finds the way after five updates where uniform draws need many more | paper, review | 1 |
# | With a table, a backward sweep needs fewer updates than uniform draws in mazes with 20 % and with 50 % walls (two claims) | paper | 2 |
# | Where moves are random, a step size below 1 brings the value of the start nearer to the truth | paper | 2 |
# | A step drawn uniformly rarely carries a meaningful reward | review | 5 |
# | At equal numbers of updates EBU finds shorter ways than one-step DQN, and than five-step DQN (two claims) | paper | 6 |
# | Part of the lead over one-step DQN at the published ratio of updates is due to more updates | after Kielak | 6 |
# | Learning from a quarter of the updates, EBU still finds shorter ways than one-step DQN | this lesson | 6 |
# | A diffusion factor of 0.5 finds shorter ways than 1 where moves are random (paper) and where they are certain (this lesson), and than 0 | paper, this lesson | 7 |
# | With a diffusion factor of 1 values lie further above the truth than with 0.5, where moves are random (paper) and where they are certain (this lesson) | paper, this lesson | 7 |
# | Adaptive EBU finds shorter ways than a fixed factor of 0.5 (not at `quick`) | paper | 8 |
# | On Breakout EBU scores higher than one-step DQN (not at `quick`) | paper | 9 |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# The deep agents of sections 6 and 7 learn from the targets that your `backward_targets` computes; all else takes the library's functions, which do the same faster.
#
# `profile` chooses the scale. `quick`: deep agents in one maze, 5,250 steps each. `full`: up to five mazes for each question, up to three agents of each kind in each, and Breakout for a while (with the extra `atari`). `paper`: 50 mazes of 200,000 steps, and Breakout with the published settings, 2.5 million steps, for which you want a GPU: run it by `labkit run 06 --profile paper`, which keeps checkpoints and goes on where it was stopped.

# %% tags=["parameters"]
profile = "quick"  # "quick" (one maze), "full" (five mazes, Breakout for a while) or "paper" (a GPU)
seed = 0  # another seed: other mazes, other weights, other luck

# %%
from dataclasses import dataclass
from functools import partial

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# %%
import labkit
import labkit.data
from labkit.data.dataset import Split
from labkit.envs.maze import MOVES, DigitImages, Maze, VectorMaze, distances, draw_walls, optimal_q, shortest_path
from labkit.lab.figures import PALETTE, as_png, panels
from labkit.lab.training import in_stretches
from labkit.lab.widgets import image_choices
from labkit.papers import episodic_backward_update as paper
from labkit.papers.deep_q_learning import initialized
from labkit.papers.episodic_backward_update import AdaptiveEBU, DQNAgent, EBUAgent, EpisodeReplay, Settings
from labkit.papers.episodic_lockstep import train_together

lab = labkit.start("06_episodic_backward_update", profile=profile, seed=seed)
torch.set_num_threads(1)  # these networks are so small that a second thread costs more than it brings


# %%
@dataclass(frozen=True)
class Game:
    steps: int  # decisions of the agent, four frames each
    side: int  # pixels of a frame's side; 84 takes the published network
    warm_up: int  # decisions before learning begins
    exploring: int  # decisions over which random actions get rarer
    sync: int  # updates between copies to the target network
    eval_every: int  # decisions between evaluations
    games: int  # games played for each evaluation
    published: bool = False  # take the published optimizer; EBU updates at every step, DQN at every fourth


# %%
@dataclass(frozen=True)
class Config:
    runs: int  # simulated runs of the chain
    tables: int  # mazes for agents with a table
    noisy_episodes: int  # episodes of agents with a table where moves are random
    mazes: int  # mazes with 20 % walls for the comparison of deep agents
    agents: int  # agents of each kind in each of these mazes
    dense: int  # mazes with 50 % walls for the same
    steps: int  # steps of each deep agent in its maze
    exploring: int  # steps over which random actions get rarer
    eval_every: int  # steps between evaluations
    betas: tuple[float, ...]  # diffusion factors to compare where moves are certain
    stochastic_betas: tuple[float, ...]  # the same where moves are random
    beta_mazes: int  # mazes in which they are compared
    learners: tuple[float, ...]  # diffusion factors of adaptive EBU, if there is any
    select: int  # steps after which the best learner is copied
    images: int | None = 20  # images of each digit, or all: few, so that an agent meets each often
    pool: int = 4  # pixels that are averaged in each direction
    hidden: int = 64  # units of both hidden layers
    lockstep: int = 20  # kinds of agents that learn in lockstep
    games: dict[str, Game] | None = None  # Atari games, where there are any


# %%
quick = Config(
    runs=10_000,
    tables=3,
    noisy_episodes=300,
    mazes=1,
    agents=1,
    dense=0,
    steps=5250,
    exploring=8000,
    eval_every=750,
    betas=(0.0, 0.5, 1.0),
    stochastic_betas=(0.5, 1.0),
    beta_mazes=1,
    learners=(),
    select=1500,
)

# %%
full = Config(
    runs=100_000,
    tables=20,
    noisy_episodes=2000,
    mazes=5,
    agents=3,
    dense=4,
    steps=8000,
    exploring=8000,
    eval_every=500,
    betas=(0.0, 0.25, 0.5, 0.75, 1.0),
    stochastic_betas=(0.0, 0.25, 0.5, 0.75, 1.0),
    beta_mazes=4,
    learners=(0.0, 0.25, 0.5, 0.75, 1.0),
    select=1500,
    games={"Breakout": Game(40_000, 42, 2000, 20_000, 500, 5000, 6)},
)

# %%
long = Config(
    runs=100_000,
    tables=50,
    noisy_episodes=5000,
    mazes=50,
    agents=1,
    dense=50,
    steps=200_000,
    exploring=100_000,
    eval_every=2000,
    betas=tuple(k / 10 for k in range(11)),
    stochastic_betas=tuple(k / 10 for k in range(11)),
    beta_mazes=10,
    learners=tuple(k / 10 for k in range(11)),
    select=10_000,
    images=None,
    pool=1,
    hidden=256,
    lockstep=1,  # passes through networks as large as these cost the same together
    games={"Breakout": Game(2_500_000, 84, 50_000, 1_000_000, 10_000, 62_500, 30, published=True)},
)

# %%
config = lab.choose(quick=quick, full=full, paper=long)

# %% [markdown]
# ## 1 · Why a reward travels slowly
#
# **Intuition.** DQN, the network that learned to play Atari games from their pictures, was trained for 200 million frames of each game (Mnih et al., 2015): more than 38 days of play, at 60 frames a second. Where does the time go? The review names two causes. Rewards are rare, so most of what is learned from carries none. And at first all values are zero, so that even a step right before a reward teaches nothing *until the reward itself has been learned*. A reward travels backward, one step at a time, and only when the right step happens to be drawn.
#
# **Words.** At time $k$ an agent is in a **state** $S_k$, takes an **action** $A_k$, receives a **reward** $R_k$ and finds itself in $S_{k+1}$. That is a **transition**, or a step. From start to end is an **episode**. The **return** adds up rewards, later ones discounted by $\gamma$ for each step: $R_k + \gamma R_{k+1} + \gamma^2 R_{k+2} + \dots$ What can be expected, when $A$ is taken in $S$ and the best is done from then on, is the **value** $Q^*(S, A)$. It satisfies
#
# $$Q^*(S_k, A_k) = \mathbb E\big[R_k + \gamma \max_a Q^*(S_{k+1}, a)\big].$$
#
# **Q-learning** turns this equation into an update. It keeps a table $Q$, and sets the entry of a transition to what the right-hand side says with the present table. Transitions are kept in a **replay memory** and drawn from it, uniformly, over and over.
#
# ### The chain
#
# The paper's example: five transitions in a row, a reward of 1 at the end of the last, and one episode in the memory, which has each of them once. Watch what ten uniform draws do ($\gamma = 1$; a number for each transition):

# %% tags=["nbval-check-output"]
q = [0, 0, 0, 0, 0, 0]  # the sixth is the end, which has no value
for i in torch.randint(5, (10,), generator=torch.Generator().manual_seed(2)).tolist():
    reward = 1 if i == 4 else 0
    q[i] = reward + q[i + 1]
    print("transition", i + 1, "drawn:", q[:5])

# %% [markdown]
# A draw teaches something only if it is the one transition just before what is known. All others are wasted. A **backward sweep** takes the transitions from the last to the first and wastes none: after five updates the whole way is known.
#
# ### Exercise 1 · How long do uniform draws take?
#
# Let an episode have $T$ steps. The way has $N$ transitions; the episode made the first of them $c_1$ times, the second $c_2$ times, and so on (the list `copies`), and besides `others` steps that lead back, so $T = \sum_i c_i + \text{others}$. At any time only one transition of the way can teach something, and a draw hits it with probability $c_i / T$. How many draws are needed on average until all $N$ are known, from the last to the first?


# %% tags=["exercise"]
def uniform_updates_mean(copies, others=0):
    """How often each transition of the way is in the episode, and how many others are -> mean number of updates."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
uniform_updates_mean = lab.check(uniform_updates_mean)

# %% [markdown]
# **Predict.** How many uniform updates does the chain of five need on average? In what share of runs are 40 not enough?

# %%
chain = [1] * 5
simulated = paper.simulate_uniform_updates(chain, config.runs, lab.generator("chain"))
exact = paper.uniform_updates_pmf(chain, most=80)  # P(U = u), u = 0 ... 80
lab.record("chain/mean", uniform_updates_mean(chain), "updates")
lab.record("chain/mean of the runs", simulated.double().mean(), "updates")
lab.record("chain/more than 40", 1 - exact[:41].sum())

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
    alt="Left, the distribution of the number of uniform updates for a chain of five: a hump from 5 to beyond 60 with its peak near 20, where the simulated bars follow the exact curve; a vertical line at 5 marks the backward sweep. "
    "Right, updates by length of the chain: a parabola up to 400 at 20 transitions for uniform draws, a straight line up to 20 for the sweep.",
)

# %%
lab.tell(
    "Uniform draws need {chain/mean:.0f} updates on average ({chain/mean of the runs:.1f} in the simulated runs), and in {chain/more than 40:.0%} of all cases more than 40. The number of draws is a sum of five waiting times, so its distribution is known exactly (a negative binomial one). For $N$ transitions the mean is $N^2$: the longer the way, the worse."
)
lab.claim(
    "In the chain a backward sweep finds the way after five updates, where uniform draws need at least twice as many on average.",
    holds=lab.metrics["chain/mean"] >= 10,
    evidence={"uniform, mean": lab.metrics["chain/mean"], "backward": 5},
    source="paper, review",
    reason="The sweep's five is a matter of counting; the mean of uniform draws is the sum of five mean waiting times.",
)

# %% [markdown]
# ### Episodes that wander
#
# Real first episodes do not march to the goal. They wander, and pass the same transitions many times. Both methods are affected: the sweep goes through all $T$ steps (we count them all, though the way may be known earlier), and uniform draws find each transition of the way more easily. Your formula says how the two compare:
#
# $$\frac{\text{uniform}}{\text{sweep}} = \frac{1}{T} \sum_i \frac{T}{c_i} = \sum_{i=1}^N \frac{1}{c_i}.$$
#
# The last transition ends the episode, so $c_N = 1$: uniform draws are never better on average. But all other terms shrink when an agent wanders. Let it go left or right at random (at the left end a step to the left stays):


# %%
def wander(n, rng):
    """How often a random walk through a chain of n transitions made each of them, and how many steps led back."""
    copies, others, place = [0] * n, 0, 0
    while place < n:
        if rng.random() < 0.5:
            copies[place] += 1
            place += 1
        else:
            others += 1
            place = max(0, place - 1)
    return copies, others


# %%
rng = np.random.default_rng(lab.generator("wander").initial_seed())
for n in (5, 20):
    walks = [wander(n, rng) for _ in range(1000)]
    ratios = [uniform_updates_mean(*walk) / (sum(walk[0]) + walk[1]) for walk in walks]
    lab.record(f"chain/ratio of {n}, wandering", np.mean(ratios))

# %%
lab.tell(
    "With straight episodes uniform draws need 5 and 20 times as many updates as a sweep, for chains of 5 and 20. With episodes that wander it is {chain/ratio of 5, wandering:.1f} and {chain/ratio of 20, wandering:.1f} times. The advantage of going backward is real and never negative here, but how large it is depends on how an agent explores. Keep that in mind for the mazes."
)

# %% [markdown]
# ## 2 · Backward with a table
#
# ### Exercise 2 · One sweep
#
# The paper's first algorithm draws a whole episode of $T$ steps, $k = 0, \dots, T - 1$, and updates from its end to its start:
#
# $$Q(S_k, A_k) \leftarrow (1 - \alpha)\, Q(S_k, A_k) + \alpha \big(R_k + \gamma \max_a Q(S_{k+1}, a)\big), \qquad k = T - 1, \dots, 0.$$
#
# With the step size $\alpha = 1$ it simply sets the entry. If the episode was **terminated**, as by reaching the goal, nothing comes after it, and the last maximum is 0. If not (`terminated=False`: it was only cut off), the last maximum counts like the others. Return a new table; leave the old one as it is.


# %% tags=["exercise"]
def backward_q_learning(q, states, actions, rewards, *, gamma, alpha=1.0, terminated=True):
    """Table (S, A), states (T + 1,), actions and rewards (T,) -> the table after one backward sweep, (S, A)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
backward_q_learning = lab.check(backward_q_learning)

# %% [markdown]
# An episode may pass a state twice. Below it goes 0, 1, 0, 1, 2, with action 1 for "on" and 0 for "back", and the reward comes at the end. One sweep, $\gamma = 0.9$; rows are states, columns actions:

# %% tags=["nbval-check-output"]
states, actions, rewards = torch.tensor([0, 1, 0, 1, 2]), torch.tensor([1, 0, 1, 1]), torch.tensor([0.0, 0, 0, 1])
print(backward_q_learning(torch.zeros(3, 2), states, actions, rewards, gamma=0.9))

# %% [markdown]
# Even the detour got its value: 0.81 for going back from state 1, since one may return. And the best action in each state is the right one.
#
# ### Mazes
#
# Now something with choices: 10 x 10 cells, a start in the upper left corner, a goal in the lower right one, four actions (0 up, 1 right, 2 down, 3 left). Reaching the goal ends the episode with a reward of 10; bumping into a wall or the border costs 0.1, and one stays where one is. We set $\gamma = 0.9$. A fifth or a half of the cells are walls, drawn at random, again until there is a way. (The paper's code for mazes was never published. By second-hand accounts rewards were 1000 and -1; ours are smaller, which suits a network better, and a bump weighs ten times as much beside the goal. The docstring of `labkit.envs.maze` lists all our choices.)
#
# How good can one be? Breadth-first search gives the shortest way, the **oracle**. And since we know the maze, **value iteration** gives $Q^*$: it applies the equation for $Q^*$ above to all states and actions, again and again, until nothing changes.

# %%
GAMMA = 0.9
REWARDS = {"goal_reward": 10.0, "bump_reward": -0.1}


def maze(index, density=0.2):
    """The walls of one of this run's mazes, (10, 10)."""
    rng = np.random.default_rng(lab.generator(f"maze {index} of density {density}").initial_seed())
    return draw_walls(rng, size=10, density=density)


# %%
def picture(walls, values, marked=None):
    """The maze from above, (10, 10, 3): walls dark, the higher a value, the deeper the blue, one cell orange."""
    shade = (values / max(values.max(), 1e-9)).clip(0, 1).reshape(walls.shape)[..., None] ** 0.5
    shown = 1 - shade * (1 - np.array([0.10, 0.35, 0.75]))
    shown[walls] = 0.25
    if marked is not None:
        shown[marked] = (0.95, 0.55, 0.0)
    return shown


# %%
figure, axes = panels(1, 2, width=3.6)
for ax, density in zip(axes, (0.2, 0.5), strict=True):
    walls = maze(0, density)
    ax.imshow(picture(walls, optimal_q(walls, gamma=GAMMA, **REWARDS).max(1)))
    way = np.array(shortest_path(walls))
    ax.plot(way[:, 1], way[:, 0], color=PALETTE[6], linestyle="-", marker=".")
    ax.set(xticks=range(10), yticks=range(10), title=f"{density:.0%} walls: {len(way) - 1} moves")
lab.show(
    figure,
    alt="Two mazes of 10 by 10 cells from above, with a fifth and with half of the cells as dark walls. The values of the free cells grow towards the goal, a deeper blue, and a line of dots marks a shortest way from the upper left to the lower right corner.",
)

# %% [markdown]
# The blue is $\max_a Q^*$, what each cell is worth. (It is drawn by its square root, since values fall by a tenth with each move.) White is worth nothing: the goal, after which nothing comes, and cells without a way to it. Whoever always goes where it gets deeper takes a shortest way, the line.
#
# ### One episode, swept
#
# Let an agent walk at random until it finds the goal. Then learn from this one episode, once with a backward sweep and once with as many uniform draws. Both are the same update in a different **order**:


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

# %% [markdown]
# **Predict.** After $T$ uniform draws, how far from the goal will values have come?

# %%
figure, axes = panels(1, 4, width=2.7, height=3)
for ax, part in zip(axes, (0.02, 0.3, 1.0), strict=False):
    values = learned(orders["backward"][: round(part * T)]).max(1)
    ax.imshow(picture(walls, values))
    ax.set(xticks=[], yticks=[], title=f"backward\n{round(part * T)} updates")
axes[3].imshow(picture(walls, learned(orders["uniform"]).max(1)))
axes[3].set(xticks=[], yticks=[], title=f"uniform\n{T} updates")
for name, order in orders.items():
    known = (learned(order).max(1) > 0).sum() / len(set(episode.frames[:-1].tolist()))
    lab.record(f"sweep/cells with a value, {name}", known)
lab.show(
    figure,
    alt=f"The same maze four times. With a backward sweep over an episode of {T} steps the blue of positive values spreads from the goal over the visited cells, in three stages. After as many uniform updates {lab.metrics['sweep/cells with a value, uniform']:.0%} of the visited cells have a value.",
)


# %% tags=["widget"]
def swept(order, updates):
    """The maze after so many updates in one order, the cell of the latest one in orange."""
    k = orders[order][updates - 1]
    return picture(walls, learned(orders[order][:updates]).max(1), divmod(int(episode.frames[k]), 10))


moments = sorted({*range(1, min(T, 40)), *np.linspace(1, T, 60).astype(int).tolist()})
image_choices(swept, {"order": list(orders), "updates": moments}, width=320, scale=32)

# %%
lab.tell(
    "One random episode of {sweep/length of the episode:.0f} steps, swept once, gives {sweep/cells with a value, backward:.0%} of the cells that it visited a positive value; the same number of uniform draws gives one to {sweep/cells with a value, uniform:.0%}. White cells have no positive value, or were not visited. In the widget, move `updates` slowly: backward, the orange cell runs the episode in reverse and leaves values behind, uniformly it jumps about and leaves none, until it happens to hit the edge of the blue."
)

# %% [markdown]
# ### A table in mazes
#
# Now agents that act by what they know: the best action, and with probability 0.1 a random one. After each episode one backward sweep over an episode drawn from the memory, or as many uniform updates as that episode has steps. We count updates until the **greedy** way (always the best action) is a shortest one. In the figure each point is a maze; above the dotted line backward needs fewer updates. Points at 200,000 are agents whose greedy way was never a shortest one in 200 episodes.


# %%
def greedy_way(q, walls):
    """Moves that the best actions of a table need to the goal; 1000 if they never reach it."""
    place, moves = np.array([0, 0]), 0
    while (place != 9).any() and moves < 100:
        ahead = place + MOVES[int(q[place @ (10, 1)].argmax())]
        inside = (ahead >= 0).all() and (ahead <= 9).all() and not walls[tuple(ahead)]
        place, moves = ahead if inside else place, moves + 1
    return moves if (place == 9).all() else 1000


# %%
NEVER = 200_000  # 200 episodes of at most 1000 steps


def updates_needed(walls, number, backward, episodes=200):
    """Updates until the greedy way is a shortest one; if it never is, `NEVER`, more than anyone can make."""
    shortest, found = len(shortest_path(walls)) - 1, []

    def look(q, updates):
        if greedy_way(q, walls) == shortest:
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
    lab.record(f"{name}/backward gets there", (pairs[:, 0] < NEVER).mean())
    lab.record(f"{name}/uniform gets there", (pairs[:, 1] < NEVER).mean())

# %%
figure, ax = panels(width=4.4, height=3.8)
for (density, pairs), marker in zip(needed.items(), "os", strict=True):
    ax.loglog(*pairs.T, marker, label=f"{density:.0%} walls")
ends = [min(pairs.min() for pairs in needed.values()), max(pairs.max() for pairs in needed.values())]
ax.plot(ends, ends, color="#717581", linestyle=":", label="equal")
ax.set(xlabel="updates, backward", ylabel="updates, uniform")
ax.legend(frameon=False)
lab.show(
    figure,
    alt="Updates until the greedy way is a shortest one, a point for each maze, backward on the horizontal axis and uniform on the vertical one, both logarithmic, circles for mazes with 20 % walls and squares for 50 %. A dotted diagonal marks equality; points above it are mazes in which backward needs fewer, points at 200,000 agents that never got there.",
)

# %%
for density in ("20%", "50%"):
    mine = {name: lab.metrics[f"table/{density} walls/{name}"] for name in ("backward", "uniform")}
    arrived = {f"{name} gets there": lab.metrics[f"table/{density} walls/{name} gets there"] for name in mine}
    share = lab.metrics[f"table/{density} walls/mazes in which backward needs fewer"]
    lab.claim(
        f"With a table, backward sweeps need fewer updates than uniform draws to find a shortest way in mazes with {density} walls.",
        holds=mine["backward"] < mine["uniform"] and share > 0.5,
        evidence=mine | {"share of the mazes": share} | arrived,
        source="paper",
        reason=f"Medians over mazes, and in more than half of the mazes. Who never gets there in 200 episodes counts as {NEVER:,} updates. Episodes, and so updates, depend on what was learned before.",
    )

# %% [markdown]
# ### When moves are random
#
# Setting an entry to what one episode said is fine where the same action always leads to the same place. Let one move in five now go in a random direction. A lucky slip then looks like the merit of the action. The paper's theorem, that tables learned backward converge to $Q^*$, therefore asks for step sizes that shrink in the usual way of stochastic approximation. (We could not check its exact wording.) Here the true values are known, so watch what the start is thought to be worth:
#
# **Predict.** With $\alpha = 1$, will it be thought too high or too low?

# %%
walls = maze(0)
slippery = optimal_q(walls, gamma=GAMMA, random_moves=0.2, **REWARDS)[0].max()
if_certain = optimal_q(walls, gamma=GAMMA, **REWARDS)[0].max()
worth = {1.0: [], 0.3: [], 0.1: []}


def note_start(values, q, updates):
    """Keep what the start is thought to be worth."""
    values.append(q[0].max().item())


for alpha in worth:
    env = Maze(walls, max_steps=1000, random_moves=0.2, **REWARDS)
    options = {"gamma": GAMMA, "alpha": alpha, "generator": lab.generator("slippery")}
    paper.tabular_ebu(env, episodes=config.noisy_episodes, after_episode=partial(note_start, worth[alpha]), **options)
    late = worth[alpha][-config.noisy_episodes // 4 :]
    lab.record(f"slippery/alpha {alpha:g}/value of the start", np.mean(late))
lab.record_all({"slippery/true value of the start": slippery, "slippery/value if moves were certain": if_certain})

# %%
figure, ax = panels(width=5.6)
for alpha, values in worth.items():
    ax.plot(range(1, config.noisy_episodes + 1), values, label=f"$\\alpha$ = {alpha:g}")
ax.axhline(slippery, color="black", linewidth=0.8)
ax.axhline(if_certain, color="black", linewidth=0.8, linestyle=":")
ax.text(config.noisy_episodes, slippery, " true", va="center")
ax.text(config.noisy_episodes, if_certain, " if certain", va="center")
ax.set(xlabel="episodes", ylabel="value of the start", ylim=(0, None))
ax.legend(frameon=False, loc="lower right")
lab.show(
    figure,
    alt=f"What the start is thought to be worth, by episodes, for the step sizes 1, 0.3 and 0.1. A solid horizontal line at {slippery:.2f} is its true value, a dotted one at {if_certain:.2f} what it would be worth if moves were certain.",
)

# %%
lab.tell(
    "In the last quarter of the episodes the start is thought to be worth {slippery/alpha 1/value of the start:.2f} with a step size of 1, {slippery/alpha 0.3/value of the start:.2f} with 0.3 and {slippery/alpha 0.1/value of the start:.2f} with 0.1. The truth is {slippery/true value of the start:.2f}; {slippery/value if moves were certain:.2f} would be right if no move ever slipped. With a step size of 1 the maximum over actions picks the one that was luckiest last time, and the sweep carries that luck to all steps before it. So the agent comes to believe in a world in which no slip ever hurts: its value rises towards the dotted line, the value of a maze without slips, and falls back only while every good action of some cell on its way had bad luck last time. That is **over-estimation**, and it comes back in section 7."
)
errors = {
    f"alpha {alpha:g}": abs(lab.metrics[f"slippery/alpha {alpha:g}/value of the start"] - slippery) for alpha in worth
}
lab.claim(
    "Where moves are random, a step size below 1 brings the value of the start nearer to the truth.",
    holds=max(errors["alpha 0.3"], errors["alpha 0.1"]) < errors["alpha 1"],
    evidence=errors,
    source="paper",
    reason="Error of the start's value in the last quarter of the episodes, against value iteration; a small step size needs more episodes.",
)

# %% [markdown]
# ## 3 · From a table to a network
#
# A maze seen through its cell numbers fits into a table, an Atari game does not. **DQN** (Mnih et al., 2015) puts a network in its place, $Q(S, \cdot\,; \theta)$: a picture goes in, the values of all actions come out. Three things make that work.
#
# - A **replay memory**, as before, from which minibatches are drawn.
# - A **target network** $\hat Q$ with parameters $\theta^-$, a copy of the network that is renewed only now and then. It says what the right-hand side of the update is worth, the **target** $y$, so that the network does not chase its own tail.
# - A loss between $Q(S_k, A_k; \theta)$ and $y_k$: the Huber loss, half the squared error for small errors and linear for large ones.
#
# All methods of this lesson share these. They differ in the target.
#
# ### Exercise 3 · One-step targets, and two kinds of ends
#
# $$y = R + \gamma \max_a \hat Q(S', a), \qquad \text{and } y = R \text{ where } S' \text{ is terminal.}$$
#
# A Gymnasium environment tells two kinds of ends apart. **Terminated**: the goal is reached, nothing comes after. **Truncated**: a time limit cut the episode off; $S'$ is a state like any other, and has a value. Who treats both alike teaches the agent that the world ends where its patience did. (The authors' code does, as most did then.)


# %% tags=["exercise"]
def one_step_targets(rewards, q_next, terminated, truncated, *, gamma):
    """Rewards (B,), values of the next states (B, A), two flags (B,) -> targets (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
one_step_targets = lab.check(one_step_targets)

# %% [markdown]
# ### Exercise 4 · n-step targets
#
# An old way to let a reward travel faster is to look $n$ steps ahead (Sutton & Barto, 2018, section 7.1):
#
# $$y_k = R_k + \gamma R_{k+1} + \dots + \gamma^{n-1} R_{k+n-1} + \gamma^n \max_a \hat Q(S_{k+n}, a).$$
#
# Where fewer than $n$ steps are left, the sum ends with the episode, at $S_T$; its value counts only if the episode was truncated. Row $k$ of `q_next` holds $\hat Q(S_{k+1}, \cdot)$. Mind which row belongs to $S_{k+n}$, and with which power of $\gamma$.


# %% tags=["exercise"]
def n_step_targets(rewards, q_next, *, gamma, n_steps, terminated=True):
    """One episode: rewards (T,), values of the states after each step (T, A) -> targets (T,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
n_step_targets = lab.check(n_step_targets)

# %% [markdown]
# n-step targets have a price: the rewards in between are those of the actions that were *taken*, exploration and all, not of the best ones. One-step targets do not have it. Here is a chain of five again, all values still 0:

# %% tags=["nbval-check-output"]
rewards, nothing = torch.tensor([0.0, 0, 0, 0, 1]), torch.zeros(5, 2)
for n in (1, 3, 5):
    print(n, "steps:", [round(y, 4) for y in n_step_targets(rewards, nothing, gamma=0.9, n_steps=n).tolist()])

# %% [markdown]
# ## 4 · The temporary table
#
# A sweep with a network cannot change values on its way: values come from $\theta^-$, and learning takes many gradient steps. The paper's second algorithm sweeps a small **temporary table** instead, $\tilde Q$, one row of action values for each step of the episode, made by the target network. As the sweep goes backward it writes what it has just learned into the table, and reads targets from it.
#
# ### Exercise 5 · Backward targets
#
# Take one whole episode. Copy $\tilde Q_k = \hat Q(S_{k+1}, \cdot\,; \theta^-)$, $k = 0, \dots, T - 1$, and begin at the end with $y_{T-1} = R_{T-1}$ (if the episode was truncated, plus $\gamma \max_a \tilde Q_{T-1}[a]$). Then for $k = T - 2, \dots, 0$:
#
# $$\tilde Q_k[A_{k+1}] \leftarrow \beta\, y_{k+1} + (1 - \beta)\, \tilde Q_k[A_{k+1}], \qquad y_k = R_k + \gamma \max_a \tilde Q_k[a].$$
#
# The **diffusion factor** $\beta \in [0, 1]$ says how much of the new target goes into the table. Mind the indices: row $k$ holds the values of the state *after* step $k$, and the action taken there is $A_{k+1}$. One entry of a row changes, and the maximum is taken after the change. And copy: the network's output must stay as it is.


# %% tags=["exercise"]
def backward_targets(rewards, q_next, actions, *, gamma, beta, terminated=True):
    """One episode: rewards (T,), values of the states after each step (T, A), actions (T,) -> targets (T,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
backward_targets = lab.check(backward_targets)

# %% [markdown]
# ### An episode by hand
#
# Four steps, two actions, $\gamma = 0.9$. The target network says:
#
# | after step $k$ | $\hat Q(\cdot, 0)$ | $\hat Q(\cdot, 1)$ | action taken there, $A_{k+1}$ | reward $R_k$ |
# |---|---|---|---|---|
# | 0 | 0.3 | 0 | 1 | 0 |
# | 1 | 0.5 | 0.4 | 0 | 1 |
# | 2 | 0.2 | 0.6 | 1 | 0 |
# | 3 (the end) | - | - | - | 2 |
#
# With $\beta = 0.5$: $y_3 = 2$. Row 2, action 1: $0.5 \cdot 2 + 0.5 \cdot 0.6 = 1.3$, so $y_2 = 0.9 \cdot 1.3 = 1.17$. Row 1, action 0: $0.5 \cdot 1.17 + 0.5 \cdot 0.5 = 0.835$, so $y_1 = 1 + 0.9 \cdot 0.835 = 1.7515$. Row 0, action 1: $0.5 \cdot 1.7515 = 0.87575$, which beats 0.3, so $y_0 = 0.788175$.

# %% tags=["nbval-check-output"]
rewards, actions = torch.tensor([0.0, 1, 0, 2]), torch.tensor([0, 1, 0, 1])
q_next = torch.tensor([[0.3, 0.0], [0.5, 0.4], [0.2, 0.6], [0.0, 0.0]])
for beta in (0.0, 0.5, 1.0):
    y = backward_targets(rewards, q_next, actions, gamma=0.9, beta=beta)
    print(f"beta = {beta}:", [round(each, 6) for each in y.tolist()])
returns = n_step_targets(rewards, q_next, gamma=0.9, n_steps=4)
print("returns:   ", [round(each, 6) for each in returns.tolist()])

# %% [markdown]
# - $\beta = 0$ gives one-step targets: nothing is written.
# - $\beta = 1$ writes the targets themselves. Here they equal the returns, the discounted sums of the rewards that came. That is not so in general: wherever another action has a larger value in the table, the maximum takes that one.
#
# **The index trap.** Two slips are easily made: to write the entry of $A_k$ instead of $A_{k+1}$, or into the row of the state *before*. Neither raises an error, and in an episode that always takes the same action, with all values 0, neither shows. Here both do:

# %% tags=["nbval-check-output"]
wrong_action = backward_targets(rewards, q_next, torch.tensor([0, 0, 1, 0]), gamma=0.9, beta=0.5)  # A_k, as if A_(k+1)
print("action of this step:", [round(each, 4) for each in wrong_action.tolist()])
late = torch.cat([q_next[:1], q_next[:-1]])  # each row one step late
print(
    "row of this step:   ",
    [round(each, 4) for each in backward_targets(rewards, late, actions, gamma=0.9, beta=0.5).tolist()],
)

# %% [markdown]
# ### How far does a reward reach?
#
# If all values are still 0, a positive reward $n$ steps ahead contributes $(\beta\gamma)^n$ of itself to a target. So $\beta$ is a second discount, but only for the *news*: it delays what a reward is worth to earlier steps, and no longer matters once the network has learned the targets of the later ones. If the taken action is always the best one of the temporary table, after what was written, the recursion reads $y_k = R_k + \gamma [\beta y_{k+1} + (1 - \beta) \hat Q(S_{k+1}, A_{k+1})]$, which is the recursion of the **$\lambda$-return** with $\lambda = \beta$, a classical mixture of the $n$-step targets of all $n$ (Sutton & Barto, 2018, section 12.1).
#
# Below is an episode of 30 steps of which only the last has a reward. The target network has learned a little already: what it says of the actions that were taken rises towards the end, but to half of what is true.

# %%
steps = torch.arange(30)
q_next = torch.stack([0.5 * 0.9 ** (28.0 - steps), torch.zeros(30)], 1)  # of the action taken, and of the other
actions = torch.zeros(30, dtype=torch.int64)
rewards = torch.zeros(30)
rewards[-1] = 1


# %%
def reach_figure(betas):
    """The targets of the episode with several diffusion factors, beside n-step targets of five steps."""
    figure, ax = panels(width=6.4, height=3.2)
    five = n_step_targets(rewards, q_next, gamma=0.9, n_steps=5)
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
    alt="Targets by step of an episode with a reward of 1 at its end, for beta 0, 0.5 and 1 and for five-step targets as crosses. All rise towards the end. With beta 0 all but the last stay at half of what is true; with beta 1 all are as high as the truth; with beta 0.5 they leave the truth within a few steps and near the curve of beta 0. The crosses jump from the truth to the lower curve five steps before the end.",
)

# %% tags=["widget"]
image_choices(lambda beta: as_png(reach_figure((beta,))), {"beta": [round(k / 20, 2) for k in range(21)]}, width=560)

# %% [markdown]
# Read the figure from right to left, as the sweep goes. With $\beta = 0$ each step knows only the next state's old value. Five-step targets, the crosses, carry the news exactly five steps, and then nothing. With $\beta = 0.5$ the news fades: half of it is left after each step (beside the discount). With $\beta = 1$ it goes all the way. Of the gap between the curves for 0 and 1, step $k$ gets the part $\beta^{29 - k}$. How close to 1 must $\beta$ be for step 10 to get half of it? (Solve, then look for it between the slider's last two places.)
#
# ### Many episodes at once
#
# The recursion is sequential in time. The library also has a version for a batch of episodes of different lengths, which composes the maps $y_{k+1} \mapsto y_k$ pairwise and needs no loop over time. Do your targets and its agree, with padding?

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
# ## 5 · The replay memory
#
# What lies in the memory, and what is drawn from it? Here are episodes of random play in a small maze of 5 x 5, cut off after 60 steps:

# %%
small_walls = draw_walls(np.random.default_rng(lab.generator("small maze").initial_seed()), size=5, density=0.2)
memory, draw = EpisodeReplay(100_000), lab.generator("random play")
env = Maze(small_walls, max_steps=60, **REWARDS)
while sum(episode.terminated for episode in memory.episodes) < 5:
    start = int(torch.randint(2**31, (), generator=draw))
    memory.add(paper.play_episode(env, partial(at_random, draw), seed=start, longest=60))
shown = memory.episodes[-12:]


# %%
def memory_picture(row, updates, beta=0.9):
    """Episodes as rows, their steps as columns; the swept one has its targets in blue, the step in hand in orange."""
    episode = shown[row]
    y = backward_targets(
        torch.from_numpy(episode.rewards),
        torch.zeros(len(episode), 4),
        torch.from_numpy(episode.actions),
        gamma=GAMMA,
        beta=beta,
    )
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
    alt="The replay memory twice: episodes as grey rows, the later steps to the right, a green end where the goal was reached, none where an episode was cut off after 60 steps. In one row the sweep has come three steps from the end in the upper picture, and to the start in the lower one, leaving blue targets that fade to the left.",
)

# %% tags=["widget"]
image_choices(
    memory_picture,
    {"row": complete, "updates": list(range(1, 61)), "beta": [0.0, 0.25, 0.5, 0.75, 0.9, 1.0]},
    width=480,
    scale=12,
)

# %% [markdown]
# Each row is an episode. Green is a goal; rows without green were cut off. The slider `updates` sweeps one episode backward (an update here is that of one target; gradients come later); the orange step is in hand, those behind it have their targets, in blue. (The values of the target network are all taken to be 0 here, as early in training. The shade is compressed, or $\beta = 0.25$ would hide all but the last steps.) Where the blue breaks off before the start, the agent had bumped into a wall, and the loss of 0.1 was more than what was left of the news: the maximum takes another action, of value 0, and the news ends there.
#
# How rare is the goal's reward in a draw of one step?

# %%
share = sum((episode.rewards > 0).sum() for episode in memory.episodes) / len(memory)
lab.record("memory/share of steps with the goal", share)
lab.record("memory/minibatches of 32 without it", (1 - share) ** 32)
play, env = partial(at_random, lab.generator("long walks")), Maze(maze(0), max_steps=1000, **REWARDS)
walks = [paper.play_episode(env, play, seed=k, longest=1000) for k in range(20)]
wide = sum((walk.rewards > 0).sum() for walk in walks) / sum(len(walk) for walk in walks)
lab.record("memory/share of steps with the goal, 10 x 10", wide)

# %%
lab.tell(
    "In the small maze {memory/share of steps with the goal:.1%} of the steps reach the goal, and {memory/minibatches of 32 without it:.0%} of all minibatches of 32 hold no such step. In the large maze, 20 walks of up to 1,000 random steps, it is {memory/share of steps with the goal, 10 x 10:.2%} of the steps. An episode that ends at the goal always has its reward, right where the sweep begins."
)
lab.claim(
    "A step drawn uniformly rarely carries a meaningful reward: less than one in a hundred.",
    holds=wide < 0.01,
    evidence={"share, 10 x 10": wide, "share, 5 x 5": share},
    source="review",
    reason="Random play in the 10 x 10 maze decides; 'rarely' is our one in a hundred.",
)

# %% [markdown]
# ### Exercise 6 · From an episode to minibatches
#
# Gradient steps are made on minibatches of `size` steps. The authors' code reverses a sampled episode, so that its *last* step comes first, cuts it into pieces of 32, and fills the last piece with steps of a second episode. We reverse these as well. Targets are computed once per episode; each update takes the next piece. Cut an episode like this. Nothing is filled in if $T$ is a multiple of `size`, and `filling` is long enough.


# %% tags=["exercise"]
def backward_minibatches(steps, filling, size):
    """Steps of an episode (T, ...), of another (F, ...) -> (M, size, ...), from the end, M = ceil(T / size)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
backward_minibatches = lab.check(backward_minibatches)

# %% tags=["nbval-check-output"]
print(backward_minibatches(torch.arange(10), torch.arange(100, 108), 4))

# %% [markdown]
# Ten steps make three pieces, and the last one is filled with two from the end of the other episode.
#
# ## 6 · The maze of digits
#
# Now the deep version, in the maze of the paper: a state is seen as two pictures of handwritten digits, its row and its column, drawn anew at each visit. An agent must learn to read while it learns to walk.


# %%
def digits_for_mazes():
    """A few images of each digit, made smaller."""
    train = labkit.data.load("mnist").train
    chosen = torch.cat([(train.labels == digit).nonzero()[: config.images, 0] for digit in range(10)])
    return Split(F.avg_pool2d(train.images[chosen], config.pool), train.labels[chosen])


digits = digits_for_mazes()
side = digits.images.shape[-1]
look_at = DigitImages(digits, 10)

# %%
figure, axes = panels(1, 4, width=1.9, height=2.0)
chances = torch.rand(4, 2, generator=lab.generator("looks")).numpy()  # which image of each digit
for ax, cell, chance in zip(axes, ((0, 0), (0, 1), (4, 7), (4, 7)), chances, strict=True):
    seen = look_at(np.array(cell), chance)
    ax.imshow(np.hstack(seen), cmap="gray_r")
    ax.set(xticks=[], yticks=[], title=f"cell {cell}")
lab.show(
    figure,
    alt="What an agent sees in four visits: two small blurred handwritten digits side by side, for row and column, of the cells (0, 0), (0, 1) and twice (4, 7), where other images of the same digits are shown the second time.",
)

# %% [markdown]
# ### Equal terms
#
# Three agents learn in the same mazes, with the same network (two hidden layers), the same initial weights, optimizer (Adam with step size 0.001), minibatches of 32 and exploration (a random action with a probability that falls linearly from 1 to 0.1 over `config.exploring` steps, else the best one): **EBU** with $\beta = 0.5$, **one-step DQN** and **five-step DQN**. And with the *same number of updates*. This last point matters: the authors' code makes one update for every step in the environment, DQN as published one for every four. Beside DQN as published, EBU so makes four times as many gradient steps for each frame. We show both: equal updates, and the published ratio. The target network is copied after every 250 *updates*, for all. With one-step targets values travel one step per copy, with five-step targets five, with EBU a whole episode. So part of what you will see is a matter of this period, which is our choice.
#
# At regular intervals each agent is tested on 16 walks of at most 200 steps, with 5 % random actions. We report the mean length of these walks, divided by the oracle's shortest way: 1 is perfect. A walk that does not arrive counts as 200, so the worst is 200 divided by the shortest way, 11.1 if that has 18 moves; it never has fewer.


# %%
ADAM = partial(torch.optim.Adam, lr=1e-3, fused=True)
EBU = partial(EBUAgent, backward=backward_targets)  # your function, if it is right
KINDS = {"EBU": EBU, "1-step DQN": DQNAgent, "5-step DQN": partial(DQNAgent, n_steps=5)}


# %%
def deep_agent(kind, number, ratio, sync=250):
    """A new agent; `number` decides its weights and its luck, equally for all kinds."""
    g = lab.generator(f"agent {number}")
    settings = Settings(
        gamma=GAMMA,
        capacity=100_000,
        warm_up=500,
        updates_per_step=ratio,
        sync_every=sync,
        epsilon_steps=config.exploring,
    )
    return kind(paper.dense_network(2 * side**2, config.hidden, 4, g), settings, g, ADAM)


# %%
def measured(agent, seen, worth, shortest, lengths, arrived):
    """Of one agent: its way by the shortest one, the share that arrives, and by how much it values states too highly."""
    excess = agent.q_values(seen).amax(1).numpy() - worth
    return {
        "way": lengths.double().mean().item() / shortest,
        "arrived": arrived.double().mean().item(),
        "excess": excess.mean(),
        "above": excess.clip(min=0).mean(),
    }


# %%
def tests_of(agents, walls, slips):
    """What is measured of each agent: its ways, how many arrive, its values (one image of each digit) minus the true ones.

    `slips` says for each agent how probable a random move is.
    """
    mazes = np.stack([walls] * 16 * len(agents))
    vector = VectorMaze(mazes, digits, max_steps=200, random_moves=np.repeat(slips, 16), **REWARDS)
    cells = np.argwhere(distances(walls, (9, 9)) > 0)  # from which there is a way to the goal, without the goal itself
    seen = look_at(cells, np.full((len(cells), 2), 0.5))
    worth = {slip: optimal_q(walls, gamma=GAMMA, random_moves=slip, **REWARDS).max(1) for slip in {*slips}}
    shortest = len(shortest_path(walls)) - 1

    def evaluate(q_values):
        walked = paper.rollouts(q_values, vector, seed=1, epsilon=0.05, agents=len(agents))
        each = zip(agents, slips, walked.lengths.split(16), walked.terminated.split(16), strict=True)
        return [measured(agent, seen, worth[slip][cells @ (10, 1)], shortest, *walks) for agent, slip, *walks in each]

    return evaluate


# %%
@dataclass
class Finished:
    """What a checkpoint keeps of agents that are done with their maze: not their memory, only what they went through."""

    agents: list[DQNAgent]

    def state_dict(self):
        return {"histories": [agent.history for agent in self.agents]}

    def load_state_dict(self, state):
        for agent, history in zip(self.agents, state["histories"], strict=True):
            agent.history = history


# %% [markdown]
# At `quick` and `full` the agents of a maze learn in lockstep: all take their first step, then all take their second, and so on. None knows of the others, and each goes the way that it would go alone. But networks as small as these spend most of their time in being called: one pass through all of them takes far less than a pass through each.


# %%
def learn(kinds, index, count=1, *, ratio=1.0, density=0.2, sync=250, slips=None, name=""):
    """Train `count` agents of each kind in one maze; the histories of each kind, with an array for each measure.

    `slips` says for a kind how probable a random move is, if it is possible at all.
    """
    walls, slips = maze(index, density), [(slips or {}).get(kind, 0.0) for kind in kinds for _ in range(count)]
    agents = [deep_agent(made, 1000 * index + n, ratio, sync) for made in kinds.values() for n in range(count)]
    envs = [Maze(walls, digits, max_steps=1000, random_moves=slip, **REWARDS) for slip in slips]
    work = partial(train_together, agents, envs, evaluate=tests_of(agents, walls, slips), every=config.eval_every)
    kept = f"{name}-{index}-{ratio}-{density}-{sync}"
    in_stretches(work, Finished(agents), [config.steps], lab.checkpoint(kept))
    histories = [{measure: np.array(values) for measure, values in agent.history.items()} for agent in agents]
    return {kind: histories[count * k : count * (k + 1)] for k, kind in enumerate(kinds)}


# %%
def together(histories, measure):
    """One measure of several agents: a row for each agent, a column for each evaluation, (agents, evaluations)."""
    count = config.steps // config.eval_every
    return np.stack([history[measure][:count] for history in histories])


def spread(ax, x, values, label):
    """The median of several curves, and the band between the quartiles."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    (line,) = ax.plot(x, middle, label=label)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


# %% [markdown]
# **Predict.** Order the three at equal numbers of updates. Then: if DQN updates only at every fourth step, how much longer will its ways be?


# %%
def compare(mazes=config.mazes, count=config.agents, kinds=KINDS, name="", **rules):
    """The histories of each kind of agent in these mazes."""
    found = {kind: [] for kind in kinds}
    for m in range(mazes):
        for first in range(0, len(kinds), config.lockstep):
            some = dict([*kinds.items()][first : first + config.lockstep])
            for kind, histories in learn(some, m, count, name=f"{name}-{first}", **rules).items():
                found[kind] += histories
    return found


def record_ways(group, histories):
    """The way relative to the oracle, averaged over all evaluations and over the last quarter, for each kind."""
    for kind, runs in histories.items():
        ways = together(runs, "way")
        lab.record(f"{group}/{kind}/way", ways.mean())
        lab.record(f"{group}/{kind}/way at the end", ways[:, -(ways.shape[1] // 4) :].mean())
        lab.record(f"{group}/{kind}/arrived at the end", together(runs, "arrived")[:, -1].mean())


# %%
equal = compare(ratio=1.0)
record_ways("equal", equal)

# %%
seldom = compare(ratio=0.25)
record_ways("seldom", seldom)

# %%
x = config.eval_every * np.arange(1, config.steps // config.eval_every + 1) / 1000
figure, axes = panels(1, 3, width=3.5, sharey=True)
published = {"EBU": equal["EBU"]} | {kind: seldom[kind] for kind in ("1-step DQN", "5-step DQN")}
titles = ("an update at every step", "published: DQN at every fourth", "all at every fourth")
for ax, histories, title in zip(axes, (equal, published, seldom), titles, strict=True):
    for kind, runs in histories.items():
        spread(ax, x, together(runs, "way"), kind)
    ax.set(xlabel="thousands of steps", title=title, yscale="log", yticks=[1, 2, 5, 10], yticklabels=[1, 2, 5, 10])
axes[0].set_ylabel("way / shortest way")
axes[0].legend(frameon=False, loc="lower left")
lab.show(
    figure,
    alt="Length of the way relative to the shortest one, on a logarithmic axis, by steps in the maze, for EBU, one-step and five-step DQN: medians with a band between quartiles where there are several agents. Left, with an update at every step for all; middle, with the published ratio, where DQN updates at every fourth step; right, with an update at every fourth step for all.",
)

# %% [markdown]
# A curve that lies flat at the top is one of agents whose walks never arrive. The panel in the middle has no runs of its own: EBU is that of the left panel, both DQNs are those of the right one. Compare left and middle, to see what updates do for DQN, and left and right, to see what they do for EBU. A curve may rise again: what was learned can be lost.
#
# The same, counted in updates: after how many gradient updates do at least 15 of the 16 test walks arrive for the first time? (They need not do so at the next test.)


# %%
def record_first(group, histories):
    """Median number of updates until 15 of 16 walks arrive (all updates, where they never do), and how many got there."""
    for kind, runs in histories.items():
        arrived, updates = together(runs, "arrived") >= 15 / 16, together(runs, "updates")
        first = [
            made[there.argmax()] if there.any() else made[-1] for there, made in zip(arrived, updates, strict=True)
        ]
        lab.record(f"{group}/{kind}/updates to arrive", np.median(first), "updates")
        lab.record(f"{group}/{kind}/agents that arrived", arrived.any(1).mean())
        lab.record(f"{group}/{kind}/updates made", updates[:, -1].mean(), "updates")


record_first("equal", equal)
record_first("seldom", seldom)

# %%
lab.tell(
    "| | updates | made by each | way, whole training | way, last quarter | updates until 15 of 16 walks arrive (median; all, where they never do) | agents that got there |\n|---|---|---|---|---|---|---|\n"
    + "\n".join(
        f"| {kind} | {'every step' if group == 'equal' else 'every fourth'} | "
        + f"{{{group}/{kind}/updates made:,.0f}} | {{{group}/{kind}/way:.1f}} | {{{group}/{kind}/way at the end:.1f}} | {{{group}/{kind}/updates to arrive:,.0f}} | {{{group}/{kind}/agents that arrived:.0%}} |"
        for group in ("equal", "seldom")
        for kind in KINDS
    )
)
way = {(group, kind): lab.metrics[f"{group}/{kind}/way"] for group in ("equal", "seldom") for kind in KINDS}


# %%
def won(kind):
    """The share of mazes and agents in which EBU's mean way is the shorter one, at equal updates."""
    return (together(equal["EBU"], "way").mean(1) < together(equal[kind], "way").mean(1)).mean()


# %%
for kind, words in (("1-step DQN", "one-step DQN"), ("5-step DQN", "five-step DQN")):
    lab.claim(
        f"At equal numbers of updates EBU finds shorter ways in the maze of digits than {words}.",
        holds=way["equal", "EBU"] < way["equal", kind],
        evidence={"EBU": way["equal", "EBU"], words: way["equal", kind], "share of the agents": won(kind)},
        source="paper",
        reason=f"Way relative to the shortest one, mean over all evaluations of {config.mazes} x {config.agents} agents of each kind; an update at every step.",
    )
lab.claim(
    "Part of EBU's lead over one-step DQN at the published settings is due to its more updates.",
    holds=way["seldom", "1-step DQN"] - way["equal", "EBU"] > max(0, way["equal", "1-step DQN"] - way["equal", "EBU"]),
    evidence={
        "lead, DQN at every fourth step": way["seldom", "1-step DQN"] - way["equal", "EBU"],
        "lead, DQN at every step": way["equal", "1-step DQN"] - way["equal", "EBU"],
    },
    source="Kielak (2020)",
    reason="The lead is the difference of the mean ways. Kielak compares other methods (model-based ones, with DQN variants that update more often); the question is the same.",
)
lab.claim(
    "With an update at every fourth step only, EBU still finds shorter ways than one-step DQN.",
    holds=way["seldom", "EBU"] < way["seldom", "1-step DQN"],
    evidence={"EBU": way["seldom", "EBU"], "one-step DQN": way["seldom", "1-step DQN"]},
    source="this lesson",
    reason="Equal updates again, but a quarter of them. Where neither has learned much, the difference says little.",
)

# %% [markdown]
# ### Copies of the target network
#
# With one-step targets a value goes back one step per copy of the target network, with EBU a whole episode. Copies after every 250 updates could be what holds one-step DQN back. So again (at `full`), with an update at every step and a copy after every 50:

# %%
if config.dense:  # not at `quick`
    often = compare(count=1, kinds={kind: KINDS[kind] for kind in ("EBU", "1-step DQN")}, sync=50)
    record_ways("copies every 50", often)
    lab.tell(
        "With a copy after every 50 updates the ways are on average {copies every 50/EBU/way:.1f} times the shortest for EBU and {copies every 50/1-step DQN/way:.1f} for one-step DQN; with one after every 250 they were {equal/EBU/way:.1f} and {equal/1-step DQN/way:.1f}."
    )
else:
    print("left out at this profile")

# %% [markdown]
# ### Half of it walls
#
# With 50 % walls (at `full`) ways are narrow and a random walk gets lost in dead ends.

# %%
if config.dense:
    crowded = compare(density=0.5, mazes=config.dense, count=1)
    record_ways("50 % walls", crowded)
    lab.tell(
        "In mazes with 50 % walls, with an update at every step, the ways are on average {50 % walls/EBU/way:.1f} times the shortest for EBU, {50 % walls/1-step DQN/way:.1f} for one-step and {50 % walls/5-step DQN/way:.1f} for five-step DQN. Shortest ways are longer here, so 200 steps are fewer times as long: do not compare with the mazes above."
    )
else:
    print("left out at this profile")

# %% [markdown]
# ## 7 · How much to believe
#
# $\beta = 0$ throws away what the sweep found; $\beta = 1$ believes it all. Why not believe? The target network is wrong at first, and wrong in a biased way: of several noisy values the **maximum** is too high on average, even if each is right on average. A sweep with $\beta = 1$ takes a maximum at every step of the episode, one on top of the other. The paper's remedy is a factor in between, above all where moves are random.
#
# The same mazes and agents as before, with several $\beta$, once with certain moves and once with one move in five going in a random direction. Beside the ways we measure the **excess**: what the agent thinks a cell is worth minus what it is worth by value iteration, averaged over the cells. At first an agent thinks that all cells are worth about 0, so its excess begins at minus their mean true value. As such unlearned values would hide those that are too high, we also measure how much values lie **above** the true ones, where those that are too low count as 0.
#
# **Predict.** Which $\beta$ has the shortest ways? How does the excess change with $\beta$? (At `quick` the lower panels leave out $\beta = 0$.)


# %%
plan = {("certain", beta): 0.0 for beta in config.betas if beta != 0.5}  # with 0.5 they have learned in section 6
plan |= {("random", beta): 0.2 for beta in config.stochastic_betas}  # how probable a random move is
kinds = {(moves, beta): partial(EBU, beta=beta) for moves, beta in plan}
found = compare(config.beta_mazes, count=1, kinds=kinds, slips=plan, name="betas")
found["certain", 0.5] = equal["EBU"][: config.beta_mazes * config.agents : config.agents]
certain = {beta: found["certain", beta] for beta in config.betas}
random = {beta: found["random", beta] for beta in config.stochastic_betas}
trained = {"certain": certain, "random": random}

# %%
for moves, agents in trained.items():
    for beta, runs in agents.items():
        half = config.steps // config.eval_every // 2
        lab.record(f"beta/{moves}/{beta:g}/way", together(runs, "way").mean())
        lab.record(f"beta/{moves}/{beta:g}/excess", together(runs, "excess")[:, half:].mean())
        lab.record(f"beta/{moves}/{beta:g}/above", together(runs, "above")[:, half:].mean())
        lab.record(f"beta/{moves}/{beta:g}/arrived", together(runs, "arrived")[:, half:].mean())

# %%
figure, axes = panels(2, 2, width=4.2, height=2.9, sharex=True)
for row, (moves, agents) in zip(axes, trained.items(), strict=True):
    for ax, measure in zip(row, ("way", "excess"), strict=True):
        for beta in sorted({0.0, 0.5, 1.0} & set(agents), reverse=True):
            spread(ax, x, together(agents[beta], measure), f"$\\beta$ = {beta:g}")
        ax.set(title=f"{moves} moves", ylabel={"way": "way / shortest way", "excess": "excess of the values"}[measure])
    row[0].set(yscale="log", yticks=[1, 2, 5, 10], yticklabels=[1, 2, 5, 10])
    row[1].axhline(0, color="black", linewidth=0.8)
axes[0, 0].legend(frameon=False)
for ax in axes[1]:
    ax.set_xlabel("thousands of steps")
lab.show(
    figure,
    alt="Four panels by steps, for EBU with different diffusion factors: above with certain moves, below with random ones; left the way relative to the shortest one on a logarithmic axis, right by how much values exceed the true ones on average over the cells, with a horizontal line at no excess.",
)

# %%
if len(config.betas) > 3:
    figure, axes = panels(1, 2, width=4.2, height=2.9)
    for ax, measure in zip(axes, ("way", "excess"), strict=True):
        for (moves, agents), marker in zip(trained.items(), "os", strict=True):
            heights = [lab.metrics[f"beta/{moves}/{b:g}/{measure}"] for b in agents]
            ax.plot(list(agents), heights, marker=marker, label=f"{moves} moves")
        ax.set(xlabel="$\\beta$", ylabel={"way": "way / shortest way", "excess": "excess of the values"}[measure])
    axes[0].legend(frameon=False)
    lab.show(
        figure,
        alt="Mean way relative to the shortest one, left, and mean excess of the values, right, by diffusion factor from 0 to 1, one line with certain and one with random moves.",
    )

# %%
lab.tell(
    "Means over the training (ways) and over its second half (values):\n\n| moves | $\\beta$ | way | excess | above |\n|---|---|---|---|---|\n"
    + "\n".join(
        f"| {moves} | {b:g} | {{beta/{moves}/{b:g}/way:.1f}} | {{beta/{moves}/{b:g}/excess:+.2f}} | {{beta/{moves}/{b:g}/above:.3f}} |"
        for moves, agents in trained.items()
        for b in agents
    )
    + "\n\nA random move costs steps even to the best agent, so compare ways within one kind of moves only. Who has learned little is below the truth everywhere and cannot over-estimate, so read `above` beside `excess`: a small `above` may mean good values or none. An excess says how *wrong* values are, not how bad the actions are: if all values of a cell are too high by the same amount, the best action stays the best."
)

# %%
for moves, agents in trained.items():
    above = {b: lab.metrics[f"beta/{moves}/{b:g}/above"] for b in agents}
    lab.claim(
        f"With a diffusion factor of 1 values lie further above the truth than with 0.5, with {moves} moves.",
        holds=above[1.0] > above[0.5],
        evidence={f"above the truth, beta {b:g}": above[b] for b in (0.5, 1.0)}
        | {f"mean excess, beta {b:g}": lab.metrics[f"beta/{moves}/{b:g}/excess"] for b in (0.5, 1.0)}
        | {f"walks that arrived, beta {b:g}": lab.metrics[f"beta/{moves}/{b:g}/arrived"] for b in (0.5, 1.0)},
        source="paper" if moves == "random" else "this lesson",
        reason="Values minus those of value iteration, those below as 0, mean over the cells, second half of the training. Values that were not learned yet cannot lie above: this is bias and speed together. Over-estimation on average needs a mean excess above 0.",
    )

# %%
for moves, agents in trained.items():
    ways = {b: lab.metrics[f"beta/{moves}/{b:g}/way"] for b in agents}
    lab.claim(
        f"A diffusion factor of 0.5 finds shorter ways than 1, with {moves} moves.",
        holds=ways[0.5] < ways[1.0],
        evidence={"beta 0.5": ways[0.5], "beta 1": ways[1.0]},
        source="paper" if moves == "random" else "this lesson",
        reason=f"Mean way over the training, {config.beta_mazes} agent(s) of each kind. The paper's reason for a factor below 1 is randomness; 0.5 is what its code takes for Atari.",
    )
between = {b: lab.metrics[f"beta/certain/{b:g}/way"] for b in config.betas}
lab.claim(
    "A diffusion factor of 0.5 finds shorter ways than 0, with certain moves.",
    holds=between[0.5] < between[0.0],
    evidence={"beta 0": between[0.0], "beta 0.5": between[0.5]},
    source="paper",
    reason=f"Mean way over the training, {config.beta_mazes} agent(s) of each kind. Both draw and cut episodes by the same rules; with 0 the targets are those of one-step DQN.",
)

# %% [markdown]
# ## 8 · Adaptive EBU
#
# The best $\beta$ is not known beforehand. **Adaptive EBU** trains several learners at once, each with a $\beta$ of its own, all on the same episodes. They act in turn, one at a time. From time to time all take the weights of the one with the best score. (The paper's eleven are said to be $\beta = 0, 0.1, \dots, 1$.)
#
# There is no code for it, and we could not confirm details. *Our choices:* all learners begin alike; each acts for one episode, in turn; a score is the mean sum of rewards of a learner's episodes since weights were last copied; they are copied after so many steps, as soon as each has a score; networks and target networks are copied, the optimizers' states are not.
#
# Mind the bill: as many gradient steps as learners, for the same steps in the environment. So this is left for `full`.

# %%
if config.learners:
    several = partial(AdaptiveEBU, betas=config.learners, select_every=config.select)
    adaptive = compare(config.beta_mazes, count=1, kinds={"adaptive": several}, name="adaptive")["adaptive"]
    fixed, best_fixed = between[0.5], min(between.values())
    lab.record("adaptive/way", together(adaptive, "way").mean())
    lab.record("beta/certain/best/way", best_fixed)
else:
    print("left out at this profile")

# %%
if config.learners:
    lab.tell(
        f"With {len(config.learners)} learners, and so {len(config.learners)} times the gradient steps, the mean way of adaptive EBU is {{adaptive/way:.1f}} times the shortest; with the fixed $\\beta = 0.5$ it is {{beta/certain/0.5/way:.1f}}, with the best fixed factor {{beta/certain/best/way:.1f}}, in the same mazes at equal steps. The best one is known only afterwards; but where adaptive EBU has it among its learners, a lead over 0.5 may be no more than that."
    )
    lab.claim(
        "Adaptive EBU finds shorter ways than EBU with a fixed factor of 0.5.",
        holds=lab.metrics["adaptive/way"] < fixed,
        evidence={"adaptive": lab.metrics["adaptive/way"], "beta 0.5": fixed, "best fixed beta": best_fixed},
        source="paper",
        reason=f"Equal steps in the environment, {len(config.learners)} times the gradient steps, certain moves. The paper speaks of Atari.",
    )

# %% [markdown]
# ## 9 · Atari
#
# ### Exercise 7 · Scores that compare
#
# A game of Pong is worth up to 21 points, one of Breakout hundreds. To average over games, scores are put on a scale of their own for each game: 0 for random play, 100 for a human tester, in percent.


# %% tags=["exercise"]
def human_normalized(score, *, random, human):
    """A score, that of random play and a human's -> percent, 0 for random play and 100 for the human."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
human_normalized = lab.check(human_normalized)

# %% [markdown]
# DQN's Breakout score in Mnih et al. (2015) was 401.2; random play had 1.7, their human tester 31.8:

# %% tags=["nbval-check-output"]
print(f"{human_normalized(401.2, random=1.7, human=31.8):.0f} %")

# %% [markdown]
# ### What is published
#
# The abstract says: the same mean and the same median human-normalized score as DQN after 200 million frames, with 5 % and 10 % of the samples, over 49 games. Numbers that circulate with it, and that **we could not confirm**: EBU after 10 million frames, mean 254 % and median 52 %; DQN after 10 million, 134 % and 40 %; DQN after 200 million, 241 % and 94 %. If these are right, the two percentages must mean different lengths of training: at 10 million frames (5 %) the mean has caught up (254 against 241), but the median has not (52 against 94). The review adds that EBU beats DQN in 39 of 49 games; we know no other source for that.
#
# A twentieth of the samples is not a twentieth of the updates. EBU makes one for each step of four frames, DQN one for four steps:

# %% tags=["nbval-check-output"]
ebu_updates, dqn_updates = 10e6 / 4, 200e6 / 4 / 4
print(
    f"EBU, 10 million frames: {ebu_updates / 1e6:.1f} million updates; DQN, 200 million: {dqn_updates / 1e6:.1f} million"
)
print(f"{10 / 200:.0%} of the samples, {ebu_updates / dqn_updates:.0%} of the updates")

# %% [markdown]
# ### Breakout, for a while
#
# At `full` (with the extra `atari`) EBU and one-step DQN play Breakout for 40,000 decisions of four frames, with an update at every fourth. That is 160,000 frames of the paper's 10 million. To fit into minutes of a CPU, frames are 42 x 42 pixels and the network is a small one: expect the beginnings of play at most. At `paper` settings are the published ones: 84 x 84, the network of Mnih et al., the RMSprop of the code, an update at every step for EBU and at every fourth for DQN, so *unequal* updates. The memory is ours (whole episodes, none left out).


# %%
def pixel_network(actions, side, g):
    """Frames (N, 4, side, side) -> values (N, actions): as published for 84 pixels, a small one for 42."""
    if side == 84:
        return paper.nature_network(actions, g)
    layers = nn.Conv2d(4, 16, 8, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2), nn.ReLU(), nn.Flatten()
    return initialized(nn.Sequential(*layers, nn.Linear(288, 128), nn.ReLU(), nn.Linear(128, actions)), g)


# %%
def play_and_learn(kind, name, game):
    """Train an agent on a game; returns its history, with scores of whole games."""
    from labkit.envs.atari import make_atari

    env = make_atari(name, training=True, side=game.side)
    whole = gymnasium.vector.SyncVectorEnv([partial(make_atari, name, training=False, side=game.side)] * game.games)
    g = lab.generator(f"{name} agent")
    network = pixel_network(int(env.action_space.n), game.side, g).to(lab.device)
    frugal = partial(torch.optim.Adam, lr=1e-4, fused=True)
    ratio = 1.0 if game.published and kind is EBUAgent else 0.25
    settings = Settings(
        warm_up=game.warm_up, updates_per_step=ratio, sync_every=game.sync, epsilon_steps=game.exploring, stack=4
    )
    agent = kind(network, settings, g, paper.DeepMindRMSprop if game.published else frugal)

    def measure(epsilon=0.05):
        return {"score": paper.rollouts(agent.q_values, whole, seed=1, epsilon=epsilon).returns.mean().item()}

    work = partial(paper.train, agent, env, evaluate=measure, every=game.eval_every)
    chance = measure(epsilon=1.0)["score"]
    stops = range(game.eval_every, game.steps + 1, game.eval_every)
    in_stretches(work, agent, stops, lab.checkpoint(f"{name}-{kind.__name__}"))
    return agent.history | {"chance": chance}


# %%
def single_action(name, game):
    """The best mean score of an agent that always takes the same action, but for 5 % random ones."""
    from labkit.envs.atari import make_atari

    whole = gymnasium.vector.SyncVectorEnv([partial(make_atari, name, training=False, side=game.side)] * game.games)
    always = torch.eye(int(whole.single_action_space.n))  # a row of values for each action that may be preferred
    walks = (
        paper.rollouts(lambda seen, row=row: row.expand(len(seen), -1), whole, seed=1, epsilon=0.05) for row in always
    )
    return max(walk.returns.mean().item() for walk in walks)


# %%
scores = {}
for name, game in (config.games or {}).items():
    for label, kind in (("EBU", EBUAgent), ("1-step DQN", DQNAgent)):
        history = play_and_learn(kind, name, game)
        scores[name, label] = history["score"]
        lab.record(f"{name}/{label}/mean score", np.mean(history["score"]), "points")
        lab.record(f"{name}/{label}/last score", history["score"][-1], "points")
        lab.record(f"{name}/{label}/lives in training", len(history["episode_return"]))
    lab.record(f"{name}/random play", history["chance"], "points")
    lab.record(f"{name}/best single action", single_action(name, game), "points")
if not scores:
    print("no Atari at this profile: run the lesson at `full`, with the extra `atari`")

# %%
for name, game in (config.games or {}).items():
    figure, ax = panels(width=5)
    for label in ("EBU", "1-step DQN"):
        values = scores[name, label]
        ax.plot(game.eval_every * np.arange(1, len(values) + 1) / 1000, values, marker="o", label=label)
    ax.axhline(lab.metrics[f"{name}/random play"], color="black", linewidth=0.8)
    ax.axhline(lab.metrics[f"{name}/best single action"], color="black", linewidth=0.8, linestyle=":")
    ax.set(xlabel="thousands of decisions", ylabel="points per game", title=name, ylim=(0, None))
    ax.legend(frameon=False)
    lab.show(
        figure,
        alt=f"Points per game of {name} by decisions, for EBU and one-step DQN, at a few evaluations each; thin horizontal lines mark random play, solid, and the best that one and the same action gets, dotted.",
    )

# %%
if ("Breakout", "EBU") in scores:
    mean = {label: lab.metrics[f"Breakout/{label}/mean score"] for label in ("EBU", "1-step DQN")}
    for label, score in mean.items():
        lab.record(f"Breakout/{label}/human-normalized", human_normalized(score, random=1.7, human=31.8), "%")
    lab.tell(
        "Random play has {Breakout/random play:.1f} points here, and an agent that always takes the same action, the best one for that, {Breakout/best single action:.1f}. Over all evaluations EBU has {Breakout/EBU/mean score:.1f} on average and {Breakout/EBU/last score:.1f} in the last, one-step DQN {Breakout/1-step DQN/mean score:.1f} and {Breakout/1-step DQN/last score:.1f}. On the human scale, with the published 1.7 and 31.8, the averages are {Breakout/EBU/human-normalized:.0f} % and {Breakout/1-step DQN/human-normalized:.0f} %. Up to the dotted line a score is no sign of play: leaning on one key does as well (the 5 % random actions release the ball). One game, one agent of each kind: this shows that the code runs, and how far this many steps get. It does not measure the paper's claim."
    )
    lab.claim(
        "On Breakout EBU scores higher than one-step DQN.",
        holds=mean["EBU"] > mean["1-step DQN"],
        evidence=mean,
        source="paper",
        reason="Mean over all evaluations of one agent each: at `full` with equal updates after 1.6 % of the published steps, at `paper` with four times as many updates for EBU.",
    )

# %% [markdown]
# ## 10 · Where the paper, the review and the code disagree
#
# **How many states has the chain?** The review draws states $s_1$ to $s_4$ and speaks of five transitions. Four states are three transitions, four with an end behind them. Five fit if the last state is the end and the episode went back once, $s_1, s_2, s_3, s_2, s_3, s_4$: one step back must be made good, so it costs two. (This is our reading.) Both, with your formula:

# %% tags=["nbval-check-output"]
for reading, episode_counts in {
    "five straight": ([1] * 5, 0),
    "three, one made twice, one back": ([1, 2, 1], 1),
}.items():
    length = sum(episode_counts[0]) + episode_counts[1]
    print(f"{reading}: sweep {length}, uniform {uniform_updates_mean(*episode_counts):.1f}")

# %% [markdown]
# The sweep needs five in both, and uniform draws more: five times as many in one, two and a half times in the other.
#
# **Which episodes are drawn?** The code draws two numbers of $n$ finished episodes by `choice(range(5, n - 3), 2)`. How many can be drawn at all?

# %% tags=["nbval-check-output"]
for n in (8, 9, 20, 100):
    print(f"{n} finished episodes: {len(range(5, n - 3))} can be drawn")

# %% [markdown]
# The first five and the last three never are; with eight or fewer the draw is an error; with nine it is the same episode twice. Later the memory is full and written over in a circle, but episodes are still counted by place in memory, so "first" and "last" lose their meaning, and one episode is half old and half new. `EpisodeReplay` keeps whole episodes and draws each with equal probability. Leaving out the latest means that what is new is learned a few episodes later; we have not measured what that costs.
#
# **The first three steps of each episode are dropped** there, as they fill the stack of frames. (Atari games begin with up to 30 idle steps anyhow.) In a maze without walls, sweep 200 episodes without their first three steps; once of random play, once of an agent that walks straight to the goal. What is the start thought to be worth?

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
#
# **"With more belief, larger targets."** It seems plain that targets grow with $\beta$ if all values of the network are below the returns of the episode. They need not:

# %% tags=["nbval-check-output"]
received, always = torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3, dtype=torch.int64)
said = torch.tensor([[0.8, 0.0], [0.2, 0.0], [0.0, 0.0]])  # one action is good, and always taken
for beta in (0.0, 0.5, 1.0):
    y = backward_targets(received, said, always, gamma=0.9, beta=beta)
    print(f"beta = {beta}: first target {y[0].item():.4f}")

# %% [markdown]
# The return is 0.81, and no value of the network is above the return that follows it. Yet the first target falls at first: half of an old value that was nearly right, 0.8, is replaced by a target that has itself only half of the news.

# %% [markdown]
# ## 11 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. A one-step update teaches something only at the edge of what is known. Order decides how fast the edge moves.
# 2. How much a sweep gains depends on the episodes: $\sum_i 1/c_i$, much for straight ones, less for those that wander.
# 3. $\beta$ sets how far news travels within one sweep; the maximum makes it travel with a bias, up.
# 4. Count steps *and* updates. A method that is better per step may only have learned more often.
# 5. The end of an episode and its interruption are different things, and so are the first steps and the rest. Look at what a replay memory leaves out.

# %%
lab.progress()

# %% [markdown]
# ### Going further
#
# - **Core.** Give one-step DQN four updates for each of EBU's. Where do the curves meet?
# - **Core.** Let the maze start anywhere (a `gymnasium.Wrapper` will do). Is the backward sweep still of use?
# - **Stretch.** Write a sweep without the maximum, the $\lambda$-return, and compare its excess with that of EBU at $\beta = \lambda$.
# - **Stretch.** Replace the maximum by double Q-learning's (choose with $\theta$, evaluate with $\theta^-$). What becomes of the excess at $\beta = 1$?
# - **Bonus.** Run Pong at `full` (`games={"Pong": ...}`): it has a reward for every point lost, too.
#
# ### References
#
# - S. Y. Lee, S. Choi, S.-Y. Chung: *Sample-Efficient Deep Reinforcement Learning via Episodic Backward Update*, NeurIPS 2019, arXiv:1805.12375; code: [github.com/suyoung-lee/Episodic-Backward-Update](https://github.com/suyoung-lee/Episodic-Backward-Update).
# - V. Mnih et al.: *Human-level control through deep reinforcement learning*, Nature 518, 2015.
# - R. S. Sutton, A. G. Barto: *Reinforcement Learning: An Introduction*, 2nd edition, MIT Press, 2018.
# - K. Kielak: *Do recent advancements in model-based deep reinforcement learning really improve data efficiency?*, 2020, arXiv:2003.10181.
# - M. Towers et al.: *Gymnasium: A Standard Interface for Reinforcement Learning Environments*, 2024, arXiv:2407.17032.
