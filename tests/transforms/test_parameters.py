"""Parameters are one coordinate each, whatever the size of the window; decoded windows are constant and positive."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, NotFitted
from physdiff.base.rng import Rng
from physdiff.base.saved import read, write
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import FramesToChannels
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.parameters import ParameterChannels
from physdiff.transforms.transform import Sample
from physdiff.transforms.wavelet import WaveletTransform

SPEC = FieldSpec(("nu", "u", "kappa"), ("m2/s", "m/s", "m2/s"), CartesianGrid((8, 12), extent=(1.0, 2.0)), 0.1, 3)


def windows(count: int = 40) -> Tensor:
    """A field between two parameters, log-normal with logarithms of mean -3 and 1, std 0.5 and 2."""
    x = Rng(0).child("u").normal((count, *SPEC.shape)).double()
    g = Rng(0).child("parameters").normal((count, 2)).double()
    x[:, 0] = torch.exp(-3 + 0.5 * g[:, 0]).reshape(-1, 1, 1, 1)
    x[:, 2] = torch.exp(1 + 2 * g[:, 1]).reshape(-1, 1, 1, 1)
    return x


def fitted(x: Tensor, size: float = 2.0) -> ParameterChannels:
    chain = Compose((Normalizer(("channel", "time")), FramesToChannels(3), WaveletTransform("haar", 1)))
    return ParameterChannels(chain, (0, 2), size).fitted_from(lambda: iter([Sample(x)]), SPEC)


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_there_and_back_and_unit_coordinates(size) -> None:
    x = windows()
    transform = fitted(x, size)
    z = transform.encode(x)
    assert z.shape[1:] == transform.out_shape(SPEC.shape) == (3 * 4 + 2, 1, 4, 6)
    # statistics are kept in float32
    torch.testing.assert_close(transform.decode(z), x, rtol=1e-5, atol=1e-5)
    coordinate = z[:, -2:].flatten(2) @ torch.full((24,), 24**-0.5, dtype=torch.float64)
    torch.testing.assert_close(coordinate.std(0, correction=0), torch.full((2,), size, dtype=torch.float64), rtol=1e-5, atol=0)
    # the fields' coefficients are those of their own transform
    torch.testing.assert_close(z[:, :-2], transform.fields.encode(x[:, 1:2]), rtol=0, atol=0)


def test_what_is_not_constant_in_the_coefficients_is_left_out() -> None:
    x = windows()
    transform = fitted(x)
    z = transform.encode(x)
    off = Rng(1).normal((1, 2, 1, 4, 6)).double()
    z[:, -2:] += off - off.mean((-1, -2), keepdim=True)
    torch.testing.assert_close(transform.decode(z), x, rtol=1e-5, atol=1e-5)


def test_it_is_saved_and_built_again(tmp_path) -> None:
    x = windows()
    transform = fitted(x)
    again, _ = read(write(tmp_path / "transform", transform))
    assert torch.equal(again.encode(x), transform.encode(x))


def test_worded_errors() -> None:
    x = windows()
    transform = fitted(x)
    negative, wavy = x.clone(), x.clone()
    negative[0, 2] *= -1
    wavy[0, 0, 0, 0, 0] *= 1.01
    for bad in (negative, wavy):
        with pytest.raises(InputError, match="positive numbers, each constant over its window"):
            transform.encode(bad)
    with pytest.raises(InputError, match="more than 2 channels, got 2"):
        transform.encode(x[:, :2])
    with pytest.raises(InputError, match="distinct channels"):
        ParameterChannels(transform.fields, (0, 0))
    with pytest.raises(InputError, match="a field beside the parameters"):
        ParameterChannels(Compose(()), (0, 1, 2)).fitted_from(lambda: iter([Sample(x)]), SPEC)
    with pytest.raises(NotFitted, match="expected statistics"):
        ParameterChannels(Compose(()), (0, 2)).encode(x)
