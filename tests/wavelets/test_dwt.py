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
from physdiff.wavelets.axis_map import MODES
from physdiff.wavelets.dwt import band_gain, band_names, dwt, idwt, wavedec, waverec

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
    with pytest.raises(ShapeError, match="at least one point"):
        dwt(noise(2, 0))
    with pytest.raises(ShapeError, match="take at most 2 levels"):
        wavedec(noise(4), "db2", levels=3)
    with pytest.raises(InputError, match="did you mean symmetric"):
        dwt(noise(4), mode="symetric")
    with pytest.raises(ShapeError, match="expected 4 coefficients along axis -1 for 8 points"):
        idwt({"a": noise(5), "d": noise(5)}, lengths=(8,))
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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wavelet", ["haar", "db3", "bior2.4", "bior1.3"])
@pytest.mark.parametrize("length", [1, 5, 8, 33, 200, 201])  # shorter than the filter; even and odd; above the dense path
def test_every_mode_equals_pywavelets_and_comes_back(mode: str, wavelet: str, length: int) -> None:
    x = noise(2, length, 3)
    bands = dwt(x, wavelet, axes=(1,), mode=mode)
    torch.testing.assert_close(idwt(bands, wavelet, axes=(1,), lengths=(length,), mode=mode), x, rtol=0, atol=ORACLE)
    if length == 1 and mode == "reflect":
        return  # PyWavelets refuses it
    low, high = pywt.dwt(x.numpy(), wavelet, mode=mode, axis=1)
    np.testing.assert_allclose(bands["a"], low, rtol=0, atol=ORACLE)
    np.testing.assert_allclose(bands["d"], high, rtol=0, atol=ORACLE)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_round_trip_of_odd_axes_in_every_mode(data: st.DataObject) -> None:
    shape = [data.draw(st.integers(4, 21)) for _ in range(3)]
    axes = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
    wavelets = [data.draw(st.sampled_from(("haar", "sym4", "coif1", "bior2.2", "bior5.5"))) for _ in axes]
    x = noise(*shape, seed=data.draw(st.integers(0, 99)))
    coefficients = wavedec(x, wavelets, data.draw(st.integers(0, 2)), axes=axes, mode=data.draw(st.sampled_from(MODES)))
    torch.testing.assert_close(waverec(coefficients, wavelets, axes), x, rtol=0, atol=1e-11)  # bior5.5 is far from a rotation


def test_periodization_gives_as_many_coefficients_as_points() -> None:
    for wavelet in ("haar", "db4", "bior4.4"):
        found = wavedec(noise(2, 16, 24), wavelet, 3, axes=(1, 2))
        assert found.approximation.numel() + sum(band.numel() for level in found.details for band in level.values()) == 2 * 16 * 24


# torch's forward mode still loads torch.jit.script, which it deprecates itself
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("length", [12, 150])  # dense and windowed
@pytest.mark.parametrize("mode", ["periodization", "zero", "reflect"])
def test_gradients_of_every_order_and_forward_mode(length: int, mode: str) -> None:
    x, t = noise(length), noise(length, seed=1)

    def through(x: Tensor) -> Tensor:
        bands = dwt(x, "bior2.4", mode=mode)
        return idwt({"a": bands["a"], "d": 0.5 * bands["d"]}, "bior2.4", lengths=(length,), mode=mode)

    jacobian = torch.func.vmap(through)(torch.eye(length, dtype=torch.float64)).T  # linear: its columns
    torch.testing.assert_close(torch.func.jvp(through, (x,), (t,))[1], jacobian @ t, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.func.vjp(through, x)[1](t)[0], jacobian.T @ t, rtol=0, atol=1e-12)
    hessian = torch.func.hessian(lambda x: through(x).square().sum())(x)
    torch.testing.assert_close(hessian, 2 * jacobian.T @ jacobian, rtol=0, atol=1e-11)


def test_bfloat16_is_rounded_once_per_band() -> None:
    x = noise(4, 64, 64, dtype=torch.float32).bfloat16()
    bands, exact = dwt(x, "db4", axes=(1, 2)), dwt(x.double(), "db4", axes=(1, 2))
    for name, band in bands.items():
        assert band.dtype == torch.bfloat16
        torch.testing.assert_close(band.double(), exact[name], rtol=2.0**-8, atol=1e-5)  # half a unit of 8 bits is 2^-9
    back = idwt(bands, "db4", axes=(1, 2))
    # each coefficient is off by at most 2^-9 of itself, their sum by some 2^-9 standard deviations; five of them, and its own rounding
    assert (back - x).abs().max() < 2.0**-8 * x.abs().max() + 5 * 2.0**-9


GAINS = {"bior2.4": (0.707, 1.414), "bior1.3": (0.883, 1.133), "bior4.4": (0.870, 1.150), "db3": (1, 1)}


@pytest.mark.parametrize("wavelet", GAINS)
def test_band_gain(wavelet: str) -> None:
    gain = band_gain(wavelet)
    assert (gain.smallest, gain.largest) == pytest.approx(GAINS[wavelet], abs=6e-4)  # three digits are known of these
    bands = dwt(noise(2000, 64), wavelet)
    for rms, name in ((gain.low, "a"), (gain.high, "d")):
        assert bands[name].square().mean().sqrt() == pytest.approx(rms, rel=4 * 1.5 / 64000**0.5)  # four standard errors; products are correlated
    with pytest.raises(InputError, match="length >= 1"):
        band_gain("haar", 0)


@pytest.mark.slow
def test_compiles_without_a_graph_break() -> None:
    def through(x: Tensor) -> Tensor:
        c = wavedec(x, ("haar", "bior2.4"), 2, axes=(1, 2))
        return waverec(c, ("haar", "bior2.4"), (1, 2)) + c.details[0]["dd"].sum()

    x = noise(2, 10, 150).requires_grad_()
    compiled = torch.compile(through, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), through(x), rtol=0, atol=1e-11)
    gradients = [torch.autograd.grad(f(x).square().sum(), x)[0] for f in (compiled, through)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-10)  # of a sum of 3000 squares, some of thousands
