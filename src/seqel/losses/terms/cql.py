"""Conservative Q-learning: push down the values of actions that were not recorded."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.losses.td import gather_actions, mean_over_dimensions
from seqel.losses.terms.term import Term, TermInput
from seqel.values.policy import mask_out

__all__ = ["CQL", "cql_penalty"]


def cql_penalty(
    q: Tensor, action: Tensor, temperature: float, mask: Tensor | None = None, log_count: Tensor | None = None
) -> Tensor:
    """Return t logsumexp(q / t) - q(a): how far the values of all actions exceed that of the recorded one.  -> (..., M).

    q (..., M, A) is in return scales, action (..., M); the result is never below 0. The term of discrete CQL(H): Kumar et
    al. 2020, arXiv:2006.04779, eq. 4. Differs: q is measured in return scales and has a `temperature`, because the values
    of two actions differ by a small part of the return; with 1 and rewards of the paper's size it is the paper's term.
    Each action dimension has a term of its own (Beeson, Ireland & Montana 2024, arXiv:2411.11088). log_count, of q's shape:
    the log of the number of actions that each column represents, if the other actions were sampled.

    Raises ValueError unless temperature > 0, or on other shapes.
    """
    if not temperature > 0.0:
        raise ValueError(f"expected temperature > 0; got {temperature}")
    taken = gather_actions(q, action)
    scaled = mask_out(q, mask) / temperature
    return temperature * torch.logsumexp(scaled if log_count is None else scaled + log_count, dim=-1) - taken


def _loss(step: TermInput) -> tuple[Tensor, Tensor]:
    q = step.online.q[:, :-1] / step.scale
    gap = mean_over_dimensions(
        cql_penalty(q, step.batch.action, step.config.cql_temperature, step.mask, step.log_count)
    )
    return gap, gap.detach()


CQL = Term(
    name="conservative",
    unit="scale",
    meaning="how far the values of all actions are above that of the recorded one (CQL)",
    setting="cql_alpha",
    head=None,
    loss=_loss,
    reads_values=True,
)
