"""Two ways to a picture of what a unit likes, written out step by step: gradient ascent, and back through the layers.

`cnn_visualization` does the same for any network, several units at once, by hooks and by autograd with other rules.
Here stands what it comes to for a plain one. Papers and names are those of that module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.papers.cnn_feature_maps import require_images, require_unit
from labkit.papers.cnn_visualization import backward_relu, step_length, unpool


def ascend(
    model: Callable[[Tensor], Tensor],
    unit: int,
    x: Tensor,
    *,
    steps: int,
    lr: float,
    desired: float | None = None,
    regularize: Callable[[Tensor, Tensor, int], Tensor] | None = None,
    mean: float | Tensor = 0.5,
) -> tuple[Tensor, Tensor]:
    """Images that make a unit fire: x <- r_theta(x + eta da/dx), Yosinski et al. (2015), equation 2.

    The model gives (B, K) for images (B, C, H, W); x holds images minus `mean` (a number, or one for each color, in a
    shape that can be added), and each ascends by itself. Before each look at the activation x is put back into the box
    of images, 0 <= x + mean <= 1, the first time before any step. eta is `step_length(gradient, lr, desired)`;
    `regularize(x, gradient, step)`, say `Regularizers`, follows each step with the gradient that it was made with and
    its number from 0. -> the images after the last step, minus the mean (B, C, H, W), and the activations
    (steps + 1, B), the first before any step. Weights collect no gradients.
    Raises ValueError for a negative number of steps, a unit or images that cannot be, and an activation that overflows.
    """
    require_images(x)
    if steps < 0:
        raise ValueError(f"the number of steps must be at least 0, got {steps}")
    activations = []
    with torch.enable_grad():
        for step in range(steps + 1):
            x = ((x + mean).clamp(0, 1) - mean).detach().requires_grad_()
            output = model(x)  # (B, K)
            require_unit(output, "the output", torch.tensor(unit))
            activation = output[:, unit]  # (B,)
            if not activation.isfinite().all():
                raise ValueError(f"the activation is no longer finite after {step} steps: lower lr")
            activations.append(activation.detach())
            if step < steps:
                (gradient,) = torch.autograd.grad(activation.sum(), x)  # images do not see one another
                x = (x + step_length(gradient, lr, desired) * gradient).detach()
                x = x if regularize is None else regularize(x, gradient, step)
    return x.detach(), torch.stack(activations)


@torch.no_grad()
def back_project(layers: Sequence[nn.Module], image: Tensor, unit: int, rule: str = "deconvnet") -> Tensor:
    """From the strongest place of a unit of the last layer back to the pixels, (1, C, H, W) -> (1, C, H, W).

    The deconvnet of Zeiler & Fergus (2014), section 2.1, for a plain sequence of nn.Conv2d, nn.ReLU and nn.MaxPool2d.
    The signal starts as the activation, all others of its layer being 0. Going back, a convolution is transposed
    without its bias, a pooling sends values to its switches (`unpool`), a ReLU follows `backward_relu` with `rule`.
    Raises ValueError for another rule, another kind of layer or of padding, no layers, more than one image, or a unit
    that does not exist.
    """
    require_images(image)
    if len(image) != 1 or not len(layers):
        raise ValueError(f"one image and at least one layer are needed, got {len(image)} and {len(layers)}")
    backward_relu(image, image, rule)  # refuses a rule that there is not
    inputs, x = [], image.clone()  # a network may begin with something in place
    for layer in layers:
        inputs.append(x)
        x = layer(x)
    require_unit(x, "the last of the layers", torch.tensor(unit))
    signal = torch.zeros_like(x)
    strongest = x[0, unit].argmax()  # in the flattened map; the first of equal ones
    signal[0, unit].view(-1)[strongest] = x[0, unit].flatten()[strongest]
    for layer, z in zip(reversed(layers), reversed(inputs), strict=True):
        signal = _one_layer_back(layer, signal, z, rule)
    return signal


def _one_layer_back(layer: nn.Module, signal: Tensor, z: Tensor, rule: str) -> Tensor:
    """What a layer with the input z sends back of a signal in the shape of its output."""
    if isinstance(layer, nn.ReLU):
        return backward_relu(signal, z, rule)
    if isinstance(layer, nn.MaxPool2d):
        window = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
        _, switches = F.max_pool2d(z, *window, return_indices=True)
        return unpool(signal, switches, z.shape[2:])
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        window = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
        # A stride may leave pixels over at the end: without this they would be missing from the picture.
        left_over = [
            (n + 2 * p - d * (k - 1) - 1) % s
            for n, p, d, k, s in zip(
                z.shape[2:], layer.padding, layer.dilation, layer.kernel_size, layer.stride, strict=True
            )
        ]
        return F.conv_transpose2d(signal, layer.weight, output_padding=left_over, **window)
    raise ValueError(f"there is no way back through {layer}: convolutions padded with zeros, ReLU and max pooling have")
