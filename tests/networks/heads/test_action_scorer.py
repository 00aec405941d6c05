"""The head that scores actions by their embeddings: subsets, chunks, features, units."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.heads import action_scorer as module
from seqel.networks.heads.action_scorer import ActionScorer
from seqel.networks.heads.policy import PolicyHead
from seqel.networks.heads.q import QHead
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec

EMBEDDED = NetworkConfig(width=8, heads=2, layers=1, context=4, actions="embedded")


def filled(head: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


def test_it_is_an_mlp_of_the_concatenated_inputs() -> None:
    scorer = filled(ActionScorer(5, 8, 2, features=3))
    assert isinstance(scorer, ActionScorer) and scorer.described is not None
    scorer.describe(torch.randn(5, 3))
    h = torch.randn(4, 8)
    e = scorer.own.weight + scorer.described(scorer.features)
    both = torch.cat([h[:, None].expand(4, 5, 8), e.expand(4, 5, 8)], dim=-1)
    first = torch.nn.Linear(16, 8)
    first.weight.data = torch.cat([scorer.state.weight, scorer.action.weight], dim=1)
    first.bias.data = scorer.state.bias
    torch.testing.assert_close(scorer(h), scorer.last(torch.nn.functional.gelu(first(both))))


@pytest.mark.parametrize("kind", ["outputs", "embedded"])
@pytest.mark.parametrize("value", ["scalar", "hl-gauss"])
@pytest.mark.parametrize("count", [3, 9])
@pytest.mark.parametrize("dueling", [False, True])
def test_candidates_are_columns_of_all(kind: Any, value: Any, count: int, dueling: bool) -> None:
    config = dataclasses.replace(EMBEDDED, actions=kind, value=value, bins=5, dueling=dueling)
    head, policy = filled(QHead(ActionSpec((7,), (0,)), config)), filled(PolicyHead(ActionSpec((7,), (0,)), config))
    h, some = torch.randn(2, 3, 8), torch.randint(7, (2, 3, count))
    for out, part in ((head(h).q, head(h, some).q), (policy(h), policy(h, candidates=some))):
        torch.testing.assert_close(part, out.gather(-1, some[:, :, None]))


def test_several_dimensions_are_scored_separately() -> None:
    head = filled(QHead(ActionSpec((4, 4, 4), (0, 0, 0)), EMBEDDED))
    out = head(torch.randn(2, 8)).q
    assert out.shape == (2, 3, 4) and not torch.allclose(out[:, 0], out[:, 1])


def test_scoring_in_chunks_gives_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, h = filled(ActionScorer(6, 8, 1)), torch.randn(3, 5, 8)
    whole = scorer(h)
    monkeypatch.setattr(module, "AT_ONCE", 100)
    with torch.no_grad():
        torch.testing.assert_close(scorer(h), whole)


def test_similar_actions_have_similar_values_and_a_new_unit_changes_none() -> None:
    head = QHead(ActionSpec((3,), (0,)), dataclasses.replace(EMBEDDED, action_features=2))
    assert float(head(torch.randn(4, 8)).q.detach().abs().max()) == 0.0  # untrained
    scorer = head.advantage
    assert isinstance(scorer, ActionScorer)
    torch.nn.init.normal_(scorer.last.weight)
    scorer.describe(torch.tensor([[1.0, 5.0], [1.0, 5.0], [0.0, 5.0]]))
    assert float(scorer.features[:, 1].abs().max()) == 0.0  # never varies
    h = torch.randn(4, 8)
    before = head(h).q
    torch.testing.assert_close(before[..., 0], before[..., 1])
    assert not torch.allclose(before[..., 0], before[..., 2])
    head.rescale(10.0)
    torch.testing.assert_close(head(h).q, before)


def test_features_of_another_shape_are_refused() -> None:
    observation = ObservationSpec.from_space(spaces.Box(-1, 1, (2,), np.float32))
    network = QNetwork(dataclasses.replace(EMBEDDED, action_features=2), observation, ActionSpec((3,), (0,)))
    network.describe_actions(torch.zeros(3, 2))
    with pytest.raises(ConfigError, match=r"expected \[3, 2\]"):
        network.describe_actions(torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="embedded"):
        NetworkConfig(context=1, action_features=2)
