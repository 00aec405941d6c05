"""The gate: its formula, that it starts nearly closed, and that steps of a gated network equal its forward pass."""

from __future__ import annotations

import pytest
import torch

from seqel.networks.trunks.gate import Gate
from support import batch, network, same_q, step_through


def test_the_formula_of_the_paper() -> None:
    torch.manual_seed(0)
    gate, (x, y) = Gate(6).double(), torch.randn(2, 5, 6, dtype=torch.float64)
    wr, wz, wg = gate.found.weight.chunk(3)
    br, bz, bg = gate.found.bias.chunk(3)
    ur, uz = gate.stream.weight.chunk(2)
    y_ = y.clamp(min=0)
    r = torch.sigmoid(y_ @ wr.T + x @ ur.T + br)
    z = torch.sigmoid(y_ @ wz.T + x @ uz.T + bz)
    h = torch.tanh(y_ @ wg.T + (r * x) @ gate.candidate.weight.T + bg)
    torch.testing.assert_close(gate(x, y), (1 - z) * x + z * h)
    assert (bz == -2.0).all() and (br == 0.0).all()


def test_it_starts_nearly_closed() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 200, 32)
    passed = Gate(32)(x, 0 * y).detach()
    assert float((passed - x).abs().mean()) < 0.35 * float(x.abs().mean())


@pytest.mark.parametrize("gate", ["residual", "gru"])
def test_steps_equal_forward(gate: str) -> None:
    net = network(gate=gate)
    windows = batch(steps=30)
    with torch.no_grad():
        same_q(step_through(net, windows), net(windows).q)


def test_every_weight_of_the_gates_gets_a_gradient() -> None:
    net = network(gate="gru")
    net(batch(steps=12)).q.square().sum().backward()
    gates = [(name, p) for name, p in net.named_parameters() if "gate" in name]
    assert len(gates) == 2 * 2 * 4  # two per block: three matrices and a bias each
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for _, p in gates)
