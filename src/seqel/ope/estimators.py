"""What a policy would have earned, from sessions that another one recorded: importance sampling and doubly robust estimates.

Pure functions of arrays, N sessions of at most T steps, padded. Everything is discounted by the caller's gamma. With

    ratio (N, T)   pi(a_t | h_t) / mu(a_t | h_t)      weight w_t = ratio_0 ... ratio_t (w_{-1} = 1)
    q, v (N, T)    what fitted Q evaluation says of the recorded action, and of the policy's own choice

each estimate is a sum over t of gamma^t times a mean over sessions, so that one matrix product gives all resamples of a
bootstrap. Sources: Precup et al. 2000 (per-decision and weighted importance sampling); Jiang & Li 2016, arXiv:1511.03722
(doubly robust); Thomas & Brunskill 2016, arXiv:1604.00923 (weighted doubly robust).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from seqel.errors import DataError

__all__ = ["METHODS", "Estimate", "Logged", "bellman_error", "correctable_steps", "effective_sizes", "estimate"]

Array = NDArray[np.float64]

METHODS = {
    "fitted": "fitted Q evaluation alone",
    "per-decision": "per-decision importance sampling",
    "weighted": "weighted per-decision importance sampling",
    "doubly-robust": "doubly robust",
    "weighted-doubly-robust": "weighted doubly robust",
}
LARGEST = 1e6  # of a product of ratios: beyond it nothing but noise is multiplied
RESAMPLES = 1_000
DRAWS = 20_000_000  # counts of sessions in resamples that are drawn at once, at most


@dataclass(frozen=True, slots=True)
class Logged:
    """N recorded sessions and what is known of one policy on them; (N, T) each, 0 in padding.

    T has room for one step more than the longest session: where a session was truncated, `v` there is the value of its
    final observation, in which the value of its last action is bootstrapped.
    """

    reward: Array
    valid: NDArray[np.bool_]
    ratio: Array
    q: Array
    v: Array
    discount: float

    def __post_init__(self) -> None:
        shapes = {self.reward.shape, self.valid.shape, self.ratio.shape, self.q.shape, self.v.shape}
        if len(shapes) != 1 or self.reward.ndim != 2 or 0 in self.reward.shape:
            raise DataError(f"expected five arrays (N, T) of one shape, got {sorted(shapes)}")
        for name in ("reward", "ratio", "q", "v"):
            if not np.isfinite(getattr(self, name)).all():
                raise DataError(f"expected finite {name}, got one that is not")
        if (self.ratio[self.valid] < 0).any():
            raise DataError("expected ratios of probabilities, at least 0, got a negative one")

    def weights(self) -> Array:
        """w_t (N, T): the product of ratios up to and with t; a session that has ended keeps its last one."""
        ratio = np.where(self.valid, self.ratio, 1.0)
        with np.errstate(divide="ignore"):
            log = np.cumsum(np.log(ratio), axis=1)
        weights: Array = np.exp(np.minimum(log, np.log(LARGEST)))
        return weights


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % bootstrap interval over sessions."""

    value: float
    low: float
    high: float
    method: str
    corrected: int = 0  # steps of each session at which recorded rewards correct the fitted values
    fit: float = 0.0  # standard error that the fit adds to the sessions'; the interval holds both

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    def widened(self, error: float, freedom: int) -> Estimate:
        """With an independent standard error of the fit: the sides of the interval and Student's t times it, taken
        together as the root of the sum of squares. freedom: the degrees of freedom with which it was estimated.
        """
        correctable_steps = float(student_t.ppf(0.975, freedom)) * error
        low = self.value - float(np.hypot(self.value - self.low, correctable_steps))
        high = self.value + float(np.hypot(self.high - self.value, correctable_steps))
        return replace(self, low=low, high=high, fit=error)


def effective_sizes(weights: Array) -> Array:
    """How many sessions the weighted mean at each step rests on: (sum w)^2 / sum w^2.  (N, T) -> (T,)."""
    square = (weights**2).sum(axis=0)
    sizes: Array = np.divide(weights.sum(axis=0) ** 2, square, out=np.zeros_like(square), where=square > 0)
    return sizes


def bellman_error(logged: Logged, after: int = 0) -> float:
    """How far the fitted values contradict the recorded rewards, in units of reward, discounted, from step `after` on (the
    first one that is not corrected anyway) to a session's end.

    The doubly robust correction, with each step weighted by its own ratio in place of the product of all up to there:
    sum over t of gamma^t times the share of sessions that get there times the weighted mean of r_t + gamma v_{t+1} - q_t.
    That can be measured where products have long vanished; it is not the values' error, because the sessions are where the
    recorded policy took them, but of its size. -> root of (that sum squared plus its sampling variance).
    """
    horizon = logged.reward.shape[1]
    following = np.pad(logged.v[:, 1:], ((0, 0), (0, 1)))
    error = np.where(logged.valid, logged.reward + logged.discount * following - logged.q, 0.0)
    ratio = np.where(logged.valid, logged.ratio, 0.0)
    total = ratio.sum(axis=0)
    mean = np.divide((ratio * error).sum(axis=0), total, out=np.zeros(horizon), where=total > 0)
    spread = ((ratio * (error - mean)) ** 2).sum(axis=0)
    variance = np.divide(spread, total**2, out=np.zeros(horizon), where=total > 0)
    counts = logged.discount ** np.arange(horizon) * logged.valid.mean(axis=0)
    counts[:after] = 0.0
    return float(np.hypot((counts * mean).sum(), np.sqrt((counts**2 * variance).sum())))


def correctable_steps(weights: Array, least: float) -> int:
    """The number of first steps at which at least `least` sessions still count."""
    short = effective_sizes(weights) < least
    return int(short.argmax()) if short.any() else weights.shape[1]


def estimate(
    logged: Logged,
    method: str,
    steps: int | None = None,
    seed: int = 0,
    minus: Array | None = None,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The value of the policy by one of `METHODS`, in units of reward, discounted from a session's first step.

    `minus` (N,): what each session earned; the estimate is then of the difference to the recorded policy.

    `steps`: the doubly robust ones correct the fitted values with what was recorded at that many first steps only, and
    trust them from there on (the j-step return of Thomas & Brunskill with one j). None: at all.
    The same seed gives the same interval; with 0 `resamples` it is the value alone.

    Raises DataError on an unknown method.
    """
    if method not in METHODS:
        raise DataError(f"method: expected one of {sorted(METHODS)}, got {method!r}")
    n, horizon = logged.reward.shape
    steps = horizon if steps is None else min(steps, horizon)
    if not method.endswith("doubly-robust"):
        steps = 0 if method == "fitted" else horizon
    numerator, weight = _parts(logged, method, steps)
    if minus is not None:
        numerator, weight = [*numerator, -minus[:, None]], [*weight, np.ones((n, 1))]
    value = float(_combine(np.ones((1, n)), numerator, weight)[0])
    if not resamples:
        return Estimate(value, value, value, method, steps)
    rng = np.random.default_rng(seed)
    values = np.empty(resamples)
    block = max(1, DRAWS // n)
    for begin in range(0, resamples, block):
        count = min(block, resamples - begin)
        times = rng.multinomial(n, np.full(n, 1.0 / n), size=count).astype(np.float64)  # (R, N)
        values[begin : begin + count] = _combine(times, numerator, weight)
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(value, float(low), float(high), method, steps)


def _parts(logged: Logged, method: str, steps: int) -> tuple[list[Array], list[Array]]:
    """Terms whose weighted means are added up: each (N, K), with what its columns are divided by, (N, K)."""
    n, horizon = logged.reward.shape
    gamma = logged.discount ** np.arange(horizon)
    first = logged.v[:, :1]
    if method == "fitted":
        return [first], [np.ones((n, 1))]
    weight = logged.weights()
    weighted = method.startswith("weighted")
    if method in ("per-decision", "weighted"):
        return [gamma * weight * logged.reward], [weight if weighted else np.ones_like(weight)]
    weight = weight[:, :steps]
    before = np.concatenate([np.ones((n, 1)), weight[:, :-1]], axis=1)
    # gamma^t [w_t (r_t - q_t) + w_{t-1} v_t] for t < j, and what follows by its fitted value: gamma^j w_{j-1} v_j
    gamma_j = gamma[:steps]
    kept = logged.valid[:, :steps]
    correction = gamma_j * weight * np.where(kept, logged.reward[:, :steps] - logged.q[:, :steps], 0.0)
    value = gamma_j * before * logged.v[:, :steps]
    terms, by = [correction, value], [weight, before]
    if steps < horizon:
        last = weight[:, -1:] if steps else np.ones((n, 1))
        terms.append(gamma[steps] * last * logged.v[:, steps : steps + 1])
        by.append(last)
    if not weighted:
        by = [np.ones_like(one) for one in by]
    return terms, by


def _combine(times: Array, terms: list[Array], by: list[Array]) -> Array:
    """Each resample's estimate.  times (R, N): how often it holds each session -> (R,)."""
    total = np.zeros(len(times))
    for term, weight in zip(terms, by, strict=True):
        above, below = times @ term, times @ weight
        total += np.divide(above, below, out=np.zeros_like(above), where=below > 0).sum(axis=1)
    return total
