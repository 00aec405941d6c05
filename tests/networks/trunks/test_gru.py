"""Rule 10: the GRU behind the same interface, against torch's own GRU and against episodes taken alone."""

from __future__ import annotations

import torch

from seqel.networks.trunks.gru import GRUTrunk
from support import batch, network, same_q, step_through


def trunk(layers: int = 2) -> GRUTrunk:
    made = network(trunk="gru", layers=layers).trunk
    assert isinstance(made, GRUTrunk)
    return made


def test_the_packed_forward_equals_each_episode_alone() -> None:
    net, x = trunk(), torch.randn(2, 15, 16)
    first = torch.zeros(2, 15, dtype=torch.bool)
    first[:, 0] = first[0, 4] = first[0, 9] = first[1, 14] = True
    start = torch.zeros(2, dtype=torch.int64)
    with torch.no_grad():
        packed = net(x, first, start)
        for row, begin, end in ((0, 0, 4), (0, 4, 9), (0, 9, 15), (1, 0, 14), (1, 14, 15)):
            alone = net(x[row : row + 1, begin:end], first[row : row + 1, begin:end], start[:1])
            torch.testing.assert_close(packed[row, begin:end], alone[0])


def test_gradients_of_the_packed_forward_stop_where_an_episode_begins() -> None:
    net, x = trunk(), torch.randn(1, 8, 16, requires_grad=True)
    first = torch.zeros(1, 8, dtype=torch.bool)
    first[0, 0] = first[0, 5] = True
    net(x, first, torch.zeros(1, dtype=torch.int64))[0, 7].sum().backward()
    assert x.grad is not None
    assert (x.grad[0, :5] == 0).all() and (x.grad[0, 5:].abs().sum(-1) > 0).all()


def test_it_remembers_beyond_any_context() -> None:
    """`context` limits a Transformer; a GRU can remember observations from any earlier step."""
    net = network(trunk="gru", context=1)
    windows = batch(steps=12)
    moved = windows.observation["observation"].clone()
    moved[:, 0] += 3.0
    with torch.no_grad():
        one = net(windows).q[:, -1]
        windows.observation["observation"] = moved
        assert (net(windows).q[:, -1] - one).abs().max() > 1e-6


def test_a_state_is_consumed_in_place_or_replaced_but_never_another_rows() -> None:
    net = trunk()
    state = net.initial_state(3)
    state["hidden"].normal_()
    before = state["hidden"].clone()
    with torch.no_grad():
        _, state = net.step(torch.randn(1, 16), state, torch.tensor([1]))
        assert torch.equal(state["hidden"][[0, 2]], before[[0, 2]]) and not torch.equal(state["hidden"][1], before[1])
        net.reset(state, torch.tensor([False, True, False]))
        assert (state["hidden"][1] == 0).all() and torch.equal(state["hidden"][0], before[0])


def test_rule_1_a_window_without_a_first_step_starts_with_an_empty_memory() -> None:
    net = network(trunk="gru")
    windows = batch(steps=20, start=50)
    with torch.no_grad():
        same_q(step_through(net, windows), net(windows).q)
