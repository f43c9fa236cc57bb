"""Maps of latent spaces: numbers that do not cover each other, clouds with their class, one digit that is marked."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from labkit.lab.figures import as_png, panels
from labkit.lab.latent_figures import CLASS_COLORS, class_map, clouds, digit_in_maps, spread_out

matplotlib.use("agg")


def test_crowded_places_end_a_gap_apart_and_others_stay():
    crowd = np.array([[0, 0], [0, 0], [0.1, 0], [0, 0.1], [9, 9]], dtype=float)
    moved = spread_out(crowd, 1.0)
    assert pdist(moved).min() >= 0.999
    assert (moved[-1] == crowd[-1]).all()
    assert (crowd[0] == 0).all(), "what was given is left alone"


def test_places_that_are_far_apart_are_not_moved():
    places = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    assert (spread_out(places, 1.0) == places).all()


@pytest.mark.parametrize(("places", "gap"), [(np.zeros((3, 3)), 1.0), (np.zeros((3, 2)), 0.0)])
def test_other_shapes_and_gaps_are_refused(places, gap):
    with pytest.raises(ValueError, match=r"places \(N, 2\) and a positive gap"):
        spread_out(places, gap)


def test_each_class_has_its_number_once_in_its_color_and_none_covers_another():
    labels = np.repeat(np.arange(10), 20)
    points = np.random.default_rng(0).normal(size=(200, 2))  # all medians near 0
    _, ax = panels()
    class_map(ax, points, labels, title="AE")
    assert [text.get_text() for text in ax.texts] == [str(label) for label in range(10)]
    assert [text.get_color() for text in ax.texts] == list(CLASS_COLORS)
    extent = max(np.ptp(points, axis=0))
    assert pdist([text.get_position() for text in ax.texts]).min() > 0.08 * extent


def test_a_cloud_carries_its_class():
    _, ax = panels()
    clouds(ax, [[0, 0], [3, 0]], [np.eye(2), np.diag([4.0, 1.0])], [7, 2])
    assert [text.get_text() for text in ax.texts] == ["7", "2"]
    first, second = ax.patches
    assert first.width == pytest.approx(4)
    assert sorted([second.width, second.height]) == pytest.approx([4, 8])
    assert first.get_edgecolor() != second.get_edgecolor()
    assert ax.get_xlim()[0] <= -2
    assert ax.get_xlim()[1] >= 7, "the ellipses are inside the axes"


def test_the_marked_point_is_the_digit_that_was_chosen():
    points, labels = np.random.default_rng(1).normal(size=(30, 2)), np.arange(30) % 10
    figure = digit_in_maps({"AE": points, "VAE": -points}, labels, 12, {"digit": np.zeros(784), "AE": np.ones(784)})
    marks = [ax.collections[-1].get_offsets() for ax in figure.axes[:2]]
    assert np.allclose(marks[0], points[12])
    assert np.allclose(marks[1], -points[12])
    assert figure.axes[2].get_title() == "test digit 12: a 2"
    shown = figure.axes[2].images[0].get_array()
    assert shown.shape == (56, 28)
    assert shown[:28].max() == 0
    assert shown[28:].min() == 1
    assert as_png(figure)[:4] == b"\x89PNG"


@pytest.mark.parametrize("index", [-1, 30])
def test_a_digit_that_is_not_on_the_map_is_refused(index):
    with pytest.raises(IndexError, match="digits 0 to 29"):
        digit_in_maps({"AE": np.zeros((30, 2))}, np.zeros(30, int), index, {"digit": np.zeros(784)})
