"""Layers as functions: the same numbers as nn.Module's call, from the weights that the layer has now."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqel.networks.layers import embedding, layer_norm, linear

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_layer_norm_are_their_layers(bias: bool) -> None:
    one, other = nn.Linear(4, 3, bias=bias), nn.LayerNorm(4, bias=bias, eps=1e-3)
    nn.init.normal_(other.weight)
    assert torch.equal(linear(one, X), one(X))
    assert torch.equal(layer_norm(other, X), other(X))


def test_embedding_is_its_layer() -> None:
    codes = torch.tensor([[1, 0], [2, 2]])
    table = nn.Embedding(3, 4)
    assert torch.equal(embedding(table, codes), table(codes))


def test_replaced_weights_are_used() -> None:
    layer = nn.Linear(4, 3, bias=False)
    linear(layer, X)
    layer.weight = nn.Parameter(torch.ones(3, 4))
    torch.testing.assert_close(linear(layer, X), X.sum(dim=1, keepdim=True).expand(5, 3))
    swapped = {"weight": torch.zeros(3, 4)}
    assert not torch.func.functional_call(_Applied(layer), {f"layer.{name}": w for name, w in swapped.items()}, X).any()


class _Applied(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(self.layer, x)
