"""Sets of entities: the order says nothing, absent rows are not there, and one step stays one token."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.networks.config import NetworkConfig
from seqel.networks.encoders.entities import EntitiesEncoder
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, Leaf, ObservationSpec

N, FEATURES = 6, 3


def leaf(bound: float = np.inf) -> Leaf:
    space = gym.spaces.Sequence(gym.spaces.Box(-bound, bound, (FEATURES,)))
    (found,) = ObservationSpec.from_space(space, {"observation": N}).leaves
    return found


def encoder(width: int = 16) -> EntitiesEncoder:
    torch.manual_seed(0)
    return EntitiesEncoder(leaf(), width).eval()


def sets(rows: int = 8, present: int = 4) -> torch.Tensor:
    x = torch.randn(rows, N, FEATURES + 1, generator=torch.Generator().manual_seed(1))
    x[..., -1] = 1.0
    x[:, present:] = 0.0
    return x


def test_the_order_changes_nothing() -> None:
    net, x = encoder(128), sets()
    with torch.no_grad():
        seen = net(x)
        for seed in range(5):
            order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
            assert float((net(x[:, order]) - seen).abs().max()) <= 1e-6
        assert float((net(x.roll(1, 0)) - seen).abs().max()) > 1e-2, "other sets are other tokens"


def test_absent_rows_change_nothing_bit_for_bit_whatever_they_hold() -> None:
    net, x = encoder(), sets()
    with torch.no_grad():
        seen = net(x)
        for filler in (1.0, -1e30, float("nan"), float("inf")):
            other = x.clone()
            other[:, 4:, :-1] = filler
            assert torch.equal(net(other), seen)
    assert torch.isfinite(seen).all()


def test_the_empty_set_has_a_finite_encoding_and_gradients() -> None:
    net = encoder()
    out = net(torch.zeros(2, 3, N, FEATURES + 1))
    assert out.shape == (2, 3, 16) and torch.isfinite(out).all()
    out.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in net.parameters())


def test_every_weight_learns_and_leading_axes_do_not_matter() -> None:
    net, x = encoder(), sets()
    torch.testing.assert_close(net(x.reshape(2, 4, N, -1)).reshape(8, -1), net(x))
    net(x).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.parameters() if p.ndim > 1)


def test_entities_see_each_other() -> None:
    """Pooling alone could not tell which features belong together in one set."""
    net, x = encoder(), sets(2, 2)
    assert [type(layer).__name__ for layer in net.layers] == ["AttentionBlock"]
    with torch.no_grad():
        whole = net(x)
        net.layers = torch.nn.ModuleList()
        assert float((net(x) - whole).abs().max()) > 1e-3


def test_statistics_are_those_of_present_rows_and_bounds_win() -> None:
    net, x = encoder(), sets(50).double()
    x[:, 4:, :-1] = 1e6
    mean, std = net.statistics(x)
    torch.testing.assert_close(mean, x[:, :4, :-1].reshape(-1, FEATURES).mean(0))
    net.observe(mean, std)
    normal = net.normalise(x[:, :4, :-1])
    assert float(normal.mean(dim=(0, 1)).abs().max()) < 1e-5 and float((normal.std(dim=(0, 1)) - 1).abs().max()) < 0.02
    bounded = EntitiesEncoder(leaf(2.0), 16)
    bounded.observe(mean, std)
    assert (bounded.mean == 0).all() and (bounded.scale == 2).all()
    none = net.statistics(torch.zeros(5, N, FEATURES + 1, dtype=torch.float64))
    assert all(torch.isfinite(part).all() and part.shape == (FEATURES,) for part in none)


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_one_step_is_one_token(trunk: str) -> None:
    space = gym.spaces.Dict(
        {"near": gym.spaces.Sequence(gym.spaces.Box(-1, 1, (2,))), "self": gym.spaces.Box(-1, 1, (2,))}
    )
    spec = ObservationSpec.from_space(space)
    net = QNetwork(NetworkConfig(width=16, heads=2, context=4, trunk=trunk), spec, ActionSpec((3,), (0,)))  # type: ignore[arg-type]
    seen = {path: torch.zeros(5, *shape) for path, (shape, _) in spec.storage.items()}
    with torch.no_grad():
        out, _ = net.step(
            seen,
            torch.zeros(5, 1, dtype=torch.int64),
            torch.zeros(5),
            torch.ones(5, dtype=torch.bool),
            net.initial_state(5),
        )
    assert out.q.shape == (5, 1, 3)
    assert set(net.tokens.vectors()) == {"near", "self"}


def test_it_compiles_with_fixed_shapes() -> None:
    """No graph break: what is present is data, and shapes are not."""
    net, x = encoder(), sets()
    explained = torch._dynamo.explain(net)(x)
    assert explained.graph_break_count == 0 and explained.graph_count == 1


def marked_colours(rows: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Sets of two colours and a mark, absent rows full of other marks; and the colour of the marked row that is present."""
    colour = torch.randint(2, (rows, N), generator=generator)
    there = torch.rand(rows, N, generator=generator) < 0.5
    mark = torch.ones(rows, N)  # absent rows all are
    mark[there] = 0.0
    chosen = torch.randint(N, (rows,), generator=generator)
    mark[torch.arange(rows), chosen] = 1.0
    there[torch.arange(rows), chosen] = True
    x = torch.stack((colour.float(), 1.0 - colour, mark, there.float()), dim=-1)
    return x, colour[torch.arange(rows), chosen]


def share_learned(corrupt: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """How often the colour is right on new sets after 150 updates, where the encoder sees corrupted sets."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(EntitiesEncoder(leaf(), 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        x, wanted = marked_colours(128, generator)
        loss = torch.nn.functional.cross_entropy(net(corrupt(x)), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, wanted = marked_colours(1_000, generator)
    with torch.no_grad():
        return float((net(corrupt(x)).argmax(1) == wanted).float().mean())


def test_it_learns_whose_colour_counts() -> None:
    assert share_learned(lambda x: x) >= 0.95


def test_an_encoder_that_ignores_who_is_present_does_not_learn_it() -> None:
    def all_there(x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x[..., :-1], torch.ones_like(x[..., -1:])), dim=-1)

    assert share_learned(all_there) <= 0.85
