"""Training on some viewpoints and testing on others, on a few made-up toys."""

from __future__ import annotations

import pytest
import torch
from tensors import seeded

import labkit
from labkit.data import NorbSplit, ViewpointSplit
from labkit.lab.viewpoints import viewpoint_errors, viewpoint_loss
from labkit.papers import self_routing_capsules as paper

pytestmark = pytest.mark.usefixtures("one_thread")

LESSON = "05_self_routing_capsules"


class Says(torch.nn.Module):
    """A network that gives the same activations for every image."""

    def __init__(self, activations: torch.Tensor) -> None:
        super().__init__()
        self.activations, self.seen = activations, None

    def class_activations(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return self.activations.expand(len(x), -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.class_activations(x).log()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("dynamic", paper.margin_loss),
        ("em", lambda a, y: paper.spread_loss(a, y, 0.3)),
        ("self", lambda a, y: torch.nn.functional.nll_loss(a.log(), y)),
    ],
)
def test_each_head_has_its_published_loss_on_crops_of_32_pixels(head: str, expected) -> None:
    model, y = Says(torch.tensor([[0.5, 0.2, 0.1, 0.1, 0.1]])), torch.tensor([0, 3])
    found = viewpoint_loss(head, lambda: 0.5)(model, torch.rand(2, 1, 48, 48), y, seeded())
    assert torch.allclose(found, expected(model.activations.expand(2, -1), y))
    assert model.seen.shape == (2, 1, 32, 32)


def test_a_network_is_tested_on_both_kinds_of_viewpoints_apart() -> None:
    labels = torch.arange(5).repeat(8)
    images = (labels / 5 + 0.1).view(-1, 1, 1, 1).expand(-1, 1, 48, 48)  # a toy is as bright as its class
    images = (images + 0.02 * torch.randn(40, 1, 48, 48, generator=seeded())).clamp(0, 1)
    familiar = NorbSplit(images=images, labels=labels, **_views(40))
    novel = NorbSplit(images=images, labels=(labels + 1) % 5, **_views(40))  # what was learned is wrong here
    split, lab = ViewpointSplit(train=familiar, familiar=familiar, novel=novel), labkit.start(LESSON)
    errors = viewpoint_errors(lab, split, "average", "toys", epochs=8, batch_size=8, milestones=(6,))
    assert errors["familiar"] < 40  # a guess makes 80 % errors
    assert errors["novel"] > 60


def _views(count: int) -> dict[str, torch.Tensor]:
    """What else a part of smallNORB knows of its images."""
    named = set(NorbSplit.__dataclass_fields__) - {"images", "labels"}
    return {name: torch.zeros(count, dtype=torch.int64) for name in named}
