"""Distillation: keep the policy head's distribution close to that of the agent that training started from.

Cloning texts (or actions) that were sampled from a policy preserves that policy only in expectation, and overfits if there
are few samples. The full distribution as a target has no sampling noise. Hinton et al. 2015, arXiv:1503.02531, with
temperature 1; a penalty on the divergence from the initial policy, as in the fine-tuning of language models (Ziegler et al.
2019, arXiv:1909.08593), but on recorded steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.losses.td import mean_over_dimensions
from seqel.losses.terms.term import Term, TermInput
from seqel.values.policy import log_policy

__all__ = ["DISTILLATION", "distillation_loss"]


def distillation_loss(logits: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return KL(reference || policy) of each action dimension, in nats.  (..., M, A) -> (..., M)."""
    wanted, found = log_policy(reference, mask), log_policy(logits, mask)
    chance = wanted.exp()
    return torch.where(chance > 0.0, chance * (wanted - found), 0.0).sum(dim=-1)  # a masked action has chance 0


def _loss(step: TermInput) -> tuple[Tensor, Tensor]:
    assert step.online.policy_logits is not None
    assert step.reference is not None
    assert step.reference.policy_logits is not None
    logits, reference = step.online.policy_logits[:, :-1], step.reference.policy_logits[:, :-1]
    nats = mean_over_dimensions(distillation_loss(logits, reference, step.mask))
    return nats, nats.detach()


DISTILLATION = Term(
    name="divergence",
    unit="nats",
    meaning="divergence of the policy head from the policy of the agent that training started from",
    setting="distillation_weight",
    head="policy",
    loss=_loss,
    reads_reference=True,
)
