"""How much a decision depends on each past step, measured by hiding the steps one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seqel.explanation.trace import EpisodeTrace, require_past, scores, window_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent

__all__ = ["occlusion"]

ROWS = 64  # variants of the episode, each with one hidden step, per forward pass


def occlusion(agent: Agent, episode: EpisodeTrace, step: int) -> NDArray[np.float32]:
    """Return how much the decision at `step` changes when each earlier step is hidden: (step,), never negative.

    Each step's token in turn is replaced by the mean token of the steps before `step`. The measure is the largest change of
    an action's advantage (its score minus the mean over its dimension's actions) at `step`: in units of reward, or nats if
    the policy head decides.
    Source: Zeiler & Fergus 2014, arXiv:1311.2901. Differs: hides a token instead of a patch of an image.

    Raises:
        ConfigError: there are no steps before `step`.
    """
    require_past(step, len(episode) + 1)
    batch, network = window_of(agent, episode), agent.network

    def advantage(tokens: Tensor) -> Tensor:  # (N, T+1, D) -> (N, M, A)
        rows = len(tokens)
        h = network.trunk(tokens, batch.is_first.expand(rows, -1), batch.start_step.expand(rows))
        found = scores(agent, network.heads(h))[:, step]
        if network.available is None:
            return found - found.mean(dim=-1, keepdim=True)
        there = network.available  # (M, A): what is beyond a dimension's own size is no action
        found = found.masked_fill(~there, 0.0)
        return torch.where(there, found - found.sum(dim=-1, keepdim=True) / there.sum(dim=-1, keepdim=True), 0.0)

    with torch.inference_mode():
        tokens = network.embed(batch)
        mean, base = tokens[0, :step].mean(dim=0), advantage(tokens)
        changes = []
        for begin in range(0, step, ROWS):
            hidden = torch.arange(begin, min(begin + ROWS, step), device=tokens.device)
            variants = tokens.repeat(len(hidden), 1, 1)
            variants[torch.arange(len(hidden), device=tokens.device), hidden] = mean
            changes.append((advantage(variants) - base).abs().flatten(1).amax(dim=1))
    return np.asarray(torch.cat(changes).float().cpu().numpy(), np.float32)
