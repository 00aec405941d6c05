"""Faithfulness of an attribution: steps are hidden, or shown, in its order, and the decision is computed again.

Source: deletion and insertion of RISE (Petsiuk et al. 2018, arXiv:1806.07421). Differs: steps in place of pixels, a step is
hidden by the mean token, and the curve is that of the explained score (`Question`) in place of a class's probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.explanation.question import Explained, Question, explained
from seqel.explanation.reading import Reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.explanation.trace import EpisodeTrace

__all__ = ["Faithfulness", "faithfulness", "rank_of", "separation"]

POINTS = 24  # of a curve at most


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Areas under the curves of S decisions. A faithful attribution has a small deletion and a large insertion.

    The score is divided by its value in the whole episode and clipped to -1 to 1, so areas are between -1 and 1. Kept: the
    share of points of a curve where the greedy action is still that of the whole episode.
    """

    deletion: NDArray[np.float64]  # (S,): the most important steps are hidden first
    insertion: NDArray[np.float64]  # (S,): all past steps are hidden, and the most important ones are shown first
    deletion_kept: NDArray[np.float64]  # (S,)
    insertion_kept: NDArray[np.float64]  # (S,)
    dropped: NDArray[np.float64]  # (S,): what hiding the first step alone takes from the score, in units of the score


def faithfulness(
    agent: Agent,
    trace: EpisodeTrace,
    attribution: NDArray[np.floating],
    steps: Sequence[int],
    question: Question | None = None,
    *,
    reading: Reading | None = None,
    other: int | None = None,
) -> Faithfulness:
    """Measure an attribution (S, T+1) of S decisions, as `attribute` returns it. Only past steps are hidden.

    Steps are taken in the order of their attribution, the largest first, and not of its magnitude: steps that lower the score
    are last.

    other: the index of an episode in `reading.others`. A hidden step then has the token of the same step in that episode, or
    the mean token if the episode has no such step; None: always the mean token. A measure that hides steps by the mean token
    could favour methods that do the same.

    Raises:
        ConfigError: the attribution has another shape; a decision has no past step; or there is no such other episode.
    """
    if attribution.shape != (len(steps), len(trace) + 1):
        raise ConfigError(f"attribution: expected {(len(steps), len(trace) + 1)}, got {attribution.shape}")
    if not steps or min(steps) < 1:
        raise ConfigError(f"steps: expected decisions with earlier steps, from 1 on, got {list(steps)}")
    reading = reading or Reading(agent, trace)
    if other is not None and not 0 <= other < len(reading.others):
        raise ConfigError(f"other: expected one of the {len(reading.others)} other episodes, from 0 on, got {other}")
    wanted = explained(reading, steps, question or Question())
    instead = _instead(reading, other)
    rows = [_one(reading, wanted, row, np.asarray(attribution[row], np.float64), instead) for row in range(len(steps))]
    return Faithfulness(*(np.array(column, np.float64) for column in zip(*rows, strict=True)))


def _instead(reading: Reading, other: int | None) -> Tensor:
    """Return the tokens of hidden steps: (T+1, D)."""
    instead = reading.mean_token.expand_as(reading.tokens).clone()
    if other is not None:
        begin, tokens = reading.others[other]
        first = reading.trace.start
        low, high = max(first, begin), min(first + len(instead), begin + len(tokens))
        if low < high:
            instead[low - first : high - first] = tokens[low - begin : high - begin]
    return instead


def _one(
    reading: Reading, wanted: Explained, row: int, weights: NDArray[np.float64], instead: Tensor
) -> tuple[float, float, float, float, float]:
    decision = wanted.steps[row]
    begin = reading.first_needed(decision)
    order = begin + np.argsort(-weights[begin:decision], kind="stable")
    counts = np.unique(np.linspace(0, len(order), min(len(order) + 1, POINTS)).round().astype(int))
    counts = np.union1d(counts, [min(1, len(order))])
    hidden = np.zeros((2, len(counts), decision + 1 - begin), bool)
    for point, count in enumerate(counts):
        hidden[0, point, order[:count] - begin] = True
        hidden[1, point, order[count:] - begin] = True
    masks = torch.from_numpy(hidden.reshape(-1, hidden.shape[-1]))
    values, kept = _scores(reading, wanted, row, masks, begin, instead[begin : decision + 1])
    whole = float(values[0])
    share = np.clip(values / whole if abs(whole) > 1e-9 else np.zeros_like(values), -1.0, 1.0).reshape(2, -1)
    at = counts / max(1, len(order))
    area = [float(np.trapezoid(one, at)) if len(at) > 1 else float(one[0]) for one in share]
    same = kept.reshape(2, -1)
    areas_kept = [float(np.trapezoid(one, at)) if len(at) > 1 else float(one[0]) for one in same]
    first = int(np.flatnonzero(counts == min(1, len(order)))[0])
    return area[0], area[1], areas_kept[0], areas_kept[1], 1.0 - float(share[0, first])


@torch.inference_mode()
def _scores(
    reading: Reading, wanted: Explained, row: int, hidden: Tensor, begin: int, instead: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the explained score with some steps hidden, and whether the greedy action is the same: hidden (N, S) bool,
    instead (S, D) the tokens of hidden steps."""
    decision = wanted.steps[row]
    tokens = reading.tokens[begin : decision + 1]
    rows = torch.where(hidden.to(tokens.device)[..., None], instead, tokens)
    h = torch.cat([reading.states(part, begin)[:, -1] for part in torch.split(rows, 256)])
    one = slice(row, row + 1)
    values = wanted.values(reading, h[:, None], one)[:, 0]
    actions = reading.decision_scores(h[:, None], [decision]).argmax(dim=-1)[:, 0]  # (N, M)
    kept = (actions == actions[0]).all(dim=-1)
    return values.double().cpu().numpy(), kept.double().cpu().numpy()


def rank_of(weights: NDArray[np.floating], relevant: Sequence[int], decision: int) -> float:
    """Return the rank of the best relevant step among the past steps of a decision, by magnitude: 1 is the first.

    weights (T+1,): a row of `attribute`. Equal weights share the mean of their ranks, so that a method that gives all steps
    the same gets no credit.

    Raises:
        ConfigError: no relevant step is before the decision.
    """
    past = np.abs(np.asarray(weights[:decision], np.float64))
    some = [step for step in relevant if 0 <= step < decision]
    if not some:
        raise ConfigError(f"relevant: expected a step before {decision}, got {list(relevant)}")
    best = past[some].max()
    return float((past > best).sum() + ((past == best).sum() + 1) / 2)


def separation(weights: NDArray[np.floating], relevant: Sequence[int], decision: int) -> float:
    """Return the probability that a relevant past step has a larger magnitude than another one; 0.5 by chance, nan if all
    or none of them are relevant. Equal magnitudes count half."""
    past = np.abs(np.asarray(weights[:decision], np.float64))
    some = np.zeros(decision, bool)
    some[[step for step in relevant if 0 <= step < decision]] = True
    if some.all() or not some.any():
        return float("nan")
    apart = past[some][:, None] - past[~some][None]
    return float((apart > 0).mean() + 0.5 * (apart == 0).mean())
