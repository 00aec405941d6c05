"""A gate in place of the residual sum: each block learns, for each element, how much of its output to let in.

GRU-type gating of GTrXL, Parisotto et al. 2019, arXiv:1910.06764. A gate starts nearly closed, so the network is almost
memoryless at first and opens the gates where memory helps. Each gate has 6 D^2 weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Gate"]

CLOSED = 2.0  # initial bias of the update gate: 88 % of the stream passes unchanged


class Gate(nn.Module):
    """x and y -> (1 - z) x + z h, with update z, reset r and candidate h as in a GRU.

    Differs: the matrix products of each input are merged into one.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.found = nn.Linear(width, 3 * width)  # of y: reset, update, candidate
        self.stream = nn.Linear(width, 2 * width, bias=False)  # of x: reset, update
        self.candidate = nn.Linear(width, width, bias=False)  # of r x
        for layer in (self.found, self.stream, self.candidate):
            nn.init.xavier_uniform_(layer.weight)
        with torch.no_grad():
            self.found.bias.zero_()
            self.found.bias[width : 2 * width] = -CLOSED

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Join the residual stream x (..., D) and the output y (..., D) of a block -> (..., D)."""
        reset_y, update_y, candidate_y = self.found(F.relu(y)).chunk(3, dim=-1)
        reset_x, update_x = self.stream(x).chunk(2, dim=-1)
        reset, update = torch.sigmoid(reset_y + reset_x), torch.sigmoid(update_y + update_x)
        candidate = torch.tanh(candidate_y + self.candidate(reset * x))
        return torch.lerp(x, candidate.to(x.dtype), update.to(x.dtype))
