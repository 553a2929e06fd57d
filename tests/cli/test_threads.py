from __future__ import annotations

import pytest
import torch

from physdiff.cli.threads import threads_for


@pytest.mark.parametrize(("points", "expected"), [(64 * 64, 1), (512 * 512, 2)])
def test_small_grids_get_one_thread_and_the_number_is_restored(points, expected):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="stop"), threads_for(points):
            assert torch.get_num_threads() == expected
            raise RuntimeError("stop")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
