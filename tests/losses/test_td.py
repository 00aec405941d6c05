"""Bootstraps, masks and error functions against hand-computed numbers and a slow float64 loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqel.losses.returns import one_step
from seqel.losses.td import (
    double_q_bootstrap,
    gather_actions,
    masked_argmax,
    masked_max,
    masked_mean,
    q_bootstrap,
)
from seqel.values.scalar import huber, squared

NAN, INF = float("nan"), float("inf")

# (B, T+1, M, A) = (1, 3, 1, 3)
ONLINE = torch.tensor([[[[9.0, 0.0, 0.0]], [[1.0, 3.0, 2.0]], [[5.0, 4.0, 6.0]]]])
TARGET = torch.tensor([[[[7.0, 7.0, 7.0]], [[40.0, 10.0, 20.0]], [[15.0, 35.0, 25.0]]]])


def test_masked_max_and_argmax_by_hand() -> None:
    q = torch.tensor([[1.0, 5.0, 3.0], [1.0, 5.0, 3.0], [-1.0, -5.0, -3.0], [NAN, 2.0, INF], [4.0, 5.0, NAN]])
    mask = torch.tensor(
        [[True, True, True], [True, False, True], [False, True, True], [False, True, False], [False, False, False]]
    )
    # all: 5 at 1; without action 1: 3 at 2; negative values: -3 at 2 (a mask that multiplies would say 0);
    # what is forbidden may be anything; nothing allowed: 0, at action 0.
    assert masked_max(q, mask).tolist() == [5.0, 3.0, -3.0, 2.0, 0.0]
    assert masked_argmax(q, mask).tolist() == [1, 2, 2, 1, 0]
    assert masked_max(q[:3]).tolist() == [5.0, 5.0, -1.0]
    assert masked_argmax(q[:3]).tolist() == [1, 1, 0]


def test_a_mask_may_be_shared_over_an_axis() -> None:
    q = torch.arange(12.0).reshape(2, 2, 3)
    mask = torch.tensor([[[True, True, False]], [[True, False, False]]])  # (2, 1, 3)
    assert masked_max(q, mask).tolist() == [[1.0, 4.0], [6.0, 9.0]]
    assert masked_argmax(q, mask).tolist() == [[1, 1], [0, 0]]


def test_gradients_of_the_maximum_do_not_touch_forbidden_actions() -> None:
    q = torch.tensor([[1.0, 5.0, 3.0], [1.0, 2.0, 3.0]], requires_grad=True)
    masked_max(q, torch.tensor([[True, False, True], [False, False, False]])).sum().backward()
    assert q.grad is not None
    assert q.grad.tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_gather_actions_by_hand() -> None:
    assert gather_actions(ONLINE[:, :2], torch.tensor([[[0], [2]]])).tolist() == [[[9.0], [2.0]]]
    two = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])  # (B, M, A) with M = 2
    assert gather_actions(two, torch.tensor([[1, 0]])).tolist() == [[2.0, 3.0]]


def test_gather_actions_gradient_is_one_hot() -> None:
    q = torch.zeros(1, 1, 1, 3, requires_grad=True)
    gather_actions(q, torch.tensor([[[2]]])).sum().backward()
    assert q.grad is not None
    assert q.grad.tolist() == [[[[0.0, 0.0, 1.0]]]]


def test_q_bootstrap_by_hand() -> None:
    # Step 0 is not read: transition 0 bootstraps from observation 1, transition 1 from observation 2.
    assert q_bootstrap(TARGET).tolist() == [[[40.0], [35.0]]]
    mask = torch.tensor([[[True, True, True], [False, True, True], [True, False, False]]])
    assert q_bootstrap(TARGET, mask).tolist() == [[[20.0], [15.0]]]


def test_double_q_bootstrap_by_hand() -> None:
    # The online network prefers action 1 at step 1 and action 2 at step 2; the target says 10 and 25 there.
    assert double_q_bootstrap(ONLINE, TARGET).tolist() == [[[10.0], [25.0]]]
    # Without those two: action 2 (online 2 > 1) worth 20, action 0 (5 > 4) worth 15.
    mask = torch.tensor([[[True, True, True], [True, False, True], [True, True, False]]])
    assert double_q_bootstrap(ONLINE, TARGET, mask).tolist() == [[[20.0], [15.0]]]


def test_double_q_is_not_the_argmax_of_the_target() -> None:
    right = double_q_bootstrap(ONLINE, TARGET)
    assert not torch.equal(right, q_bootstrap(TARGET))  # argmax from the target
    assert not torch.equal(right, q_bootstrap(ONLINE))  # value from the online network
    assert not torch.equal(right, double_q_bootstrap(TARGET, ONLINE))  # the two exchanged
    assert torch.equal(double_q_bootstrap(TARGET, TARGET), q_bootstrap(TARGET))


def test_padding_with_no_allowed_action_is_finite() -> None:
    mask = torch.zeros(1, 3, 3, dtype=torch.bool)
    q = torch.full_like(TARGET, NAN)
    assert q_bootstrap(q, mask).tolist() == [[[0.0], [0.0]]]
    assert double_q_bootstrap(q, q, mask).tolist() == [[[0.0], [0.0]]]
    # With termination too: 0 * -inf would have been NaN.
    assert one_step(torch.ones(1, 2), torch.zeros(1, 2), q_bootstrap(q, mask)[..., 0]).tolist() == [[1.0, 1.0]]


def test_bootstraps_carry_no_gradient() -> None:
    online, target = ONLINE.clone().requires_grad_(), TARGET.clone().requires_grad_()
    assert not q_bootstrap(target).requires_grad
    assert not double_q_bootstrap(online, target).requires_grad


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("steps", "dims", "actions"), [(1, 1, 2), (5, 1, 7), (4, 3, 5)])
def test_bootstraps_against_the_loop(steps: int, dims: int, actions: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(steps)
    shape = (4, steps + 1, dims, actions)
    online = torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.randn(shape, generator=generator, dtype=torch.float64)
    mask = torch.rand(shape, generator=generator) < 0.5  # some rows allow nothing
    mask[0, 1] = False
    single, double = torch.zeros(4, steps, dims).double(), torch.zeros(4, steps, dims).double()
    for b in range(4):
        for t in range(steps):
            for m in range(dims):
                allowed = [a for a in range(actions) if not masked or mask[b, t + 1, m, a]]
                if allowed:
                    single[b, t, m] = max(float(target[b, t + 1, m, a]) for a in allowed)
                    best = max(allowed, key=lambda a: float(online[b, t + 1, m, a]))
                    double[b, t, m] = target[b, t + 1, m, best]
    assert torch.equal(q_bootstrap(target, mask if masked else None), single)
    assert torch.equal(double_q_bootstrap(online, target, mask if masked else None), double)
    if dims == 1 and masked:
        assert torch.equal(q_bootstrap(target, mask[:, :, 0]), single), "one dimension needs no axis of its own"


def test_gradcheck() -> None:
    error = torch.tensor([-3.0, -0.7, 0.2, 1.6], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([True, False, True, True])
    assert torch.autograd.gradcheck(squared, error)
    assert torch.autograd.gradcheck(lambda e: huber(e, 1.5), error)
    assert torch.autograd.gradcheck(lambda e: masked_mean(huber(e), mask), error)


def test_masked_mean_by_hand() -> None:
    loss = torch.tensor([[1.0, 2.0, NAN], [6.0, INF, NAN]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mean(loss, mask).item() == 3.0  # (1 + 2 + 6) / 3: padding neither adds nor counts
    per_dimension = torch.tensor([[[1.0, 3.0], [5.0, 7.0], [NAN, NAN]]])  # (B, T, M) with a mask (B, T)
    assert masked_mean(per_dimension, mask[:1]).item() == 4.0  # (1 + 3 + 5 + 7) / 4


def test_an_empty_mask_gives_zero_and_zero_gradients() -> None:
    loss = torch.tensor([[1.0, 2.0]], requires_grad=True)
    mean = masked_mean(loss, torch.zeros(1, 2, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0.0
    assert loss.grad is not None
    assert loss.grad.tolist() == [[0.0, 0.0]]


def test_masked_mean_gradient_is_shared_by_what_counts() -> None:
    loss = torch.ones(1, 4, requires_grad=True)
    masked_mean(loss, torch.tensor([[True, True, False, False]])).backward()
    assert loss.grad is not None
    assert loss.grad.tolist() == [[0.5, 0.5, 0.0, 0.0]]


def test_compiles_without_a_graph_break() -> None:
    mask = torch.tensor([[[True, True, True], [True, False, True], [False, False, False]]])
    action = torch.tensor([[[0], [1]]])
    valid = torch.tensor([[True, False]])

    def loss(online: Tensor, target: Tensor) -> Tensor:
        error = gather_actions(online[:, :-1], action) - double_q_bootstrap(online, target, mask)
        return masked_mean(huber(error) + squared(error), valid)

    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    assert torch.equal(compiled(ONLINE, TARGET), loss(ONLINE, TARGET))


def test_wrong_arguments_say_what_they_were() -> None:
    mask = torch.ones(1, 3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"action \(1, 3, 1\).*got \(1, 3\)"):
        gather_actions(ONLINE, torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"action to be int64; got torch\.int32"):
        gather_actions(ONLINE, torch.zeros(1, 3, 1, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"rank 4.*got \(3, 1, 3\)"):
        q_bootstrap(ONLINE[0])
    with pytest.raises(ValueError, match=r"\(1, 3, 3\).*got \(1, 2, 3\)"):  # the bootstrap step's mask is missing
        q_bootstrap(ONLINE, mask[:, 1:])
    with pytest.raises(ValueError, match="of one shape"):
        double_q_bootstrap(ONLINE, TARGET[:, 1:], mask)
    with pytest.raises(ValueError, match="mask to be a bool tensor"):
        q_bootstrap(ONLINE, mask.float())
    with pytest.raises(ValueError, match=r"mask of q's shape \(1, 3, 1, 3\).*\(1, 3, 3\)"):
        masked_max(ONLINE, mask)
    with pytest.raises(ValueError, match=r"\(1, 3, 1, 3\).*\(1, 2, 1, 3\)"):
        masked_max(ONLINE, mask[:, :2, None])
    with pytest.raises(ValueError, match="size 1 on any axis but the last"):
        masked_argmax(ONLINE, mask[:, :, :1, None])
    with pytest.raises(ValueError, match=r"leading axes of loss \(2, 3\).*mask \(3,\)"):
        masked_mean(torch.zeros(2, 3), mask[0, 0])
    with pytest.raises(ValueError, match="delta > 0; got 0"):
        huber(torch.zeros(1), 0.0)
