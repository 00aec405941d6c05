"""MLP(h, e(a)): score an action by its embedding instead of giving it an output of its own.

e(a) is an embedding of the action, plus a linear function of its features if it has any (for example in a catalogue of
films). What is learned about one action then generalises to similar ones, and an action that was rarely tried still gets a
value. Any subset of the actions can be scored, so training need not score a large catalogue as a whole. Source of the form:
He et al. 2016, arXiv:1511.04636 (DRRN), with one hidden layer over both inputs instead of an inner product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ActionScorer"]

AT_ONCE = 1 << 25  # hidden units per chunk, where all actions are scored without gradients: 128 MiB


class ActionScorer(nn.Module):
    """Computes `outputs` numbers for every action, or for the given candidates.

    features: (A, F) buffer, standardised; F = 0 if actions have no features, only an embedding of their own.
    """

    features: Tensor

    def __init__(self, actions: int, width: int, outputs: int, features: int = 0) -> None:
        super().__init__()
        self.actions, self.outputs = actions, outputs
        self.register_buffer("features", torch.zeros(actions, features))
        self.own = nn.Embedding(actions, width)
        self.described = nn.Linear(features, width) if features else None
        if features:  # at first only the features matter: the embeddings start at zero
            nn.init.zeros_(self.own.weight)
        else:
            nn.init.normal_(self.own.weight, std=0.5)
        self.state = nn.Linear(width, width)
        self.action = nn.Linear(width, width, bias=False)
        self.last = nn.Linear(width, outputs)

    @torch.no_grad()
    def describe(self, features: Tensor) -> None:
        """Set the features of the actions, (A, F). Columns are standardised; a constant column becomes 0."""
        mean, std = features.mean(dim=0), features.std(dim=0, unbiased=False)
        self.features.copy_((features - mean) / torch.where(std > 1e-6, std, 1.0))

    def forward(self, h: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Score: h (..., D) -> (..., A, outputs); with candidates (..., C), numbers of actions: (..., C, outputs)."""
        state = self.state(h)[..., None, :]
        if candidates is None:
            return self._all(state, self._hidden())
        if candidates.numel() < self.actions:
            return self._score(state + self._hidden(candidates))
        return self._score(state + F.embedding(candidates, self._hidden()))

    def _hidden(self, which: Tensor | None = None) -> Tensor:
        """Return the actions' contribution to the hidden layer, for all actions (A, D) or for some (..., D)."""
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
