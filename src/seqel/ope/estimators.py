"""Off-policy estimators: importance sampling and doubly robust estimates of a policy's value, from another policy's data.

Pure functions of arrays of N sessions with at most T steps, padded. Everything is discounted by the caller's gamma. With

    ratio (N, T)   pi(a_t | h_t) / mu(a_t | h_t)      weight w_t = ratio_0 ... ratio_t (w_{-1} = 1)
    q, v (N, T)    fitted values of the recorded action, and of the policy's own choice

each estimate is a sum over t of gamma^t times a mean over sessions, so that one matrix product computes all bootstrap
resamples. Sources: Precup et al. 2000 (per-decision and weighted importance sampling); Jiang & Li 2016, arXiv:1511.03722
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
LARGEST = 1e6  # largest product of ratios; beyond it, products are only noise
RESAMPLES = 1_000
DRAWS = 20_000_000  # session counts of resamples drawn at once, at most


@dataclass(frozen=True, slots=True)
class Logged:
    """N recorded sessions and the quantities of one policy on them; (N, T) each, 0 in padding.

    T is one more than the length of the longest session: if a session was truncated, `v` there is the value of its final
    observation, from which the value of its last action is bootstrapped.
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
            raise DataError(f"expected five arrays (N, T) of the same shape, got {sorted(shapes)}")
        for name in ("reward", "ratio", "q", "v"):
            if not np.isfinite(getattr(self, name)).all():
                raise DataError(f"expected finite {name}, got a value that is not")
        if (self.ratio[self.valid] < 0).any():
            raise DataError("expected ratios of probabilities that are at least 0, got a negative one")

    def weights(self) -> Array:
        """Return w_t (N, T): the product of the ratios up to and including t; a session that has ended keeps its last one."""
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
    corrected: int = 0  # number of steps per session at which recorded rewards correct the fitted values
    fit: float = 0.0  # standard error of the fit, beside that of the sessions; the interval covers both

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval (low, high)."""
        return self.low, self.high

    def widened(self, error: float, freedom: int) -> Estimate:
        """Widen the interval by an independent standard error of the fit: half-width and Student's t times `error`, combined
        as the root of the sum of squares. freedom: the degrees of freedom of the error's estimate.
        """
        correctable_steps = float(student_t.ppf(0.975, freedom)) * error
        low = self.value - float(np.hypot(self.value - self.low, correctable_steps))
        high = self.value + float(np.hypot(self.high - self.value, correctable_steps))
        return replace(self, low=low, high=high, fit=error)


def effective_sizes(weights: Array) -> Array:
    """Return the effective number of sessions behind the weighted mean at each step: (sum w)^2 / sum w^2. (N, T) -> (T,)."""
    square = (weights**2).sum(axis=0)
    sizes: Array = np.divide(weights.sum(axis=0) ** 2, square, out=np.zeros_like(square), where=square > 0)
    return sizes


def bellman_error(logged: Logged, after: int = 0) -> float:
    """Return how far the fitted values contradict the recorded rewards, in units of reward, discounted, from step `after` on
    (the first step that is not corrected anyway) to a session's end.

    The doubly robust correction, with each step weighted by its own ratio instead of the product of all ratios up to it:
    sum over t of gamma^t times the share of sessions that reach t times the weighted mean of r_t + gamma v_{t+1} - q_t.
    This can be measured even where the products have vanished. It is not the values' error, because the recorded policy
    chose which steps are visited, but it is of similar size. Returns the root of (the squared sum plus its variance).
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
    """Return the number of first steps at which the effective number of sessions is at least `least`."""
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
    """Estimate the value of the policy by one of `METHODS`, in units of reward, discounted from a session's first step.

    `minus` (N,): the return of each session; the estimate is then of the difference from the recorded policy.

    `steps`: doubly robust methods correct the fitted values with recorded rewards only at this many first steps, and use
    the fitted values after them (the j-step return of Thomas & Brunskill with one j). None: at all steps.
    The same seed gives the same interval. With 0 `resamples`, only the value is computed.

    Raises DataError for an unknown method.
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
    """Return the terms whose weighted means are summed, each (N, K), and the divisors of their columns, (N, K)."""
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
    # gamma^t [w_t (r_t - q_t) + w_{t-1} v_t] for t < j, then the fitted value of the rest: gamma^j w_{j-1} v_j
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
    """Return each resample's estimate (R,). times (R, N): how often a resample contains each session."""
    total = np.zeros(len(times))
    for term, weight in zip(terms, by, strict=True):
        above, below = times @ term, times @ weight
        total += np.divide(above, below, out=np.zeros_like(above), where=below > 0).sum(axis=1)
    return total
