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
# # Lesson 09 · A line through points
#
# | | |
# |---|---|
# | **Time** | 5 minutes |

# %% tags=["parameters"]
profile = "quick"
seed = 0

# %%
from dataclasses import dataclass

import torch

import labkit

lab = labkit.start("09_least_squares", profile=profile, seed=seed)


# %%
@dataclass(frozen=True)
class Config:
    points: int  # through which the line is drawn


config = lab.choose(quick=Config(100), full=Config(1000), paper=Config(1000))

# %%
lab.predict("winner", "Which is nearer to the true slope?", choices=["least squares", "the mean of slopes"])

# %% [markdown]
# ### Exercise 1 · The slope
#
# Which slope makes the sum of the squared errors smallest?


# %% tags=["exercise"]
def slope(x, y):
    """The slope of the line through the origin, by least squares: x (N,), y (N,) -> ()."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
slope = lab.check(slope)

# %%
x = torch.rand(200, config.points, generator=lab.generator("x"))  # (draws, points)
y = 2 * x + torch.randn(x.shape, generator=lab.generator("noise"))
by_squares = torch.stack([slope(*points) for points in zip(x, y, strict=True)])
errors = {"least squares": by_squares - 2, "the mean of slopes": (y / x).mean(1) - 2}
for name, error in errors.items():
    lab.record(f"error/{name}", error.abs().mean())
lab.reveal("winner", min(errors, key=lambda name: lab.metrics[f"error/{name}"]))

# %%
lab.claim("beats-single-points")

# %% [markdown]
# ## 1 · What held

# %%
lab.claims_table()
