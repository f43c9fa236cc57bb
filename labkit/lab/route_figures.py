"""Where the capsules of a self-routing network with two layers send what they see in one image, as a figure."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from labkit.lab.figures import panels
from labkit.lab.flows import flows
from labkit.papers.self_routing_capsules import SelfRouting2d


def sent_to_places(layer: SelfRouting2d, a: Tensor, u: Tensor) -> Tensor:
    """What flows through a layer for one image: (H * W lower places, h * w * B upper capsules), place by place.

    It is c_ij a_i, for activations (1, A, H, W) and poses (1, A * C, H, W), summed over the types at a lower place.
    """
    (H, W), (h, w) = a.shape[2:], layer.places(*a.shape[2:])
    sent = layer.coefficients(u)[:, 0] * layer.windows(a, 1).unflatten(1, (h, w))  # (k*k*A, h, w, B)
    sent = sent.unflatten(0, (layer.kernel, layer.kernel, layer.A)).sum(2)  # (k, k, h, w, B)
    rim = layer.padding
    flow = a.new_zeros(H + 2 * rim + layer.kernel, W + 2 * rim + layer.kernel, h, w, layer.B)
    for row, column in np.ndindex(h, w):
        y, x = row * layer.stride, column * layer.stride
        flow[y : y + layer.kernel, x : x + layer.kernel, row, column] += sent[:, :, row, column]
    return flow[rim : rim + H, rim : rim + W].flatten(2).flatten(0, 1)


def route_figure(
    image: Any,
    hidden: SelfRouting2d,
    last: SelfRouting2d,
    primary: tuple[Tensor, Tensor],
    below: tuple[Tensor, Tensor],
) -> tuple[plt.Figure, Tensor]:
    """The image (H, W) and its routes: dots for places, hidden capsules and classes, and lines for what flows.

    `primary` are activations and poses of the primary capsules, `below` those that the `last` layer is given. Also
    returns the share of all that arrives at each class, (classes,).
    """
    with torch.no_grad():
        first, second = sent_to_places(hidden, *primary), last.coefficients(below[1])[:, 0, 0, 0]
        second = second * last.windows(below[0], 1)[:, 0]  # (places * types, classes)
    share = second.sum(0) / second.sum()
    winner, classes, types = int(share.argmax()), len(share), hidden.B

    def grid(side: int, width: float) -> list[tuple[float, float]]:
        return [((j + 0.5) / side * width, 1 - (i + 0.5) / side) for i, j in np.ndindex(side, side)]

    turns = 2 * np.pi * np.arange(types) / types
    ring = np.column_stack([0.06 * np.sin(turns), 0.09 * np.cos(turns)])
    middle = [np.array([1.0 + x, y]) + each for x, y in grid(below[0].shape[2], 0.4) for each in ring]
    ends = [(2.1, 1 - (k + 0.5) / classes) for k in range(classes)]
    figure, (left, right) = panels(1, 2, width=4, height=3, width_ratios=(1, 3))
    left.imshow(image, cmap="gray_r")
    left.set_axis_off()
    columns = [np.array(grid(primary[0].shape[2], 0.55)), np.array(middle), np.array(ends)]
    flows(right, columns, [first, second], goal=winner)
    for k, (x, y) in enumerate(ends):
        right.text(x + 0.06, y, str(k), va="center", weight="bold" if k == winner else "normal")
    return figure, share
