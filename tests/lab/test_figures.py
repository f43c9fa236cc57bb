"""Figures: data end up where they should, and the colours can be told apart by readers with a colour deficiency."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import combinations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb, to_rgba
from PIL import Image

from labkit.lab.figures import (
    PALETTE,
    as_png,
    atom_rows,
    bars,
    beside,
    ellipse,
    image_rows,
    in_numbers,
    number_table,
    panels,
    rates,
    scatter_classes,
    tiled,
)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


# ---- colours --------------------------------------------------------------------------------------------------------

# What a reader without one kind of cone sees, as a matrix on linear RGB: G. M. Machado, M. M. Oliveira and
# L. A. F. Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009), severity 1.0.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)  # sRGB, D65
# A difference of 2.3 is just noticeable between large patches side by side (M. Mahy et al., 1994). Small marks at a
# distance need several times that: six times is asked for here. Measured for PALETTE: 19.3, 18.5 and 17.6.
CLEARLY_DIFFERENT = 6 * 2.3


def cielab(colours: Sequence[str], vision: str) -> np.ndarray:
    """L*, a*, b* of each colour as a reader with this vision sees it, (n, 3)."""
    srgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1)
    t = seen @ RGB_TO_XYZ.T / RGB_TO_XYZ.sum(axis=1)  # relative to white
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def smallest_difference(colours: Sequence[str], vision: str) -> float:
    """The smallest CIE 1976 colour difference between two of the colours."""
    return min(np.linalg.norm(one - other) for one, other in combinations(cielab(colours, vision), 2))


def test_the_measure_of_colours_has_the_known_values() -> None:
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]  # white, black, the red of sRGB
    np.testing.assert_allclose(cielab(["#ffffff", "#000000", "#ff0000"], "normal"), expected, atol=0.02)


@pytest.mark.parametrize("vision", VISION)
def test_all_colours_are_clearly_different(vision: str) -> None:
    assert smallest_difference(PALETTE, vision) > CLEARLY_DIFFERENT


@pytest.mark.parametrize("vision", ["protanopia", "deuteranopia"])
def test_matplotlibs_own_colours_would_not_be(vision: str) -> None:
    tab10 = [to_hex(colour) for colour in matplotlib.colormaps["tab10"].colors]
    assert smallest_difference(tab10, vision) < CLEARLY_DIFFERENT


# ---- panels ---------------------------------------------------------------------------------------------------------


def test_panels_have_the_asked_size_and_leave_the_global_style_alone() -> None:
    before = dict(plt.rcParams)
    figure, axes = panels(2, 3, width=2, height=1.5, sharex=True)
    assert axes.shape == (2, 3)
    assert figure.get_size_inches().tolist() == [6, 3]
    assert not any(ax.spines[side].get_visible() for ax in axes.flat for side in ("top", "right"))
    assert dict(plt.rcParams) == before


def test_lines_differ_in_colour_and_in_dashes() -> None:
    _, ax = panels()
    lines = [ax.plot([0, 1])[0] for _ in range(5)]
    assert [line.get_color() for line in lines] == list(PALETTE[:5])
    assert len({line.get_linestyle() for line in lines[:4]}) == 4
    assert lines[4]._unscaled_dash_pattern[1] is not None
    assert lines[4].is_dashed()


def test_a_table_of_numbers_has_its_largest_of_each_row_in_bold_and_is_legible_on_its_grey() -> None:
    _, ax = panels()
    number_table(ax, ["one", "two"], ["a", "b", "c"], [[0.114, 0.5, 0.499], [0.996, 0.998, np.nan]])
    assert {text.get_text(): text.get_weight() for text in ax.texts[:3]} == {"0.11": "normal", "0.50": "bold"}
    assert [(text.get_text(), text.get_weight()) for text in ax.texts[3:]] == [("1.00", "bold"), ("1.00", "bold")]
    assert [text.get_color() for text in ax.texts] == ["black"] * 3 + ["white"] * 2
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]


def test_each_number_of_a_table_can_be_read_on_its_grey() -> None:
    shares = np.linspace(0, 1, 41)
    _, ax = panels()
    number_table(ax, [f"{share}" for share in shares], ["a"], shares[:, None])
    (image,) = ax.images
    for share, text in zip(shares, ax.texts, strict=True):
        shade = 1 - image.get_alpha() * (1 - image.to_rgba(np.array([[share]]), alpha=1.0)[0, 0, 0])  # on white
        lit = ((shade + 0.055) / 1.055) ** 2.4  # WCAG 2: relative luminance, and the contrast of two
        contrast = 1.05 / (lit + 0.05) if text.get_color() == "white" else (lit + 0.05) / 0.05
        assert contrast >= 4.5, (share, contrast)


# ---- images ---------------------------------------------------------------------------------------------------------


def mosaic(figure: plt.Figure) -> np.ndarray:
    (ax,) = figure.axes
    (image,) = ax.images
    return np.asarray(image.get_array())


def test_tiles_stand_in_rows_with_a_gap_of_one_shade_between_them() -> None:
    ones = np.ones((3, 2, 2))
    mosaic = tiled([ones, 2 * ones[:1]], gap=1, fill=-1.0)
    assert mosaic.tolist() == [
        [1, 1, -1, 1, 1, -1, 1, 1],
        [1, 1, -1, 1, 1, -1, 1, 1],
        [-1] * 8,
        [2, 2, -1, -1, -1, -1, -1, -1],
        [2, 2, -1, -1, -1, -1, -1, -1],
    ]


def test_each_atom_is_scaled_by_its_own_largest_pixel_with_zero_in_the_middle() -> None:
    atoms = torch.tensor([[0.0, 1.0, -2.0, 0.5], [0.0, 0.0, 0.0, 0.0], [10.0, 0.0, 0.0, 0.0]], requires_grad=True)
    figure = atom_rows({"L1": atoms}, columns=3)
    picture = mosaic(figure)
    np.testing.assert_allclose(picture[:, :2], [[0, 0.5], [-1, 0.25]])
    assert not picture[:, 3:5].any(), "an atom of zeros stays at zero"
    np.testing.assert_allclose(picture[:, 6:], [[1, 0], [0, 0]])
    assert figure.axes[0].images[0].get_clim() == (-1, 1)


def test_atoms_go_on_in_the_next_line_and_their_label_stands_at_the_first() -> None:
    figure = atom_rows({"L1": torch.ones(5, 9), "no penalty": torch.ones(1, 9)}, columns=2)
    assert mosaic(figure).shape == (4 * 3 + 3, 2 * 3 + 1)
    labels = {
        text.get_text(): y
        for text, y in zip(figure.axes[0].get_yticklabels(), figure.axes[0].get_yticks(), strict=True)
    }
    assert labels == {"L1": 1.5, "no penalty": 3 * 4 + 1.5}


@pytest.mark.parametrize("shape", [(28, 28), (784,), (1, 28, 28)])
def test_each_row_holds_its_images_from_left_to_right_and_a_shorter_one_ends_white(shape: tuple[int, ...]) -> None:
    images = torch.rand(5, 784, generator=torch.Generator().manual_seed(0), requires_grad=True)
    figure = image_rows({"input": images[:3].reshape(3, *shape), "AE": images[3:].reshape(2, *shape)})
    picture, expected = mosaic(figure), images.detach().double().reshape(5, 28, 28).numpy()
    assert picture.shape == (28 + 2 + 28, 3 * 28 + 2 * 2)
    places = [(0, 0), (0, 30), (0, 60), (30, 0), (30, 30)]
    for (top, left), image in zip(places, expected, strict=True):
        np.testing.assert_array_equal(picture[top : top + 28, left : left + 28], image)
    assert not picture[30:, 60:].any()
    assert not picture[28:30].any()


def test_each_row_is_labelled_and_black_is_1_for_every_figure() -> None:
    figure = image_rows({"input": np.full((2, 784), 0.5), "AE": np.full((2, 784), 0.2)}, size=1)
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["input", "AE"]
    assert [0 < tick - row < 28 for tick, row in zip(ax.get_yticks(), (0, 30), strict=True)] == [True, True]
    assert ax.images[0].get_clim() == (0, 1)
    assert ax.images[0].cmap(1.0)[:3] == (0, 0, 0)
    assert figure.get_size_inches().tolist() == [3, 2]


def test_each_column_is_labelled_below_its_middle_where_labels_are_given() -> None:
    figure = image_rows({"input": np.zeros((3, 784)), "AE": np.zeros((3, 784))}, columns=("-2", "0", "2"))
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["-2", "0", "2"]
    assert ax.get_xticks().tolist() == [14, 44, 74]
    assert image_rows({"input": np.zeros((3, 784))}).axes[0].get_xticks().tolist() == []


def test_what_is_no_square_image_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        image_rows({"input": np.zeros((2, 101))})


# ---- classes and bars -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_each_class_has_its_points_its_colour_and_its_number_at_the_median(convert) -> None:
    labels = np.repeat([0, 3, 9], [4, 3, 5])
    points = np.random.default_rng(0).normal(size=(12, 2)) + 10 * labels[:, None]
    figure, ax = panels()
    scatter_classes(ax, convert(points), convert(labels), title="AE")
    assert ax.get_title() == "AE"
    for label, dots, text in zip((0, 3, 9), ax.collections, ax.texts, strict=True):
        mine = points[labels == label]
        np.testing.assert_array_equal(dots.get_offsets(), mine)
        assert tuple(dots.get_facecolor()[0][:3]) == to_rgb(PALETTE[label])
        assert text.get_text() == str(label)
        np.testing.assert_array_equal(text.get_position(), np.median(mine, axis=0))
    figure.canvas.draw()
    assert ax.get_aspect() == 1


@pytest.mark.parametrize("covariance", [[[4.0, 1.5], [1.5, 1.0]], [[1.0, -0.8], [-0.8, 3.0]], [[1.0, 0.0], [0.0, 1.0]]])
def test_every_point_of_an_ellipse_lies_so_many_standard_deviations_from_the_centre(covariance: list) -> None:
    _, ax = panels()
    ellipse(ax, torch.tensor([3.0, -1.0]), torch.tensor(covariance), deviations=1.5)
    (patch,) = ax.patches
    on_it = patch.get_patch_transform().transform(
        [[1, 0], [0, 1], [-1, 0], [0.6, 0.8], [0.8, -0.6]]
    )  # of a unit circle
    away = on_it - [3.0, -1.0]
    distances = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away))
    np.testing.assert_allclose(distances, 1.5, rtol=1e-5)  # float32


def test_bars_stand_side_by_side_with_their_height_and_differ_in_hatch_as_well_as_colour() -> None:
    _, ax = panels()
    series = {"AE": [1.0, 2.0], "VAE": [3.0, 4.0], "DAE": [0.5, 0.25]}
    bars(ax, ["train", "test"], series)
    assert [[bar.get_height() for bar in container] for container in ax.containers] == list(series.values())
    assert len({container[0].get_hatch() for container in ax.containers}) == 3
    assert [container[0].get_facecolor() for container in ax.containers] == [to_rgba(c) for c in PALETTE[:3]]
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for container in ax.containers for bar in container]
    assert all(one[1] <= other[0] + 1e-9 for one, other in zip(sorted(edges), sorted(edges)[1:], strict=False))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["train", "test"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(series)


@pytest.mark.parametrize(("numbers", "shown"), [(True, ["102.8", "0.0312", "99", "1.5"]), (False, [])])
def test_the_number_stands_on_top_of_each_bar_unless_that_is_not_wanted(numbers: bool, shown: list[str]) -> None:
    _, ax = panels()
    bars(ax, ["train", "test"], {"AE": [102.78, 0.0312], "VAE": [99.0, 1.5]}, numbers=numbers)
    assert [text.get_text() for text in ax.texts] == shown


def test_a_single_series_needs_no_legend() -> None:
    _, ax = panels()
    bars(ax, ["train"], {"AE": [1.0]})
    assert ax.get_legend() is None


def test_pictures_in_colour_stand_in_rows_on_white() -> None:
    images = np.zeros((2, 3, 5, 4))
    images[:, 0] = 1  # red
    mosaic = image_rows({"a": images, "b": images[:1]}).axes[0].images[0].get_array()
    assert mosaic.shape == (2 * 5 + 2, 2 * 4 + 2, 3)
    assert mosaic[0, 0].tolist() == [1, 0, 0]
    assert mosaic[0, 4].tolist() == [1, 1, 1]  # the gap
    assert mosaic[-1, -1].tolist() == [1, 1, 1]  # the place that is left over


def test_a_map_stands_beside_its_image_in_the_size_of_the_image() -> None:
    image, small = np.full((3, 4, 6), 0.25), np.array([[0.0, 2.0], [1.0, -1.0]])
    both = beside(image, small, gap=1)
    assert both.shape == (4, 6 + 1 + 4, 3)
    assert (both[:, :6] == 0.25).all()
    assert (both[:, 6] == 1).all()
    assert both[:, 7:, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0]]


def test_a_map_of_zeros_is_black_and_a_wrong_shape_is_refused() -> None:
    assert (beside(np.zeros((3, 3))) == 0).all()
    with pytest.raises(ValueError, match=r"must be \(3, H, W\) or \(h, w\), got shape \(1, 3, 4, 4\)"):
        beside(np.zeros((1, 3, 4, 4)))


@pytest.mark.parametrize(("color", "mode"), [("black", "L"), ("red", "RGB")])
def test_a_png_has_the_pixels_of_the_figure_and_no_channel_that_says_nothing(color: str, mode: str) -> None:
    figure, ax = panels()
    ax.plot([0, 1], color=color)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90, bbox_inches="tight")
    png = as_png(figure)
    stored = Image.open(io.BytesIO(png))
    assert stored.mode == mode
    assert stored.convert("RGBA").tobytes() == Image.open(drawn).tobytes()
    assert len(png) < len(drawn.getvalue())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a": 0.123, "b": [1, 0.5]}, "a 0.12; b 1.00, 0.50"),
        ({"of both": np.array([[0.0, 1.25], [-2.0, 0.999]])}, "of both 0.00, 1.25, -2.00, 1.00"),
        ({"a": torch.tensor([0.5, 0.25]), "b": torch.tensor(3)}, "a 0.50, 0.25; b 3.00"),
        ({"a": float("nan")}, "a nan"),
        ({}, ""),
    ],
)
def test_numbers_are_told_by_name_with_two_decimals(values: dict, said: str) -> None:
    assert in_numbers(values) == said


def test_numbers_may_be_told_whole() -> None:
    assert in_numbers({"a": 12.0, "b": [-1, 2.6]}, places=0) == "a 12; b -1, 3"


def test_rates_stand_with_their_interval_and_their_number() -> None:
    figure, ax = panels()
    rates(ax, ["none", "half", "all"], [0, 50, 100], 100)
    assert [text.get_text() for text in ax.texts] == ["0", "50", "100"]
    assert [bar.get_width() for bar in ax.patches] == [0, 50, 100]
    (lines,) = ax.collections
    ends = [segment[:, 0] for segment in lines.get_segments()]
    assert ends[0][0] == pytest.approx(0)
    assert 3 < ends[0][1] < 5
    assert ends[1] == pytest.approx([40.4, 59.6], abs=0.1)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first stands on top
    plt.close(figure)
