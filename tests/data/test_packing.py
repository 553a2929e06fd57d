from __future__ import annotations

import warnings

import numpy as np
import xarray as xr
from hypothesis import given, settings, strategies as st

from physdiff.data.packing import Packing, packing_of, unpack

numbers = st.floats(-1e3, 1e3, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-4)


@settings(max_examples=25)
@given(
    st.sampled_from(["i1", "i2", "i4", "f4", "f8"]),
    st.sampled_from([None, "f4", "f8"]),
    st.sampled_from([None, "f4", "f8"]),
    st.tuples(numbers.filter(bool), numbers),
    st.sampled_from([(), ("_FillValue",), ("missing_value",), ("_FillValue", "missing_value")]),
)
def test_values_are_those_of_xarray_to_the_last_bit(kind, scale, offset, values, fills):
    """Types of scale and offset decide what xarray computes in; two fill values may differ."""
    raw = np.random.default_rng(0).integers(-90, 90, 20_000).astype(kind)
    attrs = {name: np.array(fill, kind)[()] for name, fill in (("_FillValue", -7), ("missing_value", 11)) if name in fills}
    attrs |= {"scale_factor": np.array(values[0], scale)[()]} if scale else {}
    attrs |= {"add_offset": np.array(values[1], offset)[()]} if offset else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)
        decoded = xr.conventions.decode_cf_variable("u", xr.Variable(("time",), raw, attrs))
        packing = packing_of(decoded.encoding, decoded.attrs, decoded.dtype)
        out = np.empty(raw.shape, np.float32)
        unpack(raw, out, packing)
        np.testing.assert_array_equal(out, decoded.values.astype(np.float32))
    assert ("_FillValue" in fills) <= bool(np.isnan(out[raw == -7]).all())


def test_other_strides_and_blocks_give_the_same():
    raw = np.random.default_rng(1).integers(-999, 999, (40, 30, 50)).astype("i2")
    out = np.empty((50, 40, 30), np.float32)
    unpack(raw.transpose(2, 0, 1), out, Packing(0.5, 3.0, (7.0,)))
    expected = raw.transpose(2, 0, 1) * 0.5 + 3.0
    np.testing.assert_array_equal(out, np.where(raw.transpose(2, 0, 1) == 7, np.nan, expected))


def test_what_it_does_not_know_is_left_to_xarray():
    wide = np.dtype("f4")
    assert packing_of({"_Unsigned": "true"}, {}, wide) is None
    assert packing_of({"scale_factor": "two"}, {}, wide) is None
    assert packing_of({}, {}, np.dtype("M8[ns]")) is None
    assert packing_of({"dtype": "f4"}, {}, wide) == Packing(wide=False)
