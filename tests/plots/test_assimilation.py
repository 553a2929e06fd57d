"""The lines of an assimilation are its scores, or its spread where no truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import InputError
from physdiff.forecast.twin import assimilation_scores
from physdiff.plots.assimilation import assimilation_plot
from tests.report.test_assimilation_page import assimilated


def test_lines_are_the_scores_by_time() -> None:
    ds, truth = assimilated()
    ds = assimilation_scores(ds, truth)
    left, right = assimilation_plot(ds, "t2m")
    drawn = {str(line.get_label()): line.get_ydata() for line in left.get_lines()}
    assert set(drawn) == {f"{k}, {w}" for k in ("analysis", "forecast", "no readings") for w in ("error", "spread")}
    np.testing.assert_array_equal(drawn["analysis, error"], ds["rmse_t2m"].values)
    np.testing.assert_array_equal(drawn["forecast, spread"], ds["spread_t2m_forecast"].values)
    np.testing.assert_array_equal(right.get_lines()[0].get_ydata(), [0.9, 1.0, 1.4])
    without = assimilation_plot(assimilated()[0], "t2m")[0]
    spread = ds["t2m"].var("member", ddof=1).mean(("latitude", "longitude")) ** 0.5
    lines = {str(line.get_label()): line.get_ydata() for line in without.get_lines()}
    np.testing.assert_allclose(lines["analysis, spread"], spread.values)
    with pytest.raises(InputError, match="expected a field 'wind'"):
        assimilation_plot(ds, "wind")
