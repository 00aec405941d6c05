"""Decision scores: log-probabilities, with values beside them; acting, ranking and the config follow the weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.scores import action_scores
from seqel.types import QOutput
from support_ranking import make_agent


def test_values_are_added_to_log_probabilities_in_return_scales() -> None:
    out = QOutput(q=torch.tensor([[[2.0, 4.0, -2.0]]]), policy_logits=torch.log(torch.tensor([[[0.5, 0.25, 0.25]]])))
    found = action_scores(out, torch.tensor(2.0), NetworkConfig(policy_head="greedy", value_weight=0.5))
    expected = np.log([0.5, 0.25, 0.25]) + 0.5 * np.array([1.0, 2.0, -1.0])
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-6)
    mask = torch.tensor([[[True, False, True]]])
    masked = action_scores(out, torch.tensor(2.0), NetworkConfig(policy_head="greedy", value_weight=0.5), mask)
    np.testing.assert_allclose(masked[0, 0].numpy(), [np.log(2 / 3) + 0.5, -np.inf, np.log(1 / 3) - 0.5], rtol=1e-6)


def test_the_weight_can_be_changed_after_training() -> None:
    one = make_agent(policy_head="greedy")
    plain = one.rank([1, 2], k=10)[1]
    one.set_value_weight(50.0)
    scores = one.rank([1, 2], k=10)[1]
    assert not np.allclose(scores, plain)
    again = make_agent(policy_head="none", value_weight=0.0)  # the same values, and nothing else
    again.network.load_state_dict(one.network.state_dict(), strict=False)
    best = again.rank([1, 2], k=3)[0]
    one.set_value_weight(1e4)
    assert one.rank([1, 2], k=3)[0] == best
    one.set_value_weight(0.0)
    np.testing.assert_array_equal(one.rank([1, 2], k=10)[1], plain)
    with pytest.raises(ConfigError, match="value_weight"):
        one.set_value_weight(-1.0)
    with pytest.raises(ConfigError, match=r"network\.value_weight = 1\.0 needs network\.policy_head = 'greedy'"):
        make_agent().set_value_weight(1.0)
