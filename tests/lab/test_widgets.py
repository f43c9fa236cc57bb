"""Sliders over a function that draws an image: the image that is shown is the one for where the sliders stand."""

from __future__ import annotations

import io
import re
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from labkit.lab.widgets import image_choices, image_sliders, png


def pixels(data: bytes) -> np.ndarray:
    """Grey values of a PNG, (H, W), 0 black to 255 white."""
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert (image == image[..., :1]).all(), "not grey"
    return image[..., 0]


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_a_png_is_the_enlarged_image_with_dark_ink_on_white(convert) -> None:
    image = np.array([[0.0, 1.0, 0.5], [0.25, 0.75, 0.0]])
    grey = pixels(png(convert(image), scale=4))
    assert grey.shape == (8, 12)
    np.testing.assert_allclose(grey, np.kron(255 * (1 - image), np.ones((4, 4))), atol=1)
    assert grey[0, 0] == 255
    assert grey[0, 4] == 0


def test_grey_values_do_not_depend_on_the_rest_of_the_image() -> None:
    alone, beside = png(np.full((2, 2), 0.3)), png(np.array([[0.3, 0.3], [0.9, 0.0]]))
    assert pixels(alone)[0, 0] == pixels(beside)[0, 0]


def test_values_beyond_0_and_1_are_white_and_black() -> None:
    assert pixels(png(np.array([[-0.5, 1.5]]), scale=1)).tolist() == [[255, 0]]


def test_an_image_in_colour_keeps_its_colours() -> None:
    red_then_blue = np.array([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    shown = np.asarray(Image.open(io.BytesIO(png(red_then_blue, scale=2))).convert("RGB"))
    assert shown.shape == (2, 4, 3)
    assert shown[0].tolist() == [[255, 0, 0], [255, 0, 0], [0, 0, 255], [0, 0, 255]]


def test_a_png_stays_as_it_is() -> None:
    assert png(b"a figure") == b"a figure"


@pytest.mark.parametrize("shape", [(784,), (3, 28, 28), (28, 28, 4), (1, 28, 28, 3), ()])
def test_what_is_no_single_image_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"an image of shape (H, W) or (H, W, 3) is needed, got shape {shape}")
    ):
        png(np.zeros(shape))


def flat(ink: float, edge: float) -> np.ndarray:
    """All of one grey, but for the corner."""
    image = np.full((3, 3), ink)
    image[0, 0] = edge
    return image


def parts(widget: Any) -> tuple[dict[str, ipywidgets.FloatSlider], ipywidgets.Image]:
    box, view = widget.children
    return {slider.description: slider for slider in box.children}, view


def test_there_is_one_slider_for_each_argument_within_its_range() -> None:
    ranges = {"ink": (0.0, 1.0), "edge": (-3.0, 3.0)}
    sliders, _ = parts(image_sliders(flat, ranges, {"ink": 0.5, "edge": 0.0}))
    assert {name: (slider.min, slider.max) for name, slider in sliders.items()} == ranges
    assert {name: slider.value for name, slider in sliders.items()} == {"ink": 0.5, "edge": 0.0}


def test_the_first_image_is_drawn_before_anything_is_moved() -> None:
    _, view = parts(image_sliders(flat, {"ink": (0, 1), "edge": (0, 1)}, {"ink": 0.25, "edge": 1.0}))
    assert view.value == png(flat(0.25, 1.0))


def test_moving_a_slider_redraws_the_image_for_where_all_of_them_stand() -> None:
    sliders, view = parts(image_sliders(flat, {"ink": (0, 1), "edge": (0, 1)}, {"ink": 0.0, "edge": 0.0}))
    white = view.value
    sliders["ink"].value = 0.5
    assert view.value == png(flat(0.5, 0.0)) != white
    sliders["edge"].value = 1.0
    assert view.value == png(flat(0.5, 1.0))


def test_sliders_show_their_image_as_wide_as_asked() -> None:
    _, view = parts(image_sliders(flat, {"ink": (0, 1), "edge": (0, 1)}, {"ink": 0.5, "edge": 0.0}, width=90))
    assert int(view.width) == 90
    assert view.value == png(flat(0.5, 0.0))


def test_a_wide_image_goes_below_its_sliders_instead_of_squeezing_them() -> None:
    widget = image_sliders(flat, {"ink": (0, 1), "edge": (0, 1)}, {"ink": 0.5, "edge": 0.0}, width=900)
    sliders, image = widget.children
    assert widget.layout.flex_flow == "row wrap"
    assert sliders.layout.flex == "0 0 auto"  # neither grows nor shrinks
    assert image.layout.max_width == "100%"


@pytest.mark.parametrize(("start", "value"), [(-9.0, -2.0), (9.0, 2.0)])
def test_a_start_outside_the_range_is_moved_to_its_end(start: float, value: float) -> None:
    sliders, _ = parts(image_sliders(lambda z: np.zeros((2, 2)), {"z": (-2.0, 2.0)}, {"z": start}))
    assert sliders["z"].value == value


def test_a_choice_steps_through_its_list_and_shows_the_image_of_what_is_chosen() -> None:
    box = image_choices(flat, {"ink": (0.1, 0.5, 0.9), "edge": range(2)}, width=300, scale=2)
    sliders, view = box.children[0].children, box.children[1]
    assert [slider.description for slider in sliders] == ["ink", "edge"]
    assert view.value == png(flat(ink=0.1, edge=0), scale=2)
    assert int(view.width) == 300
    sliders[0].value, sliders[1].value = 0.9, 1
    assert view.value == png(flat(ink=0.9, edge=1), scale=2)


def test_a_choice_is_one_of_its_list() -> None:
    slider = image_choices(flat, {"ink": (0.1, 0.5), "edge": (0,)}).children[0].children[0]
    assert isinstance(slider, ipywidgets.SelectionSlider)
    assert [value for _, value in slider.options] == [0.1, 0.5]
    with pytest.raises(Exception, match="Invalid selection"):
        slider.value = 0.3
