"""A randomised agent has the same network with other weights."""

from __future__ import annotations

import numpy as np
import torch

from seqel.explanation.attribute import attribute
from seqel.explanation.trace import decision_scores
from seqel.explanation.weight_randomisation import randomise_weights
from support_explanation import make_agent, make_trace


def test_weights_differ_and_everything_else_is_kept() -> None:
    agent = make_agent(policy_head="greedy", info={"env": "x"})
    agent.network.head.scale.fill_(3.0)
    state = torch.random.get_rng_state()
    one, same, other = randomise_weights(agent, 1), randomise_weights(agent, 1), randomise_weights(agent, 2)
    assert torch.equal(state, torch.random.get_rng_state())
    assert one.info == agent.info and float(one.network.head.scale) == 3.0
    trace = make_trace(agent)
    q = decision_scores(one, trace)
    np.testing.assert_array_equal(q, decision_scores(same, trace))
    assert (q != decision_scores(other, trace)).all() and (q != decision_scores(agent, trace)).all()
    assert np.ptp(q, axis=1).min() > 0.0  # not the zeros that training starts from
    assert np.abs(attribute(one, trace)).max() > 0.0
