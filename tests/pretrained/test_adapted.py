from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.pretrained.adapted import Adapted, Tuning, mean_pooled
from seqel.pretrained.loading import load_model
from seqel.pretrained.location import BaseModel, remember
from tiny_models import tiny_encoder

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def adapted(kind: str, seed: int = 0) -> Adapted:
    model = BaseModel.of(tiny_encoder(), "tiny")
    remember(model, tiny_encoder())
    torch.manual_seed(seed)
    return Adapted(model, Tuning(kind, rank=2, prefix=3))


def states(model: Adapted) -> Tensor:
    found: Any = model(input_ids=IDS, attention_mask=MASK)
    out: Tensor = found.last_hidden_state
    return out


def plain() -> Tensor:
    out: Tensor = load_model(tiny_encoder())(input_ids=IDS, attention_mask=MASK).last_hidden_state
    return out


def randomised(model: Adapted) -> Adapted:
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("kind", ["lora", "full", "frozen"])
def test_training_starts_from_the_pretrained_model(kind: str) -> None:
    torch.testing.assert_close(states(adapted(kind)), plain())


@pytest.mark.parametrize("kind", ["lora", "prefix", "full"])
def test_every_weight_of_its_own_matters_and_gets_a_gradient(kind: str) -> None:
    model = randomised(adapted(kind))
    assert (states(model) - plain()).abs().max() > 0.05
    states(model).pow(3).sum().backward()
    without = [name for name in model.names if model.own[name.replace(".", "/")].grad is None]
    assert all("pooler" in name for name in without)  # the mean of the states is used in its place
    assert not any(weight.requires_grad for weight in model.shared.model(torch.device("cpu")).parameters())


@pytest.mark.parametrize("kind", ["lora", "prefix", "full"])
def test_copies_share_the_base_but_not_their_weights(kind: str) -> None:
    one = randomised(adapted(kind))
    two = randomised(copy.deepcopy(one))
    assert one.shared is two.shared
    first, second = states(one), states(two)
    assert (first - second).abs().max() > 0.01
    torch.testing.assert_close(states(one), first)  # the other copy's pass left nothing behind
    torch.testing.assert_close(states(two), second)


@pytest.mark.parametrize(("kind", "share"), [("lora", 0.35), ("prefix", 0.06)])
def test_only_what_is_trained_is_held_and_saved(kind: str, share: float) -> None:
    model = adapted(kind)
    trained, every = model.sizes()
    assert (
        trained
        == sum(tensor.numel() for tensor in model.state_dict().values())
        == sum(p.numel() for p in model.parameters())
    )
    assert 0 < trained < share * every
    other = adapted(kind, seed=1)
    other.load_state_dict(randomised(model).state_dict())
    torch.testing.assert_close(states(other), states(model))


@pytest.mark.parametrize("kind", ["lora", "prefix"])
def test_the_model_as_it_was_needs_no_copy(kind: str) -> None:
    model = randomised(adapted(kind))
    found = model.base(input_ids=IDS, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(found, plain())
    with pytest.raises(ConfigError, match=r"expected text\.tuning = 'lora' or 'prefix'"):
        adapted("full").base(input_ids=IDS, attention_mask=MASK)


def test_it_can_be_described_without_memory() -> None:
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in adapted("lora").state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in adapted("lora").state_dict().items()}


def test_loaded_while_acting_it_can_still_be_trained() -> None:
    model = adapted("lora")
    model.shared._models.clear()
    with torch.inference_mode():
        states(model)
    states(model).sum().backward()


def test_the_mean_leaves_padding_out() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    torch.testing.assert_close(mean_pooled(hidden, mask), torch.tensor([[2.0, 4.0], [0.0, 0.0]]))
