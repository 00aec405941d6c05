"""An agent as a logits processor: what `transformers` draws is what the agent would write, whatever the batch."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.language.decoding import decode
from seqel.language.episodes import text_spaces
from seqel.language.processor import DialProcessor
from seqel.language.tokenizer import ModelTokens
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.training.base_model import with_base_model
from support_text import agent as agent_of_letters
from tiny_models import tiny_causal


@cache
def parts() -> tuple[Agent, Any, ModelTokens]:
    """Return an agent whose policy is the language model itself, with random values; the model; the tokens."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = NetworkConfig(
        trunk="pretrained", model=str(tiny_causal()), actions="tokens", context=40, previous_action=False,
        previous_reward=False, first_step=False, policy_head="auxiliary",
    )  # fmt: skip
    agent = Agent(QNetwork(with_base_model(config), *text_spaces(304)))
    with torch.no_grad():
        for weight in agent.network.head.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    tokenizer = ModelTokens.of(str(tiny_causal()))
    agent.info["language"] = {"tokenizer": tokenizer.to_json(), "length": 10, "prompt": 0}
    return agent, AutoModelForCausalLM.from_pretrained(tiny_causal()).eval(), tokenizer


def generated(prompts: list[str], **options: Any) -> list[list[int]]:
    agent, model, tokenizer = parts()
    rows = [[tokenizer.begin, *tokenizer.encode(prompt)] for prompt in prompts]
    longest = max(map(len, rows))
    assert tokenizer.padding is not None
    ids = torch.tensor([[tokenizer.padding] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    found = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=8, eos_token_id=tokenizer.end,
        suppress_tokens=[tokenizer.begin], logits_processor=[DialProcessor(agent, dial=3.0)], **options,
    )  # fmt: skip
    out: list[list[int]] = found[:, longest:].tolist()
    return out


def test_greedy_generation_is_that_of_the_agent() -> None:
    agent, _, tokenizer = parts()
    prompts = ["take the red", "the blue ball, then", "to"]
    expected = decode(
        agent, [tokenizer.encode(prompt) for prompt in prompts], begin=tokenizer.begin, end=tokenizer.end, dial=3.0, limit=8,
        temperature=0.0,
    )  # fmt: skip
    plain = decode(
        agent, [tokenizer.encode(prompt) for prompt in prompts], begin=tokenizer.begin, end=tokenizer.end, limit=8,
        temperature=0.0,
    )  # fmt: skip
    assert [one.tokens for one in expected] != [one.tokens for one in plain]  # the dial matters
    found = generated(prompts, do_sample=False)
    for row, one in zip(found, expected, strict=True):
        assert row[: len(one.tokens)] == one.tokens


def test_beams_that_are_reordered_are_read_again() -> None:
    one = generated(["take the red"], do_sample=False, num_beams=4)
    assert one == generated(["take the red"], do_sample=False, num_beams=4) and len(one[0]) == 8


def test_an_agent_with_tokens_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an agent with the tokens of a pretrained model"):
        DialProcessor(agent_of_letters())
