"""Where the command computes."""

import torch

from physdiff.cli.device import best_device


def test_it_is_the_accelerator_if_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device() == torch.device("cpu")
    # under torchrun every process has its own
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert best_device() == torch.device("cuda", 1)
