"""Sets of multi-indices by hand."""

import pytest

from physdiff.base.errors import InputError
from physdiff.operators.jet_orders import closed, lowered, products, raised


def test_lower_orders_come_with_higher_ones_sorted_by_sum():
    assert closed([(0, 1), (2, 0)]) == ((0, 0), (1, 0), (0, 1), (2, 0))
    assert closed([(1, 1)]) == ((0, 0), (1, 0), (0, 1), (1, 1))
    assert raised((1, 0), 1) == (1, 1)
    for wrong in ([], [(1,), (1, 0)], [(5,)], [(-1,)]):
        with pytest.raises(InputError, match="one length and totals from 0 to 4"):
            closed(wrong)


def test_products_are_the_pairs_that_add_up():
    assert products(closed([(2,)])) == (((0, 0),), ((0, 1), (1, 0)), ((0, 2), (1, 1), (2, 0)))


def test_a_derivative_takes_rows_with_the_factors_of_its_powers():
    orders = closed([(3, 0), (1, 1)])
    assert lowered(orders, 0) == ((1, 3, 4, 5), ((0, 0), (1, 0), (0, 1), (2, 0)), (1, 2, 1, 3))
    assert lowered(((0, 0),), 1) == ((), (), ())
