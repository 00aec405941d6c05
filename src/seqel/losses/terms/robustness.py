"""Robustness of the greedy action: a hinge on its margin when observations are moved within a small distance (SA-DQN).

The regulariser of Zhang et al. 2020, arXiv:2003.08938, section 3.3. At each step, with a* the greedy action of the clean
window and Q' the values of the moved one: max(max_{a != a*} Q'(a) - Q'(a*), -margin), in return scales. Differs: the moved
observations are found by steps along the sign of the gradient (`training/adversary.py`), for the whole window at once,
because the values depend on the history; the distance is not increased over training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.losses.td import masked_argmax, mean_over_dimensions
from seqel.losses.terms.term import Term, TermInput

__all__ = ["ROBUSTNESS", "greedy_margin", "margin_loss"]


def greedy_margin(clean: Tensor, moved: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return by how much the best other action exceeds the greedy action of `clean` in `moved`.

    Values (..., M, A) -> (..., M). Above 0: the greedy action changed. -inf where no other action is allowed. `clean` gets
    no gradient.
    """
    greedy = masked_argmax(clean.detach(), mask)  # (..., M)
    own = moved.gather(-1, greedy[..., None])[..., 0]
    others = moved if mask is None else moved.masked_fill(~mask, -torch.inf)
    others = others.scatter(-1, greedy[..., None], -torch.inf)
    return others.amax(dim=-1) - own


def margin_loss(clean: Tensor, moved: Tensor, margin: float, mask: Tensor | None = None) -> Tensor:
    """Return max(`greedy_margin`, -margin): flat once the greedy action leads by the margin.  -> (..., M)."""
    return greedy_margin(clean, moved, mask).clamp(min=-margin)


def _loss(step: TermInput) -> tuple[Tensor, Tensor]:
    assert step.moved is not None
    clean, moved = (out.preference[:, :-1] / step.scale for out in (step.online, step.moved))
    loss = margin_loss(clean, moved, step.config.robust_margin, step.mask)
    found = mean_over_dimensions(loss)
    return found, found.detach()


ROBUSTNESS = Term(
    name="robustness",
    unit="scale",
    meaning="by how much another action exceeds the greedy one when observations are moved within `robust_epsilon`, at least "
    "minus `robust_margin`",
    setting="robust_weight",
    head=None,
    loss=_loss,
    reads_values=True,
    reads_moved=True,
)
