"""Targets over a window: one-step, n-step, lambda- and Monte-Carlo returns, without a Python loop over time.

All tensors are (B, T), indexed by the transition t: `reward[t]` and `discount[t]` belong to it, and `bootstrap[t]` is the
value estimate of observation t + 1. `discount` is gamma * (1 - terminated), so no return reaches past a termination.
Where an episode was truncated or the window ends, the last valid transition bootstraps. `valid` is False for padding.
The result is 0 in padding, and the content of padding (even NaN) never reaches a valid step.

All of these returns are linear recurrences G_t = a_t + b_t G_{t+1}. Composing the affine maps x -> a_t + b_t x is
associative, so spans of 1, 2, 4, ... steps are joined in log2(T) whole-tensor operations. There is no division: unlike
the cumulative-product trick, a discount of 0 is exact and long windows do not underflow.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqel.losses.shapes import require_bool, require_same_shape

__all__ = [
    "discounted_return",
    "has_next",
    "linear_recurrence",
    "n_step",
    "one_step",
    "peng_lambda",
    "retrace",
    "watkins_trace",
]


def linear_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """Solve G_t = a_t + b_t G_{t+1} with G_T = 0; a, b and the result are (B, T).

    Raises ValueError unless both are (B, T).
    """
    require_same_shape(2, a=a, b=b)
    span, steps = 1, a.shape[1]
    while span < steps:  # (a, b) at t is the map of steps t .. t + span - 1
        a, b = a + b * _later(a, span), b * _later(b, span)
        span *= 2
    return a


def one_step(reward: Tensor, discount: Tensor, bootstrap: Tensor) -> Tensor:
    """Return r_t + d_t bootstrap_t; all (B, T). `valid` is not needed, because no step depends on another one.

    Raises ValueError unless all are (B, T).
    """
    require_same_shape(2, reward=reward, discount=discount, bootstrap=bootstrap)
    return reward + discount * bootstrap


def n_step(reward: Tensor, discount: Tensor, bootstrap: Tensor, valid: Tensor, n: int) -> Tensor:
    """r_t + d_t r_{t+1} + ... + d_t ... d_{t+m-1} bootstrap_{t+m-1}, with m = n, or fewer where the window ends sooner.

    All (B, T); `n` is in transitions, at least 1. Returns end at the last valid transition, which bootstraps, so m = 1
    there. There is no correction for the behaviour policy (Sutton & Barto 2018, 7.1, with the bootstrap that is passed:
    the maximum gives the n-step Q of Rainbow, arXiv:1710.02298).
    Differs: Rainbow stores no shorter returns at a truncation; here those steps are trained too.

    Raises ValueError on other shapes, a `valid` that is not bool, or n < 1.
    """
    reward, discount, bootstrap = _without_padding(reward, discount, bootstrap, valid)
    if n < 1:
        raise ValueError(f"expected n >= 1 transitions; got n = {n}")
    last = valid & ~has_next(valid)
    # A last step is a constant map: it takes its own bootstrap and ignores what follows.
    a = torch.where(last, reward + discount * bootstrap, reward)
    b = torch.where(last, torch.zeros_like(discount), discount)

    n = min(n, reward.shape[1])
    total_a, total_b, total = torch.zeros_like(a), torch.ones_like(b), 0  # the map of `total` steps from t on
    span = 1  # (a, b) is the map of `span` steps; n is a sum of powers of two
    while total < n:
        if n & span:
            total_a = total_a + total_b * _later(a, total)
            total_b = total_b * _later(b, total)
            total += span
        if total < n:
            a, b = a + b * _later(a, span), b * _later(b, span)
            span *= 2
    return torch.where(valid, total_a + total_b * _later(bootstrap, n - 1), torch.zeros_like(total_a))


def peng_lambda(reward: Tensor, discount: Tensor, bootstrap: Tensor, valid: Tensor, lambda_: float | Tensor) -> Tensor:
    """Peng's Q(lambda): G_t = r_t + d_t [(1 - lambda_t) bootstrap_t + lambda_t G_{t+1}]; all (B, T).

    The last valid transition of a row has G_t = r_t + d_t bootstrap_t. `lambda_` is a number in [0, 1], or (B, T)
    trace coefficients: the one at t multiplies the continuation into t + 1 (`watkins_trace` makes Watkins's). 0 gives
    `one_step`, and 1 the longest return that the window holds. Source: Peng & Williams 1996; arXiv:2103.00107.
    Differs: with Retrace's coefficients (arXiv:1606.02647) this subtracts c_{t+1} bootstrap_t where Retrace subtracts
    c_{t+1} Q(x_{t+1}, a_{t+1}). The two agree if a_{t+1} is the greedy action whose value is bootstrap_t.

    Raises ValueError on other shapes, a `valid` that is not bool, or a number outside [0, 1]. The values of a tensor are
    not checked, because that would wait for the device.
    """
    reward, discount, bootstrap = _without_padding(reward, discount, bootstrap, valid)
    if not isinstance(lambda_, Tensor):
        if not 0.0 <= lambda_ <= 1.0:
            raise ValueError(f"expected lambda_ in [0, 1]; got {lambda_}")
        lambda_ = torch.full_like(reward, lambda_)
    require_same_shape(2, reward=reward, lambda_=lambda_)
    trace = torch.where(has_next(valid), lambda_, torch.zeros_like(lambda_))
    return linear_recurrence(reward + discount * (1.0 - trace) * bootstrap, discount * trace)


def retrace(reward: Tensor, discount: Tensor, bootstrap: Tensor, taken: Tensor, valid: Tensor, trace: Tensor) -> Tensor:
    """Retrace: G_t = r_t + d_t [bootstrap_t + c_{t+1} (G_{t+1} - Q(x_{t+1}, a_{t+1}))]; all (B, T).

    `taken[t]` is Q(x_t, a_t) of the network that `bootstrap` comes from. `trace[t]` = c_{t+1} is the coefficient of the
    continuation into t + 1: lambda min(1, pi(a_{t+1}) / mu(a_{t+1})). For a greedy pi, `watkins_trace` gives it for any
    mu. Source: Munos et al. 2016, arXiv:1606.02647.

    Raises ValueError on other shapes or a `valid` that is not bool.
    """
    reward, discount, bootstrap = _without_padding(reward, discount, bootstrap, valid)
    require_same_shape(2, reward=reward, taken=taken, trace=trace)
    trace = torch.where(has_next(valid), trace, torch.zeros_like(trace))
    following = torch.where(has_next(valid), _later(taken, 1), torch.zeros_like(taken))
    return linear_recurrence(reward + discount * (bootstrap - trace * following), discount * trace)


def watkins_trace(greedy: Tensor, lambda_: float) -> Tensor:
    """Return the coefficients that turn `peng_lambda` into Watkins's Q(lambda): lambda_ if action[t+1] was greedy, else 0.

    `greedy` (B, T) bool says whether action[t], the action of transition t itself, maximises the values of the
    bootstrapping policy at observation t. The shift to t + 1 is made here, so column 0 is not read: the first action need
    not be greedy, because its own value is being trained. The result is float32 (B, T); its last column is 0.
    Source: Watkins 1989; Sutton & Barto 2018, 12.10.

    Raises ValueError unless `greedy` is (B, T) bool and lambda_ in [0, 1].
    """
    require_same_shape(2, greedy=greedy)
    require_bool(greedy=greedy)
    if not 0.0 <= lambda_ <= 1.0:
        raise ValueError(f"expected lambda_ in [0, 1]; got {lambda_}")
    return _later(greedy, 1).to(torch.float32) * lambda_


def discounted_return(reward: Tensor, discount: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the Monte-Carlo return G_t = r_t + d_t G_{t+1}, with nothing after the window; all (B, T).

    There is no bootstrap: unless the window ends with a termination, this is the return inside the window only.
    Without `valid` every step counts, padding included, so the rewards of padding must be 0.

    Raises ValueError on other shapes or a `valid` that is not bool.
    """
    if valid is not None:
        reward, discount, _ = _without_padding(reward, discount, reward, valid)
    return linear_recurrence(reward, discount)


def _later(x: Tensor, steps: int) -> Tensor:
    """Return x[:, t + steps], and 0 (False) beyond the end of the window; 0 <= steps <= T."""
    return pad(x[:, steps:], (0, steps))


def has_next(valid: Tensor) -> Tensor:
    """Return whether t and t + 1 are both valid, so that a return may continue into the next step."""
    return valid & _later(valid, 1)


def _without_padding(
    reward: Tensor, discount: Tensor, bootstrap: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Check the shapes and zero the padding. Multiplying by the mask instead would let a NaN through."""
    require_same_shape(2, reward=reward, discount=discount, bootstrap=bootstrap, valid=valid)
    require_bool(valid=valid)
    return (
        torch.where(valid, reward, torch.zeros_like(reward)),
        torch.where(valid, discount, torch.zeros_like(discount)),
        torch.where(valid, bootstrap, torch.zeros_like(bootstrap)),
    )
