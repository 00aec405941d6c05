"""The pretrained trunk: a causal language model over the tokens of the steps, one token per step.

Its embeddings and its head are not part of it: like every trunk, it maps vectors to states. Attention is banded as in the
Transformer of this project (step i sees steps j of its episode with i - context < j <= i, and a prefix if there is one), with
the same ring of keys when it acts, so a cached step equals the full forward pass.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.trunks.banded_attention import banded_causal_mask
from seqel.networks.trunks.base import State, Trunk
from seqel.networks.trunks.steps import ring_index, step_numbers
from seqel.pretrained.adapted import Adapted, Tuning
from seqel.pretrained.caches import PrefixedKeys, RecordedKeys, RingKeys
from seqel.pretrained.location import BaseModel

__all__ = ["PretrainedTrunk"]


class PretrainedTrunk(Trunk):
    """A model without its head, adapted by `network.tuning`.

    State: `keys`, `values` (layers, E, H, context, d), `position` (E,) int64, as of the Transformer trunk.
    """

    packs_rows: ClassVar[bool] = True
    has_attention: ClassVar[bool] = True
    row_axes: ClassVar[dict[str, int]] = {"keys": 1, "values": 1, "position": 0}

    _place: Tensor

    @classmethod
    def flops(cls, config: NetworkConfig, rows: float, steps: int) -> float:
        """Return the FLOPs of a decoder of this width and depth, whose blocks have about 12 D^2 weights; and attention."""
        tokens = rows * steps
        attention = 2 * 2 * tokens * min(steps, 2 * config.context) * config.width
        return config.layers * (2 * tokens * 12 * config.width**2 + attention)

    def __init__(self, config: NetworkConfig) -> None:
        """Raises ConfigError if the model is not on this machine, or is not as wide and deep as the config says."""
        super().__init__()
        base = BaseModel(config.model, config.model_checksum)
        self.model = Adapted(base, Tuning(config.tuning, config.rank, config.prefix))
        self.shape = self.model.shared.description
        if (self.shape.width, self.shape.layers) != (config.width, config.layers):
            raise ConfigError(
                f"network: expected the width {self.shape.width} and {self.shape.layers} layers of {config.model!r}, got "
                f"{config.width} and {config.layers}"
            )
        self.context = config.context
        self.register_buffer("_place", torch.empty(0), persistent=False)  # knows the device, if nothing is trained

    # -- a whole window ------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, first: Tensor, start: Tensor) -> Tensor:
        return self._run(x, self._banded(first, x), step_numbers(first, start), PrefixedKeys)

    def _run(self, x: Tensor, mask: Tensor, position: Tensor, keys: type[PrefixedKeys] | PrefixedKeys) -> Tensor:
        """Run the model on tokens x (R, N, D), with a mask to add to the scores and the steps' numbers (R, N)."""
        self._require_positions(position)
        found: Any = self.model(inputs_embeds=x, attention_mask=mask, position_ids=position, keys=keys, use_cache=False)
        out: Tensor = found.last_hidden_state
        return out

    def _require_positions(self, position: Tensor) -> None:
        most = self.shape.positions
        if most is not None and position.numel() and int(position.max()) >= most:
            raise ConfigError(
                f"{self.model.shared.base.name!r} has embeddings for {most} positions, but an episode is longer: use a model "
                "with rotary positions, or shorter episodes"
            )

    def _banded(self, first: Tensor, x: Tensor) -> Tensor:
        """Return the band as numbers to add to the scores: booleans are read wrongly by some attention of the library."""
        return _added(banded_causal_mask(first, self.context), x.dtype)

    def weights(self, x: Tensor, first: Tensor, start: Tensor) -> Tensor:
        """Return the attention weights of every layer (slow), without those of the prefix.  -> (B, layers, H, T, T)."""
        with self.model.shared.showing_attention(x.device):
            found: Any = self.model(
                inputs_embeds=x, attention_mask=self._banded(first, x), position_ids=step_numbers(first, start),
                use_cache=False, output_attentions=True,
            )  # fmt: skip
        return torch.stack(found.attentions, dim=1)[..., -x.shape[1] :]

    # -- one step with the ring ----------------------------------------------------------------------------------------

    @property
    def receptive_field(self) -> int:
        return self.shape.layers * (self.context - 1) + 1

    def initial_state(self, batch: int, device: torch.device | None = None) -> State:
        layers, heads, context, width = self.model.shared.key_shape(self.context)
        device = device or self._place.device
        return {
            "keys": torch.zeros(layers, batch, heads, context, width, device=device),
            "values": torch.zeros(layers, batch, heads, context, width, device=device),
            "position": torch.zeros(batch, dtype=torch.int64, device=device),
        }

    def reset(self, state: State, rows: Tensor) -> None:
        which = rows.nonzero()[:, 0]
        state["position"].index_fill_(0, which, 0)
        state["keys"].index_fill_(1, which, 0.0)  # a weight of 0 times a NaN that was left there would be NaN
        state["values"].index_fill_(1, which, 0.0)

    def step(self, x: Tensor, state: State, rows: Tensor | None = None) -> tuple[Tensor, State]:
        every = torch.arange(len(x), device=x.device) if rows is None else rows
        position = state["position"][every]
        used = min(int(position.max()) + 1, self.context)
        ring = RingKeys(self.model.prefix, state["keys"], state["values"], every, position % self.context, used)
        seen = torch.arange(used, device=x.device) <= position[:, None]  # (R, used): all slots, once the ring is full
        h = self._run(x[:, None], _added(seen[:, None, None], x.dtype), position[:, None], ring)
        state["position"][every] = position + 1
        return h[:, 0], state

    def prefill(self, x: Tensor, first: Tensor, start: Tensor, lengths: Tensor) -> State:
        """Run one forward pass, then put the keys and values of the last `context` steps into their slots."""
        numbers = step_numbers(first, start)
        recorded = RecordedKeys(self.model.prefix)
        self._run(x, self._banded(first, x), numbers, recorded)
        state = self.initial_state(len(x), x.device)
        position, index, held = ring_index(numbers, start, lengths, self.context)
        rows = torch.arange(len(x), device=x.device)[:, None]
        for layer, found in enumerate(recorded.found):
            for name, z in zip(("keys", "values"), found, strict=True):
                state[name][layer] = (z.transpose(1, 2)[rows, index] * held[..., None, None]).transpose(1, 2)
        state["position"] = position
        return state


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 0 where a key is seen and the smallest number elsewhere."""
    return torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)
