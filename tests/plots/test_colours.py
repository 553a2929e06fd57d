"""The diverging map is what its docstring says: symmetric, monotonic, white at zero, within what a screen shows."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import InputError
from physdiff.plots.colours import LINES, MISSING, colour_scale, diverging, extends, line_style, sequential, spread_scale


def oklab_lightness(rgb: np.ndarray) -> np.ndarray:
    """The published forward transform (Ottosson, 2020), independent of the inverse in the package."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array([
        [0.4122214708, 0.2119034982, 0.0883024619],
        [0.5363325363, 0.6806995451, 0.2817188376],
        [0.0514459929, 0.1073969566, 0.6299787005],
    ])
    return np.cbrt(cones) @ np.array([0.2104542553, 0.7936177850, -0.0040720468])


def test_diverging_is_linear_in_lightness_and_symmetric():
    rgb = np.asarray(diverging().colors)
    assert rgb.min() >= 0 and rgb.max() <= 1
    light = oklab_lightness(rgb)
    expected = 0.97 - 0.58 * np.abs(np.linspace(-1, 1, 257))
    # the published matrices are inverse to each other to about 1e-7
    np.testing.assert_allclose(light, expected, atol=1e-6)


def test_diverging_is_grey_at_zero_and_blue_below_red_above():
    rgb = np.asarray(diverging().colors)
    assert np.ptp(rgb[128]) < 1e-6
    assert rgb[40, 2] > rgb[40, 0] + 0.2 and rgb[-40, 0] > rgb[-40, 2] + 0.2


def test_sequential_maps_are_monotonic_in_lightness():
    for cmap, sign in ((sequential(), 1), (spread_scale([np.ones(2)])[0], -1)):
        light = oklab_lightness(cmap(np.linspace(0, 1, 64))[:, :3])
        assert (sign * np.diff(light) > 0).all()
        assert cmap(np.ma.masked_all(1))[0][:3] == pytest.approx([int(MISSING[1:3], 16) / 255] * 3)


def test_signed_values_are_centred_at_zero_and_others_are_not():
    cmap, norm = colour_scale([np.array([-1.0, 3.0]), np.array([0.5, np.nan])])
    assert cmap.name == "physdiff_diverging" and norm.vmin == -norm.vmax
    assert float(norm(0.0)) == 0.5
    cmap, norm = colour_scale([np.array([280.0, 290.0])])
    assert cmap.name == "viridis" and 280 <= norm.vmin < norm.vmax <= 290
    # a thousandth on the other side is noise, not a sign
    assert colour_scale([np.linspace(-0.001, 1.0, 1001)])[0].name == "viridis"


def test_a_constant_field_still_has_a_range_and_none_without_values():
    norm = colour_scale([np.full((2, 2), 5.0)])[1]
    assert norm.vmin < norm.vmax
    with pytest.raises(InputError, match="finite value"):
        colour_scale([np.full(3, np.nan)])


def test_extends_names_the_ends_that_are_exceeded():
    norm = colour_scale([np.array([0.0, 1.0])])[1]
    assert extends([np.array([0.5])], norm) == "neither"
    assert extends([np.array([-1.0, 0.5])], norm) == "min"
    assert extends([np.array([0.5, 2.0])], norm) == "max"
    assert extends([np.array([-1.0, 2.0])], norm) == "both"


def test_lines_differ_in_colour_and_marker():
    styles = [line_style(k) for k in range(len(LINES))]
    assert len({s["color"] for s in styles}) == len({s["marker"] for s in styles}) == len(LINES)
    assert line_style(len(LINES)) == line_style(0)
