"""The page of a network: errors in the table are those of the fields."""

import numpy as np
import pytest
import xarray as xr

from physdiff.report.pinn_page import pinn_report


def test_the_table_holds_the_errors(tmp_path):
    coords = {"time": [0.0, 1.0, 2.0], "x": np.linspace(0, 1, 6)}
    truth = xr.Dataset({"u": (("time", "x"), np.ones((3, 6)))}, coords=coords)
    field = truth + 0.1
    early = field.isel(time=slice(0, 2))
    (tmp_path / "looks.csv").write_text("step,seconds,residual,loss,error\n5,1.0,0.1,0.2,0.3\n")
    page, error = pinn_report(tmp_path, early, 0 * early + 0.5, truth=truth, found={"viscosity": 0.0123})
    assert error == pytest.approx(0.1) and (tmp_path / "u.png").is_file()
    text = page.read_text()
    assert "0.0123" in text and "Relative error against the data: 0.1" in text and "Training" in text


def test_a_field_that_is_zero_has_no_relative_error(tmp_path):
    coords = {"time": [0.0, 1.0], "x": np.linspace(0, 1, 6)}
    zero = xr.Dataset({"u": (("time", "x"), np.zeros((2, 6))), "v": (("time", "x"), np.ones((2, 6)))}, coords=coords)
    page, error = pinn_report(tmp_path, zero + 0.25, 0 * zero, truth=zero)
    assert error == pytest.approx(0.25)  # that of v
    page, error = pinn_report(tmp_path, zero[["u"]] + 0.25, 0 * zero[["u"]], truth=zero[["u"]])
    text = page.read_text()
    assert np.isnan(error) and "The data are zero" in text and "0.25" in text and "∞" not in text
