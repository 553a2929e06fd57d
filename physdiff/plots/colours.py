r"""Colours that keep their order for every eye and in grey.

Sequential maps are matplotlib's perceptually uniform ones. The diverging map is built in Oklab, where equal distances look equal: lightness
falls linearly from the centre to both ends by the same amount, the hue is blue on one side and red on the other, so that $-v$ and $+v$ are
equally dark and zero is the lightest. Lines use the palette of Okabe and Ito, told apart by dash and marker too. References: Ottosson (2020),
"A perceptual color space for image processing"; Okabe and Ito (2008), "Color universal design"; Crameri et al. (2020), "The misuse of
colour in science communication".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, ListedColormap, Normalize

from physdiff.base.errors import InputError

__all__ = ["LINES", "MISSING", "TRUTH", "colour_scale", "diverging", "extends", "line_style", "sequential", "spread_scale"]

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6E6E6E")
TRUTH = "#111111"
MISSING = "#C9C9C9"
_DASHES = ("-", (0, (5, 1.6)), (0, (6, 1.5, 1.2, 1.5)), (0, (1.2, 1.2)), (0, (8, 2)), (0, (3, 1.2, 1, 1.2, 1, 1.2)), "-")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_ROBUST = (0.5, 99.5)
_SIGNED = 0.1  # a field is signed if its smaller side reaches this share of the larger one


def line_style(index: int) -> dict[str, Any]:
    """Colour, dash and marker of the line number `index`, as keywords of ``Axes.plot``."""
    k = index % len(LINES)
    return {"color": LINES[k], "linestyle": _DASHES[k], "marker": _MARKERS[k], "markersize": 3.8}


def sequential() -> Colormap:
    """The map for values without a centre; missing cells are grey."""
    return matplotlib.colormaps["viridis"].with_extremes(bad=MISSING)


def diverging() -> Colormap:
    """The map for signed fields, white at its centre; missing cells are grey."""
    place = np.linspace(-1.0, 1.0, 257)
    lightness = 0.97 - 0.58 * np.abs(place)
    # as much chroma as a screen can show on both sides: none at the white centre, less at the dark ends
    chroma = 0.145 * np.sin(0.75 * np.pi * np.abs(place))
    hue = np.deg2rad(np.where(place < 0, 252.0, 28.0))
    colours = _srgb_of_oklab(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
    return ListedColormap(colours, name="physdiff_diverging").with_extremes(bad=MISSING)


def _srgb_of_oklab(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Oklab to gamma-coded sRGB, (n, 3); outside [0, 1] where a screen cannot show the colour (Ottosson, 2020)."""
    cones = np.stack([
        lightness + 0.3963377774 * a + 0.2158037573 * b,
        lightness - 0.1055613458 * a - 0.0638541728 * b,
        lightness - 0.0894841775 * a - 1.2914855480 * b,
    ]) ** 3
    linear = np.array([
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]) @ cones
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055)
    return coded.T


def colour_scale(values: Sequence[np.ndarray]) -> tuple[Colormap, Normalize]:
    """One colour map and one range for several arrays of one quantity.

    Signed values get the diverging map, centred at zero; others the sequential one. The range leaves out half a per cent on either side, so
    that a single cell does not take all the contrast.

    Args:
        values: Arrays of any shape; NaN is missing.

    Raises:
        InputError: If there is no finite value.
    """
    low, high = _range(values)
    if low < 0 < high and min(-low, high) >= _SIGNED * max(-low, high):
        top = max(-low, high)
        return diverging(), Normalize(-top, top)
    return sequential(), Normalize(low, high if high > low else low + max(abs(low), 1.0) * 1e-3)


def spread_scale(values: Sequence[np.ndarray]) -> tuple[Colormap, Normalize]:
    """The map for standard deviations and other amounts of uncertainty: from light at zero to dark.

    Arguments and errors as in `colour_scale`.
    """
    _, high = _range(values)
    return matplotlib.colormaps["magma_r"].with_extremes(bad=MISSING), Normalize(0.0, high if high > 0 else 1.0)


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    flat = np.concatenate([np.asarray(v, dtype=np.float64).reshape(-1) for v in values])
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        raise InputError("colour scale: expected a finite value, got none; leave this field out of the picture")
    low, high = np.percentile(flat, _ROBUST)
    return float(low), float(high)


def extends(values: Sequence[np.ndarray], norm: Normalize) -> str:
    """Which ends of the colour bar are exceeded: ``"neither"``, ``"min"``, ``"max"`` or ``"both"``."""
    low = min(float(np.nanmin(v)) for v in values) < float(norm.vmin or 0.0)
    high = max(float(np.nanmax(v)) for v in values) > float(norm.vmax or 0.0)
    return ("neither", "max", "min", "both")[2 * low + high]
