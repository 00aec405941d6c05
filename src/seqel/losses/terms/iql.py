"""Implicit Q-learning: bootstrap from a state value that follows the best recorded actions, instead of a maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.losses.terms.term import Term, TermInput

__all__ = ["IQL", "expectile_loss"]


def expectile_loss(error: Tensor, tau: float) -> Tensor:
    """Return |tau - 1(error < 0)| error^2, elementwise: IQL's loss of the state value, with error = Q(s, a) - V(s).

    tau = 0.5 gives half the squared error (the mean); as tau goes to 1, the value follows the best recorded actions.
    Source: Kostrikov et al. 2021, arXiv:2110.06169, eq. 5. Raises ValueError unless 0 < tau < 1.
    """
    if not 0.0 < tau < 1.0:
        raise ValueError(f"expected 0 < tau < 1; got {tau}")
    return torch.where(error < 0, 1.0 - tau, tau) * error.square()


def _loss(step: TermInput) -> tuple[Tensor, Tensor]:
    assert step.advantage is not None
    loss = expectile_loss(step.advantage, step.config.iql_expectile)
    return loss, loss.detach()


IQL = Term(
    name="state_value",
    unit="scale^2",
    meaning="expectile loss of the state value (IQL)",
    setting="iql_expectile",
    head="state_value",
    loss=_loss,
    weighted=False,
)
