"""An agent that writes with a pretrained language model: its tokens, its policy at first, and adapters that are trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.explanation.attention import attention
from seqel.explanation.trace import EpisodeTrace
from seqel.language import generate, train_text
from seqel.language.decoding import decode
from seqel.language.episodes import text_spaces
from seqel.language.tokenizer import ModelTokens, tokenizer_from_json
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.training.base_model import with_base_model
from tiny_models import TEXTS, tiny_causal, tiny_learned_positions

PLAIN = {"previous_action": False, "previous_reward": False, "first_step": False, "policy_head": "auxiliary"}


def network(folder: Path, **settings: object) -> QNetwork:
    config = NetworkConfig(trunk="pretrained", model=str(folder), actions="tokens", context=20, **(PLAIN | settings))  # type: ignore[arg-type]
    return QNetwork(with_base_model(config), *text_spaces(304)).eval()


@pytest.mark.parametrize("make", [tiny_causal, tiny_learned_positions])
def test_the_policy_begins_as_the_language_model(make: object) -> None:
    from transformers import AutoModelForCausalLM

    folder = make()  # type: ignore[operator]
    ids = torch.randint(5, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    first = torch.zeros(2, 9, dtype=torch.bool)
    first[:, 0] = True
    net = network(folder)
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=ids).logits
        token = net.tokens({"token": ids[..., None]}, ids[..., None], torch.zeros(2, 9), first)
        out = net.heads(net.trunk(token, first, torch.zeros(2, dtype=torch.int64)))
    torch.testing.assert_close(out.policy_logits[:, :, 0], expected, atol=1e-4, rtol=1e-4)  # type: ignore[index]
    assert not out.q.any()


def test_greedy_decoding_is_that_of_the_library() -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_causal()
    tokenizer = ModelTokens.of(str(folder))
    prompt = tokenizer.encode("take the red")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    expected = model.generate(
        torch.tensor([[tokenizer.begin, *prompt]]), max_new_tokens=8, do_sample=False, eos_token_id=tokenizer.end,
        suppress_tokens=[tokenizer.begin],
    )[0, 1 + len(prompt) :].tolist()  # fmt: skip
    found = decode(
        Agent(network(folder)), [prompt, prompt[:1]], begin=tokenizer.begin, end=tokenizer.end, temperature=0.0, limit=8
    )[0]
    assert [*found.tokens, *([tokenizer.end] if found.ended else [])] == expected


def test_few_weights_are_trained_and_saved(tmp_path: Path) -> None:
    net = network(tiny_causal())
    saved = Agent(net).save(tmp_path / "agent")
    assert not any(weight.shape[:1] == (304,) for weight in net.parameters())  # no table of tokens among them
    found = Agent.load(saved).network.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in net.state_dict().items())


def test_tokens_come_back_and_other_spaces_are_refused() -> None:
    tokenizer = ModelTokens.of(str(tiny_causal()))
    for text in (*TEXTS, "", "🎉 new words"):
        assert tokenizer.decode([tokenizer.begin, *tokenizer.encode(text), tokenizer.end]) == text
    again = tokenizer_from_json(tokenizer.to_json())
    assert again.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0]) and again.size == 304
    config = with_base_model(NetworkConfig(trunk="pretrained", model=str(tiny_causal()), actions="tokens", context=4))
    with pytest.raises(ConfigError, match="expected the 304 tokens"):
        QNetwork(config, *text_spaces(300))
    with pytest.raises(ConfigError, match=r"needs network\.trunk = 'pretrained'"):
        NetworkConfig(actions="tokens")
    with pytest.raises(ConfigError, match="expected the name and checksum"):
        tokenizer_from_json({"tokens": "model", "model": "/etc/passwd"})


def nats(net: QNetwork) -> float:
    """Mean negative log-probability of the tokens that follow 'take the' in a text."""
    tokenizer = ModelTokens.of(str(tiny_causal()))
    prompt, text = ([tokenizer.begin, *tokenizer.encode(part)] for part in ("take the", "take the red ball"))
    ids = torch.tensor([text])
    first = torch.zeros(ids.shape, dtype=torch.bool)
    first[:, 0] = True
    with torch.no_grad():
        token = net.tokens({"token": ids[..., None]}, ids[..., None], torch.zeros(ids.shape), first)
        logits = net.heads(net.trunk(token, first, torch.zeros(1, dtype=torch.int64))).policy_logits
    assert logits is not None
    chance = logits[0, :, 0].log_softmax(dim=-1)[:-1].gather(1, ids[0, 1:, None])
    return -float(chance[len(prompt) - 1 :].mean())


def test_it_is_trained_and_writes(tmp_path: Path) -> None:
    settings = {
        "replay.batch_tokens": 64,
        "threads": 1,
        "device": "cpu",
        "learner.learning_rate": 4e-3,
        "log_every": 20,
    }
    settings |= {"learner.warmup": 5, "learner.pretrained_rate": 1.0}
    texts = ["take the red ball", "take the blue ball"] * 20
    agent = train_text(
        texts, lambda text: float("red" in text), out=tmp_path / "run", prompt=8, length=16, model=str(tiny_causal()),
        updates=(160, 20), samples=20, settings=settings, progress=False,
    )  # fmt: skip
    assert nats(Agent.load(tmp_path / "run/imitation").network) < 0.6 * nats(network(tiny_causal()))
    found = generate(tmp_path / "run" / "values", ["take the"], dial=1.0, n=3, seed=0)
    assert found == generate(agent, ["take the"], dial=1.0, n=3, seed=0)


@pytest.mark.parametrize("make", [tiny_causal, tiny_learned_positions])
def test_the_attention_that_is_explained_is_that_of_the_language_model(make: object) -> None:
    from transformers import AutoModelForCausalLM

    folder = make()  # type: ignore[operator]
    ids = np.random.default_rng(0).integers(5, 300, size=10)
    agent = Agent(network(folder))
    trace = EpisodeTrace(
        {"token": ids[:, None].astype(np.int32)}, ids[1:], np.zeros(9, np.float32), np.zeros((9, 304), np.float32), None
    )
    weights = attention(agent, trace)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = model(input_ids=torch.from_numpy(ids)[None], output_attentions=True).attentions
    np.testing.assert_allclose(weights, torch.stack(expected)[:, 0].numpy(), atol=1e-5)
