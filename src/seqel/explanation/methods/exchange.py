"""Exchange: by how much the explained score falls, on average, if a step is replaced by that step of other episodes."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.explanation.methods.base import Method, empty
from seqel.explanation.methods.occlusion import changes
from seqel.explanation.question import Explained
from seqel.explanation.reading import Reading

__all__ = ["METHOD", "exchange"]


@torch.inference_mode()
def exchange(reading: Reading, explained: Explained) -> Tensor:
    """Return the explained score less its mean with a step's token taken from each of the other episodes: (S, T+1).

    The step of another episode is the one with the same number; if no other episode is that long, the mean token is used.
    Occlusion compares with the decision without the step, which may be right by default; exchange compares with the decision
    if the step shows something else.
    Source: the marginal baseline of Strumbelj & Kononenko 2014, doi:10.1007/s10115-013-0679-x. Differs: one step at a time,
    without sums over sets of steps.
    """
    last, first = max(explained.steps), reading.trace.start
    steps: list[int] = []
    tokens: list[Tensor] = []
    for step in range(last + 1):
        found = [other[place] for begin, other in reading.others if 0 <= (place := first + step - begin) < len(other)]
        found = found or [reading.mean_token]
        steps += [step] * len(found)
        tokens += found
    at, instead = torch.tensor(steps, device=reading.tokens.device), torch.stack(tokens)
    out = empty(reading, explained)
    count = torch.bincount(at, minlength=len(reading)).clamp(min=1)
    changed = (instead != reading.tokens[at]).any(dim=-1)  # the same token changes nothing
    if changed.any():
        fall = changes(reading, explained, at[changed], instead[changed])  # (N, S)
        out[:, : last + 1].index_add_(1, at[changed], fall.T)
    return out / count


METHOD = Method(
    "exchange",
    "by how much the explained score falls, on average, if the step is that of another episode",
    exchange,
    signed=True,
    needs_others=True,
    order=1,
)
