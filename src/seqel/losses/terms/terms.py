"""What learning from recorded data adds to Q-learning: pure functions, each of one term; composed in `objective.py`.

Recorded data cannot be asked what another action would have earned. Each term keeps the learner near what was recorded in
its own way: low values elsewhere (`cql_penalty`), the recorded action itself (`cloning_loss`), values of what good recorded
actions earn (`expectile_loss`), or no bootstrap through actions that nobody took (`support_mask`).
q and logits are (..., M, A); a mask is bool, True = allowed, (..., 1, A) or of their shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.losses.td import gather_actions

__all__ = ["advantage_weight", "cloning_loss", "cql_penalty", "expectile_loss", "log_policy", "support_mask"]

HEAVIEST = 20.0  # times the lightest possible pull of an action, so that one step cannot decide an update


def cql_penalty(
    q: Tensor, action: Tensor, temperature: float, mask: Tensor | None = None, log_count: Tensor | None = None
) -> Tensor:
    """How far the values of all actions stand above that of the recorded one: t logsumexp(q / t) - q(a) -> (..., M).

    q (..., M, A) in units of the return scale, action (..., M); never below 0. The term of discrete CQL(H): Kumar et al.
    2020, arXiv:2006.04779, eq. 4. Differs: q is measured in return scales and softened by `temperature`, because values
    that tell actions apart differ by a small part of the return; with 1 and rewards of the paper's size it is the paper's.
    log_count: how many actions each column stands for, where the others were drawn from many (log, of q's shape).

    Raises ValueError unless temperature > 0, or on other shapes.
    """
    if not temperature > 0.0:
        raise ValueError(f"expected temperature > 0; came {temperature}")
    taken = gather_actions(q, action)
    scaled = _only(q, mask) / temperature
    return temperature * torch.logsumexp(scaled if log_count is None else scaled + log_count, dim=-1) - taken


def log_policy(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """log pi(a | history) over the allowed actions; -inf elsewhere.  (..., M, A) -> (..., M, A)."""
    return _only(logits, mask).log_softmax(dim=-1)


def cloning_loss(logits: Tensor, action: Tensor, mask: Tensor | None = None, log_count: Tensor | None = None) -> Tensor:
    """Cross-entropy of the recorded action, in nats: behaviour cloning, and the supervised part of SQN.  -> (..., M).

    Xin et al. 2020, arXiv:2006.05779 (SQN), for its place beside Q-learning. log_count: as in `cql_penalty`; the sampled
    softmax of Bengio and Senecal 2008 for negatives drawn evenly.
    """
    return -gather_actions(log_policy(logits if log_count is None else logits + log_count, mask), action)


def expectile_loss(error: Tensor, tau: float) -> Tensor:
    """|tau - 1(error < 0)| error^2, elementwise: IQL's loss of the state value, error = Q(s, a) - V(s).

    tau = 0.5 gives half the squared error (the mean); towards 1 the value follows the best recorded actions. Source:
    Kostrikov et al. 2021, arXiv:2110.06169, eq. 5. Raises ValueError unless 0 < tau < 1.
    """
    if not 0.0 < tau < 1.0:
        raise ValueError(f"expected 0 < tau < 1; came {tau}")
    return torch.where(error < 0, 1.0 - tau, tau) * error.square()


def advantage_weight(advantage: Tensor, beta: float, learn: Tensor) -> Tensor:
    """exp(beta advantage / mean |advantage|), at most HEAVIEST: how much a recorded action is worth imitating.

    advantage (B, T, M), learn (B, T) bool: the steps that the mean is taken over. Carries no gradient. Source: Peng et
    al. 2019, arXiv:1910.00177 (advantage-weighted regression), as IQL uses it. Differs: the advantage is measured in
    its own mean size, so that beta means the same whatever the rewards are.
    """
    advantage = advantage.detach()
    size = torch.where(learn[..., None], advantage.abs(), 0.0).sum()
    mean = size / (learn.sum() * advantage.shape[-1]).clamp(min=1)
    return (beta * advantage / mean.clamp(min=1e-6)).exp().clamp(max=HEAVIEST)


def support_mask(logits: Tensor, threshold: float, mask: Tensor | None = None) -> Tensor:
    """Whether an action is at least `threshold` times as likely as the likeliest one, bool (..., M, A).

    Never empty where the mask is not. Source: Fujimoto et al. 2019, arXiv:1910.01708 (discrete BCQ), eq. 5 f.
    """
    log = log_policy(logits.detach(), mask)
    near: Tensor = log.exp() >= threshold * log.exp().amax(dim=-1, keepdim=True)
    return near if mask is None else near & mask


def _only(x: Tensor, mask: Tensor | None) -> Tensor:
    """x, -inf where the mask forbids. A row that allows nothing (padding) stays as it is, so that nothing is NaN."""
    return x if mask is None else x.masked_fill(~(mask | ~mask.any(dim=-1, keepdim=True)), -torch.inf)
