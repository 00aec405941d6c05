"""Encoders of images: convolutions, or patches that attend to each other.

Either way the trunk gets one token per step, however large the image is, so the cost of memory does not depend on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqel.spaces import Leaf

__all__ = ["ConvolutionEncoder", "PatchEncoder"]


class _Pictures(nn.Module, ABC):
    """Base class: converts images (uint8, or planes of bool) of any layout to (N, channels, height, width)."""

    def __init__(self, leaf: Leaf) -> None:
        super().__init__()
        self.axes, self.channels_last = len(leaf.shape), leaf.channels_last
        self.brightest = 1.0 if leaf.dtype == "bool" else 255.0
        if self.axes == 2:
            self.shape = (1, leaf.shape[0], leaf.shape[1])
        elif self.channels_last:
            self.shape = (leaf.shape[2], leaf.shape[0], leaf.shape[1])
        else:
            self.shape = (leaf.shape[0], leaf.shape[1], leaf.shape[2])

    def forward(self, x: Tensor) -> Tensor:
        """Encode the leaf: (..., *shape) -> (..., D)."""
        lead = x.shape[: -self.axes]
        x = x.reshape(-1, *x.shape[-self.axes :]) / self.brightest
        if self.axes == 2:
            x = x[:, None]
        elif self.channels_last:
            x = x.permute(0, 3, 1, 2)
        return self.encode(x).reshape(*lead, -1)

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Encode images between 0 and 1: (N, channels, height, width) -> (N, D)."""


class ConvolutionEncoder(_Pictures):
    """A small convolutional network and one linear layer.

    Sides of at least 64: the layers of Mnih et al. 2015. Below 20: the layer of Young & Tian 2019, arXiv:1903.03176
    (MinAtar).
    """

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__(leaf)
        channels = self.shape[0]
        side = min(self.shape[1:])
        shapes: tuple[tuple[int, int, int], ...] = ((16, min(3, side), 1),)
        if side >= 64:
            shapes = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
        elif side >= 20:
            shapes = ((32, 5, 2), (64, 3, 2), (64, 3, 1))
        layers: list[nn.Module] = []
        for out, kernel, stride in shapes:
            layers += [nn.Conv2d(channels, out, kernel, stride), nn.ReLU()]
            channels = out
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            flat = self.convolutions(torch.zeros(1, *self.shape)).shape[1]
        self.linear = nn.Linear(flat, width)

    def encode(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.convolutions(x))
        return out


class PatchEncoder(_Pictures):
    """A small vision Transformer: each patch of the image attends to all others, and the result is their mean.

    Dosovitskiy et al. 2020, arXiv:2010.11929. Differs: one layer, the mean instead of a class token, and an image whose
    sides are not multiples of the patch size is padded with black at the right and at the bottom.
    """

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__(leaf)
        channels, height, breadth = self.shape
        shorter = min(height, breadth)
        self.side = 8 if shorter >= 64 else 4 if shorter >= 20 else 2
        self.padding = (0, -breadth % self.side, 0, -height % self.side)
        count = -(-height // self.side) * -(-breadth // self.side)
        self.patches = nn.Conv2d(channels, width, self.side, self.side)
        self.place = nn.Parameter(0.02 * torch.randn(count, width))
        heads = max(n for n in (1, 2, 4) if width % n == 0)
        self.attend = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True, bias=True
        )
        self.norm = nn.LayerNorm(width)

    def encode(self, x: Tensor) -> Tensor:
        tokens = self.patches(F.pad(x, self.padding)).flatten(2).transpose(1, 2) + self.place  # (N, patches, D)
        out: Tensor = self.norm(self.attend(tokens).mean(dim=1))
        return out
