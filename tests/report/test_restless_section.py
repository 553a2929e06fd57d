"""The most restless members are named, largest first."""

import numpy as np
import xarray as xr

from physdiff.report.restless_section import restless_section


def test_the_largest_are_named_with_their_start_and_how_far_they_stand_out():
    values = np.ones((2, 20))
    values[1, 7], values[0, 3] = 9.0, 4.0
    coords = {"init_time": np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[ns]"), "member": np.arange(20)}
    section = restless_section(xr.DataArray(values, coords, ("init_time", "member")))
    (table,) = section.tables
    assert table.caption == "The 2 most restless of 40 members"
    assert [row[1:] for row in table.rows] == [(9.0, 9.0), (4.0, 4.0)]
    assert "2020-01-02" in table.rows[0][0] and table.rows[0][0].endswith("member 7")


def test_samples_and_no_variance_at_all():
    still = xr.DataArray(np.zeros((2, 1, 3)), {"sample": [4, 9], "init_time": [0.0], "member": np.arange(3)}, ("sample", "init_time", "member"))
    (table,) = restless_section(still, share=0.2).tables
    assert len(table.rows) == 2 and table.rows[0][2] is None and "sample 4" in table.rows[0][0]
