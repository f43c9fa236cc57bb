"""Networks for tests, with random weights."""

from __future__ import annotations

from functools import cache

import torch
import torchvision
from tensors import seeded
from torch import nn


def initialized(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with weights drawn as by He et al. and biases 0, so that it is homogeneous: f(c x) = c f(x), c > 0."""
    generator = seeded(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
    return model


@cache
def pretrained_looking(name: str) -> nn.Module:
    """AlexNet, a VGG or a SqueezeNet of torchvision in evaluation mode; layers of 4,096 units are narrowed to 16."""
    with torch.device("meta"):  # weights of hundreds of MB are not even made
        model = getattr(torchvision.models, name)(weights=None)
        for place, module in enumerate(model.classifier):
            if isinstance(module, nn.Linear):
                inputs = 16 if module.in_features == 4096 else module.in_features
                model.classifier[place] = nn.Linear(inputs, 16)
    return initialized(model.to_empty(device="cpu")).eval()


def state(model: nn.Module) -> list:
    """All that looking at a network might change in it."""
    tensors = [(name, tensor.clone()) for name, tensor in model.state_dict().items()]
    return [
        [(name, tensor.tolist()) for name, tensor in tensors],
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad is None for parameter in model.parameters()],
        [module.training for module in model.modules()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        [len(module._backward_hooks) + len(module._backward_pre_hooks) for module in model.modules()],
    ]
