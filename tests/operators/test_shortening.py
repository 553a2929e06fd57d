"""A shortened list gives what the function gives, whatever is written or transformed when."""

import torch

from physdiff.operators.recording import record


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def operations(made):
    return [n.target.__name__ for n in made._run.__self__.graph.nodes if n.op == "call_function"]


def test_the_list_is_shortened_and_numbers_move_into_the_symbol():
    symbol, ones = torch.complex(draw(9), draw(9, seed=1)), torch.ones(16, dtype=torch.float64)

    def function(t, x):
        made = 0.5 * (x * ones + torch.zeros_like(x)) ** 2
        return (symbol * torch.fft.rfft(made, dim=-1),)

    x = draw(4, 16)
    made = record(function, 0.0, (x,))
    assert operations(made) == ["mul", "_fft_r2c", "mul"]
    torch.testing.assert_close(made(0.0, x)[0], function(0.0, x)[0], rtol=1e-14, atol=1e-14)
    # a factor that only happens to be one where the list was made is no constant
    made = record(lambda t, x: (x * t,), 1.0, (x,))
    assert torch.equal(made(3.0, x)[0], 3 * x)


def waves(*shape, seed=0):
    return torch.complex(draw(*shape, seed=seed), draw(*shape, seed=seed + 50))


def test_zeros_for_a_transform_are_kept_and_what_only_it_reads_is_made_in_front_of_them():
    weight = waves(5, seed=9)

    def function(t, x):
        first = torch.fft.irfft(torch.addcmul(x, weight, x), n=16, dim=-1)
        return (first, torch.fft.irfft(x * weight, n=16, dim=-1))

    x = waves(3, 5)
    made = record(function, 0.0, (x,))
    assert operations(made) == ["padded", "_fft_c2r", "padded", "_fft_c2r"]
    for seed in (1, 2):
        x = waves(3, 5, seed=seed)
        assert all(map(torch.equal, made(0.0, x), function(0.0, x)))


def test_zeros_are_not_shared_by_what_is_transformed_later():
    def function(t, x):
        one, other = (torch.nn.functional.pad(v, (0, 4)) for v in (x * 2, x * 3))
        return (torch.fft.irfft(one, n=16), torch.fft.irfft(other, n=16))

    x = waves(3, 5)
    assert all(map(torch.equal, record(function, 0.0, (x,))(0.0, x), function(0.0, x)))


def test_what_is_made_before_a_write_is_not_made_after_it():
    def function(t, x):
        own = x + 1
        product = own * x
        own.mul_(2.0)
        return (torch.fft.irfft(torch.nn.functional.pad(product, (0, 4)), n=16), own)

    x = waves(3, 5)
    assert all(map(torch.equal, record(function, 0.0, (x,))(0.0, x), function(0.0, x)))


def test_a_constant_that_is_cut_by_a_mask_is_added_and_no_other_product_of_constants():
    mask, weight, fixed = (torch.arange(9) < 6).double(), draw(9, seed=2), draw(9, seed=3)

    def function(t, x):
        return (torch.addcmul(x * x, mask, fixed), (x * weight).addcmul_(weight, fixed))

    x = draw(4, 9)
    made = record(function, 0.0, (x,))
    assert operations(made) == ["mul", "add", "mul", "addcmul_"]
    for seed in (1, 2):
        x = draw(4, 9, seed=seed)
        assert all(map(torch.equal, made(0.0, x), function(0.0, x)))
