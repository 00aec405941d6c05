"""The uncertainty of a decision, from the agent's scores or from the return distributions of its head."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.safety.abstention import MEASURES, uncertainty_of_scores
from seqel.types import QOutput
from seqel.values.registry import make_values

__all__ = ["choose_measure", "uncertainty_of"]

DISTRIBUTIONS = ("c51", "quantile")


def choose_measure(config: NetworkConfig, dims: int, measure: str = "auto") -> str:
    """Return the measure of an agent's uncertainty; "auto": the one that its heads suit best.

    Raises ConfigError if the heads do not give what the measure needs.
    """
    decides = config.policy_head == "greedy"
    overlaps = config.value in DISTRIBUTIONS and dims == 1 and not decides
    if measure == "auto":
        return "entropy" if decides and not config.value_weight else "overlap" if overlaps else "gap"
    if measure not in MEASURES:
        raise ConfigError(f"measure: expected 'auto' or one of {', '.join(MEASURES)}, got {measure!r}")
    if measure == "overlap" and not overlaps:
        raise ConfigError(
            "measure 'overlap': expected network.value = 'c51' or 'quantile', one action dimension, and no policy head that "
            f"decides; got {config.value!r} and policy_head = {config.policy_head!r}"
        )
    if measure == "entropy" and not decides:
        raise ConfigError(f"measure 'entropy': expected policy_head = 'greedy', got {config.policy_head!r}")
    return measure


def uncertainty_of(
    out: QOutput, scores: NDArray[np.float32], config: NetworkConfig, measure: str
) -> NDArray[np.float64]:
    """Return the uncertainty of R decisions, (R,): scores (R, M, A or C), -inf where an action is not allowed."""
    if measure != "overlap" or scores.shape[-1] < 2:
        return uncertainty_of_scores(scores, measure if measure != "overlap" else "gap")
    assert out.logits is not None
    two = np.argsort(-scores[:, 0], axis=-1, kind="stable")[:, :2]  # best, second
    index = torch.from_numpy(two)[..., None].to(out.logits.device)
    with torch.inference_mode():
        logits = out.logits[:, 0].take_along_dim(index, dim=1)  # (R, 2, n)
        found = _overlap(logits, config).double().cpu().numpy()
    alone = ~np.isfinite(np.take_along_axis(scores[:, 0], two[:, 1:], axis=1)[:, 0])
    return np.where(alone, -np.inf, found)


def _overlap(outputs: Tensor, config: NetworkConfig) -> Tensor:
    """Return P(second > best) + P(equal) / 2 of independent returns: outputs (R, 2, n) of best and second -> (R,)."""
    kind = make_values(config.value, config.bins, config.value_range)
    atoms = kind.support(outputs)
    if atoms is None:  # quantiles: n values with equal probability
        value = outputs
        weight = torch.full_like(outputs, 1.0 / outputs.shape[-1])
    else:
        value = atoms.expand_as(outputs)
        weight = outputs.softmax(dim=-1)
    difference = value[:, 1, :, None] - value[:, 0, None, :]  # (R, n of second, n of best)
    beats = (difference > 0).to(outputs.dtype) + 0.5 * (difference == 0).to(outputs.dtype)
    return torch.einsum("ri,rij,rj->r", weight[:, 1], beats, weight[:, 0])
