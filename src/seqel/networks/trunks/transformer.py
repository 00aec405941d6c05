"""The Transformer trunk: pre-norm blocks, rotary positions, a clock, a banded causal mask and a ring of keys.

Decisions: pre-norm (stable without a long warm-up); an MLP with ReLU and 4x the width (as good as GELU here and cheaper,
docs/experiments.md); no biases in attention; a last LayerNorm before the head. Position enters twice: rotary angles encode
how long ago a step was, and the clock (a learned linear function of sinusoids of the step number) encodes when in the
episode it was. Recall by position needs the clock, because rotation encodes differences only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqel.networks.config import NetworkConfig
from seqel.networks.layers import layer_norm
from seqel.networks.trunks.banded_attention import (
    attention_weights,
    banded_attention,
    banded_causal_mask,
    frequencies,
    phase_cosines,
    ring_attention,
    ring_bias,
    ring_empty,
    rotary,
    written_ring_attention,
)
from seqel.networks.trunks.base import State, Trunk
from seqel.networks.trunks.block import Block
from seqel.networks.trunks.steps import ring_index, step_numbers

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # number of the layer, q, k, v (..., H, d) -> (..., H d)

__all__ = ["StepEncoding", "Transformer"]

TABLE, TABLE_BLOCK = 4_096, 256  # steps: of the table of waves at most, and by how many it grows


class StepEncoding(nn.Module):
    """A learned linear function of sinusoids of the step number; it starts as the scaled sinusoids themselves.

    Sinusoids: Vaswani et al. 2017. Differs: learnable. Unlike a table of embeddings it has no maximum length.
    """

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(width) * scale)

    @staticmethod
    def waves(width: int, base: float) -> tuple[Tensor, Tensor]:
        """Return the frequencies and phases of the sinusoids: sines, then cosines.  -> two (D,) float64."""
        once = frequencies(width, base)
        return once.repeat(2), torch.cat((torch.full_like(once, -math.pi / 2), torch.zeros_like(once)))

    def forward(self, sinusoids: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return sinusoids @ self.weight


class Transformer(Trunk):
    """A stack of blocks over one token per step.

    State: `keys`, `values` (layers, E, H, context, d), `position` (E,) int64: the number of steps so far, which is also
    the number of the next step. Slot s of the ring holds the latest step whose number is s modulo `context`.
    """

    packs_rows: ClassVar[bool] = True
    has_attention: ClassVar[bool] = True
    exportable: ClassVar[bool] = True
    row_axes: ClassVar[dict[str, int]] = {"keys": 1, "values": 1, "position": 0}
    compiles: ClassVar[bool] = True

    frequency: Tensor
    phase: Tensor
    table: Tensor

    @classmethod
    def flops(cls, config: NetworkConfig, rows: float, steps: int) -> float:
        """Return the FLOPs: per token D times 3 H d (qkv), H d (out) and 2 `units` (MLP), times 2; and attention."""
        tokens = rows * steps
        attended = config.heads * config.attention_dim
        block = 2 * tokens * (4 * attended + 2 * config.units) * config.width
        attention = 2 * 2 * tokens * min(steps, 2 * config.context) * attended
        return config.layers * (block + attention)

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.context = config.context
        self.dim = config.attention_dim
        waves = [rotary(self.dim, config.rope_base)]
        if config.clock:
            waves.append(StepEncoding.waves(config.width, config.clock_base))
        self.register_buffer("frequency", torch.cat([frequency for frequency, _ in waves]), persistent=False)
        self.register_buffer("phase", torch.cat([phase for _, phase in waves]), persistent=False)
        self.register_buffer("table", torch.empty(0, len(self.phase)), persistent=False)  # `_waves` of steps 0, 1, ...
        self.clock = StepEncoding(config.width, config.clock_scale) if config.clock else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self._init_weights()

    def _init_weights(self) -> None:
        depth = (2 * self.config.layers) ** -0.5  # residual branches start small, so that deep stacks stay stable
        for name, parameter in self.blocks.named_parameters():
            if "gate" in name:
                continue  # it has an initialisation of its own
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter, gain=depth if name.endswith(("out.weight",)) else 1.0)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def _run_blocks(self, x: Tensor, waves: Tensor, attend: Attend) -> Tensor:
        """Run the blocks on tokens x (..., D) -> (..., D). Windows and steps differ in `attend` alone.

        waves (..., n): the `phase_cosines` of the tokens' steps, for the rotary factors of all layers and the clock.
        """
        cos, sin, clock = waves.tensor_split((self.dim, 2 * self.dim), dim=-1)
        if self.clock is not None:
            x = x + self.clock(clock)
        cos, sin = cos[..., None, None, :], sin[..., None, None, :]
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            q, k, v = block.project(x, cos, sin)
            x = block.merge(x, attend(layer, q, k, v))
        return layer_norm(self.norm, x)

    # -- a whole window --------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, first: Tensor, start: Tensor) -> Tensor:
        return self._run_blocks(x, self._waves(step_numbers(first, start)), self._banded(first))

    def _waves(self, position: Tensor) -> Tensor:
        return phase_cosines(position, self.frequency, self.phase)

    def weights(self, x: Tensor, first: Tensor, start: Tensor) -> Tensor:
        """Return the attention weights of every layer (slow).  -> (B, layers, H, T, T); rows are queries."""
        mask, attend, found = banded_causal_mask(first, self.context), self._banded(first), []

        def observed(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            found.append(attention_weights(q.transpose(1, 2), k.transpose(1, 2), mask))
            return attend(layer, q, k, v)

        self._run_blocks(x, self._waves(step_numbers(first, start)), observed)
        return torch.stack(found, dim=1)

    def _banded(self, first: Tensor) -> Attend:
        """Return attention within windows: q, k, v (B, T, H, d) -> (B, T, H d)."""
        mask = banded_causal_mask(first, self.context)
        dropout = self.config.dropout if self.training else 0.0

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            return banded_attention(q, k, v, mask, dropout).transpose(1, 2).flatten(-2)

        return attend

    # -- one step with the ring ------------------------------------------------------------------------------------

    def initial_state(self, batch: int, device: torch.device | None = None) -> State:
        shape = (self.config.layers, batch, self.config.heads, self.context, self.dim)
        device = device or self.norm.weight.device
        return {
            "keys": torch.zeros(shape, device=device),
            "values": torch.zeros(shape, device=device),
            "position": torch.zeros(batch, dtype=torch.int64, device=device),
        }

    def reset(self, state: State, rows: Tensor) -> None:
        # The position alone decides which slots are seen. But a weight of 0 times NaN is NaN, so a NaN that one bad
        # observation left is cleared with its episode.
        which = rows.nonzero()[:, 0]
        state["position"].index_fill_(0, which, 0)
        state["keys"].index_fill_(1, which, 0.0)
        state["values"].index_fill_(1, which, 0.0)

    def step(self, x: Tensor, state: State, rows: Tensor | None = None) -> tuple[Tensor, State]:
        position = state["position"]
        now = position if rows is None else position[rows]
        steps = now.cpu().numpy()  # few numbers: NumPy is faster, and on a GPU, nothing else is being computed
        attend = self._through_ring(state["keys"], state["values"], steps, rows)
        h = self._run_blocks(x, self._known_waves(now, int(steps.max())), attend)
        if rows is None:
            position += 1
        else:
            position[rows] += 1
        return h, state

    def _known_waves(self, position: Tensor, last: int) -> Tensor:
        """`_waves` of steps up to `last`, from a table. It grows in blocks, so the same step always has the same numbers."""
        if last >= TABLE:
            return self._waves(position)
        while last >= len(self.table):
            with torch.inference_mode(mode=False):
                block = torch.arange(len(self.table), len(self.table) + TABLE_BLOCK, device=position.device)
                self.table = torch.cat((self.table, self._waves(block)))
        return torch.embedding(self.table, position)

    def _through_ring(self, keys: Tensor, values: Tensor, position: NDArray[np.int64], rows: Tensor | None) -> Attend:
        """Return attention that first writes the new keys and values into the ring: q, k, v (R, H, d) -> (R, H d)."""
        used = min(int(position.max()) + 1, self.context)  # slots that hold a step of any episode
        every = np.arange(len(position)) if rows is None else rows
        every, slot, bias = (
            torch.as_tensor(array, device=keys.device)
            for array in (every, position % self.context, ring_bias(position, self.config.heads, used))
        )
        place = (every, slot)
        # a tensor for each layer: to write (E, C, H, d), and to read (E H, C, d)
        written_k, written_v = keys.transpose(2, 3).unbind(), values.transpose(2, 3).unbind()
        read_k, read_v = keys.flatten(1, 2)[:, :, :used].unbind(), values.flatten(1, 2)[:, :, :used].unbind()

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            written_k[layer].index_put_(place, k)
            written_v[layer].index_put_(place, v)
            if rows is None:
                return written_ring_attention(q, read_k[layer], read_v[layer], bias)
            some_k, some_v = (ring[layer, rows, :, :used].flatten(0, 1) for ring in (keys, values))
            return written_ring_attention(q, some_k, some_v, bias)

        return attend

    def step_pure(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Compute the step as a function of its arguments and the weights alone. `remember` then writes what it returns.

        x (R, D), keys and values (layers, R, H, C, d), position (R,) -> h (R, D), new keys and values (R, layers, H, d).
        """
        keys, values, position = state["keys"], state["values"], state["position"]
        empty = ring_empty(position, self.context)
        new_keys, new_values = [], []

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            new_keys.append(k)
            new_values.append(v)
            return ring_attention(q, k, v, keys[layer], values[layer], empty).flatten(-2)

        h = self._run_blocks(x, self._waves(position), attend)
        return h, {"keys": torch.stack(new_keys, dim=1), "values": torch.stack(new_values, dim=1)}

    def remember(self, state: State, new: State) -> None:
        position = state["position"]
        every, slot = torch.arange(len(position), device=position.device), position % self.context
        state["keys"][:, every, :, slot] = new["keys"]
        state["values"][:, every, :, slot] = new["values"]
        position += 1

    @property
    def receptive_field(self) -> int:
        return self.config.layers * (self.context - 1) + 1

    @property
    def memory(self) -> dict[str, dict[str, int]]:
        sizes = {"layers": self.config.layers, "heads": self.config.heads, "context": self.context, "dim": self.dim}
        return {"ring": sizes}

    def prefill(self, x: Tensor, first: Tensor, start: Tensor, lengths: Tensor) -> State:
        """Run one forward pass, then put the keys and values of the last `context` steps into their slots.

        The result is exact if the last episode starts in its window, or if the window holds layers * (context - 1) + 1
        steps of it.
        """
        state = self.initial_state(len(x), x.device)
        numbers, banded = step_numbers(first, start), self._banded(first)
        position, index, held = ring_index(numbers, start, lengths, self.context)
        rows = torch.arange(len(x), device=x.device)[:, None]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for name, z in (("keys", k), ("values", v)):
                taken = z[rows, index] * held[..., None, None]  # (B, C, H, d)
                state[name][layer] = taken.transpose(1, 2)
            return banded(layer, q, k, v)

        self._run_blocks(x, self._waves(numbers), attend)
        state["position"] = position
        return state
