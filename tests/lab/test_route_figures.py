"""What flows through a layer of self-routing capsules, place by place, and its picture."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from tensors import seeded

from labkit.lab.flows import flows
from labkit.lab.route_figures import route_figure, sent_to_places
from labkit.papers.self_routing_capsules import SelfRouting2d

pytestmark = pytest.mark.usefixtures("one_thread")


def layer(**window: int) -> SelfRouting2d:
    made = SelfRouting2d(A=2, B=3, C=4, D=4, **window)
    torch.nn.init.normal_(made.route, generator=seeded())
    return made


@pytest.mark.parametrize("window", [{"kernel": 3, "stride": 2, "padding": 1}, {"kernel": 2}, {"kernel": 4}])
@torch.no_grad()
def test_what_arrives_at_an_upper_capsule_makes_its_activation(window: dict) -> None:
    routed, a, u = layer(**window), torch.rand(1, 2, 4, 4, generator=seeded()), torch.randn(1, 8, 4, 4)
    flow, up = sent_to_places(routed, a, u), routed(a, u)[0]
    h, w = up.shape[2:]
    assert flow.shape == (16, h * w * 3)
    arrived = flow.sum(0).view(h, w, 3)
    assert torch.allclose(arrived / arrived.sum(2, keepdim=True), up[0].permute(1, 2, 0), atol=1e-5)


@torch.no_grad()
def test_a_place_sends_only_to_windows_that_hold_it() -> None:
    routed, a = layer(kernel=3, stride=2, padding=1), torch.zeros(1, 2, 4, 4)
    a[0, :, 3, 3] = 1.0  # the last corner lies in the last window alone
    flow = sent_to_places(routed, a, torch.randn(1, 8, 4, 4)).view(4, 4, 2, 2, 3)
    assert flow[3, 3, 1, 1].sum() == pytest.approx(2.0, abs=1e-5)
    assert flow.sum() == pytest.approx(2.0, abs=1e-5)


@torch.no_grad()
def test_the_figure_tells_the_shares_of_the_classes() -> None:
    hidden = SelfRouting2d(A=2, B=2, C=4, D=4, kernel=3, stride=2, padding=1)
    last = SelfRouting2d(A=2, B=5, C=4, D=0, kernel=2)
    torch.nn.init.normal_(last.route, generator=seeded())
    primary = torch.rand(1, 2, 4, 4), torch.randn(1, 8, 4, 4)
    below = hidden(*primary)
    figure, share = route_figure(torch.rand(8, 8), hidden, last, primary, below)
    assert torch.allclose(share, last(*below)[0].flatten(), atol=1e-5)
    labels = {text.get_text(): text.get_fontweight() for text in figure.axes[1].texts}
    assert list(labels) == list("01234")
    assert labels[str(int(share.argmax()))] == "bold"
    plt.close(figure)


def test_lines_are_as_wide_as_what_flows_and_small_flows_are_left_out() -> None:
    figure, ax = plt.subplots()
    amount = np.array([[8.0, 0.0], [0.0, 4.0], [0.1, 0.0]])
    flows(ax, [np.zeros((3, 2)), np.ones((2, 2))], [amount], goal=0, share=0.9, width=6.0)
    (lines,) = [drawn for drawn in ax.collections if isinstance(drawn, LineCollection)]
    assert sorted(lines.get_linewidths()) == [3.0, 6.0]
    to_goal = lines.get_colors()[np.argmax(lines.get_linewidths())]
    assert to_goal[0] > to_goal[2]  # what ends at the goal is red, the rest blue
    plt.close(figure)
