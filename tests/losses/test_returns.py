"""Returns against hand-computed numbers, a slow float64 loop, and typical mistakes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqel.losses.returns import (
    discounted_return,
    linear_recurrence,
    n_step,
    one_step,
    peng_lambda,
    retrace,
    watkins_trace,
)

# The hand-computed window: T = 4, gamma 0.5, the episode terminates with transition 2, transition 3 is padding that holds
# arbitrary numbers. A second row is truncated after its transition 3 and therefore bootstraps there.
NAN = float("nan")
REWARD = torch.tensor([[1.0, 2.0, 3.0, NAN], [1.0, 2.0, 3.0, 4.0]])
DISCOUNT = torch.tensor([[0.5, 0.5, 0.0, NAN], [0.5, 0.5, 0.5, 0.5]])
BOOTSTRAP = torch.tensor([[10.0, 20.0, 30.0, NAN], [10.0, 20.0, 30.0, 40.0]])
VALID = torch.tensor([[True, True, True, False], [True, True, True, True]])

# 1: r + d * bootstrap.    row 0: 1+5, 2+10, 3+0                   row 1: 1+5, 2+10, 3+15, 4+20
ONE_STEP = [[6.0, 12.0, 3.0], [6.0, 12.0, 18.0, 24.0]]
# 2: r_t + d_t (r_{t+1} + d_{t+1} bootstrap_{t+1}), one step where t is last.
#    row 0: 1 + .5 (2 + .5*20) = 7     2 + .5 (3 + 0*30) = 3.5     3 (terminated)
#    row 1: 1 + .5 (2 + .5*20) = 7     2 + .5 (3 + .5*30) = 11     3 + .5 (4 + .5*40) = 15     4 + .5*40 = 24
TWO_STEP = [[7.0, 3.5, 3.0], [7.0, 11.0, 15.0, 24.0]]
# 3: row 0: 1 + .5*2 + .25*3 + 0 = 2.75     then as above
#    row 1: 1 + .5*2 + .25*3 + .125*30 = 6.5     2 + .5*3 + .25*4 + .125*40 = 9.5     15     24
THREE_STEP = [[2.75, 3.5, 3.0], [6.5, 9.5, 15.0, 24.0]]
# lambda 0.5: G_t = r_t + d_t (.5 bootstrap_t + .5 G_{t+1}), from the last one backwards.
#    row 0: G2 = 3     G1 = 2 + .5 (.5*20 + .5*3) = 7.75     G0 = 1 + .5 (.5*10 + .5*7.75) = 5.4375
#    row 1: G3 = 24    G2 = 3 + .5 (.5*30 + .5*24) = 16.5    G1 = 2 + .5 (.5*20 + .5*16.5) = 11.125
#           G0 = 1 + .5 (.5*10 + .5*11.125) = 6.28125
LAMBDA_HALF = [[5.4375, 7.75, 3.0], [6.28125, 11.125, 16.5, 24.0]]
# Monte Carlo: row 0: 1 + .5*2 + .25*3 = 2.75, 2 + .5*3 = 3.5, 3
#              row 1: 1 + 1 + .75 + .125*4 = 3.25, 2 + 1.5 + 1 = 4.5, 3 + 2 = 5, 4
MONTE_CARLO = [[2.75, 3.5, 3.0], [3.25, 4.5, 5.0, 4.0]]


def agrees(found: Tensor, expected: list[list[float]]) -> bool:
    """Return whether valid steps equal the hand-computed numbers (all of them exact in binary)."""
    return all(found[row, : len(numbers)].tolist() == numbers for row, numbers in enumerate(expected))


# ---------------------------------------------------------------------------------------------- worked by hand


def test_one_step_by_hand() -> None:
    assert agrees(one_step(REWARD, DISCOUNT, BOOTSTRAP), ONE_STEP)


@pytest.mark.parametrize(("n", "expected"), [(1, ONE_STEP), (2, TWO_STEP), (3, THREE_STEP)])
def test_n_step_by_hand(n: int, expected: list[list[float]]) -> None:
    found = n_step(REWARD, DISCOUNT, BOOTSTRAP, VALID, n)
    assert agrees(found, expected)
    assert found[0, 3] == 0.0  # padding is returned as 0, not as the NaN that it holds


@pytest.mark.parametrize(("lambda_", "expected"), [(0.0, ONE_STEP), (0.5, LAMBDA_HALF)])
def test_peng_lambda_by_hand(lambda_: float, expected: list[list[float]]) -> None:
    found = peng_lambda(REWARD, DISCOUNT, BOOTSTRAP, VALID, lambda_)
    assert agrees(found, expected)
    assert found[0, 3] == 0.0


def test_lambda_one_is_the_longest_n_step() -> None:
    longest = peng_lambda(REWARD, DISCOUNT, BOOTSTRAP, VALID, 1.0)
    torch.testing.assert_close(longest, n_step(REWARD, DISCOUNT, BOOTSTRAP, VALID, 4), rtol=0, atol=0)
    torch.testing.assert_close(longest, n_step(REWARD, DISCOUNT, BOOTSTRAP, VALID, 10**6), rtol=0, atol=0)


def test_watkins_by_hand() -> None:
    # Row 1 with lambda 1 and a non-greedy action at step 2: step 1 must not continue into it, so G1 = 2 + .5*20 = 12;
    # G2 = 3 + .5*24 = 15 (its own action is what it values), G0 = 1 + .5*12 = 7.
    greedy = torch.tensor([[False, True, False, True]])
    trace = watkins_trace(greedy, 1.0)
    assert trace.tolist() == [[1.0, 0.0, 1.0, 0.0]]
    found = peng_lambda(REWARD[1:], DISCOUNT[1:], BOOTSTRAP[1:], VALID[1:], trace)
    assert found.tolist() == [[7.0, 12.0, 15.0, 24.0]]


def test_watkins_equals_peng_where_all_actions_were_greedy() -> None:
    trace = watkins_trace(torch.ones_like(VALID), 0.5)
    assert agrees(peng_lambda(REWARD, DISCOUNT, BOOTSTRAP, VALID, trace), LAMBDA_HALF)


def test_monte_carlo_by_hand() -> None:
    assert agrees(discounted_return(REWARD, DISCOUNT, VALID), MONTE_CARLO)
    assert agrees(discounted_return(REWARD[1:], DISCOUNT[1:]), MONTE_CARLO[1:])


def test_a_window_of_one_transition() -> None:
    one = torch.ones(1, 1)
    valid = torch.ones(1, 1, dtype=torch.bool)
    for found in (n_step(one, one * 0.5, one * 4, valid, 3), peng_lambda(one, one * 0.5, one * 4, valid, 0.9)):
        assert found.tolist() == [[3.0]]  # 1 + .5 * 4
    assert discounted_return(one, one * 0.5).tolist() == [[1.0]]
    assert watkins_trace(valid, 0.9).tolist() == [[0.0]]


# ------------------------------------------------------------------------------------- against a float64 loop


def loop_recurrence(a: Tensor, b: Tensor) -> Tensor:
    out = torch.zeros_like(a, dtype=torch.float64)
    for row in range(a.shape[0]):
        after = 0.0
        for t in reversed(range(a.shape[1])):
            after = float(a[row, t]) + float(b[row, t]) * after
            out[row, t] = after
    return out


def loop_n_step(reward: Tensor, discount: Tensor, bootstrap: Tensor, valid: Tensor, n: int) -> Tensor:
    out = torch.zeros_like(reward, dtype=torch.float64)
    for row in range(reward.shape[0]):
        length = int(valid[row].sum())  # windows are padded at their end
        for t in range(length):
            total, power, i = 0.0, 1.0, t
            while i < min(t + n, length):
                total += power * float(reward[row, i])
                power *= float(discount[row, i])
                i += 1
            out[row, t] = total + power * float(bootstrap[row, i - 1])
    return out


def loop_lambda(reward: Tensor, discount: Tensor, bootstrap: Tensor, valid: Tensor, trace: Tensor) -> Tensor:
    out = torch.zeros_like(reward, dtype=torch.float64)
    for row in range(reward.shape[0]):
        length = int(valid[row].sum())
        for t in reversed(range(length)):
            r, d, v = float(reward[row, t]), float(discount[row, t]), float(bootstrap[row, t])
            c = float(trace[row, t])
            out[row, t] = r + d * v if t == length - 1 else r + d * ((1 - c) * v + c * float(out[row, t + 1]))
    return out


def random_windows(seed: int, steps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Six windows with terminations inside and at the end, padding full of NaN, and a row that is all padding."""
    generator = torch.Generator().manual_seed(seed)
    shape = (6, steps)
    reward = torch.randn(shape, generator=generator, dtype=torch.float64)
    bootstrap = 10 * torch.randn(shape, generator=generator, dtype=torch.float64)
    discount = 0.9 + 0.1 * torch.rand(shape, generator=generator, dtype=torch.float64)
    discount[torch.rand(shape, generator=generator) < 0.15] = 0.0
    trace = torch.rand(shape, generator=generator, dtype=torch.float64)
    length = torch.randint(0, steps + 1, (6, 1), generator=generator)
    length[0], length[1] = steps, 0
    valid = torch.arange(steps) < length
    made = [torch.where(valid, x, NAN).to(dtype) for x in (reward, discount, bootstrap, trace)]
    return made[0], made[1], made[2], valid, made[3]


STEPS = [1, 2, 3, 7, 8, 9, 31, 64, 100]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("steps", STEPS)
def test_against_the_loop(steps: int, dtype: torch.dtype) -> None:
    def compare(found: Tensor, expected: Tensor) -> None:
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])

    for seed in range(3):
        reward, discount, bootstrap, valid, trace = random_windows(seed, steps, dtype)
        zero = torch.zeros_like(reward)
        a, b = torch.where(valid, reward, zero), torch.where(valid, discount, zero)
        compare(linear_recurrence(a, b), loop_recurrence(a, b))
        compare(discounted_return(reward, discount, valid), loop_recurrence(a, b))
        for n in (1, 2, 3, 5, 8, steps, steps + 3):
            compare(n_step(reward, discount, bootstrap, valid, n), loop_n_step(reward, discount, bootstrap, valid, n))
        for lambda_ in (0.0, 0.3, 0.95, 1.0):
            expected = loop_lambda(reward, discount, bootstrap, valid, torch.full_like(reward, lambda_))
            compare(peng_lambda(reward, discount, bootstrap, valid, lambda_), expected)
        compare(
            peng_lambda(reward, discount, bootstrap, valid, trace),
            loop_lambda(reward, discount, bootstrap, valid, trace),
        )


def test_long_windows_do_not_underflow() -> None:
    # gamma^4000 at 0.9 is 1e-183: a cumulative product in float32 is 0, and dividing by it is NaN. The sum is 10.
    reward, discount = torch.ones(1, 4000), torch.full((1, 4000), 0.9)
    found = discounted_return(reward, discount)
    torch.testing.assert_close(found[0, 0].item(), 10.0, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.double(), loop_recurrence(reward, discount), rtol=1e-5, atol=0)


def test_all_padding_rows_are_zero() -> None:
    nothing = torch.full((2, 5), NAN)
    valid = torch.zeros(2, 5, dtype=torch.bool)
    zero = [[0.0] * 5] * 2
    assert n_step(nothing, nothing, nothing, valid, 3).tolist() == zero
    assert peng_lambda(nothing, nothing, nothing, valid, 0.9).tolist() == zero
    assert discounted_return(nothing, nothing, valid).tolist() == zero


def test_nothing_after_a_termination_reaches_what_is_before() -> None:
    # A termination inside (windows packed one after the other): what follows must not matter, exactly.
    reward, discount, bootstrap, _, _ = random_windows(0, 16, torch.float64)
    reward, discount, bootstrap = (x[:1] for x in (reward, discount, bootstrap))  # the row without padding
    valid = torch.ones(1, 16, dtype=torch.bool)
    discount[0, 9] = 0.0
    other, value = reward.clone(), bootstrap.clone()
    other[0, 10:] += 7.0
    value[0, 9:] -= 5.0  # also the bootstrap of the terminal transition itself
    for before, after in (
        (n_step(reward, discount, bootstrap, valid, 20), n_step(other, discount, value, valid, 20)),
        (peng_lambda(reward, discount, bootstrap, valid, 1.0), peng_lambda(other, discount, value, valid, 1.0)),
    ):
        assert torch.equal(before[0, :10], after[0, :10])
        assert not torch.equal(before[0, 10:], after[0, 10:])


def test_gradients_reach_rewards_and_not_padding() -> None:
    # G0 = r0 + d0 r1 + d0 d1 r2 + d0 d1 d2 bootstrap2 with three valid of four: all 0.5.
    valid = torch.tensor([[True, True, True, False]])
    reward = torch.tensor([[1.0, 1.0, 1.0, NAN]], requires_grad=True)
    bootstrap = torch.tensor([[1.0, 1.0, 1.0, NAN]], requires_grad=True)
    n_step(reward, torch.full((1, 4), 0.5), bootstrap, valid, 3)[0, 0].backward()
    assert reward.grad is not None
    assert bootstrap.grad is not None
    assert reward.grad.tolist() == [[1.0, 0.5, 0.25, 0.0]]
    assert bootstrap.grad.tolist() == [[0.0, 0.0, 0.125, 0.0]]


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, v, c = (torch.rand(2, 5, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(4))
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    assert torch.autograd.gradcheck(linear_recurrence, (a, b))
    assert torch.autograd.gradcheck(lambda r, d, x: n_step(r, d, x, valid, 3), (a, b, v))
    assert torch.autograd.gradcheck(lambda r, d, x, t: peng_lambda(r, d, x, valid, t), (a, b, v, c))


def test_compiles_without_a_graph_break() -> None:
    reward, discount, bootstrap, valid, trace = random_windows(1, 13, torch.float32)

    def everything(r: Tensor, d: Tensor, v: Tensor, m: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        return (
            n_step(r, d, v, m, 5),
            peng_lambda(r, d, v, m, c),
            peng_lambda(r, d, v, m, 0.9),
            discounted_return(r, d, m),
        )

    compiled = torch.compile(everything, backend="eager", fullgraph=True)
    for found, expected in zip(
        compiled(reward, discount, bootstrap, valid, trace),
        everything(reward, discount, bootstrap, valid, trace),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


# -------------------------------------------------------------- these tests detect wrong returns

GAMMA_INSTEAD = torch.where(DISCOUNT == 0, torch.tensor(0.5), DISCOUNT)
SHIFTED = torch.cat([REWARD[:, 1:], REWARD[:, :1]], 1)
EARLIER = torch.cat([BOOTSTRAP[:, :1], BOOTSTRAP[:, :-1]], 1)
PADDED = torch.tensor([[10.0, 20.0, 30.0, 99.0], [10.0, 20.0, 30.0, 40.0]])
MISTAKES = {
    "bootstraps through termination": (REWARD, GAMMA_INSTEAD, BOOTSTRAP, VALID),
    "wrong discount power": (REWARD, DISCOUNT * DISCOUNT, BOOTSTRAP, VALID),
    "gamma left out": (REWARD, torch.where(DISCOUNT > 0, torch.tensor(1.0), DISCOUNT), BOOTSTRAP, VALID),
    "reward off by one": (SHIFTED, DISCOUNT, BOOTSTRAP, VALID),
    "bootstrap off by one": (REWARD, DISCOUNT, EARLIER, VALID),
    "no bootstrap at truncation": (REWARD, DISCOUNT, torch.cat([BOOTSTRAP[:, :3], 0 * PADDED[:, 3:]], 1), VALID),
    "padding counted as the last step": (
        torch.nan_to_num(REWARD, 5.0),
        torch.where(VALID, GAMMA_INSTEAD, torch.tensor(0.5)),
        PADDED,
        torch.ones_like(VALID),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_inputs_changes_every_return(mistake: str) -> None:
    wrong = MISTAKES[mistake]
    assert not agrees(n_step(*wrong, 2), TWO_STEP)
    assert not agrees(n_step(*wrong, 3), THREE_STEP)
    assert not agrees(peng_lambda(*wrong, 0.5), LAMBDA_HALF)
    if mistake != "padding counted as the last step":
        assert not agrees(one_step(*wrong[:3]), ONE_STEP)


def test_settings_off_by_one_change_the_result() -> None:
    assert not agrees(n_step(REWARD, DISCOUNT, BOOTSTRAP, VALID, 3), TWO_STEP)
    assert not agrees(peng_lambda(REWARD, DISCOUNT, BOOTSTRAP, VALID, 0.6), LAMBDA_HALF)
    unshifted = torch.tensor([[False, True, False, True]]).float()  # Watkins's cut at t instead of t + 1
    found = peng_lambda(REWARD[1:], DISCOUNT[1:], BOOTSTRAP[1:], VALID[1:], unshifted)
    assert found.tolist() != [[7.0, 12.0, 15.0, 24.0]]


# --------------------------------------------------------------------------------------------------- clear errors


def test_errors_about_wrong_shapes_name_the_shapes() -> None:
    flat, wide = torch.zeros(4), torch.zeros(2, 5)
    valid = torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"rank 2.*a \(4,\)"):
        linear_recurrence(flat, flat)
    with pytest.raises(ValueError, match=r"bootstrap \(2, 5\)"):
        one_step(REWARD, DISCOUNT, wide)
    with pytest.raises(ValueError, match=r"valid \(2, 4\)"):
        n_step(wide, wide, wide, valid, 2)
    with pytest.raises(ValueError, match=r"lambda_ \(2, 5\)"):
        peng_lambda(REWARD, DISCOUNT, BOOTSTRAP, valid, wide)
    with pytest.raises(ValueError, match=r"valid to be a bool tensor; got torch\.float32"):
        discounted_return(REWARD, DISCOUNT, VALID.float())
    with pytest.raises(ValueError, match="greedy to be a bool tensor"):
        watkins_trace(VALID.float(), 0.9)


@pytest.mark.parametrize("lambda_", [-0.1, 1.1, NAN])
def test_lambda_out_of_range(lambda_: float) -> None:
    with pytest.raises(ValueError, match=r"lambda_ in \[0, 1\]"):
        peng_lambda(REWARD, DISCOUNT, BOOTSTRAP, VALID, lambda_)
    with pytest.raises(ValueError, match=r"lambda_ in \[0, 1\]"):
        watkins_trace(VALID, lambda_)


@pytest.mark.parametrize("n", [0, -1])
def test_n_out_of_range(n: int) -> None:
    with pytest.raises(ValueError, match=f"n >= 1 transitions; got n = {n}"):
        n_step(REWARD, DISCOUNT, BOOTSTRAP, VALID, n)


@pytest.mark.parametrize("name", ["reward", "discount", "bootstrap", "valid"])
def test_every_part_of_a_return_must_have_the_same_shape(name: str) -> None:
    parts = {"reward": REWARD, "discount": DISCOUNT, "bootstrap": BOOTSTRAP, "valid": VALID}
    parts[name] = torch.cat([parts[name], parts[name]], 1)
    for function in (lambda **x: n_step(**x, n=2), lambda **x: peng_lambda(**x, lambda_=0.5)):
        with pytest.raises(ValueError, match=rf"{name} \(2, 8\)"):
            function(**parts)
    for name in ("taken", "trace"):
        parts = {"reward": REWARD, "discount": DISCOUNT, "bootstrap": BOOTSTRAP, "valid": VALID}
        parts |= {"taken": BOOTSTRAP, "trace": BOOTSTRAP}
        parts[name] = parts[name][:, :1]
        with pytest.raises(ValueError, match=rf"{name} \(2, 1\)"):
            retrace(**parts)
    with pytest.raises(ValueError, match=r"reward \(2, 4\)"):
        retrace(REWARD, DISCOUNT, BOOTSTRAP, BOOTSTRAP[:, :1], VALID, BOOTSTRAP[:, :1])
