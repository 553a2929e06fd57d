"""Pad, transform, pack: exact inverse, orthogonality, the seam, shares of known cells, worded errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.base.saved import build, describe, read, write
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.transform import Sample
from physdiff.transforms.wavelet import WaveletTransform, cross_fade, pack_known, padded_length
from physdiff.wavelets.dwt import dwt, wavedec
from physdiff.wavelets.packing import pack

# Orthogonal maps of some hundred numbers near one, in float64: sums round by some 1e-14.
ROUNDING = 1e-12


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(data=st.data())
def test_round_trip_of_any_window(data: st.DataObject) -> None:
    dims = data.draw(st.sampled_from([("x",), ("y", "x"), ("latitude", "longitude"), ("z", "y", "x")]))
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=len(dims) + 1, max_size=len(dims) + 1)))
    axes = data.draw(
        st.none() | st.lists(st.sampled_from(("time", *dims)), min_size=1, max_size=3, unique=True).map(tuple)
    )
    wavelet = data.draw(st.sampled_from(["haar", "db2", "db4", "db9"]))
    periodic = tuple(data.draw(st.booleans()) for _ in dims)
    transform = WaveletTransform(wavelet, data.draw(st.integers(1, 3)), axes).fitted_to(shape, dims, periodic)
    x = noise(2, 3, *shape)
    z = transform.encode(x)
    assert tuple(z.shape[1:]) == transform.out_shape((3, *shape))
    torch.testing.assert_close(transform.decode(z), x, rtol=0, atol=ROUNDING)
    assert transform.weight(torch.ones_like(x)).shape == z.shape


@pytest.mark.parametrize(
    ("wavelet", "axes", "periodic"),
    [
        ("db4", None, (True, True)),
        ("haar", None, (False, True)),
        ("db3", ("time", "x"), (False, True)),
        (("db2", "haar"), ("x", "y"), (False, True)),
    ],
)
def test_without_padding_the_map_is_an_orthogonal_matrix(
    wavelet: str | tuple[str, ...], axes: tuple[str, ...] | None, periodic: tuple[bool, ...]
) -> None:
    shape = (4, 4, 8)
    transform = WaveletTransform(wavelet, 2, axes, shape=shape, dims=("y", "x"), periodic=periodic)
    size = 2 * torch.Size(shape).numel()
    identity = torch.eye(size, dtype=torch.float64)
    q = transform.encode(identity.reshape(size, 2, *shape)).reshape(size, -1)
    assert q.shape == (size, size)
    torch.testing.assert_close(q @ q.T, identity, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(
        transform.decode(q.reshape(size, *transform.out_shape((2, *shape)))).reshape(size, size),
        identity,
        rtol=0,
        atol=ROUNDING,
    )


def test_encode_is_the_packed_wavelet_decomposition() -> None:
    x = noise(2, 3, 5, 8, 16)
    transform = WaveletTransform("db2", 2, shape=(5, 8, 16), dims=("y", "x"), periodic=(True, True))
    expected = pack(wavedec(x, "db2", 2, axes=(3, 4)), (3, 4))
    torch.testing.assert_close(transform.encode(x), expected, rtol=0, atol=0)


def test_time_gets_haar_and_other_axes_their_own() -> None:
    x = noise(1, 1, 4, 8)
    transform = WaveletTransform("db3", 1, ("time", "x"), shape=(4, 8), dims=("x",), periodic=(True,))
    expected = pack(wavedec(x, ("haar", "db3"), 1, axes=(2, 3)), (2, 3))
    torch.testing.assert_close(transform.encode(x), expected, rtol=0, atol=0)
    other = WaveletTransform(("db3", "haar"), 1, ("x", "time"), shape=(4, 8), dims=("x",), periodic=(True,))
    expected = pack(wavedec(x, ("db3", "haar"), 1, axes=(3, 2)), (3, 2))
    torch.testing.assert_close(other.encode(x), expected, rtol=0, atol=0)


def test_padded_lengths() -> None:
    assert padded_length(64, "db4", 3, periodic=True) == 64
    assert padded_length(64, "haar", 3, periodic=False) == 64  # haar never crosses the seam
    assert padded_length(64, "db4", 3, periodic=False) == 72  # room for a fade of 4 or more
    assert padded_length(33, "db4", 3, periodic=False) == 40
    assert padded_length(33, "db4", 2, periodic=True) == 40  # a seam in mid-cell needs the fade too
    assert padded_length(33, "haar", 2, periodic=False) == 36


def test_haar_on_a_multiple_never_mixes_the_two_ends() -> None:
    x = torch.zeros(1, 1, 1, 8, dtype=torch.float64)
    x[..., 0] = 1
    z = WaveletTransform("haar", 2, shape=(1, 8), dims=("x",)).encode(x)
    assert z[..., 0].abs().max() > 0
    assert z[..., 1].abs().max() == 0


def test_cross_fade_is_a_straight_line_from_last_to_first() -> None:
    x = torch.tensor([4.0, 7.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(cross_fade(x, 6, 0), torch.tensor([4.0, 7, 0, 1, 2, 3], dtype=torch.float64))
    assert cross_fade(x, 3, 0) is x
    periodic = cross_fade(noise(3, 5), 9, 1)
    jumps = (periodic.roll(-1, 1) - periodic)[:, 4:]  # the steps of the bridge, the one home included
    torch.testing.assert_close(jumps, jumps[:, :1].expand_as(jumps), rtol=0, atol=ROUNDING)


def test_the_seam_of_a_ramp_is_harmless() -> None:
    ramp = torch.linspace(0, 1, 33, dtype=torch.float64)
    faded = dwt(cross_fade(ramp, padded_length(33, "db4", 3, periodic=False), 0), "db4")["d"].abs().max()
    edge = dwt(torch.cat((ramp, ramp[-1:].expand(7))), "db4")["d"].abs().max()
    reflected = dwt(torch.cat((ramp, ramp[-8:-1].flip(0))), "db4")["d"].abs().max()
    assert float(faded) == pytest.approx(0.0397, abs=5e-5)  # a jump of one leaves 0.23 or 0.17
    assert float(edge) == pytest.approx(0.2304, abs=5e-5)
    assert float(reflected) == pytest.approx(0.1728, abs=5e-5)
    transform = WaveletTransform("db4", 1, shape=(1, 33), dims=("x",))
    details = transform.encode(ramp.reshape(1, 1, 1, 33))[:, 1]
    torch.testing.assert_close(details.abs().max(), dwt(cross_fade(ramp, 38, 0), "db4")["d"].abs().max())


def test_padding_is_linear_and_decode_is_a_left_inverse_with_gradient() -> None:
    transform = WaveletTransform("db2", 1, shape=(2, 5, 6), dims=("y", "x"), periodic=(False, True))
    x, y = noise(1, 1, 2, 5, 6), noise(1, 1, 2, 5, 6, seed=1)
    torch.testing.assert_close(
        transform.encode(2 * x - y), 2 * transform.encode(x) - transform.encode(y), rtol=0, atol=ROUNDING
    )
    assert torch.autograd.gradcheck(transform.encode, (x.requires_grad_(),))
    z = transform.encode(y).requires_grad_()
    assert torch.autograd.gradcheck(transform.decode, (z,))


def test_white_noise_stays_white() -> None:
    transform = WaveletTransform("db4", 2, shape=(1, 16, 16), dims=("y", "x"), periodic=(True, True))
    z = transform.encode(noise(400, 1, 1, 16, 16))
    n = z.numel() / z.shape[1]
    # a sample variance of unit normals has standard error sqrt(2 / n); 4 of them for each of 16 channels
    assert (z.var((0, 2, 3, 4)) - 1).abs().max() < 4 * (2 / n) ** 0.5


def test_weight_brute_force() -> None:
    transform = WaveletTransform("db2", 1, shape=(2, 4, 6), dims=("y", "x"), periodic=(True, True))
    known = (torch.rand(1, 2, 2, 4, 6, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    share = transform.weight(known)
    for i in range(2):
        for j in range(3):
            mean = known[..., 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((-2, -1))
            for part in range(4):
                torch.testing.assert_close(
                    share[:, 2 * part : 2 * part + 2, :, i, j], mean, rtol=0, atol=1e-15
                )


def test_weight_of_a_fully_known_window_is_one_even_in_the_padding() -> None:
    transform = WaveletTransform("db4", 2, ("time", "x"), shape=(3, 5), dims=("x",))
    share = transform.weight(torch.ones(1, 2, 3, 5, dtype=torch.float64))
    torch.testing.assert_close(share, torch.ones_like(share), rtol=0, atol=1e-15)
    hole = torch.ones(1, 2, 3, 5, dtype=torch.float64)
    hole[..., 2] = 0
    share = transform.weight(hole)
    assert 0 <= share.min() < 0.6
    assert share.max() <= 1


def test_pack_known_lays_masks_out_like_coefficients() -> None:
    transform = WaveletTransform("haar", 2, shape=(3, 8, 8), dims=("y", "x"))
    known = (torch.rand(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    packed = pack_known(transform, known)
    assert packed.shape == (2, 16, 3, 2, 2)
    # haar's approximation is the box mean times 2 per level in two dimensions: an independent path to part 0
    torch.testing.assert_close(packed[:, :1], transform.encode(known)[:, :1] / 4, rtol=0, atol=1e-14)
    assert pack_known(None, known) is known


def test_only_transformed_axes_have_a_fixed_length() -> None:
    transform = WaveletTransform("haar", 1, shape=(6, 4, 8), dims=("y", "x"))
    for frames in (1, 3):  # frames as channels, or a longer condition window
        x = noise(2, 5, frames, 4, 8)
        torch.testing.assert_close(transform.decode(transform.encode(x)), x, rtol=0, atol=ROUNDING)
        assert transform.out_shape((5, frames, 4, 8)) == (20, frames, 2, 4)


def test_fitted_from_takes_size_from_the_windows_and_names_from_the_grid() -> None:
    grid = CartesianGrid((6, 8), extent=(1.0, 2.0), periodic=(False, True))
    spec = FieldSpec(("c",), ("1",), grid, dt=1.0, frames=5)

    def batches() -> Iterator[Sample]:
        yield Sample(noise(2, 1, 3, 6, 8))  # two frames of history are gone

    fitted = WaveletTransform("db2", 1).fitted_from(batches, spec)
    assert fitted.shape == (3, 6, 8)
    assert fitted.out_shape((1, 3, 6, 8)) == (4, 3, 4, 4)  # y padded by 2, x not at all
    with pytest.raises(InputError, match="at least one window"):
        WaveletTransform("db2", 1).fitted_from(lambda: iter(()), spec)


def test_saved_and_built_again(tmp_path) -> None:
    transform = WaveletTransform(("haar", "db3"), 2, ("time", "x")).fitted_to((6, 20), ("x",), (True,))
    x = noise(1, 2, 6, 20)
    again = build(describe(transform))
    torch.testing.assert_close(again.encode(x), transform.encode(x), rtol=0, atol=0)
    again, _ = read(write(tmp_path / "t.saved", transform))
    torch.testing.assert_close(again.encode(x), transform.encode(x), rtol=0, atol=0)


def test_dtype_is_kept() -> None:
    transform = WaveletTransform("db4", 1, shape=(1, 5), dims=("x",))
    assert transform.encode(torch.ones(1, 1, 1, 5)).dtype == torch.float32
    assert transform.decode(torch.ones(1, 2, 1, 5)).dtype == torch.float32


def test_unfitted_says_how_to_fit() -> None:
    transform = WaveletTransform("db4")
    with pytest.raises(NotFitted, match="fitted_to"):
        transform.encode(noise(1, 1, 1, 8))
    with pytest.raises(NotFitted, match=r"fitted\(transform, data\)"):
        transform.decode(noise(1, 2, 1, 4))
    with pytest.raises(NotFitted):
        transform.out_shape((1, 1, 8))


def test_nan_is_refused() -> None:
    transform = WaveletTransform("haar", 1, shape=(1, 4), dims=("x",))
    x = noise(1, 1, 1, 4)
    x[..., 2] = torch.nan
    with pytest.raises(InputError, match="1 of 4 entries NaN.*fill missing values"):
        transform.encode(x)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="did you mean db4"):
        WaveletTransform("db4x")
    with pytest.raises(InputError, match="levels >= 1"):
        WaveletTransform(levels=0)
    with pytest.raises(InputError, match="did you mean latitude"):
        WaveletTransform(axes=("lattitude",))
    with pytest.raises(InputError, match="each named once"):
        WaveletTransform(axes=("x", "x"))
    with pytest.raises(InputError, match="shape and dims together"):
        WaveletTransform(shape=(1, 4))
    with pytest.raises(InputError, match="one name in dims for each"):
        WaveletTransform().fitted_to((1, 4), ("time", "x"))
    with pytest.raises(InputError, match="time, latitude, longitude"):
        WaveletTransform(axes=("x",)).fitted_to((1, 4, 4), ("latitude", "longitude"))
    with pytest.raises(InputError, match="wavelets of y, x"):
        WaveletTransform(("haar", "haar", "db2")).fitted_to((1, 4, 4), ("y", "x"))
    with pytest.raises(InputError, match="periodic"):
        WaveletTransform().fitted_to((1, 4, 4), ("y", "x"), (True,))


def test_windows_of_another_size_are_refused() -> None:
    transform = WaveletTransform("haar", 1, shape=(2, 4, 6), dims=("y", "x"))
    with pytest.raises(ShapeError, match=r"encode.*lengths \(4, 6\)"):
        transform.encode(noise(1, 1, 2, 4, 8))
    with pytest.raises(ShapeError, match=r"encode.*fitted to windows of \(2, 4, 6\)"):
        transform.encode(noise(1, 2, 4, 6))
    with pytest.raises(ShapeError, match=r"decode.*lengths \(2, 3\)"):
        transform.decode(noise(1, 4, 2, 4, 6))
    with pytest.raises(ShapeError, match="channels a multiple of"):
        transform.decode(noise(1, 6, 2, 2, 3))
    with pytest.raises(ShapeError, match="out_shape"):
        transform.out_shape((1, 2, 4, 8))


def test_pixels_are_the_same_channels_without_a_wavelet() -> None:
    x = torch.arange(2 * 4 * 6, dtype=torch.float64).reshape(1, 2, 4, 6)
    transform = WaveletTransform("pixels", axes=("time", "x"), shape=(4, 6), dims=("x",))
    z = transform.encode(x)
    assert z.shape == WaveletTransform("haar", axes=("time", "x"), shape=(4, 6), dims=("x",)).encode(x).shape
    for k, (t, i) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        assert torch.equal(z[:, 2 * k : 2 * k + 2], x[:, :, t::2, i::2])
    assert torch.equal(transform.decode(z), x)
    known = (x > 20).double()
    assert torch.equal(transform.weight(known), transform.encode(known))  # each point has its own share
