"""Observation, previous action, previous reward and first-step flag -> one token a step.

Each leaf of the observation has an encoder of its own; their outputs are added, which is the same as one linear layer
over all of them side by side. The previous reward is symlogged, so that its scale does not matter much.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqel.errors import SpaceError
from seqel.networks.config import NetworkConfig
from seqel.networks.encoders.images import ConvolutionEncoder, PatchEncoder
from seqel.spaces import ActionSpec, Leaf, ObservationSpec
from seqel.values.hl_gauss import symlog

__all__ = ["TokenEncoder", "VectorEncoder"]

BOUND_LIMIT = 1e4  # wider bounds say nothing about the values that occur
CODE_WIDTH = 8  # width of a grid code's embedding
CLIP = 10.0  # normalised values are kept within this many standard deviations


class VectorEncoder(nn.Module):
    """Numbers, scaled by their bounds where they have any, else by statistics that freeze after a warm-up."""

    mean: Tensor
    scale: Tensor
    bounded: Tensor

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        low, high = torch.tensor(leaf.low, dtype=torch.float64), torch.tensor(leaf.high, dtype=torch.float64)
        bounded = (low > -BOUND_LIMIT) & (high < BOUND_LIMIT) & (high > low)
        middle = torch.where(bounded, (low + high) / 2, 0.0)
        half = torch.where(bounded, (high - low) / 2, 1.0)
        self.register_buffer("mean", middle.float())
        self.register_buffer("scale", half.float())
        self.register_buffer("bounded", bounded)
        self.linear = nn.Linear(len(leaf.low), width)

    def observe(self, mean: Tensor, std: Tensor) -> None:
        """Take the statistics of a warm-up.  mean, std (n,); a value that never varied is only centred."""
        std = torch.where(std > 1e-6, std, 1.0)
        self.mean.copy_(torch.where(self.bounded, self.mean, mean.float()))
        self.scale.copy_(torch.where(self.bounded, self.scale, std.float()))

    def normalise(self, x: Tensor) -> Tensor:
        """x (..., n), any dtype -> (..., n) float32."""
        return ((x.float() - self.mean) / self.scale).clamp(-CLIP, CLIP)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.normalise(x))
        return out


class Deduplicated(nn.Module):
    """Encodes each distinct row of a batch once: the codes of grids and texts repeat, and their encoders are wide.

    Rows are told apart by a 64-bit hash. While compiling, every row is encoded: the number of distinct ones is data.
    """

    odd: Tensor

    def __init__(self, leaf: Leaf, encoder: nn.Module) -> None:
        super().__init__()
        size = math.prod(leaf.shape)
        generator = torch.Generator().manual_seed(1)
        odd = torch.randint(-(1 << 62), 1 << 62, (size,), generator=generator) * 2 + 1
        self.register_buffer("odd", odd, persistent=False)
        self.axes, self.encoder = len(leaf.shape), encoder

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[: x.ndim - self.axes]
        rows = x.reshape(-1, *x.shape[x.ndim - self.axes :])
        if torch.compiler.is_compiling() or len(rows) < 2:
            out: Tensor = self.encoder(rows)
            return out.reshape(*lead, -1)
        key = (rows.flatten(1).long() * self.odd).sum(dim=1)
        distinct, inverse = torch.unique(key, return_inverse=True)
        some = torch.empty_like(distinct).scatter_(0, inverse, torch.arange(len(rows), device=x.device))
        encoded: Tensor = self.encoder(rows[some])
        return encoded[inverse].reshape(*lead, -1)


class CategoriesEncoder(nn.Module):
    """One embedding row for each (element, code), added up: a linear layer over one-hot codes, without making them.

    Where several elements have the same codes (cards on a table, say), each code also has a row that they share: what is
    learnt about a picture at one place is known at every other, and can be looked for wherever it was seen.
    """

    offsets: Tensor

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        sizes = torch.tensor(leaf.sizes)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        alike = len(leaf.sizes) > 1 and len(set(leaf.sizes)) == 1
        self.table = nn.Embedding(sum(leaf.sizes), width)
        self.shared = nn.Embedding(leaf.sizes[0], width) if alike else None
        for table in (self.table, self.shared):
            if table is not None:
                nn.init.normal_(table.weight, std=len(leaf.sizes) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.table(x + self.offsets).sum(dim=-2)
        return out if self.shared is None else out + self.shared(x).sum(dim=-2)


class GridEncoder(nn.Module):
    """Cells of category codes: an embedding a channel, then one linear layer over the whole grid."""

    offsets: Tensor

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        sizes = torch.tensor(leaf.sizes)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.axes = len(leaf.shape)
        self.table = nn.Embedding(sum(leaf.sizes), CODE_WIDTH)
        self.linear = nn.Linear(math.prod(leaf.shape) * CODE_WIDTH, width)

    def forward(self, x: Tensor) -> Tensor:
        codes = x.long()
        codes = codes + self.offsets if self.axes == 3 else codes
        out: Tensor = self.linear(self.table(codes).flatten(-self.axes - 1))
        return out


class TextEncoder(nn.Module):
    """The mean of the embeddings of a text's hashed byte trigrams (0 is padding)."""

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(leaf.sizes[0], width, padding_idx=0)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).long()
        out: Tensor = F.embedding_bag(flat, self.table.weight, mode="mean", padding_idx=0)
        return out.reshape(*x.shape[:-1], -1)


ENCODERS: dict[str, type[nn.Module]] = {
    "vector": VectorEncoder,
    "categories": CategoriesEncoder,
    "grid": GridEncoder,
    "text": TextEncoder,
}
IMAGE_ENCODERS: dict[str, type[nn.Module]] = {"cnn": ConvolutionEncoder, "patches": PatchEncoder}


def _encoder(leaf: Leaf, config: NetworkConfig) -> nn.Module:
    if leaf.kind == "image":
        return IMAGE_ENCODERS[config.image](leaf, config.width)
    encoder = ENCODERS[leaf.kind](leaf, config.width)
    return Deduplicated(leaf, encoder) if leaf.kind in ("grid", "text") else encoder


class TokenEncoder(nn.Module):
    """One token a step: what was seen, what was done before it, and what that earned."""

    def __init__(self, observation: ObservationSpec, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.paths = [leaf.path for leaf in observation.leaves]
        self.encoders = nn.ModuleList(_encoder(leaf, config) for leaf in observation.leaves)
        self.actions = nn.ModuleList(nn.Embedding(size, config.width) for size in action.sizes)
        self.reward = nn.Linear(1, config.width, bias=False)
        self.first = nn.Parameter(torch.randn(config.width) * 0.5)
        self.config = config
        for table in self.actions:
            assert isinstance(table, nn.Embedding)
            nn.init.normal_(table.weight, std=0.5)

    def forward(
        self, observation: dict[str, Tensor], previous_action: Tensor, previous_reward: Tensor, first: Tensor
    ) -> Tensor:
        """Leaves (..., *shape), previous_action (..., M), previous_reward and first (...) -> (..., D).

        Where `first` is True the previous action and reward are ignored: there were none.
        """
        token: Tensor | None = None
        for path, encoder in zip(self.paths, self.encoders, strict=True):
            if path not in observation:
                raise SpaceError(f"the observation lacks {path!r}; expected {self.paths}, got {list(observation)}")
            part = encoder(observation[path])
            token = part if token is None else token + part
        assert token is not None
        return token + torch.where(first[..., None], self._beginning(), self._before(previous_action, previous_reward))

    def _beginning(self) -> Tensor:
        return self.first if self.config.first_step else torch.zeros_like(self.first)

    def _before(self, action: Tensor, reward: Tensor) -> Tensor:
        """What was done before, and what that earned.  -> (..., D), or anything that broadcasts to it."""
        parts: list[Tensor] = []
        if self.config.previous_action:
            parts += [table(action[..., dim]) for dim, table in enumerate(self.actions)]
        if self.config.previous_reward:
            parts.append(symlog(reward)[..., None] * self.reward.weight[:, 0])
        return sum(parts[1:], parts[0]) if parts else torch.zeros_like(self.first)

    def vectors(self) -> dict[str, VectorEncoder]:
        """The leaves that have statistics."""
        pairs = zip(self.paths, self.encoders, strict=True)
        return {path: encoder for path, encoder in pairs if isinstance(encoder, VectorEncoder)}
