"""Selling's decomposition against the tensors it is of."""

import torch

from physdiff.base.rng import Rng
from physdiff.solvers.selling import selling


def whole(offsets, weights):
    return torch.einsum("kn,kin,kjn->nij", weights, offsets.double(), offsets.double())


def test_the_sum_is_the_tensor_and_no_weight_is_negative():
    root = Rng(0).normal((3000, 2, 2), like=torch.empty((), dtype=torch.float64))
    tensor = root @ root.mT
    offsets, weights = selling(tensor[:, 0, 0], tensor[:, 0, 1], tensor[:, 1, 1])
    uneven, gap = torch.linalg.cond(tensor), (whole(offsets, weights) - tensor).abs().amax((1, 2)) / tensor.abs().amax((1, 2))
    # rounding of products with offsets, whose squares grow with the condition, on both sides
    assert float((gap / uneven**2).max()) < 1e-14
    # where one eigenvalue is next to nothing, turning stops before its end, and the weights say so
    assert float(weights[:, uneven < 100].min()) >= 0
    assert int(offsets[:, :, uneven < 5].abs().max()) <= 2


def test_axes_and_diagonals_need_no_others():
    entries = [2.0, 1.0, 0.0, 3.0, 1.0], [0.0, 1.0, 0.0, -1.0, 2.0], [1.0, 1.0, 0.0, 2.0, 4.0]
    offsets, weights = selling(*(torch.tensor(v, dtype=torch.float64) for v in entries))
    assert torch.equal(whole(offsets, weights)[:, 0, 1], torch.tensor([0.0, 1.0, 0.0, -1.0, 2.0], dtype=torch.float64))
    assert float(weights.min()) == 0
    # one eigenvalue along (1, 1) and along (1, 2): one offset each
    assert [int((weights[:, i] > 0).sum()) for i in (1, 2, 4)] == [1, 0, 1]


def test_gradients():
    entries = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([2.0, 1.0], [0.3, -0.6], [1.0, 0.9])]
    assert torch.autograd.gradcheck(lambda *d: whole(*selling(*d)), entries)
