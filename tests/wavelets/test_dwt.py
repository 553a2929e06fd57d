"""The periodized transform: PyWavelets as oracle, orthogonality, exact inverse, gradients, worded errors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.wavelets.dwt import band_names, dwt, idwt, wavedec, waverec

ORACLE = 1e-12  # sums of at most 40 products per axis and level of numbers near one, in float64: some 1e-14
WAVELETS = ("haar", "db1", "db2", "db3", "db4", "db7", "db12", "db20")


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def oracle_levels(x: Tensor, wavelet: str | tuple[str, ...], levels: int, axes: tuple[int, ...]) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyWavelets advises fewer levels for long filters
        return pywt.wavedecn(x.numpy(), wavelet, mode="periodization", level=levels, axes=axes)


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("length", [2, 4, 6, 34, 64, 514, 600])  # below the filter's; above the dense path
def test_one_level_equals_pywavelets(wavelet: str, length: int) -> None:
    x = noise(3, length, 2)
    bands = dwt(x, wavelet, axes=(1,))
    low, high = pywt.dwt(x.numpy(), wavelet, mode="periodization", axis=1)
    np.testing.assert_allclose(bands["a"], low, rtol=0, atol=ORACLE)
    np.testing.assert_allclose(bands["d"], high, rtol=0, atol=ORACLE)


@pytest.mark.parametrize("axes", [(3,), (2, 3), (3, 1), (1, 2, 3), (-1, -3, -2)])
@pytest.mark.parametrize("wavelet", ["haar", "db2", "db4"])
def test_several_axes_and_levels_equal_pywavelets(wavelet: str, axes: tuple[int, ...]) -> None:
    x = noise(2, 8, 12, 20)
    ours = wavedec(x, wavelet, levels=2, axes=axes)
    approximation, *details = oracle_levels(x, wavelet, 2, axes)
    np.testing.assert_allclose(ours.approximation, approximation, rtol=0, atol=ORACLE)
    assert len(ours.details) == len(details) == 2
    for mine, theirs in zip(ours.details, details, strict=True):  # both coarsest first
        assert set(mine) == set(theirs) == set(band_names(len(axes))[1:])
        for name, band in mine.items():
            np.testing.assert_allclose(band, theirs[name], rtol=0, atol=ORACLE)


def test_own_wavelet_per_axis_equals_pywavelets() -> None:
    x = noise(2, 4, 24, 16)
    wavelets = ("haar", "db5", "db2")
    ours = wavedec(x, wavelets, levels=2, axes=(1, 2, 3))
    approximation, *details = oracle_levels(x, wavelets, 2, (1, 2, 3))
    np.testing.assert_allclose(ours.approximation, approximation, rtol=0, atol=ORACLE)
    np.testing.assert_allclose(ours.details[1]["dad"], details[1]["dad"], rtol=0, atol=ORACLE)


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("length", [4, 30, 514, 1026])
def test_the_map_is_an_orthogonal_matrix(wavelet: str, length: int) -> None:
    bands = dwt(torch.eye(length, dtype=torch.float64), wavelet)
    matrix = torch.cat((bands["a"], bands["d"]), -1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(length, dtype=torch.float64), rtol=0, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_round_trip_of_any_shape(data: st.DataObject) -> None:
    ndim = data.draw(st.integers(1, 4))
    axes = data.draw(st.lists(st.integers(0, ndim - 1), min_size=1, max_size=3, unique=True))
    levels = data.draw(st.integers(0, 3))
    shape = [data.draw(st.integers(1, 3)) * (2**levels if axis in axes else 1) for axis in range(ndim)]
    wavelets = [data.draw(st.sampled_from(WAVELETS)) for _ in axes]
    x = noise(*shape, seed=data.draw(st.integers(0, 99)))
    coefficients = wavedec(x, wavelets, levels, axes=axes)
    torch.testing.assert_close(waverec(coefficients, wavelets, axes), x, rtol=0, atol=1e-12)
    energy = coefficients.approximation.square().sum() + sum(
        band.square().sum() for level in coefficients.details for band in level.values()
    )
    torch.testing.assert_close(energy, x.square().sum(), rtol=1e-12, atol=0)  # Parseval


@pytest.mark.parametrize("length", [12, 520])
def test_inverse_is_the_transpose(length: int) -> None:
    x, y = noise(2, length, seed=1), {"a": noise(2, length // 2, seed=2), "d": noise(2, length // 2, seed=3)}
    forward = dwt(x, "db3")
    left = (forward["a"] * y["a"]).sum() + (forward["d"] * y["d"]).sum()
    torch.testing.assert_close(left, (x * idwt(y, "db3")).sum(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "db4"])
def test_gradients(wavelet: str) -> None:
    x = noise(2, 8, 4).requires_grad_()

    def there_and_half_back(x: Tensor) -> Tensor:
        bands = dwt(x, wavelet, axes=(1, 2))
        return idwt({name: band * (name != "dd") for name, band in bands.items()}, wavelet, axes=(1, 2))

    assert torch.autograd.gradcheck(there_and_half_back, (x,))
    assert torch.autograd.gradgradcheck(lambda x: there_and_half_back(x) ** 2, (x,))


def test_gradients_of_the_band_path() -> None:
    x = noise(514).requires_grad_()
    weight = noise(257, seed=1)
    (gradient,) = torch.autograd.grad((dwt(x, "db4")["d"] * weight).sum(), x)
    expected = idwt({"a": torch.zeros_like(weight), "d": weight}, "db4")  # the gradient of <W x, w> is W^T w
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("wavelet", "length"), [("haar", 8), ("db4", 8), ("db4", 600)])
def test_dtype_is_kept(dtype: torch.dtype, wavelet: str, length: int) -> None:
    x = noise(2, length, dtype=dtype)
    bands = dwt(x, wavelet)
    assert bands["a"].dtype == bands["d"].dtype == dtype
    back = idwt(bands, wavelet)
    assert back.dtype == dtype
    torch.testing.assert_close(back, x, rtol=0, atol=40 * torch.finfo(dtype).eps)


def test_leading_dims_are_a_batch() -> None:
    x = noise(3, 2, 8)
    together = dwt(x, "db2")["d"]
    for i in range(3):
        torch.testing.assert_close(together[i], dwt(x[i], "db2")["d"], rtol=0, atol=1e-14)


def test_a_constant_has_no_detail_and_a_ramp_only_at_the_seam() -> None:
    constant = dwt(torch.full((16,), 2.5, dtype=torch.float64), "db3")
    torch.testing.assert_close(constant["d"], torch.zeros(8, dtype=torch.float64), rtol=0, atol=1e-14)
    ramp = dwt(torch.arange(32, dtype=torch.float64), "db3")["d"]
    inner = ramp[2:-2].abs().max()  # filters of 6 taps cross the seam from two cells at either end
    assert inner < 1e-13 < ramp.abs().max()


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ShapeError, match="even length along axis 1, got 5"):
        dwt(noise(2, 5))
    with pytest.raises(ShapeError, match=r"divisible by 2\^3 = 8 along axis 0, got 12, which allows 2"):
        wavedec(noise(12), "db2", levels=3)
    with pytest.raises(InputError, match="did you mean db2"):
        dwt(noise(4), "db2x")
    with pytest.raises(InputError, match="each named once"):
        dwt(noise(4, 4), "haar", axes=(1, -1))
    with pytest.raises(ShapeError, match="got axis 2"):
        dwt(noise(4, 4), "haar", axes=(2,))
    with pytest.raises(InputError, match="real floating-point"):
        dwt(torch.ones(4, dtype=torch.int64))
    with pytest.raises(InputError, match="one value or 2"):
        dwt(noise(4, 4), ("haar", "haar", "db2"), axes=(0, 1))
    with pytest.raises(InputError, match="levels >= 0"):
        wavedec(noise(4), "haar", levels=-1)
    with pytest.raises(InputError, match="expected the bands a, d"):
        idwt({"a": noise(4)})
    with pytest.raises(ShapeError, match="bands of one shape"):
        idwt({"a": noise(4), "d": noise(3)})
