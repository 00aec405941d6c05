"""MLP(h, e(a)): an action is scored by what it is, not by its place in a list of outputs.

e(a) is a row of the action's own plus, where actions are described by numbers (a catalogue of films, say), a linear
function of these: what is learnt about one action is then known about those like it, and an action that was hardly ever
tried has a value all the same. Any subset can be scored, so that a large catalogue need not be scored as a whole to be
learnt from. Source of the form: He et al. 2016, arXiv:1511.04636 (DRRN), with one hidden layer over both instead of an inner
product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ActionScorer"]

AT_ONCE = 1 << 25  # hidden numbers of a piece, where all actions are scored and nothing is learnt: 128 MiB


class ActionScorer(nn.Module):
    """`outputs` numbers for every action, or for those asked for.

    features: (A, F) buffer, standardised; F = 0 where actions are told apart by their own rows alone.
    """

    features: Tensor

    def __init__(self, actions: int, width: int, outputs: int, features: int = 0) -> None:
        super().__init__()
        self.actions, self.outputs = actions, outputs
        self.register_buffer("features", torch.zeros(actions, features))
        self.own = nn.Embedding(actions, width)
        self.described = nn.Linear(features, width) if features else None
        if features:  # at first an action is what its features say, and nothing of its own
            nn.init.zeros_(self.own.weight)
        else:
            nn.init.normal_(self.own.weight, std=0.5)
        self.state = nn.Linear(width, width)
        self.action = nn.Linear(width, width, bias=False)
        self.last = nn.Linear(width, outputs)

    @torch.no_grad()
    def describe(self, features: Tensor) -> None:
        """Take what is known of the actions, (A, F); columns are standardised, one that never varies becomes 0."""
        mean, std = features.mean(dim=0), features.std(dim=0, unbiased=False)
        self.features.copy_((features - mean) / torch.where(std > 1e-6, std, 1.0))

    def forward(self, h: Tensor, candidates: Tensor | None = None) -> Tensor:
        """h (..., D) -> (..., A, outputs); with candidates (..., C), numbers of actions: (..., C, outputs)."""
        state = self.state(h)[..., None, :]
        if candidates is None:
            return self._all(state, self._hidden())
        if candidates.numel() < self.actions:
            return self._score(state + self._hidden(candidates))
        return self._score(state + F.embedding(candidates, self._hidden()))

    def _hidden(self, which: Tensor | None = None) -> Tensor:
        """The action's part of the hidden layer, of all actions (A, D) or of some (..., D)."""
        e = self.own.weight if which is None else self.own(which)
        if self.described is not None:
            e = e + self.described(self.features if which is None else self.features[which])
        out: Tensor = self.action(e)
        return out

    def _score(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.last(F.gelu(hidden))
        return out

    def _all(self, state: Tensor, hidden: Tensor) -> Tensor:
        size = state.numel() * self.actions
        if (
            torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or torch.onnx.is_in_onnx_export()
            or size <= AT_ONCE
        ):
            return self._score(state + hidden)
        flat = state.reshape(-1, 1, state.shape[-1])
        pieces = torch.split(flat, max(1, AT_ONCE // hidden.numel()))
        out = torch.cat([self._score(piece + hidden) for piece in pieces])
        return out.reshape(*state.shape[:-2], self.actions, self.outputs)
