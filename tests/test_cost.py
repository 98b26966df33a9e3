import torch
from torch import nn

from fsft.cost import saved_activation_bytes


def test_counts_what_backward_needs():
    x = torch.randn(8, 4, requires_grad=True)
    layer = nn.Linear(4, 3)
    assert saved_activation_bytes(lambda: layer(x), layer.parameters()) == x.numel() * 4
    assert saved_activation_bytes(lambda: x + 1) == 0
    assert saved_activation_bytes(lambda: (x * 2).exp()) == x.numel() * 4


def test_counts_a_shared_storage_once():
    x = torch.randn(16, 16, requires_grad=True)
    assert saved_activation_bytes(lambda: x.sin() + x.cos()) == x.numel() * 4
    assert saved_activation_bytes(lambda: x * x.view(16, 16)) == x.numel() * 4


def test_intermediate_results_that_die_early_are_not_merged():
    """Freed memory may be given to the next tensor; both count."""
    x = torch.randn(64, 64, requires_grad=True)
    assert saved_activation_bytes(lambda: x.exp().exp().exp()) == 3 * x.numel() * 4
