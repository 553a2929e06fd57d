"""Order conditions of Runge-Kutta methods by rooted trees (Butcher): one equation per tree, the density counted on the way."""

from functools import cache
from itertools import combinations_with_replacement

import torch

__all__ = ["coupled_defects", "order_defects", "trees"]


@cache
def trees(size):
    """Rooted trees of so many vertices, each a sorted tuple of the subtrees at the root: 1, 1, 2, 4, 9, 20 of them."""
    return tuple(sorted({tuple(sorted(forest)) for forest in _forests(size - 1, size - 1)}))


def _forests(total, largest):
    if total == 0:
        yield ()
        return
    for size in range(min(total, largest), 0, -1):
        for count in range(1, total // size + 1):
            for same in combinations_with_replacement(trees(size), count):
                for rest in _forests(total - size * count, size - 1):
                    yield (*same, *rest)


def _order(tree):
    return 1 + sum(_order(branch) for branch in tree)


def _density(tree):
    out = _order(tree)
    for branch in tree:
        out *= _density(branch)
    return out


def order_defects(a, b, order):
    """|sum over stages - 1 / density| of each tree, by number of vertices up to `order`; `a` in rows that may be cut short."""
    n = len(b)
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for i, row in enumerate(a):
        matrix[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    weights = torch.tensor(b, dtype=torch.float64)

    def stages(tree):
        out = torch.ones(n, dtype=torch.float64)
        for branch in tree:
            out = out * (matrix @ stages(branch))
        return out

    return {size: [abs(float(weights @ stages(tree)) - 1 / _density(tree)) for tree in trees(size)] for size in range(1, order + 1)}


def coupled_defects(explicit, implicit, order):
    """The same for a pair that ends in its last stage: every tree with every colouring of its vertices, explicit or implicit."""
    n = len(explicit)
    matrices = torch.zeros(2, n, n, dtype=torch.float64)
    for i in range(n):
        matrices[0, i, : len(explicit[i])] = torch.tensor(explicit[i], dtype=torch.float64)
        matrices[1, i, : len(implicit[i])] = torch.tensor(implicit[i], dtype=torch.float64)

    def stages(tree):
        """One vector of stages per colouring of the vertices above the root."""
        out = [torch.ones(n, dtype=torch.float64)]
        for branch in tree:
            out = [v * (matrix @ w) for v in out for w in stages(branch) for matrix in matrices]
        return out

    def defects(tree):
        return [abs(float(matrix[-1] @ v) - 1 / _density(tree)) for v in stages(tree) for matrix in matrices]

    return {size: [d for tree in trees(size) for d in defects(tree)] for size in range(1, order + 1)}
