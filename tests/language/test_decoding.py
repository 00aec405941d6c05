from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.language.decoding import decode, tilted
from seqel.language.episodes import text_spaces
from seqel.language.tokenizer import BEGIN, END
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.types import QOutput
from seqel.values.hl_gauss import HLGauss
from seqel.values.scalar import Scalar

PROMPTS = [[2, 3, 4], [], [5], [4, 4, 4, 4, 4, 2]]


def agent(value: str = "hl-gauss", context: int = 30, **settings: object) -> Agent:
    torch.manual_seed(0)
    chosen = {"policy_head": "auxiliary", "previous_action": False, "previous_reward": False, **settings}
    config = NetworkConfig(width=16, heads=2, context=context, value=value, bins=11, value_range=2.0, **chosen)  # type: ignore[arg-type]
    network = QNetwork(config, *text_spaces(7))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    network.rescale(2.0)
    return Agent(network)


def teacher_forced(one: Agent, tokens: list[int], dial: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of base and tilted policy at each step, from one forward pass over the whole text."""
    network, observed = one.network, torch.tensor([[BEGIN, *tokens]])
    first = torch.zeros_like(observed, dtype=torch.bool)
    first[:, 0] = True
    with torch.no_grad():
        token = network.tokens({"token": observed[..., None]}, observed[..., None], torch.zeros(observed.shape), first)
        out = network.heads(network.trunk(token, first, torch.zeros(1, dtype=torch.int64)))
        base, policy = tilted(out, network.head.values, network.head.scale, dial)
    return base[0], policy[0]


def test_the_tilt_by_hand() -> None:
    """Two tokens with base 0.25 and 0.75; three values -1, 0, 1; dial log 4."""
    values = HLGauss(3, -1.5, 1.5)
    chance = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]])
    out = QOutput(
        q=torch.zeros(1, 2), logits=chance.clamp(min=1e-30).log(), policy_logits=torch.tensor([[0.25, 0.75]]).log()
    )
    base, policy = tilted(out, values, torch.tensor(3.0), math.log(4.0), "distribution")
    weights = 0.25 * (0.5 / 4 + 0.25 + 0.25 * 4), 0.75 * 1.0
    assert base.exp().tolist() == pytest.approx([0.25, 0.75])
    assert policy.exp().tolist() == pytest.approx([weight / sum(weights) for weight in weights], rel=1e-5)


def test_numbers_tilt_by_their_size_in_return_scales() -> None:
    out = QOutput(q=torch.tensor([[6.0, 0.0]]), policy_logits=torch.zeros(1, 2))
    _, policy = tilted(out, Scalar(), torch.tensor(3.0), 0.5)
    assert float(policy[0] - policy[1]) == pytest.approx(0.5 * 2.0)


def test_the_mean_of_a_distribution_tilts_as_a_number_does() -> None:
    out = QOutput(torch.tensor([[6.0, 0.0]]), torch.zeros(1, 2, 3), torch.zeros(1, 2))
    _, policy = tilted(out, HLGauss(3, -1.5, 1.5), torch.tensor(3.0), 0.5)
    assert float(policy[0] - policy[1]) == pytest.approx(0.5 * 2.0)


def test_a_tilt_that_is_not_possible_is_refused() -> None:
    out = QOutput(q=torch.zeros(1, 2), policy_logits=torch.zeros(1, 2))
    with pytest.raises(ConfigError, match="tilt: expected 'mean', because the values"):
        tilted(out, Scalar(), torch.tensor(1.0), 1.0, "distribution")
    with pytest.raises(ConfigError, match="tilt: expected one of mean, distribution, got 'median'"):
        tilted(out, Scalar(), torch.tensor(1.0), 1.0, "median")  # type: ignore[arg-type]


def test_no_tilt_is_the_base_policy() -> None:
    base, policy = teacher_forced(agent(), [2, 3], 0.0)
    assert torch.equal(base, policy)


@pytest.mark.parametrize("value", ["hl-gauss", "scalar"])
@pytest.mark.parametrize("context", [30, 3])
def test_cached_decoding_equals_the_forward_pass(value: str, context: int) -> None:
    one = agent(value, context)
    for prompt, found in zip(PROMPTS, decode(one, PROMPTS, dial=1.5, limit=12, temperature=0.0), strict=True):
        base, policy = teacher_forced(one, [*prompt, *found.tokens], 1.5)
        steps = slice(len(prompt), len(prompt) + len(found.tokens) + found.ended)
        policy[:, BEGIN] = -math.inf
        greedy = policy[steps].argmax(dim=-1).tolist()
        assert greedy == [*found.tokens, *([END] if found.ended else [])]
        assert found.log_probability == pytest.approx(
            float(base[steps].gather(1, torch.tensor(greedy)[:, None]).sum()), abs=1e-4
        )
        _, policy = teacher_forced(one, [*prompt, *found.tokens], 1.5)
        kl = (policy.exp() * (policy - base)).sum(dim=-1)[steps].sum()
        assert found.kl == pytest.approx(float(kl), abs=1e-4) and found.kl > 0.0


def test_other_prompts_do_not_matter() -> None:
    one = agent()
    together = decode(one, PROMPTS, dial=1.0, limit=9, temperature=0.0)
    assert together == [decode(one, [prompt], dial=1.0, limit=9, temperature=0.0)[0] for prompt in PROMPTS] or all(
        a.tokens == b.tokens and a.kl == pytest.approx(b.kl, abs=1e-4)
        for a, b in zip(
            together, [decode(one, [prompt], dial=1.0, limit=9, temperature=0.0)[0] for prompt in PROMPTS], strict=True
        )
    )


def test_draws_follow_the_policy() -> None:
    one, count = agent(), 4_000
    _, policy = teacher_forced(one, [2], 1.0)
    expected = policy[1].exp().numpy().copy()
    expected[BEGIN] = 0.0
    expected /= expected.sum()
    found = decode(one, [[2]] * count, dial=1.0, limit=1, rng=np.random.default_rng(0))
    counts = np.bincount([END if written.ended else written.tokens[0] for written in found], minlength=7)
    assert np.abs(counts / count - expected).max() < 4.0 * np.sqrt(0.25 / count)
    again = decode(one, [[2]] * count, dial=1.0, limit=1, rng=np.random.default_rng(0))
    assert again == found


def test_few_tokens_or_the_best_one() -> None:
    one = agent()
    _, policy = teacher_forced(one, [2], 1.0)
    policy[:, BEGIN] = -math.inf
    best = set(policy[1].topk(2).indices.tolist())
    rng = np.random.default_rng(0)
    drawn = {END if w.ended else w.tokens[0] for w in decode(one, [[2]] * 200, dial=1.0, limit=1, top_k=2, rng=rng)}
    assert drawn == best


@pytest.mark.parametrize(
    "bad", [{"dial": -1.0}, {"dial": math.nan}, {"limit": 0}, {"temperature": -0.1}, {"top_k": -1}]
)
def test_numbers_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(bad))}: expected a number of at least"):
        decode(agent(), [[]], **bad)  # type: ignore[arg-type]


def test_an_agent_without_a_policy_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an agent with a policy head"):
        decode(agent(policy_head="none"), [[]])


def test_nothing_to_write() -> None:
    assert decode(agent(), []) == []
