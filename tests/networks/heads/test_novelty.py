"""The novelty head."""

from __future__ import annotations

import pytest
import torch

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.novelty import NoveltyHead
from seqel.spaces import ActionSpec
from support import batch, network


@pytest.mark.parametrize("actions", ["outputs", "embedded"])
def test_it_is_zero_at_first_and_scores_candidates_as_among_all(actions: str) -> None:
    torch.manual_seed(0)
    head = NoveltyHead(ActionSpec((3, 5), (0, 0)), NetworkConfig(width=16, actions=actions))  # type: ignore[arg-type]
    h = torch.randn(2, 7, 16)
    assert head(h).shape == (2, 7, 2, 5) and not head(h).any()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    candidates = torch.tensor([4, 0, 2]).expand(2, 7, 3)
    torch.testing.assert_close(head(h, candidates=candidates), head(h)[..., [4, 0, 2]])


def test_another_unit_of_reward_does_not_change_it_and_a_step_equals_the_whole_pass() -> None:
    net = network(novelty=True, std=0.3)
    windows = batch(rows=2, steps=4)
    with torch.no_grad():
        whole = net(windows).novelty
        net.rescale(7.0)
        again = net(windows).novelty
        state = net.initial_state(2)
        rows = []
        for t in range(5):
            action = windows.previous_action if t == 0 else windows.action[:, t - 1]
            reward = windows.previous_reward if t == 0 else windows.reward[:, t - 1]
            seen = {path: leaf[:, t] for path, leaf in windows.observation.items()}
            out, state = net.step(seen, action, reward, windows.is_first[:, t], state)
            rows.append(out.novelty)
    assert whole is not None and again is not None and whole.std() > 0.1
    torch.testing.assert_close(whole, again)
    torch.testing.assert_close(
        torch.stack([row for row in rows if row is not None], dim=1), whole, rtol=1e-4, atol=1e-4
    )
