"""The pretrained trunk: steps equal the forward pass, whatever is trained of it, and both equal the library's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.trunks.pretrained import PretrainedTrunk
from seqel.training.base_model import with_base_model
from tiny_models import tiny_causal, tiny_learned_positions

TUNINGS = ("frozen", "lora", "prefix", "full")


def trunk(tuning: str = "lora", context: int = 6, learned: bool = False) -> PretrainedTrunk:
    folder = tiny_learned_positions() if learned else tiny_causal()
    config = NetworkConfig(trunk="pretrained", model=str(folder), tuning=tuning, rank=2, prefix=3, context=context)  # type: ignore[arg-type]
    torch.manual_seed(0)
    made = PretrainedTrunk(with_base_model(config))
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made.eval()


def tokens(rows: int = 3, steps: int = 20, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(rows, steps, 16, generator=torch.Generator().manual_seed(seed))
    first = torch.zeros(rows, steps, dtype=torch.bool)
    first[:, 0] = True
    return x, first, torch.zeros(rows, dtype=torch.int64)


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max())))


@torch.no_grad()
@pytest.mark.parametrize("learned", [False, True], ids=["rotary", "learned positions"])
@pytest.mark.parametrize("tuning", TUNINGS)
def test_cached_steps_equal_the_forward_pass(tuning: str, learned: bool) -> None:
    """In parts, in another order of the rows, and after the ring has wrapped three times."""
    made, (x, first, start) = trunk(tuning, learned=learned), tokens()
    whole, state = made(x, first, start), made.initial_state(3)
    for t in range(x.shape[1]):
        found = torch.empty(3, 16)
        for part in (torch.tensor([2, 0]), torch.tensor([1])):
            found[part], state = made.step(x[part, t], state, part)
        assert close(found, whole[:, t]), t


@torch.no_grad()
def test_rows_at_different_steps_do_not_disturb_each_other() -> None:
    made, (x, first, start) = trunk("prefix"), tokens()
    whole, state = made(x, first, start), made.initial_state(3)
    for t in range(9):
        _, state = made.step(x[:1, t], state, torch.tensor([0]))
    for t in range(9):  # row 0 is nine steps ahead
        found, state = made.step(torch.stack((x[0, t + 9], x[1, t])), state, torch.tensor([0, 1]))
        assert close(found[0], whole[0, t + 9]) and close(found[1], whole[1, t])
    made.reset(state, torch.tensor([True, False, False]))
    found, state = made.step(x[:, 0], state)
    assert close(found[0], whole[0, 0])


@torch.no_grad()
def test_it_computes_what_the_library_computes() -> None:
    from transformers import AutoModel

    made, (x, first, start) = trunk("frozen", context=20), tokens()
    with torch.no_grad():
        expected = AutoModel.from_pretrained(tiny_causal()).eval()(inputs_embeds=x).last_hidden_state
    assert close(made(x, first, start), expected)


@torch.no_grad()
@pytest.mark.parametrize("tuning", ["lora", "prefix"])
def test_episodes_in_one_row_do_not_see_each_other(tuning: str) -> None:
    made, (x, first, start) = trunk(tuning), tokens(rows=1)
    first[0, 8] = True
    packed = made(x, first, start)
    assert close(packed[:, 8:], made(x[:, 8:], first[:, 8:], start))
    assert not close(packed[:, 8:], made(x, first & (torch.arange(20) < 8), start)[:, 8:])


@torch.no_grad()
@pytest.mark.parametrize("tuning", ["lora", "prefix"])
def test_prefill_leaves_the_state_of_the_steps(tuning: str) -> None:
    made, (x, first, start) = trunk(tuning), tokens()
    first[1, 7] = True
    lengths = torch.tensor([4, 13, 20])
    state = made.prefill(x, first, start, lengths)
    stepped = made.initial_state(3)
    for t in range(20):
        rows = torch.nonzero(lengths > t)[:, 0]
        made.reset(stepped, first[:, t] & (lengths > t))
        _, stepped = made.step(x[rows, t], stepped, rows)
    assert torch.equal(state["position"], stepped["position"])
    after = torch.randn(3, 16)
    assert close(made.step(after, state)[0], made.step(after, stepped)[0])


@torch.no_grad()
@pytest.mark.parametrize("tuning", TUNINGS)
def test_the_weights_shown_are_those_of_the_band(tuning: str) -> None:
    made, (x, first, start) = trunk(tuning), tokens(rows=2)
    before = made(x, first, start)
    weights = made.weights(x, first, start)
    assert weights.shape == (2, 2, 4, 20, 20)
    row, column = torch.arange(20)[:, None], torch.arange(20)
    outside = (column > row) | (column <= row - 6)
    assert float(weights[..., outside].abs().max()) == 0.0
    beside = 1.0 - weights.sum(dim=-1)  # what the prefix gets
    assert bool((beside > 1e-3).any()) if tuning == "prefix" else bool(beside.abs().max() < 1e-5)
    torch.testing.assert_close(made(x, first, start), before)  # the fast attention is back


def test_only_what_is_trained_gets_gradients() -> None:
    made, (x, first, start) = trunk("prefix"), tokens()
    made(x, first, start).square().sum().backward()
    assert {name.split(".")[-1] for name, _ in made.named_parameters()} == {"prefix/keys", "prefix/values"}
    assert all(weight.grad is not None and bool(weight.grad.abs().sum() > 0) for weight in made.parameters())


def test_an_episode_longer_than_the_learned_positions_is_refused() -> None:
    made, (x, first, start) = trunk(learned=True), tokens()
    with pytest.raises(ConfigError, match="has embeddings for 64 positions"):
        made(x, ~first & False, start + 60)
    trunk()(x, ~first & False, start + 10_000)  # rotary positions have no end


def test_a_config_that_is_not_of_the_model_is_refused() -> None:
    config: dict[str, Any] = {"trunk": "pretrained", "model": str(tiny_causal()), "context": 4}
    made = with_base_model(NetworkConfig(**config))
    assert (made.width, made.layers, made.heads) == (16, 2, 4) and len(made.model_checksum) == 64
    assert with_base_model(made) is made
    with pytest.raises(ConfigError, match="expected the width 16 and 2 layers"):
        PretrainedTrunk(dataclasses.replace(made, width=32))
    with pytest.raises(ConfigError, match="need each other"):
        NetworkConfig(trunk="pretrained")
    with pytest.raises(ConfigError, match="need each other"):
        NetworkConfig(model="x")
