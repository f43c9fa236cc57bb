"""Atari games as Lee et al. (2019) and Mnih et al. (2015) play them; needs the extra `atari`.

Four frames are skipped and the last two of them pooled by maximum, images are grey and 84 x 84, four of them are
stacked, up to 30 no-ops begin a game. In training rewards are clipped to [-1, 1] and a lost life ends an episode.
"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.error import DependencyNotInstalled
from gymnasium.wrappers import AtariPreprocessing, ClipReward, FrameStackObservation

FRAME_SKIP = 4


def make_atari(
    game: str, *, training: bool, frames: int = 4, side: int = 84, max_steps: int = 4500, render_mode: str | None = None
) -> gymnasium.Env:
    """The environment of a game such as "Breakout" or "Pong"; observations (frames, side, side) bytes.

    `training` clips rewards to [-1, 1] and ends an episode with each lost life; without it, rewards are the score and
    an episode is a game. A game is truncated after `max_steps` decisions of four frames each, its no-ops included; the
    default, 18,000 frames or five minutes, is the paper's for testing. The emulator repeats no action at random, as in
    2015. Raises ModuleNotFoundError without the extra `atari`, and Gymnasium's own error for an unknown game.
    """
    try:
        emulator = gymnasium.make(
            f"ale_py:ALE/{game}-v5",  # Gymnasium imports ale_py, which makes the games known
            obs_type="grayscale",
            frameskip=1,  # the wrapper below skips frames
            repeat_action_probability=0.0,
            max_num_frames_per_episode=FRAME_SKIP * max_steps,
            render_mode=render_mode,
        )
        env = AtariPreprocessing(emulator, noop_max=30, frame_skip=FRAME_SKIP, screen_size=side)
    except (ModuleNotFoundError, DependencyNotInstalled) as error:
        raise ModuleNotFoundError(f"Atari games need the extra `atari` ({error}): pip install -e '.[atari]'") from None
    if training:
        env = ClipReward(EpisodicLife(env), -1, 1)
    return FrameStackObservation(env, frames)


class EpisodicLife(gymnasium.Wrapper):
    """A lost life terminates the episode, but the game goes on: the next episode begins with the next life.

    `AtariPreprocessing(terminal_on_life_loss=True)` terminates, too, but its reset begins a new game, so that an agent
    would never see what comes after its first life. Only when the game is over does a reset begin a new one; before
    that, its `seed` and `options` have nothing to act on.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.is_over, self.lives = True, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        if self.is_over:
            observation, info = self.env.reset(seed=seed, options=options)
        else:
            observation, _, terminated, truncated, info = self.env.step(0)  # a no-op, to see the new life
            if terminated or truncated:
                observation, info = self.env.reset(seed=seed, options=options)
        self.is_over, self.lives = False, self.unwrapped.ale.lives()
        return observation, info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.is_over = terminated or truncated
        lives = self.unwrapped.ale.lives()
        lost, self.lives = lives < self.lives, lives
        return observation, reward, terminated or lost, truncated, info
