"""Things to play with: sliders over a pure function that draws an image. Each has a static twin in its lesson."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import matplotlib.image
import numpy as np


def png(image: Any, *, scale: int = 8) -> bytes:
    """An image in [0, 1], enlarged `scale` times, as PNG bytes; (H, W) is grey, ink dark on white, (H, W, 3) is not.

    Bytes, such as `labkit.lab.figures.as_png` makes of a figure, are a PNG already.
    """
    if isinstance(image, bytes):
        return image
    array = np.asarray(image, dtype=float)
    if array.ndim != 2 and array.shape[2:] != (3,):
        raise ValueError(f"an image of shape (H, W) or (H, W, 3) is needed, got shape {array.shape}")
    buffer = io.BytesIO()
    enlarged = array.repeat(scale, axis=0).repeat(scale, axis=1)
    matplotlib.image.imsave(buffer, enlarged, cmap="gray_r", vmin=0, vmax=1, format="png")
    return buffer.getvalue()


def image_sliders(
    render: Callable[..., Any],
    ranges: Mapping[str, tuple[float, float]],
    start: Mapping[str, float],
    *,
    width: int = 224,
) -> ipywidgets.Widget:
    """One slider for each argument of `render`, which returns an image as `png` takes it; moving one redraws it.

    `width` of the shown image in pixels.
    """
    sliders = {
        name: ipywidgets.FloatSlider(
            value=min(max(start[name], low), high), min=low, max=high, step=(high - low) / 60, description=name
        )
        for name, (low, high) in ranges.items()
    }
    return _beside_its_image(render, sliders, width=width, scale=8)


def image_choices(
    render: Callable[..., Any], choices: Mapping[str, Sequence[Any]], *, width: int = 448, scale: int = 4
) -> ipywidgets.Widget:
    """As `image_sliders`, but each argument steps through a list, as for models that were trained beforehand.

    `scale` enlarges an image before it is shown, so that pixels keep sharp edges.
    """
    sliders = {
        name: ipywidgets.SelectionSlider(options=[(str(value), value) for value in values], description=name)
        for name, values in choices.items()
    }
    return _beside_its_image(render, sliders, width=width, scale=scale)


def _beside_its_image(
    render: Callable[..., Any], sliders: Mapping[str, ipywidgets.ValueWidget], *, width: int, scale: int
) -> ipywidgets.Widget:
    view = ipywidgets.Image(format="png", width=width, layout=ipywidgets.Layout(max_width="100%"))

    def redraw(_change: Any = None) -> None:
        view.value = png(render(**{name: slider.value for name, slider in sliders.items()}), scale=scale)

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    redraw()
    # a wide image goes below the sliders, which must not be squeezed beside it
    kept = ipywidgets.VBox(list(sliders.values()), layout=ipywidgets.Layout(flex="0 0 auto"))
    return ipywidgets.HBox([kept, view], layout=ipywidgets.Layout(flex_flow="row wrap"))
