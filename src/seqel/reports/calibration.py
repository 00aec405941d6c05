"""Calibration of Q-values: the value that the agent predicted for its action against the return that followed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.evaluation.recording import PlayedEpisodes

__all__ = [
    "UNSEEN",
    "Calibration",
    "CalibrationBin",
    "calibrate",
    "calibration_points",
    "known_returns",
    "returns_to_go",
]

BINS = 10
RESAMPLES = 1_000
UNSEEN = 0.05  # a step counts if at most this weight of its return lies beyond a truncation


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Steps with similar predictions."""

    predicted: float  # mean predicted value, in units of reward
    realised: float  # mean realised discounted return
    low: float  # 95 % interval of `realised`; nan from a single episode
    high: float
    steps: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predicted values against realised discounted returns. Intervals: 95 %, bootstrap over episodes."""

    steps: int
    episodes: int  # with at least one counted step
    left_out: int  # steps too close to a truncation
    bias: float  # mean of predicted minus realised, in units of reward; above 0: the agent overestimates
    bias_interval: tuple[float, float]
    # of the least-squares line of realised on predicted: 1 and 0 if calibrated; nan if all predictions are equal
    slope: float
    slope_interval: tuple[float, float]
    intercept: float  # in units of reward
    intercept_interval: tuple[float, float]
    rmse: float  # root mean square of predicted minus realised
    # expected calibration error: mean over steps of |predicted - realised| of their bins; at least 0, so chance raises it
    error: float
    error_interval: tuple[float, float]  # with the bins of all steps
    correlation: float
    bins: list[CalibrationBin]


def returns_to_go(reward: NDArray[np.float64], lengths: NDArray[np.int64], discount: float) -> NDArray[np.float64]:
    """Return the discounted return from each step to the end of its episode: (N,) of episodes with these lengths (E,)."""
    found = np.zeros(len(reward))
    ends = np.cumsum(lengths)
    for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
        following = 0.0
        for step in range(end - 1, end - length - 1, -1):
            following = float(reward[step]) + discount * following
            found[step] = following
    return found


def known_returns(
    lengths: NDArray[np.int64], terminated: NDArray[np.bool_], discount: float, unseen: float = UNSEEN
) -> NDArray[np.bool_]:
    """Return at which steps (N,) the return to go is known.

    It is, in an episode that terminated. If an episode was truncated after T steps, the rewards beyond it are missing, with
    the weight discount^(T - t) at step t: the step counts if that is at most `unseen`.
    """
    left = np.concatenate(
        [np.arange(length, 0, -1) for length in lengths.tolist()]
    )  # steps up to the end, this one too
    ends = np.repeat(terminated, lengths)
    return np.asarray(ends | (np.power(float(discount), left) <= unseen), bool)


def calibration_points(
    played: PlayedEpisodes, discount: float, most: int = 500, seed: int = 0, unseen: float = UNSEEN
) -> list[list[float]]:
    """Return [predicted, realised] of the steps that count, at most `most` of them, drawn without replacement."""
    counted = np.flatnonzero(known_returns(played.lengths, played.terminated, discount, unseen))
    if len(counted) > most:
        counted = np.sort(np.random.default_rng(seed).choice(counted, most, replace=False))
    realised = returns_to_go(played.reward, played.lengths, discount)
    return [[float(played.q[step]), float(realised[step])] for step in counted.tolist()]


def calibrate(
    played: PlayedEpisodes,
    discount: float,
    *,
    bins: int = BINS,
    unseen: float = UNSEEN,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Calibration | None:
    """Compare the predicted value of each chosen action with the discounted return that followed it.

    Bins hold equally many steps each, in the order of the predictions; fewer if predictions are equal. Steps of an episode
    depend on each other, so that intervals come from resampling whole episodes. Returns None if no step counts (see
    `known_returns`): then every episode was truncated too early to know what the agent would have earned.

    Raises:
        ConfigError: fewer than one bin or resample, or a discount outside 0..1.
    """
    if bins < 1 or resamples < 1 or not 0.0 <= discount <= 1.0:
        raise ConfigError(
            f"expected bins and resamples >= 1 and 0 <= discount <= 1, got {bins}, {resamples}, {discount}"
        )
    counted = known_returns(played.lengths, played.terminated, discount, unseen)
    if not counted.any():
        return None
    realised = returns_to_go(played.reward, played.lengths, discount)[counted]
    predicted = played.q.astype(np.float64)[counted]
    episode = np.unique(np.repeat(np.arange(len(played.lengths)), played.lengths)[counted], return_inverse=True)[1]
    count = int(episode.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples) if count > 1 else None  # (resamples, E)

    moments = _per_episode(episode, count, predicted, realised)  # (E, 5)
    slope, intercept, bias = _line(moments.sum(axis=0)[None])
    slopes, intercepts, biases = (None, None, None) if drawn is None else _line(drawn @ moments)
    cuts = np.unique(np.quantile(predicted, np.arange(1, bins) / bins))
    which = np.searchsorted(cuts, predicted, side="right")
    found = [_bin(predicted, realised, episode, which == place, drawn) for place in np.unique(which).tolist()]
    difference = np.zeros((count, len(cuts) + 1))  # of each episode in each bin: the sum of predicted minus realised
    np.add.at(difference, (episode, which), predicted - realised)
    errors = None if drawn is None else np.abs(drawn @ difference).sum(axis=1) / (drawn @ moments[:, 0])
    spread = bool(np.ptp(predicted) > 0 and np.ptp(realised) > 0)
    return Calibration(
        steps=len(predicted),
        episodes=count,
        left_out=int((~counted).sum()),
        bias=float(bias[0]),
        bias_interval=_interval(biases),
        slope=float(slope[0]),
        slope_interval=_interval(slopes),
        intercept=float(intercept[0]),
        intercept_interval=_interval(intercepts),
        rmse=float(np.sqrt(np.mean((predicted - realised) ** 2))),
        error=sum(one.steps * abs(one.predicted - one.realised) for one in found) / len(predicted),
        error_interval=_interval(errors),
        correlation=float(np.corrcoef(predicted, realised)[0, 1]) if spread else math.nan,
        bins=found,
    )


def _per_episode(
    episode: NDArray[np.int64], count: int, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The sums of 1, x, y, x^2 and x y over the steps of each episode, (E, 5)."""
    return np.stack([np.bincount(episode, weights, count) for weights in (np.ones_like(x), x, y, x * x, x * y)], axis=1)


def _line(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The slope and the intercept of y on x and the mean of x - y, from such sums of all steps: (R, 5) -> three (R,)."""
    n, x, y, xx, xy = sums.T
    variance = xx / n - (x / n) ** 2
    small = 1e-12 * (xx / n)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where(variance > small, (xy / n - x / n * y / n) / variance, math.nan)
    return slope, y / n - slope * x / n, (x - y) / n


def _bin(
    predicted: NDArray[np.float64],
    realised: NDArray[np.float64],
    episode: NDArray[np.int64],
    where: NDArray[np.bool_],
    drawn: NDArray[np.int64] | None,
) -> CalibrationBin:
    low = high = math.nan
    if drawn is not None:
        count = drawn.shape[1]
        sums = np.bincount(episode[where], realised[where], count)
        steps = np.bincount(episode[where], minlength=count)
        with np.errstate(invalid="ignore"):
            means = (drawn @ sums) / (drawn @ steps)  # nan where no episode with such a step was drawn
        if (steps > 0).sum() > 1:
            low, high = _interval(means)
    return CalibrationBin(float(predicted[where].mean()), float(realised[where].mean()), low, high, int(where.sum()))


def _interval(values: NDArray[np.float64] | None) -> tuple[float, float]:
    if values is None or not np.isfinite(values).any():
        return math.nan, math.nan
    low, high = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    return float(low), float(high)
