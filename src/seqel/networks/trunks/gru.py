"""The GRU trunk: a recurrent baseline for the Transformer, behind the same interface."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from seqel.networks.config import NetworkConfig
from seqel.networks.trunks.base import State, Trunk

__all__ = ["GRUTrunk"]


class GRUTrunk(Trunk):
    """Gated recurrent units (Cho et al. 2014, arXiv:1406.1078), `layers` deep, hidden width D, and a last LayerNorm.

    `context` does not limit how far back it remembers. State: `hidden` (E, layers, D).
    """

    packs_rows: ClassVar[bool] = False  # packed rows would have to be processed step by step
    exportable: ClassVar[bool] = True
    row_axes: ClassVar[dict[str, int]] = {"hidden": 0}

    @classmethod
    def flops(cls, config: NetworkConfig, rows: float, steps: int) -> float:
        """Return the FLOPs: three gates from the input and three from the hidden state; a multiply and an add each."""
        return config.layers * 2 * rows * steps * 6 * config.width**2

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.gru = nn.GRU(config.width, config.width, config.layers, batch_first=True)
        self.norm = nn.LayerNorm(config.width)
        for name, parameter in self.gru.named_parameters():
            if name.startswith("weight_hh"):
                for part in parameter.data.chunk(3):
                    nn.init.orthogonal_(part)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, first: Tensor, start: Tensor) -> Tensor:
        if x.shape[1] > 1 and bool(first[:, 1:].any()):
            return self._forward_packed(x, first)
        out: Tensor = self.norm(self.gru(x)[0])
        return out

    def _forward_packed(self, x: Tensor, first: Tensor) -> Tensor:
        """Process several episodes per row: slower, step by step, resetting where an episode starts."""
        state = self.initial_state(len(x), x.device)
        outputs = []
        for t in range(x.shape[1]):
            state["hidden"] = state["hidden"] * ~first[:, t, None, None]
            h, state = self.step(x[:, t], state)
            outputs.append(h)
        return torch.stack(outputs, dim=1)

    @property
    def receptive_field(self) -> int:
        return 0

    def initial_state(self, batch: int, device: torch.device | None = None) -> State:
        device = device or self.norm.weight.device
        return {"hidden": torch.zeros(batch, self.gru.num_layers, self.gru.hidden_size, device=device)}

    def reset(self, state: State, rows: Tensor) -> None:
        state["hidden"][rows] = 0.0

    def step(self, x: Tensor, state: State, rows: Tensor | None = None) -> tuple[Tensor, State]:
        hidden = state["hidden"] if rows is None else state["hidden"][rows]
        out, new = self.gru(x[:, None], hidden.transpose(0, 1).contiguous())
        if rows is None:
            state["hidden"] = new.transpose(0, 1)
        else:
            state["hidden"][rows] = new.transpose(0, 1)
        return self.norm(out[:, 0]), state

    def step_pure(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Compute the step as a function of its arguments and the weights alone, with the equations written out.

        x (R, D), hidden (R, layers, D) -> h (R, D), new hidden (R, layers, D).
        """
        new = []
        for layer, (w_ih, w_hh, b_ih, b_hh) in enumerate(self.gru.all_weights):
            before = state["hidden"][:, layer]
            reset_x, update_x, new_x = linear(x, w_ih, b_ih).chunk(3, dim=-1)
            reset_h, update_h, new_h = linear(before, w_hh, b_hh).chunk(3, dim=-1)
            update = torch.sigmoid(update_x + update_h)
            candidate = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
            x = (1.0 - update) * candidate + update * before
            new.append(x)
        return self.norm(x), {"hidden": torch.stack(new, dim=1)}

    def remember(self, state: State, new: State) -> None:
        state["hidden"] = new["hidden"]

    @property
    def memory(self) -> dict[str, dict[str, int]]:
        return {"hidden": {"layers": self.gru.num_layers, "width": self.gru.hidden_size}}

    def prefill(self, x: Tensor, first: Tensor, start: Tensor, lengths: Tensor) -> State:
        if x.shape[1] > 1 and bool(first[:, 1:].any()):
            return self._prefill_packed(x, first, lengths)
        some = lengths.clamp(min=1).cpu()
        order = torch.nn.utils.rnn.pack_padded_sequence(x, some, batch_first=True, enforce_sorted=False)
        hidden = self.gru(order)[1].transpose(0, 1)
        return {"hidden": (hidden * (lengths > 0)[:, None, None]).contiguous()}

    def _prefill_packed(self, x: Tensor, first: Tensor, lengths: Tensor) -> State:
        state, held = self.initial_state(len(x), x.device), self.initial_state(len(x), x.device)
        for t in range(x.shape[1]):
            state["hidden"] = state["hidden"] * ~first[:, t, None, None]
            _, state = self.step(x[:, t], state)
            held["hidden"] = torch.where((lengths == t + 1)[:, None, None], state["hidden"], held["hidden"])
        return held
