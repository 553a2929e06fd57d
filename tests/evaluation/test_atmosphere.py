from __future__ import annotations

import numpy as np
import pytest

from physdiff.data.open import open_dataset
from physdiff.evaluation.atmosphere import air_of, balances, water_columns


def test_the_water_budget_of_a_real_day(shared_data):
    folder = shared_data / "reanalysis" / "era5_pl_nweurope_2020-01-01"
    ds = open_dataset([str(p) for p in sorted(folder.glob("ERA5*"))])
    reference = open_dataset(folder / "reference_2020-01-01_fluxes_storages.nc")
    storage, (east, _) = water_columns(air := air_of(ds))
    stored = (reference["s_upper"] + reference["s_lower"]).values
    flux = (reference["fx_upper"] + reference["fx_lower"]).values
    # the data's README
    assert float(storage.mean()) == pytest.approx(7.81, abs=0.01) and stored.mean() == pytest.approx(7.89, abs=0.01)
    assert np.sqrt(np.mean((storage.numpy() - stored) ** 2)) == pytest.approx(0.17, abs=0.005)
    assert np.sqrt(np.mean((east.numpy() - flux) ** 2)) == pytest.approx(1.15, abs=0.01)
    budget = next(b for b in balances(air) if b.name == "moisture_budget")
    assert budget.share * budget.scale == pytest.approx(4.3e-5, abs=0.1e-5) and budget.scale == pytest.approx(8.7e-5, abs=0.1e-5)
