"""Networks that see toys from some viewpoints and are tested on others: Hahn et al. (2019), section 5, on smallNORB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F

from labkit.data import ViewpointSplit
from labkit.lab.augment import augmented, cropped, lit
from labkit.lab.evaluate import accuracy
from labkit.lab.schedules import in_steps
from labkit.lab.speed import channels_last
from labkit.lab.training import Loss, fit
from labkit.papers import self_routing_capsules as paper

if TYPE_CHECKING:
    from labkit.lab.session import Lab

SIDE, SEEN = 48, 32  # pixels of an image, and of the square of it that a network sees


def viewpoint_loss(head: str, done: Callable[[], float]) -> Loss:
    """Margin loss for dynamic and spread loss for EM routing, as published; -log p for the others.

    `done` says which part of the training is over: in the authors' code the margin of the spread loss grows with it
    from 0.2 to 0.4. Images are cropped at random, and changed in brightness and contrast.
    """

    def loss(model, x, y, _):
        if head == "dynamic":
            return paper.margin_loss(model.class_activations(x).float(), y)
        if head == "em":
            return paper.spread_loss(model.class_activations(x).float(), y, 0.2 + 0.2 * done())
        return F.nll_loss(model(x).float(), y)

    return augmented(loss, lambda x, generator: lit(cropped(x, SEEN, generator), 32 / 255, 0.3, generator))


def viewpoint_errors(
    lab: Lab,
    split: ViewpointSplit,
    head: str,
    name: str,
    epochs: int,
    batch_size: int,
    milestones: Sequence[int],
) -> dict[str, float]:
    """Errors in % on "familiar" and on "novel" viewpoints of a network of this head, trained on the familiar ones.

    `head` as `classifier` names it; `name` seeds the training and names its checkpoint. The last state is tested.
    """
    with lab.seeded(name):
        features = paper.convnet_features(1, *paper.SMALLNORB)
        model = channels_last(paper.classifier(features, 128, 4, head, classes=5)).to(lab.device)
    part = split.train
    steps = -(-len(part.labels) // batch_size)
    optimizer, schedule = in_steps(model, 0.1, [epoch * steps for epoch in milestones])
    fit(
        model,
        viewpoint_loss(head, lambda: schedule.last_epoch // steps / epochs),  # goes on after a stop
        part.images.to(lab.device),
        part.labels.to(lab.device),
        epochs=epochs,
        batch_size=batch_size,
        generator=lab.generator(name),
        optimizer=optimizer,
        schedule=schedule,
        checkpoint=lab.checkpoint(name),
        label=name,
    )
    found, rim = {}, (SIDE - SEEN) // 2
    for kind in ("familiar", "novel"):
        shown = getattr(split, kind)
        middle = shown.images[..., rim : rim + SEEN, rim : rim + SEEN].to(lab.device)
        found[kind] = 100 * (1 - accuracy(model, middle, shown.labels.to(lab.device)))
    return found
